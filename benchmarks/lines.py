"""What is measured: the lines of the table as data, and one function for each kind of line.

Every number of a line comes from one run, in rounds that go from one contestant to the next, so that whatever else the
machine does hits all of them; medians are kept. "Per core" is read from processor time per answer, since that does not
depend on who else wants the core.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contestants import CORES, PSK_KEY, Server, program

GENERATOR_CORES: Final = CORES[:1]
# One wrong answer of ours ends the run. Those of a peer are counted and shown, as long as they are few.
PEERS_MAY_BE_WRONG: Final = 0.01


class WrongAnswer(RuntimeError):
    """A contestant sent bytes that were not asked for, or nothing at all."""


@dataclass(frozen=True)
class Load:
    """How devices ask; see load.c. Sizes are exponents (6: 1024 bytes), loss is in percent, patience in ms."""

    clients: int = 64
    szx: int = 6
    whole: bool = False
    loss: float = 0.0
    patience: int = 2000


@dataclass(frozen=True)
class Sample:
    """One round: right answers, seconds, processor seconds of server and generator, latencies in ms."""

    answers: int
    seconds: float
    cpu: float
    generator_cpu: float
    p50_ms: float
    p99_ms: float
    repeats: int
    last_answer: float
    handshakes: float
    wrong: int


@dataclass
class Entry:
    """What one contestant did in one line."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    facts: dict[str, float | str] = field(default_factory=dict)

    def median(self, of: Callable[[Sample], float]) -> float:
        """Median over the rounds; those in which a peer did not come up count only when it never did."""
        came = [sample for sample in self.samples if sample.answers] or self.samples
        return statistics.median(of(sample) for sample in came)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.median(lambda sample: sample.answers / sample.seconds)

    @property
    def cpu_us(self) -> float:
        """Processor time of the server for an answer, microseconds."""
        return self.median(lambda sample: sample.cpu / max(1, sample.answers) * 1e6)

    def plain(self) -> dict[str, float | str]:
        """For JSON."""
        if not self.samples:
            return dict(self.facts)
        return {
            "answers_per_second": round(self.rate),
            "cpu_us_per_answer": round(self.cpu_us, 2),
            "generator_cpu_us_per_answer": round(
                self.median(lambda sample: sample.generator_cpu / max(1, sample.answers) * 1e6), 2
            ),
            "p50_ms": round(self.median(lambda sample: sample.p50_ms), 2),
            "p99_ms": round(self.median(lambda sample: sample.p99_ms), 2),
            "repeats_per_answer": round(self.median(lambda sample: sample.repeats / max(1, sample.answers)), 4),
            "wrong": sum(sample.wrong for sample in self.samples),
            **self.facts,
        }


@dataclass
class Result:
    """One line of the table, measured."""

    key: str
    title: str
    entries: list[Entry]

    def entry(self, name: str) -> Entry | None:
        """The entry of a contestant."""
        return next((one for one in self.entries if one.name == name), None)


def ask(server: Server, load: Load, body: Path, seconds: float, each: int = 0) -> Sample:
    """Send load; with `each`, every device stops after so many answers.

    Raises WrongAnswer, also when one of our servers left devices without all their answers; a peer may do that.
    """
    requests = body.parent / "requests"
    requests.write_text("".join(line + "\n" for line in server.requests(load.clients)))
    command = [
        program("load_dtls" if server.secure else "load"),
        "-p",
        str(server.port),
        "-f",
        str(requests),
        "-d",
        str(body),
        "-x",
        str(load.szx),
    ]
    command += ["-t", str(seconds), "-n", str(each), "-m", str(server.next_mid)]
    if server.secure:
        command += ["-k", PSK_KEY.encode().hex()]
    else:
        command += ["-l", str(load.loss), "-r", str(load.patience), *(("-g",) if load.whole else ())]
    before = server.cpu_seconds()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 90,
        preexec_fn=lambda: os.sched_setaffinity(0, GENERATOR_CORES),
    )
    if done.returncode:
        why = f"{server.name}: {done.stderr.strip() or f'the generator ended with {done.returncode}'}"
        if server.ours:
            raise WrongAnswer(why)
        sys.stderr.write(f"\n{why}\n")
        return Sample(0, seconds, server.cpu_seconds() - before, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0)
    said = json.loads(done.stdout)
    server.next_mid = (server.next_mid + said["mids"]) % 65536
    cpu = server.cpu_seconds() - before
    silent = not said["answers"] and server.ours
    if silent or said["wrong"] > (0 if server.ours else said["answers"] * PEERS_MAY_BE_WRONG):
        first = said["first_wrong"]
        raise WrongAnswer(
            f"{server.name}: {said['wrong']} wrong answers, the first {first >> 5}.{first & 31:02}, "
            f"{said['answers']} right ones"
        )
    if each and said["unfinished"] and server.ours:
        raise WrongAnswer(f"{server.name}: {said['unfinished']} devices did not finish within {seconds:g} s")
    return Sample(
        said["answers"],
        said["seconds"],
        cpu,
        said["own_cpu"],
        said["p50_ms"],
        said["p99_ms"],
        said["repeats"],
        said["last_answer"],
        said["handshakes_per_second"],
        said["wrong"],
    )


def in_rounds(
    key: str, title: str, servers: Sequence[Server], load: Load, body: Path, rounds: int, seconds: float
) -> Result:
    """Rates under the same load, one contestant after the other, round by round."""
    entries = [Entry(server.name) for server in servers]
    for number in range(rounds):
        for server, entry in zip(servers, entries, strict=True):
            sys.stderr.write(f"\r{key}: round {number + 1} of {rounds}, {server.name:<12}")
            sys.stderr.flush()
            entry.samples.append(ask(server, load, body, seconds))
    sys.stderr.write("\r" + " " * 60 + "\r")
    return Result(key, title, entries)


def warmed(server: Server, load: Load, body: Path, seconds: float) -> float:
    """Let every device have its first answer; returns how long that took, seconds."""
    began = time.monotonic()
    ask(server, Load(load.clients, load.szx, load.whole), body, seconds, each=1)
    return time.monotonic() - began
