"""Runs the fuzzer's targets and watches their memory: `python run.py SECONDS`; 1 when something escaped or grew.

The pure rooms get a tenth of the time, the datagram entry all of it. An input that escapes stays in the folder that is
named at the end.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from updraft_local.embedded import EmbeddedRedis
from updraft_local.ports import free_port

HERE = Path(__file__).resolve().parent
# Caches fill to their bounds first, and the fuzzer's own corpus and coverage map grow with what it finds.
WARM_SHARE = 0.3
GROWTH = 0.25
SAMPLE_SECONDS = 0.5


@dataclass
class Memory:
    """Resident bytes of a process over its life."""

    pid: int
    samples: list[int] = field(default_factory=list)

    def sample(self) -> None:
        """Look once; a process that is gone has no more memory."""
        try:
            self.samples.append(int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096)
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return

    def at(self, share: float) -> int:
        """Bytes at a share of its life: the median around it, so that one garbage collection does not decide."""
        count = len(self.samples)
        here = min(int(count * share), count - 1)
        around = sorted(self.samples[max(0, here - count // 20) : here + count // 20 + 1])
        return around[len(around) // 2] if around else 0


def fuzz(target: str, seconds: int, environment: Mapping[str, str]) -> bool:
    """Run one target; True when nothing escaped and memory stayed flat."""
    folder = Path(tempfile.mkdtemp(prefix=f"updraft-fuzz-{target}-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    flags = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=60", "-rss_limit_mb=2048"]
    command = [sys.executable, str(HERE / f"{target}.py"), *flags, f"-artifact_prefix={folder}/", str(corpus)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        memory = Memory(process.pid)
        deadline = time.monotonic() + seconds + 120
        while process.poll() is None and time.monotonic() < deadline:
            memory.sample()
            time.sleep(SAMPLE_SECONDS)
        process.kill()
    code = process.wait()
    said = (folder / "log").read_text(errors="replace").splitlines()
    warm, middle, end = (memory.at(share) for share in (WARM_SHARE, (1 + WARM_SHARE) / 2, 1.0))
    flat = end <= warm * (1 + GROWTH)
    done = next((line for line in reversed(said) if line.startswith(("Done", "#"))), "no input was tried")
    sys.stdout.write(
        f"{target}: {'nothing escaped' if code == 0 else 'SOMETHING ESCAPED'}; {done.strip()}; resident memory "
        f"{warm / 1e6:.0f} MB after the warm-up, {middle / 1e6:.0f} MB half way, {end / 1e6:.0f} MB at the end"
        f"{'' if flat else ': IT GROWS'}; {folder}\n"
    )
    if code != 0:
        sys.stdout.write("".join(f"  {line}\n" for line in said[-30:]))
    sys.stdout.flush()
    return code == 0 and flat


def with_redis(work: Callable[[str], bool]) -> bool:
    """Run `work` with the URL of a Redis of its own."""
    server = EmbeddedRedis(Path(tempfile.mkdtemp(prefix="updraft-fuzz-redis-")), free_port(), "fuzz", durable=False)
    server.start()
    try:
        return work(server.url)
    finally:
        server.stop()


def main() -> int:
    """Run both targets."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    good = fuzz("pure", max(1, seconds // 10), {})
    good &= with_redis(lambda url: fuzz("entry", seconds, {"REDIS_URL": url}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
