"""Child processes with a name: prefixed log lines, health, orderly stop, and the last words of one that died."""

import collections
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 90.0
STOP_SECONDS = 15.0
LAST_WORDS = 15


class ProcessFailed(RuntimeError):
    """A process died or did not become healthy; the message holds its last words."""


@dataclass
class Process:
    """One child. `say` gets each of its lines with the name in front; `log` keeps them all."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    say: Callable[[str], None] = lambda line: None
    healthy: Callable[[], bool] = lambda: True
    child: "subprocess.Popen[str] | None" = None
    words: "collections.deque[str]" = field(default_factory=lambda: collections.deque(maxlen=LAST_WORDS))

    def start(self) -> None:
        """Start; does not wait."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.child = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C reaches the starter only, which stops its children in order.
            start_new_session=True,
        )
        threading.Thread(target=self._follow, args=(self.child,), daemon=True).start()

    def _follow(self, child: "subprocess.Popen[str]") -> None:
        assert child.stdout is not None
        for line in child.stdout:
            self.words.append(line.rstrip())
            self._keep(line)
            self.say(f"{self.name:<8} | {line.rstrip()}")
        child.stdout.close()

    def _keep(self, line: str) -> None:
        try:
            with self.log.open("a") as log:
                log.write(line)
        except OSError:
            return  # a full disk costs the log, not the process: somebody has to go on reading its words

    def wait_healthy(self, seconds: float = START_SECONDS) -> None:
        """Wait until the process does its work; raises ProcessFailed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.require_alive()
            if self.healthy():
                return
            time.sleep(0.1)
        raise ProcessFailed(f"{self.name} did not become healthy within {seconds:.0f} s\n{self.last_words()}")

    def require_alive(self) -> None:
        """Raise ProcessFailed when it has died."""
        if self.child is None or self.child.poll() is None:
            return
        time.sleep(0.2)  # let the log thread read the last lines
        code = self.child.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise ProcessFailed(f"{self.name} {how}; its last words:\n{self.last_words()}")

    def last_words(self) -> str:
        """The last lines it said."""
        return "\n".join(f"    {line}" for line in self.words) or "    (nothing)"

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM, and SIGKILL if that is not heard, or as soon as somebody is in a hurry."""
        if self.child is not None:
            end(self.child, signal.SIGTERM, STOP_SECONDS, hurry)

    def ask_to_stop(self) -> None:
        """SIGTERM; does not wait. `stop` does."""
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()

    def kill(self) -> None:
        """kill -9, children included."""
        if self.child is not None and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


def end(child: "subprocess.Popen[Any]", number: int, seconds: float, hurry: Callable[[], bool]) -> None:
    """Send a signal, wait at most `seconds` or until somebody is in a hurry, then kill the whole group."""
    if child.poll() is not None:
        return
    child.send_signal(number)
    deadline = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < deadline and not hurry():
        time.sleep(0.02)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def python(*arguments: str) -> list[str]:
    """A command line of this very Python."""
    return [sys.executable, *arguments]


def answers(port: int, path: str = "/healthz", host: str = "127.0.0.1") -> bool:
    """Whether `GET path` answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
