"""`make demo`: a whole campaign without a screen. Starts everything, rolls out, checks every flash, tears down.

The last line is one JSON object; the exit code is 0 only if everything ended as it should.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import httpx

from mcuboot_image import DecodeError, VerificationError, load_public_key, parse, verify
from softdevice.images import ImageError
from softdevice.inspection import inspect_fleet
from updraft_local import delta_demo, firmware
from updraft_local.embedded import ServerFailed
from updraft_local.firmware import Firmware
from updraft_local.management import Refused
from updraft_local.ports import PortTaken
from updraft_local.processes import ProcessFailed
from updraft_local.showing import became, fates, say, watch
from updraft_local.stopping import Stopped, StopRequest
from updraft_local.suite import MISBEHAVING, Options, Suite, device_name

GROUPS = 3


FAILURES = (
    PortTaken,
    ServerFailed,
    ProcessFailed,
    Refused,
    TimeoutError,
    ImageError,
    ValueError,
    OSError,
    httpx.HTTPError,
)


def main() -> None:
    """Parse arguments, run, print the summary."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="A whole firmware campaign over software devices, headless and bounded."
    )
    parser.add_argument("--devices", type=int, default=25, help="how many (default %(default)s)")
    parser.add_argument("--image", type=Path, help="signed MCUboot image to roll out instead of the built-in one")
    parser.add_argument("--key", type=Path, help="public key (PEM) the image is signed with")
    parser.add_argument("--delta", action="store_true", help="two lines of firmware, updated by deltas")
    parser.add_argument("--firmware", type=Path, default=Path(".data/firmware"), help="folder of test key and images")
    parser.add_argument("--keep", action="store_true", help="keep the scratch folder and say where it is")
    arguments = parser.parse_args()
    request = StopRequest()
    seen: dict[str, Any] = {"began": time.monotonic()}
    code = 1
    scratch = Path(tempfile.mkdtemp(prefix="updraft-demo-"))
    try:
        bench = firmware.prepare(arguments.firmware, arguments.image, arguments.key)
        _check_image(bench)
        if arguments.devices < 1:
            raise ValueError("DEVICES must be at least 1")
        if arguments.delta and (arguments.image or arguments.key):
            raise ValueError("DELTA=1 rolls out the built-in images: leave IMAGE and KEY out")
        run = delta_demo.campaign if arguments.delta else campaign
        summary = run(scratch, bench, arguments.devices, request, seen)
    except FAILURES as error:
        say(f"the demo failed: {error}")
        summary = _unfinished(arguments.devices, str(error), seen)
    except Stopped:
        say("interrupted")
        summary, code = _unfinished(arguments.devices, "interrupted", seen), 130
    except Exception as error:  # a defect: the traceback for whoever mends it, the line for whoever reads it
        traceback.print_exc()
        summary = _unfinished(arguments.devices, repr(error), seen)
    finally:
        if arguments.keep:
            say(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    sys.stdout.write(json.dumps(summary) + "\n")
    raise SystemExit(0 if summary["ok"] else code)


def _check_image(bench: Firmware) -> None:
    """Say at once what would only be refused after a minute of starting."""
    keys = []
    for path in bench.public_keys:
        try:
            keys.append(load_public_key(path.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    try:
        verify(parse(bench.new.read_bytes()), keys)
    except (DecodeError, VerificationError) as error:
        raise ValueError(
            f"{bench.new}: {error}. Sign it with {bench.private_key} (python -m softdevice image), "
            "or name its public key: make demo IMAGE=... KEY=public.pem"
        ) from error


def campaign(
    scratch: Path, bench: Firmware, devices: int, request: StopRequest, seen: dict[str, Any]
) -> dict[str, Any]:
    """Run it all in `scratch`; the summary's `ok` says whether it ended as it should, `seen` how far it came."""
    began = time.monotonic()
    suite = Suite(Options(scratch, bench, devices))
    try:
        say("starting PostgreSQL, Redis, update manager, gateway, proxy, console and devices")
        suite.start()
        manager = suite.management()
        manager.product(firmware.PRODUCT_KEY, firmware.PRODUCT_NAME, bench.public_keys)
        say(f"waiting for {devices} devices to register")
        suite.wait_online()
        release = manager.publish(bench.new, firmware.PRODUCT_KEY)
        say(f"uploaded {release['name']} {release['version']}, {release['artifact']['size']} bytes, signature good")
        seen["size"] = release["artifact"]["size"]
        # In a small fleet the device that misbehaves may be a whole group: that must not pause the show.
        never = {"condition": "THRESHOLD", "expression": "100"}
        groups = min(GROUPS, devices)
        rollout = manager.create_rollout("demo", release["distributionSetId"], groups=groups, errorCondition=never)
        manager.post(f"/rollouts/{rollout}/start")
        shown = watch(suite, manager, rollout, seen)
        stats = suite.proxy_stats()
        found = fates(manager, [device_name(number) for number in range(1, devices + 1)])
        suite.stop_fleet()
        flashes = {one["endpoint"]: one for one in inspect_fleet(suite.devices_folder)}
        seconds = round(time.monotonic() - began, 1)
        return _summary(shown, stats, found, flashes, release, devices, seconds)
    finally:
        request.disarm()
        say("stopping")
        suite.stop(request.hurry.is_set)


def _unfinished(devices: int, error: str, seen: dict[str, Any]) -> dict[str, Any]:
    """The summary of a campaign that broke off: what the console showed last."""
    progress = seen.get("progress", {})
    totals = progress.get("totals", {})
    causes = {one["cause"]: one["count"] for one in progress.get("causes", ())}
    rolled_back = causes.get("rolled_back", 0)
    return {
        "ok": False,
        "error": error,
        "devices": devices,
        "updated": totals.get("finished", 0),
        "rolled_back": rolled_back,
        "failed": totals.get("error", 0) - rolled_back,
        "groups": len(progress.get("groups", ())),
        "image_bytes": seen.get("size"),
        "bytes_on_air": progress.get("bytesOnAir", 0),
        "upstream_bytes": None,
        "seconds": round(time.monotonic() - seen["began"], 1),
    }


def _summary(
    shown: dict[str, Any],
    stats: dict[str, Any],
    found: dict[str, dict[str, Any]],
    flashes: dict[str, dict[str, Any]],
    release: dict[str, Any],
    devices: int,
    seconds: float,
) -> dict[str, Any]:
    """Compare the record with the flashes; `wrong` lists where they differ."""
    wrong = []
    updated = rolled_back = failed = 0
    for name, fate in found.items():
        flash = flashes.get(name, {})
        runs_new = flash.get("runningVersion") == release["version"]
        if fate["status"] == "finished":
            updated += 1
            if not (runs_new and flash.get("confirmed") and flash.get("swapDue") is None):
                wrong.append(f"{name}: recorded as updated, flash says {flash}")
        elif fate["cause"] == "rolled_back":
            rolled_back += 1
            if not (flash.get("runningVersion") == firmware.OLD_VERSION and flash.get("confirmed")):
                wrong.append(f"{name}: recorded as rolled back, flash says {flash}")
        else:
            failed += 1
            wrong.append(f"{name}: {fate['status']}, {fate['text']}")
    reverts = sum(1 for number, kind in MISBEHAVING.items() if kind == "never_confirms" and number <= devices)
    size = release["artifact"]["size"]
    if stats["upstreamBytes"] > size * 1.1:
        wrong.append(f"{stats['upstreamBytes']} bytes were fetched from upstream for an image of {size}")
    for line in wrong:
        say(line)
    misbehaving = {}
    for number, kind in MISBEHAVING.items():
        if number <= devices:
            fate = found[device_name(number)]
            outcome = "updated" if fate["status"] == "finished" else fate["cause"] or fate["status"]
            repeated = {"repeated_bytes": fate["repeatedBytes"], "restarts": fate["restarts"]}
            misbehaving[device_name(number)] = {"misbehaves": kind, "became": outcome, **repeated}
            say(f"{device_name(number)} ({kind.replace('_', ' ')}): {became(fate)}")
    return {
        "ok": not wrong and rolled_back == reverts and updated + rolled_back == devices,
        "devices": devices,
        "updated": updated,
        "rolled_back": rolled_back,
        "failed": failed,
        "groups": len(shown["groups"]),
        "image_bytes": size,
        "bytes_on_air": stats["bytesOnAir"],
        "upstream_bytes": stats["upstreamBytes"],
        "seconds": seconds,
        "misbehaving": misbehaving,
    }


if __name__ == "__main__":
    main()
