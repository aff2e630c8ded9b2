"""Writes the tables of docs/devices.md from the software device's data; with --check says whether they are stale."""

import sys
from pathlib import Path

from softdevice.options import Misbehaviour
from softdevice.personalities import MEANINGS, PERSONALITY_TLV
from softdevice.profiles import PROFILES, Memory, Profile, spelled
from softdevice.representations import registration_links
from softdevice.resources import model_of

TARGET = Path(__file__).resolve().parent.parent / "docs" / "devices.md"
BEGIN, END = "<!-- {}: written by make configuration -->\n", "<!-- end of {} -->\n"
FORMATS = {0: "text", 42: "opaque", 60: "CBOR", 110: "SenML JSON", 112: "SenML CBOR", 11542: "TLV", 11543: "JSON"}
DELIVERY = {0: "pull", 1: "push", 2: "pull, push"}
MEMORIES = {
    Memory.NOTHING: "nothing: Idle, 0",
    Memory.ALL: "State, URI and Result",
    Memory.RECORD: "Result: 1 when confirmed, 8 after a rollback",
    Memory.COUNTERS: "two counters: 1 or 8 at every boot",
}


def code(number: int | None, otherwise: str) -> str:
    """A CoAP code as `4.05`."""
    return otherwise if number is None else f"{number >> 5}.{number & 31:02}"


def formats(numbers: tuple[int, ...]) -> str:
    """Names of content formats; the old numbers of a format are that format."""
    names = {1541: "text", 1542: "TLV", 1543: "JSON", 1544: "opaque"} | FORMATS
    return ", ".join(dict.fromkeys(names[number] for number in numbers))


def yes(value: bool) -> str:
    """A flag for people."""
    return "yes" if value else "no"


def push(profile: Profile) -> str:
    """What becomes of a block that is too large, and how a transfer is told."""
    if profile.delivery == 0:
        return "-"
    large = "takes it, then asks for smaller" if profile.shrinks_blocks else "4.13 with its size"
    return f"{large}{'; knows a transfer by its token' if profile.push_by_token else ''}"


def resets(profile: Profile) -> str:
    """In which States an empty URI resets."""
    states = ", ".join(state.name.capitalize() for state in profile.empty_uri_resets)
    return f"resets in {states}" if states else "2.04, nothing happens"


def row_of(profile: Profile) -> dict[str, str]:
    """What a profile shows, by the head of its row."""
    model = model_of(profile, profile.objects)
    return {
        "client": profile.client,
        "LwM2M": ", then ".join(profile.versions),
        "Register says": " ".join(
            key for key in profile.query if key not in ("b", "Q") or (key == "b" and profile.says_u)
        ),
        "first links": f"`{registration_links(profile, model).split('/0>', 1)[0]}/0>`",
        "objects": ", ".join(map(str, profile.objects)),
        "Location": "two segments, the first ignored" if profile.fixed_location else "as given",
        "Update": f"{profile.early:.0f} s early{', lt each time' if profile.update_says_lifetime else ''}",
        "wakes with": ("Register" if profile.registers_on_wake else "Update") if profile.queue_mode else "-",
        "listens after a message": f"{profile.awake_seconds:.0f} s" if profile.queue_mode else "always",
        "answers in": formats(profile.reads),
        "unasked, one value": FORMATS[profile.single],
        "unasked, several": FORMATS[profile.several],
        "other formats": code(profile.not_acceptable, "")
        + (f"; {formats(profile.stubborn)} answered in {FORMATS[profile.several]}" if profile.stubborn else ""),
        "takes": formats(profile.writes),
        "notifications": "CON" if profile.confirmable else "NON",
        "3/0/3 of 1.2.3+4": spelled(profile, "1.2.3+4"),
        "delivery (5/0/9)": DELIVERY[profile.delivery],
        "block bytes": str(profile.block_size),
        "asks for Size2": yes(profile.asks_size),
        "query of a URI": "kept" if profile.keeps_query else "dropped",
        "by CoAP proxy": yes(profile.proxy_paths),
        "resumes a pull": "by ETag" if profile.resumes else "no",
        "push: a large block": push(profile),
        "optional in object 5": ", ".join(map(str, profile.firmware_resources)),
        "URI outside of Idle": code(profile.busy_uri, "2.04, nothing happens"),
        "an empty URI": resets(profile),
        "unknown scheme": f"{code(profile.bad_scheme, '2.04')}, then Result 9",
        "Update outside of Downloaded": code(profile.not_downloaded, ""),
        "after a reset it knows": MEMORIES[profile.memory],
        "confirms": "at boot" if profile.confirms_early else "after it has registered",
    }


def profiles_table() -> str:
    """One column for each profile."""
    columns = {name: row_of(profile) for name, profile in PROFILES.items()}
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for head in next(iter(columns.values())):
        lines.append(f"| {head} | {' | '.join(column[head] for column in columns.values())} |")
    return "\n".join(lines) + "\n"


def personalities_table() -> str:
    """One row for each personality."""
    lines = [f"| value of TLV 0x{PERSONALITY_TLV:04x} | what the image does |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {meaning} |" for name, meaning in MEANINGS.items())]) + "\n"


TABLES = {"profiles": profiles_table, "personalities": personalities_table}


def written(page: str) -> str:
    """The page with fresh tables; raises ValueError when a place for one is missing."""
    for name, table in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, found, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise ValueError(f"docs/devices.md has no place for the table of {name}")
        page = f"{before}{begin}{table()}{end}{after}"
    return page


def main() -> int:
    """Write, or check with --check; a vice the page does not name is an error too."""
    page = TARGET.read_text(encoding="utf-8")
    if missing := [vice for vice in Misbehaviour if f"`{vice}`" not in page]:
        sys.stdout.write(f"docs/devices.md does not say what {', '.join(missing)} means\n")
        return 1
    if "--check" in sys.argv:
        fresh = written(page) == page
        sys.stdout.write("devices: good\n" if fresh else "docs/devices.md is stale: make configuration\n")
        return 0 if fresh else 1
    TARGET.write_text(written(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
