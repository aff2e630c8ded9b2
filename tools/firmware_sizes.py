"""What the firmware core costs on a Cortex-M: text per module, state, stack; as the table in docs/firmware-core.md."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- sizes: written by `make firmware PUBLISH=1` -->"
END: Final = "<!-- end of sizes -->"
TEXT_BYTES_MAX: Final = 12 * 1024
STACK_BYTES_MAX: Final = 1024
DECODER_BYTES_MAX: Final = 1024
# Another release of the compiler gives somewhat other code; a page that is further off misleads.
TOLERANCE: Final = 0.05
_NUMBER: Final = re.compile(r"\d[\d,]*")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes: `text` by module, then by processor; `state` by struct; `stack` by call; `ram` static data."""

    text: dict[str, dict[str, int]]
    ram: int
    state: dict[str, int]
    stack: dict[str, int]

    def total(self, processor: str) -> int:
        """Text of all modules on one processor."""
        return sum(module[processor] for module in self.text.values())


def over_budget(sizes: Sizes) -> list[str]:
    """Which promises of size do not hold."""
    processors = next(iter(sizes.text.values()))
    promises = [(f"text on {name}", sizes.total(name), TEXT_BYTES_MAX) for name in processors]
    promises += [("stack of " + call, used, STACK_BYTES_MAX) for call, used in sizes.stack.items()]
    promises += [("static data", sizes.ram, 0), ("decoder state", sizes.state["updraft_patch"], DECODER_BYTES_MAX)]
    return [f"{what}: {bytes_} bytes, at most {limit}" for what, bytes_, limit in promises if bytes_ > limit]


def table(sizes: Sizes) -> str:
    """The figures in Markdown."""
    processors = list(next(iter(sizes.text.values())))
    rows = ["| text, bytes | " + " | ".join(processors) + " |", "| --- |" + " ---: |" * len(processors)]
    for module, text in sorted(sizes.text.items()):
        rows.append(f"| {module} | " + " | ".join(f"{text[name]:,}" for name in processors) + " |")
    rows.append("| **all** | " + " | ".join(f"**{sizes.total(name):,}**" for name in processors) + " |")
    rows += ["", "| memory of the caller | bytes |", "| --- | ---: |"]
    rows += [f"| `struct {name}` | {bytes_:,} |" for name, bytes_ in sizes.state.items()]
    rows += [
        "",
        "| stack: of calls, painted and measured; of one function, by the compiler | bytes |",
        "| --- | ---: |",
    ]
    rows += [f"| {call} | {bytes_:,} |" for call, bytes_ in sizes.stack.items()]
    return "\n".join(rows)


def stale(page: str, sizes: Sizes) -> str | None:
    """What is wrong with the page's table, or None: other words, or a figure off by more than the tolerance."""
    if BEGIN not in page or END not in page:
        return "the page has no place for the table"
    written, fresh = page.split(BEGIN)[1].split(END)[0].strip(), table(sizes)
    if _NUMBER.sub("#", written) != _NUMBER.sub("#", fresh):
        return "the table has other rows than it would have now"
    pairs = zip(_NUMBER.findall(written), _NUMBER.findall(fresh), strict=True)
    for old, new in ((int(one.replace(",", "")), int(other.replace(",", ""))) for one, other in pairs):
        if abs(old - new) > TOLERANCE * max(new, 100):
            return f"a figure is {old:,} on the page and {new:,} now"
    return None


def publish(page: Path, sizes: Sizes) -> None:
    """Write the table into the page."""
    text = page.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{head}{BEGIN}\n\n{table(sizes)}\n\n{END}{tail}")
