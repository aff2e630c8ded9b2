"""For tests: `make run` as a person starts it, in a terminal's process group, watched from outside."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from updraft_local.ports import free_port

ROOT = Path(__file__).resolve().parents[4]
READY_SECONDS = 90.0


class Terminal:
    """A terminal in which `make run` (or another command) is the foreground job."""

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self.data = data or folder / "data"
        self.firmware = folder / "firmware"
        self._screen = folder / f"screen-{time.monotonic_ns()}.txt"
        self.job: subprocess.Popen[bytes] | None = None

    def make(self, target: str = "run", environment: dict[str, str] | None = None, **variables: object) -> None:
        """Start `make TARGET NAME=VALUE ...` on free ports; does not wait."""
        told: dict[str, object] = {"DATA": self.data} if target == "run" else {}
        if target == "run":
            kinds = {"HTTP_PORT": 1, "API_PORT": 1, "LWM2M_PORT": 2, "BLOCKS_PORT": 2}
            told |= {name: free_port(kind) for name, kind in kinds.items()} | {"DEVICES": 0}
        told |= variables
        # The requirements are there, or this test would not run; looking for them again would need the network.
        command = ["make", "--no-print-directory", "-o", ".venv/ready-local", target]
        command += [f"{name}={value}" for name, value in told.items()]
        clean = {name: text for name, text in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        with self._screen.open("wb") as out:
            self.job = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**clean, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def screen(self) -> str:
        """All that was printed."""
        return self._screen.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = READY_SECONDS) -> None:
        """Wait until `text` is on the screen."""
        assert self.job is not None
        deadline = time.monotonic() + seconds
        while text not in self.screen:
            assert self.job.poll() is None, f"it ended with {self.job.returncode}:\n{self.screen}"
            assert time.monotonic() < deadline, f"no {text!r} after {seconds:.0f} s:\n{self.screen}"
            time.sleep(0.05)

    def shown(self, name: str) -> str:
        """A value of the introduction."""
        found = re.search(rf"^    {name} +(\S+)$", self.screen, re.MULTILINE)
        assert found is not None, self.screen
        return found[1]

    def ctrl_c(self) -> None:
        """What a terminal does: SIGINT to the whole foreground group."""
        self.signal_group(signal.SIGINT)

    def signal_group(self, number: int) -> None:
        """A signal to make and what it started in the foreground."""
        assert self.job is not None
        os.killpg(self.job.pid, number)

    def starter(self) -> int:
        """Process id of the Python behind make."""
        return next(pid for pid, words in processes() if "updraft_local.run" in words and str(self.data) in words)

    def end(self, seconds: float = 30.0) -> int:
        """Wait for the end; returns the exit code."""
        assert self.job is not None
        return self.job.wait(seconds)

    def left(self) -> list[str]:
        """Processes that still have to do with the data folder: by command line or environment."""
        wanted = str(self.data)
        return [words for pid, words in processes() if wanted in words or wanted in environment_of(pid)]

    def close(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self.job is not None and self.job.poll() is None:
            self.signal_group(signal.SIGKILL)
            self.job.wait()
        wanted = str(self.data)
        for pid, words in processes():
            if wanted in words or wanted in environment_of(pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def processes() -> Iterator[tuple[int, str]]:
    """Living processes but this one, with their command lines."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if words:  # a zombie has none
            yield int(entry.name), words


def environment_of(pid: int) -> str:
    """A process's environment, as far as it may be seen."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
