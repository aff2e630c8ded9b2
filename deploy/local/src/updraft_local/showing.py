"""What a person who watches a campaign is told: progress while it runs, and in the end what became of each device."""

import sys
import time
from typing import Any, Final

import httpx

from updraft_local.management import Management
from updraft_local.processes import ProcessFailed
from updraft_local.suite import Suite

CAMPAIGN_SECONDS: Final = 900.0
BAR: Final = 30
COUNTS: Final = ("bytesOnAir", "deltaBytesOnAir", "restarts", "repeatedBytes")


def say(text: str) -> None:
    """A line for the person who watches; standard output keeps the JSON for the end."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def watch(suite: Suite, manager: Management, rollout: int, seen: dict[str, Any]) -> dict[str, Any]:
    """Show progress until the rollout has ended; the last of it is left in `seen`."""
    deadline, last = time.monotonic() + CAMPAIGN_SECONDS, ""
    while time.monotonic() < deadline:
        suite.require_alive()
        try:
            shown = manager.progress(rollout)
        except httpx.TransportError:
            continue
        seen["progress"] = shown
        filled = shown["percent"] * BAR // 100
        moving = sum(1 for one in shown["inFlight"] if one["phase"] == "downloading")
        line = f"[{'#' * filled}{'.' * (BAR - filled)}] {shown['percent']:3d} %  {shown['judgement']}"
        line += f"  {moving} downloading" if moving else ""
        if line != last:
            say(line)
            last = line
        if shown["status"] in ("finished", "stopped"):
            return shown
        if shown["status"] == "paused":
            raise ProcessFailed(f"the rollout paused: {shown['judgement']}")
        time.sleep(0.5)
    raise TimeoutError(f"the rollout did not end within {CAMPAIGN_SECONDS:.0f} s: {last}")


def fates(manager: Management, names: list[str]) -> dict[str, dict[str, Any]]:
    """What the operator's screen says of each device: status, cause, sentence."""
    found = {}
    for name in names:
        attempt = manager.timeline(name)["attempts"][0]
        found[name] = {"status": attempt["status"], "cause": attempt["cause"], "text": attempt["causeText"]}
        download = attempt["download"] or {}
        found[name] |= {key: download.get(key, 0) for key in COUNTS}
        found[name]["delivery"] = attempt["delivery"] or {}
    return found


def became(fate: dict[str, Any]) -> str:
    """One device's end for the person who watches."""
    if fate["status"] != "finished":
        return str(fate["text"] or fate["status"])
    trouble = f", {fate['repeatedBytes']} bytes sent again" if fate["repeatedBytes"] else ""
    trouble += f", download begun anew {fate['restarts']} times" if fate["restarts"] else ""
    return f"updated{trouble}"
