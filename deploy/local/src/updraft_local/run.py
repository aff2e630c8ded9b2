"""`make run`: the whole suite until Ctrl-C, on embedded servers, data kept between runs."""

import argparse
import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

from updraft_local import firmware
from updraft_local.embedded import ServerFailed
from updraft_local.management import Refused
from updraft_local.ports import PortTaken
from updraft_local.processes import ProcessFailed
from updraft_local.suite import MISBEHAVING, OPERATOR, Options, Suite, device_name

NEEDED_BYTES = 300 << 20
PORTS = {"http": 8000, "api": 8080, "lwm2m": 5683, "blocks": 5685}


class CannotRun(RuntimeError):
    """Something a person has to mend first; the message says what."""


def main() -> None:
    """Parse arguments, start, wait, stop."""
    parser = argparse.ArgumentParser(
        prog="make run",
        description="Starts PostgreSQL, Redis, all services and a few software devices. "
        "DATABASE_URL and REDIS_URL name servers to use instead of the embedded ones.",
    )
    parser.add_argument("--data", type=Path, default=Path(".data/run"), help="folder kept between runs")
    parser.add_argument("--firmware", type=Path, default=Path(".data/firmware"), help="folder of test key and images")
    parser.add_argument("--devices", type=int, default=20, help="software devices (default %(default)s)")
    for name, port in PORTS.items():
        parser.add_argument(f"--{name}-port", type=int, default=port, help=f"default {port}")
    arguments = parser.parse_args()
    try:
        lock = exclusive(arguments.data)
        require_space(arguments.data)
        run(arguments)
        lock.close()
    except (CannotRun, PortTaken, ServerFailed, ProcessFailed, Refused, TimeoutError, OSError) as error:
        sys.stderr.write(f"\nUpdraft stopped: {error}\n")
        raise SystemExit(1) from error


def exclusive(folder: Path) -> IO[Any]:
    """Take the data folder for this run; raises CannotRun when another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        other = lock.read().strip() or "unknown"
        lock.close()
        raise CannotRun(
            f"it is running already (process {other} uses {folder}); stop that one with Ctrl-C, "
            "or give this one a folder of its own: make run DATA=other-folder"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def require_space(folder: Path, needed: int = NEEDED_BYTES) -> None:
    """Raise CannotRun when the disk is too full for a database to start on."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CannotRun(f"the disk of {folder} has {free >> 20} MiB left, {needed >> 20} MiB are needed; make room")


class Chorus:
    """Log lines of many threads, one at a time; quiet until the suite has introduced itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Write one line."""
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def run(arguments: argparse.Namespace) -> None:
    """Start, introduce, look after, stop."""
    chorus = Chorus()
    chorus.say("Updraft is starting; the first time takes a little longer.")
    bench = firmware.prepare(arguments.firmware)
    ports = {name: getattr(arguments, f"{name}_port") for name in PORTS}
    suite = Suite(
        Options(
            arguments.data,
            bench,
            arguments.devices,
            ports=ports,
            database_url=os.environ.get("DATABASE_URL"),
            redis_url=os.environ.get("REDIS_URL"),
            say=chorus.say,
        )
    )
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(130)  # asked twice: somebody is in a hurry
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, asked)
    try:
        suite.start()
        manager = suite.management()
        manager.product(firmware.PRODUCT_KEY, firmware.PRODUCT_NAME, bench.public_keys)
        manager.close()
        chorus.say(introduction(suite))
        while not stop.is_set():
            suite.require_alive()
            time.sleep(0.5)
        chorus.say("stopping")
    finally:
        suite.stop()
    chorus.say("stopped; everything is kept in " + str(arguments.data))


def introduction(suite: Suite) -> str:
    """What a person wants to know first."""
    options = suite.options
    odd = ", ".join(
        f"{device_name(number)} {kind.replace('_', ' ')}"
        for number, kind in MISBEHAVING.items()
        if number <= options.devices
    )
    return f"""
  Updraft is ready.

    address    {suite.frontend_url}
    operator   {OPERATOR}
    password   {suite.secrets.operator}

    API        {suite.api_url}/rest/v1/docs
    LwM2M      {suite.gateway_uri}      blocks {suite.proxy_uri}
    devices    {options.devices} ({odd})
    try        upload {options.firmware.new} under Releases, then roll it out

  Ctrl-C stops everything; data and logs stay in {options.folder}.
"""


if __name__ == "__main__":
    main()
