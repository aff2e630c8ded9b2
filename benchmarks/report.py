"""What a run says: tables for the terminal and for docs/benchmarks.md, the aims with their verdicts, and JSON.

"Per core" is one second divided by the processor time of an answer: what a server could do with a core to itself.
"""

import io
import os
import platform
import pstats
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

import plot
from lines import Entry, Result

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
PYTHON, COMPILED, DEVICE = "updraft python", "updraft", "softdevice"


@dataclass(frozen=True)
class Aim:
    """Something this service set out to reach; `measure` gives a figure, or None when its line was not run."""

    text: str
    least: float
    measure: "Callable[[Report], float | None]"
    most: float = float("inf")

    def verdict(self, report: "Report") -> tuple[str, float | None]:
        """`holds`, `does not hold` or `not measured`, and the figure."""
        value = self.measure(report)
        if value is None:
            return "not measured", None
        return ("holds" if self.least <= value <= self.most else "does not hold"), value


@dataclass
class Report:
    """Everything measured in one run."""

    results: list[Result]
    versions: dict[str, str]
    profile: str
    rounds: int
    seconds: float

    def entry(self, line: str, name: str) -> Entry | None:
        """One contestant in one line."""
        result = next((one for one in self.results if one.key == line), None)
        return result.entry(name) if result else None

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "versions": all_versions(self.versions),
            "machine": machine(),
            "lines": {one.key: {each.name: each.plain() for each in one.entries} for one in self.results},
            "aims": {aim.text: verdict_of(aim, self) for aim in AIMS},
        }

    def publish(self) -> None:
        """Write docs/benchmarks.md and its plot."""
        (DOCS / "benchmarks.svg").write_text(plot.bars(self.results))
        (DOCS / "benchmarks.md").write_text(page(self))


def per_core(entry: Entry) -> float:
    """Answers that a second of one core pays for."""
    return 1e6 / max(entry.cpu_us, 0.01)


def ratio(line: str, ours: str, theirs: str) -> Callable[[Report], float | None]:
    """Answers per core, ours divided by theirs."""

    def measure(report: Report) -> float | None:
        mine, other = report.entry(line, ours), report.entry(line, theirs)
        return None if mine is None or other is None else round(per_core(mine) / per_core(other), 2)

    return measure


def fact(line: str, name: str, key: str) -> Callable[[Report], float | None]:
    """A figure that a line found besides."""

    def measure(report: Report) -> float | None:
        entry = report.entry(line, name)
        return None if entry is None else float(entry.facts[key])

    return measure


def growth(report: Report) -> float | None:
    """Memory with 10,000 clients, divided by that with 100."""
    entry = report.entry("memory", COMPILED)
    return None if entry is None else round(float(entry.facts["mib_10000"]) / float(entry.facts["mib_100"]), 2)


AIMS: Final = (
    Aim("pure Python, 64 clients: at least 1.3 times libcoap", 1.3, ratio("blocks-1024", PYTHON, "libcoap")),
    Aim("pure Python, 1,000 clients: at least 4 times libcoap", 4.0, ratio("clients-1000", PYTHON, "libcoap")),
    Aim("pure Python, 64 clients: ahead of Californium", 1.0, ratio("blocks-1024", PYTHON, "californium")),
    Aim("pure Python, 1,000 clients: ahead of Californium", 1.0, ratio("clients-1000", PYTHON, "californium")),
    Aim("compiled part, 64 clients: at least 75 % of the C bound", 0.75, ratio("blocks-1024", COMPILED, "bound")),
    Aim("upstream bytes: 1.0 times the artifact", 1.0, fact("cold", COMPILED, "upstream_bytes_per_artifact"), 1.0),
    Aim("memory flat from 100 to 10,000 clients: at most a quarter more", 0.0, growth, 1.25),
    Aim("small GETs that cross to HTTP: ahead of Californium", 1.0, ratio("cross", COMPILED, "californium")),
    Aim("10,000 devices, one core, ten minutes: no registration runs out", 0.0, fact("fleet", DEVICE, "expired"), 0.0),
    Aim("round trips of a device's endpoint: at least 10 times aiocoap", 10.0, fact("fleet", DEVICE, "x_aiocoap")),
)


def verdict_of(aim: Aim, report: Report) -> dict[str, object]:
    """For JSON."""
    said, value = aim.verdict(report)
    return {"verdict": said, "measured": value}


def rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a line's table; entries without a rate show their facts."""
    measured = [entry for entry in result.entries if entry.samples]
    if not measured:
        names = list(dict.fromkeys(key for entry in result.entries for key in entry.facts))
        head = ["", *(name.replace("_", " ") for name in names)]
        return head, [[one.name, *(shown(one.facts.get(name, "")) for name in names)] for one in result.entries]
    libcoap = next((one for one in measured if one.name == "libcoap"), measured[-1])
    head = ["", "answers/s", "CPU us", "per core", f"x {libcoap.name}", "p50 ms", "p99 ms", "repeats", "wrong"]
    table = []
    for one in result.entries:
        if not one.samples:
            table.append([one.name, *(str(value) for value in one.facts.values())])
            continue
        plain = one.plain()
        table.append(
            [
                one.name,
                f"{one.rate:,.0f}",
                f"{one.cpu_us:.1f}",
                f"{per_core(one):,.0f}",
                f"{per_core(one) / per_core(libcoap):.2f}",
                f"{plain['p50_ms']:g}",
                f"{plain['p99_ms']:g}",
                f"{plain['repeats_per_answer']:g}",
                f"{plain['wrong']}",
            ]
        )
    return head, table


def shown(value: float | str) -> str:
    """A figure for people."""
    return value if isinstance(value, str) else f"{value:,g}"


def table(result: Result) -> str:
    """A line for the terminal."""
    head, body = rows(result)
    widths = [max(len(row[at]) if at < len(row) else 0 for row in (head, *body)) for at in range(len(head))]
    text = f"\n{result.title}\n"
    for row in (head, *body):
        cells = [cell.ljust(widths[0]) if at == 0 else cell.rjust(widths[at]) for at, cell in enumerate(row)]
        text += ("  ".join(cells)).rstrip() + "\n"
    return text


def markdown(result: Result) -> str:
    """A line for the page."""
    head, body = rows(result)
    text = f"### {result.title[0].upper()}{result.title[1:]}\n\n| {' | '.join(head)} |\n|---|"
    text += "---:|" * (len(head) - 1) + "\n"
    for row in body:
        text += "| " + " | ".join((*row, *[""] * (len(head) - len(row)))) + " |\n"
    return text + "\n"


def verdicts(report: Report) -> str:
    """The aims for the terminal."""
    lines = []
    for aim in AIMS:
        said, value = aim.verdict(report)
        lines.append(f"{said:<14} {'' if value is None else f'{value:g}':>6}  {aim.text}")
    return "\n".join(lines) + "\n"


def all_versions(peers: dict[str, str]) -> dict[str, str]:
    """Of everything that took part."""
    python = {"Python": platform.python_version(), "aiocoap": metadata.version("aiocoap")}
    return {**python, "httpx": metadata.version("httpx"), **peers}


def machine() -> str:
    """In general words."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = re.sub(r"\s+", " ", found[1]) if found else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Linux {platform.release().split('-')[0]}"


def profile_table(stats: pstats.Stats, count: int = 20) -> str:
    """The functions that took most of the time themselves, as text; paths are cut to their last three parts."""
    out = io.StringIO()
    stats.stream = out  # type: ignore[attr-defined]
    stats.sort_stats("tottime").print_stats(count)
    text = out.getvalue()
    text = text[text.index("   ncalls") :].rstrip()
    return re.sub(r"/\S*?/((?:[^/\s]+/){0,2}[^/\s]+:\d+)", r"\1", text)


def page(report: Report) -> str:
    """docs/benchmarks.md."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(all_versions(report.versions).items()))
    lines = "".join(markdown(result) for result in report.results)
    aims = "".join(
        f"| {aim.text} | {'' if value is None else f'{value:g}'} | {said} |\n"
        for aim in AIMS
        for said, value in [aim.verdict(report)]
    )
    return f"""# Benchmarks of the block proxy

Written by `make bench PUBLISH=1`; what is measured, and how, is told in `benchmarks/README.md`.

Measured on {datetime.now(UTC).date().isoformat()}: {machine()}; {versions}. One core for the server and one for the
generator. Medians of {report.rounds} rounds of {report.seconds:g} s, one contestant after the other. **Per core**
is a second divided by the processor time of an answer; the columns with x are ratios of it.

![Answers per core](benchmarks.svg)

## What was aimed at

| aim | measured | |
|---|---:|---|
{aims}
## Lines

{lines}## Where the time goes when a GET crosses to HTTP

cProfile of the proxy under the load of that line, by the time functions took themselves. The profiler slows Python's
own functions and leaves C's alone: read it as an order.

```
{report.profile}
```
"""
