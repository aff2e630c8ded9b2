"""Processes outlive nobody: a ledger of what a suite started, a keeper that stops it when the starter is gone.

The starter may die in ways that leave it no last word (kill -9, out of memory). So a keeper process waits at the end of
a pipe whose other end only the starter holds; when that closes, it stops what the ledger names. If the keeper was
killed as well, the next start reads the ledger. Process ids are used again by the system: so a process is ours only if
it began when the ledger says, or carries the ledger's random mark in its environment (as children of children do).
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MARK = "UPDRAFT_SUITE"
SERVERS = ("postgres", "redis")
SERVICE_SECONDS = 5.0
SERVER_SECONDS = 15.0


@dataclass
class Ledger:
    """Kept in `path` while a suite runs; `mark` is in the environment of all it starts."""

    path: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    _entries: list[dict[str, object]] = field(default_factory=list)
    _keeper: "subprocess.Popen[bytes] | None" = None

    @property
    def environment(self) -> dict[str, str]:
        """What children have to be given."""
        return {MARK: self.mark}

    def open(self) -> None:
        """Begin: write the ledger and post the keeper."""
        self._write()
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "updraft_local.orphans", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def note(self, name: str, pid: int) -> None:
        """A process was started."""
        self._entries = [entry for entry in self._entries if entry["name"] != name]
        self._entries.append({"name": name, "pid": pid, "began": began(pid)})
        self._write()

    def close(self) -> None:
        """Everything was stopped in order; stop what is left nevertheless, and let the keeper go."""
        if self.path.exists():
            stop_leftovers(self.path)
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            try:
                self._keeper.wait(SERVICE_SECONDS)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.wait()
            self._keeper = None

    def _write(self) -> None:
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps({"mark": self.mark, "processes": self._entries}))
        os.replace(draft, self.path)


@dataclass(frozen=True)
class Leftover:
    """A process of a suite that still lives."""

    name: str
    pid: int
    began: str

    def alive(self) -> bool:
        """Whether it still is the very same process, and no zombie."""
        return began(self.pid) == self.began

    def signal(self, number: int) -> None:
        """Send a signal, unless it is gone."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except (ProcessLookupError, PermissionError):
                return


def began(pid: int) -> str | None:
    """When a process began, in the system's own count (with which boot); None when it is gone or a zombie."""
    try:
        # The name in brackets may hold anything, brackets too (proc(5)); field 3 is the state, 22 the start time.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def leftovers(path: Path) -> list[Leftover]:
    """What a ledger names and is still alive, and what carries its mark."""
    try:
        record = json.loads(path.read_text())
        mark, entries = str(record["mark"]), list(record["processes"])
        named = [Leftover(str(one["name"]), int(one["pid"]), str(one["began"])) for one in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # never written, or not by us
    found = [one for one in named if one.alive()]
    known = {one.pid for one in found} | {os.getpid()}
    servers = {one.pid for one in found if one.name in SERVERS}
    for pid in _marked(mark):
        start = began(pid)
        # A server's own children are its business.
        if pid not in known and start is not None and _parent(pid) not in servers:
            found.append(Leftover("child", pid, start))
    return found


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir() if Path("/proc").exists() else ():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
            except OSError:
                continue


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def stop_leftovers(path: Path) -> list[Leftover]:
    """Stop what a ledger names: services first, then servers in order of their own; returns what had to be stopped."""
    found = leftovers(path)
    services = [one for one in found if one.name not in SERVERS]
    servers = [one for one in found if one.name in SERVERS]
    _stop(services, signal.SIGTERM, SERVICE_SECONDS)
    # SIGINT is PostgreSQL's fast shutdown, and an orderly one for Redis.
    _stop(servers, signal.SIGINT, SERVER_SECONDS)
    path.unlink(missing_ok=True)
    return found


def _stop(processes: list[Leftover], number: int, seconds: float) -> None:
    for one in processes:
        one.signal(number)
    deadline = time.monotonic() + seconds
    while any(one.alive() for one in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    for one in processes:
        one.signal(signal.SIGKILL)


def main() -> None:
    """`python -m updraft_local.orphans LEDGER`: wait for the end of standard input, then stop what is left."""
    sys.stdin.buffer.read()
    stop_leftovers(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
