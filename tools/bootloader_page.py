"""Draws the pictures of docs/bootloader.md from the bootloader's tables, its runs and the recorded vectors.

Each picture stands between `<!-- drawn: NAME -->` and `<!-- end -->`; everything else of the page is written by hand.
With --check says whether a picture is stale.
"""

import base64
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from mcuboot_image import load_public_key
from softdevice.boot_config import BootConfig, Mode
from softdevice.bootloader import boot, largest_image
from softdevice.bootloader.scratch import SOURCES
from softdevice.flash import Flash, Operation
from softdevice.trailer import MAGIC_BYTES, OFFSET_RULES, RULES, Rules, Trailer, TrailerLayout, request_upgrade

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "docs" / "bootloader.md"
VECTORS: Final = ROOT / "firmware" / "vectors" / "mcuboot"
SECTOR, SECTORS, SHOWN = 4096, 8, 3
COPYING: Final = (Mode.OFFSET, Mode.MOVE, Mode.SCRATCH, Mode.OVERWRITE, Mode.OVERWRITE_FAST)


def vectors(name: str) -> Any:
    """One recorded file."""
    with gzip.open(VECTORS / f"{name}.json.gz", "rt") as file:
        return json.load(file)


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def trailer() -> str:
    """Where each field starts, counted from the end of the slot, for both layouts."""
    offset, others = TrailerLayout(), TrailerLayout(states=3, keeps_tlv_sizes=False)
    rows: list[tuple[Any, ...]] = [
        ("magic", MAGIC_BYTES, MAGIC_BYTES, "16 bytes: somebody has written this trailer to its end")
    ]
    for name, says in (
        ("image_ok", "1: confirmed"),
        ("copy_done", "1: the swap is complete"),
        ("swap_info", "low half: 2 test, 3 permanent, 4 revert; high half: number of the image"),
        ("tlv_sizes", "sizes of both unprotected TLV areas, u16 each"),
        ("swap_size", "bytes of the larger image, u32"),
    ):
        others_at = -getattr(others, name)(0) if name != "tlv_sizes" else "-"
        rows.append((name, -getattr(offset, name)(0), str(others_at), says))
    sizes = (str(layout.trailer_bytes(4)) for layout in (offset, others))
    rows.append(("status records", *sizes, "one write unit per step, the first record lowest"))
    return table(("field", "offset mode", "other modes", "says"), rows)


def rules() -> str:
    """Which swap two trailers ask for, as the ordered questions they are."""
    return "```mermaid\nflowchart TD\n" + _questions(OFFSET_RULES) + "```\n"


def _questions(ordered: Rules) -> str:
    lines = []
    for number, rule in enumerate(ordered):
        wanted = [
            f"{slot} {field} {value}"
            for (slot, _, field), value in (
                (name.partition("_"), getattr(rule, name)) for name in rule._fields if name != "due"
            )
            if value is not None
        ]
        offset_only = "<br/>(offset mode only)" if rule not in RULES else ""
        text = "<br/>".join(wanted)
        due = rule.due.name.lower()
        lines.append(f'    q{number}{{"{text}?{offset_only}"}} -->|yes| {due}{number}["{due}"]\n')
        following = f"q{number + 1}" if number + 1 < len(ordered) else 'none["nothing"]'
        lines.append(f"    q{number} -->|no| {following}\n")
    return "".join(lines)


def sources() -> str:
    """Where the status of a scratch swap is looked for."""
    words = {None: "any", True: "good", False: "not good"}
    return table(
        ("primary magic", "primary copy_done", "scratch magic", "status is in"),
        [
            (rule.primary_magic or "any", rule.primary_copy_done or "any", words[rule.scratch_good], rule.source)
            for rule in SOURCES
        ],
    )


class Show:
    """One test upgrade from a small image to a larger one, operation by operation."""

    def __init__(self, mode: Mode) -> None:
        names = ["primary", "secondary", *(["scratch"] if mode is Mode.SCRATCH else [])]
        self.flash = Flash(tuple((name, SECTOR, 2 if name == "scratch" else SECTORS) for name in names))
        pem = vectors("keys")["keys"]["test-key-a"]["public_pem"].encode()
        self.config = BootConfig((load_public_key(pem),), mode)
        images = vectors("images")["images"]
        self.names: dict[bytes, str] = {b"\xff" * SECTOR: "·"}
        start = SECTOR if mode is Mode.OFFSET else 0
        for label, name, area, at in (("A", "a-1.0.0", "primary", 0), ("B", "b-2.0.0", "secondary", start)):
            data = base64.b64decode(images[name]["base64"])
            self.flash.storage.write(self.flash[area].base + at, data)
            for number in range(0, len(data), SECTOR):
                self.names[data[number : number + SECTOR].ljust(SECTOR, b"\xff")] = f"{label}{number // SECTOR}"
        request_upgrade(Trailer(self.flash["secondary"], self.config.layout))
        self.shots: list[tuple[Operation, tuple[str, ...]]] = []
        self.begin = self.cells()
        self.flash.observer = lambda operation: self.shots.append((operation, self.cells()))
        boot(self.flash, self.config)

    def cells(self) -> tuple[str, ...]:
        """What the first sectors of each area hold."""
        return tuple(
            " ".join(
                self.names.get(area.read(sector * SECTOR, SECTOR), "t") for sector in range(min(SHOWN, area.sectors))
            )
            for area in self.flash.areas.values()
        )

    def trailer_of(self, area: str) -> Trailer:
        """The trailer of an area."""
        return Trailer(self.flash[area], self.config.layout, sectors=1 if area == "scratch" else None)

    def word(self, operation: Operation) -> tuple[str, str]:
        """What an operation belongs to, and its part in it."""
        area, layout = self.flash[operation.area], self.config.layout
        own, at = self.trailer_of(operation.area), operation.offset
        if operation.kind == "E":
            in_trailer = operation.area != "scratch" and at + SECTOR > own.offset
            return (f"{operation.area}'s trailer", "erased") if in_trailer else (f"{operation.area} {at // SECTOR}", "")
        fields = {
            layout.image_ok(area.size): "image_ok",
            layout.copy_done(area.size): "copy_done",
            layout.swap_info(area.size): "swap_info",
            layout.swap_size(area.size): "swap_size",
            area.size - MAGIC_BYTES: "magic",
        }
        if layout.keeps_tlv_sizes:
            fields[layout.tlv_sizes(area.size)] = "tlv_sizes"
        if at in fields and operation.length <= MAGIC_BYTES:
            return f"{operation.area}'s trailer", fields[at]
        if at >= own.offset and operation.length == area.flash.write_align:
            return f"{operation.area}'s trailer", f"record {(at - own.offset) // own.unit}"
        return f"{operation.area} {at // SECTOR}", ""

    def film(self) -> str:
        """The swap as a table: what was done, and what each area holds then."""
        rows: list[tuple[str, ...]] = [("before", *self.begin)]
        for place, group in groupby(self.shots, key=lambda shot: self.word(shot[0])[0]):
            shots = list(group)
            cells = shots[-1][1]
            parts = [part for part in (self.word(operation)[1] for operation, _ in shots) if part]
            if parts:
                text = f"{place}: {', '.join(dict.fromkeys(parts))}"
            elif any(operation.kind == "W" for operation, _ in shots):
                area, number = place.split(" ")
                column = list(self.flash.areas).index(area)
                text = f"{cells[column].split(' ')[int(number)]} to {place}" if int(number) < SHOWN else place
            else:
                text = f"{place} erased"
            rows.append((text, *cells))
        return table(("step", *self.flash.areas), rows)


def modes() -> str:
    """What each mode does for the same upgrade, and how large an image it takes."""
    rows = []
    for mode in COPYING:
        show = Show(mode)
        done = [operation for operation, _ in show.shots]
        erased = Counter(operation.area for operation in done if operation.kind == "E")
        written = sum(operation.length for operation in done if operation.kind == "W")
        erases = " + ".join(str(erased[area]) for area in show.flash.areas)
        rows.append((mode.value, len(done), erases, written, largest_image(show.flash, show.config)))
    return table(("mode", "operations", "sectors erased", "bytes written", "largest image"), rows)


def cuts() -> str:
    """Where the recorded power cuts have led."""
    tally: dict[str, Counter[str]] = {}
    for path in sorted(VECTORS.glob("*.json.gz")):
        document = vectors(path.name.removesuffix(".json.gz"))
        for scenario in document.get("scenarios", []):
            for run in scenario.get("runs", []):
                mode = document["configs"][scenario["config"]]["mode"]
                first = "never" if run.get("stuck") else ("new" if run["after"][0][0] == "2.0.0+0" else "old")
                tally.setdefault(mode, Counter())[first] += 1
    ordered = [(mode.value, tally[mode.value]) for mode in Mode if mode.value in tally]
    rows: list[tuple[Any, ...]] = [
        (mode, sum(found.values()), found["new"], found["old"], found["never"]) for mode, found in ordered
    ]
    total = sum((found for _, found in ordered), Counter[str]())
    rows.append(("all", sum(total.values()), total["new"], total["old"], total["never"]))
    return table(("mode", "runs", "then starts the new image", "the old image", "nothing, ever"), rows)


PICTURES: Final[dict[str, Callable[[], str]]] = {
    "trailer": trailer,
    "rules": rules,
    "sources": sources,
    "modes": modes,
    "film-offset": lambda: Show(Mode.OFFSET).film(),
    "film-move": lambda: Show(Mode.MOVE).film(),
    "film-scratch": lambda: Show(Mode.SCRATCH).film(),
    "film-overwrite": lambda: Show(Mode.OVERWRITE_FAST).film(),
    "cuts": cuts,
}


def drawn(text: str) -> str:
    """The page with all its pictures fresh; raises KeyError for a picture nobody draws."""

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- drawn: {match[1]} -->\n{PICTURES[match[1]]()}<!-- end -->"

    return re.sub(r"<!-- drawn: ([a-z-]+) -->\n.*?<!-- end -->", fresh, text, flags=re.DOTALL)


def main() -> int:
    """Write, or check with --check."""
    text = TARGET.read_text()
    missing = [name for name in PICTURES if f"<!-- drawn: {name} -->" not in text]
    fresh = drawn(text)
    if "--check" in sys.argv:
        good = fresh == text and not missing
        sys.stdout.write("bootloader page: good\n" if good else "docs/bootloader.md is stale: make configuration\n")
        return 0 if good else 1
    TARGET.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
