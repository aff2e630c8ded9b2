"""`make run`: the whole suite until Ctrl-C, on embedded servers, data kept between runs."""

import argparse
import fcntl
import getpass
import os
import pwd
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import httpx

from updraft_local import firmware
from updraft_local.embedded import ServerFailed
from updraft_local.external import ServerUnusable
from updraft_local.management import Refused
from updraft_local.ports import PortTaken
from updraft_local.processes import ProcessFailed
from updraft_local.stopping import Stopped, StopRequest
from updraft_local.suite import MISBEHAVING, OPERATOR, Options, Suite, device_name
from updraft_local.suite_secrets import Unreadable

NEEDED_BYTES = 300 << 20
PORTS = {"http": 8000, "api": 8080, "lwm2m": 5683, "blocks": 5685}
ONLINE_SECONDS = 45.0


class CannotRun(RuntimeError):
    """Something a person has to mend first; the message says what."""


FAILURES = (
    CannotRun,
    PortTaken,
    ServerFailed,
    ServerUnusable,
    ProcessFailed,
    Refused,
    Unreadable,
    TimeoutError,
    OSError,
)


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
        parser.add_argument(f"--{name}-port", type=int, default=port, help=f"default {port}; 0: any free one")
    arguments = parser.parse_args()
    request = StopRequest()
    try:
        if arguments.devices < 0:
            raise CannotRun(f"DEVICES={arguments.devices}: a number of devices is 0 or more")
        require_space(arguments.data)
        lock = exclusive(arguments.data)
        run(arguments, request)
        lock.close()
    except Stopped:
        raise SystemExit(130) from None
    except FAILURES as error:
        sys.stderr.write(f"\nUpdraft stopped: {error}\n")
        raise SystemExit(1) from error


def exclusive(folder: Path) -> IO[Any]:
    """Take the data folder for this run; raises CannotRun when it is not to be had."""
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except PermissionError as error:
        raise CannotRun(
            f"{error.filename} may not be used by {_user(os.geteuid())}, it belongs to {_owner(folder)}; "
            "run as that user, or choose another folder: make run DATA=other-folder"
        ) from error
    except OSError as error:
        raise CannotRun(
            f"{error.filename or folder} cannot be a data folder: {error.strerror}; "
            "choose another one: make run DATA=other-folder"
        ) from error
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


def _owner(folder: Path) -> str:
    for place in (folder, *folder.resolve().parents):
        try:
            return _user(place.stat().st_uid)
        except OSError:
            continue
    return "somebody else"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}" if number != os.geteuid() else getpass.getuser()


def require_space(folder: Path, needed: int = NEEDED_BYTES) -> None:
    """Raise CannotRun when the disk is too full for a database to start on."""
    there = next(place for place in (folder.resolve(), *folder.resolve().parents) if os.access(place, os.F_OK))
    free = shutil.disk_usage(there).free
    if free < needed:
        raise CannotRun(f"the disk of {folder} has {free >> 20} MiB left, {needed >> 20} MiB are needed; make room")


class Chorus:
    """Log lines of many threads, one at a time. A reader that went away is no reason to die unstopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Write one line."""
        with self._lock:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except OSError:
                return


def run(arguments: argparse.Namespace, request: StopRequest) -> None:
    """Start, introduce, look after, stop."""
    chorus = Chorus()
    suite: Suite | None = None
    try:
        chorus.say("Updraft is starting; the first time takes a little longer.")
        suite = Suite(
            Options(
                arguments.data,
                firmware.prepare(arguments.firmware),
                arguments.devices,
                ports={name: getattr(arguments, f"{name}_port") for name in PORTS},
                database_url=os.environ.get("DATABASE_URL") or None,
                redis_url=os.environ.get("REDIS_URL") or None,
                say=chorus.say,
            )
        )
        suite.start()
        try:
            _prepare(suite)
        except httpx.HTTPError as error:
            suite.require_alive()  # who died says more than that it does not answer
            raise ProcessFailed(f"the update manager does not answer: {error}") from error
        text = introduction(suite)
        (arguments.data / "welcome.txt").touch(mode=0o600)
        (arguments.data / "welcome.txt").write_text(text)
        chorus.say(text)
        while True:
            suite.require_alive()
            time.sleep(0.5)
    except Stopped:
        chorus.say("stopping; Ctrl-C again kills what still runs")
    finally:
        request.disarm()
        if suite is not None:
            suite.stop(request.hurry.is_set)
    chorus.say("stopped; everything is kept in " + str(arguments.data))


def _prepare(suite: Suite) -> None:
    """The bench's product, and the devices' first words: what comes after the introduction is news."""
    manager = suite.management()
    try:
        manager.product(firmware.PRODUCT_KEY, firmware.PRODUCT_NAME, suite.options.firmware.public_keys)
    finally:
        manager.close()
    try:
        suite.wait_online(ONLINE_SECONDS)
    except TimeoutError as error:
        suite.options.say(f"going on without them: {error}")


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
    devices    {options.devices or "none"}{f" ({odd})" if odd else ""}
    try        upload {options.firmware.new} under Releases, then roll it out

  Ctrl-C stops everything; data and logs stay in {options.folder}, these lines in {options.folder / "welcome.txt"}.
"""


if __name__ == "__main__":
    main()
