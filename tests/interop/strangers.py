"""Programs we did not write: where they are, and how a test listens to one that runs beside it."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WAKAAMA = ROOT / ".cache" / "interop" / "wakaama"
DETOOLS = ROOT / ".cache" / "interop" / "detools"
STOP_SECONDS = 10.0


class Missing(AssertionError):
    """A stranger is not installed; a test that cannot meet it fails."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is missing: run .ci/install-interop")


def program(*names: str) -> str:
    """Path of the first of these programs that is there; raises Missing."""
    for name in names:
        if found := shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return found
    raise Missing(names[0])


def wakaama_modules() -> Path:
    """Where `require` finds the Wakaama client; raises Missing."""
    if not (WAKAAMA / "ready").is_file():
        raise Missing("the Wakaama client")
    return WAKAAMA / "node_modules"


def detools() -> str:
    """The command `detools`, which lives in an environment of its own; raises Missing."""
    if not (DETOOLS / "ready").is_file():
        raise Missing("detools")
    return str(DETOOLS / "bin" / "detools")


class Stranger:
    """A program that runs beside the test; all it says is kept, line by line."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self._child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _follow(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._heard:
                self.lines.append(line.rstrip())
                self._heard.notify_all()
        self._child.stdout.close()

    def hear(self, wanted: Callable[[str], bool], seconds: float, what: str) -> str:
        """The first line that is `wanted`, said or yet to be said; raises AssertionError with all it said."""
        deadline, read = time.monotonic() + seconds, 0
        with self._heard:
            while True:
                for line in self.lines[read:]:
                    if wanted(line):
                        return line
                read, left = len(self.lines), deadline - time.monotonic()
                if left <= 0 or not self._follower.is_alive():
                    raise AssertionError(f"the stranger never said {what}; it said:\n" + "\n".join(self.lines[-80:]))
                self._heard.wait(min(left, 0.5))

    def told(self, event: str, seconds: float, **members: Any) -> dict[str, Any]:
        """The first JSON line `{"event": event, ...}` that has these members."""

        def matches(line: str) -> bool:
            said = json.loads(line) if line.startswith("{") else {}
            return said.get("event") == event and all(said.get(key) == value for key, value in members.items())

        said: dict[str, Any] = json.loads(self.hear(matches, seconds, f"{event} {members or ''}"))
        return said

    def order(self, **order: Any) -> None:
        """Hand it a JSON line on standard input."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(order) + "\n")
        self._child.stdin.flush()

    def stop(self) -> None:
        """SIGTERM for the program, and kill -9 for it and all it started if that is not heard."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._child.wait()
        self._follower.join(STOP_SECONDS)
        if self._child.stdin is not None:
            self._child.stdin.close()
