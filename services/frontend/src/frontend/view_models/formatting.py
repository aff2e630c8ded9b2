"""How numbers, times, names and hostile text are written for people."""

from datetime import UTC, datetime
from typing import Final
from unicodedata import category

THIN: Final = "\u202f"  # narrow no-break space: groups digits, ties units to numbers
MINUS: Final = "\u2212"
NOTHING: Final = "–"
LONGEST_TEXT: Final = 500
_DAY_MS: Final = 86_400_000
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def count(value: int | float | None) -> str:
    """12041 -> `12 041`."""
    if value is None:
        return NOTHING
    return f"{round(value):,}".replace(",", THIN).replace("-", MINUS)


def size(value: int | float | None) -> str:
    """Bytes in the unit that leaves one to four digits: `512 B`, `148.2 KiB`."""
    if value is None:
        return NOTHING
    amount = float(value)
    for unit in _UNITS:
        if abs(amount) < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    digits = f"{amount:.0f}" if unit == "B" or abs(amount) >= 1000 else f"{amount:.1f}".removesuffix(".0")
    return f"{digits}{THIN}{unit}"


def rate(value: int | float | None) -> str:
    """Bytes per second."""
    return NOTHING if value is None else f"{size(value)}/s"


def percent(value: float | None) -> str:
    """`53 %`; whole only at the ends, so that 99.9 % does not read as done."""
    if value is None:
        return NOTHING
    if 99 < value < 100:
        return f"{int(value * 10) / 10:.1f}{THIN}%"
    if 0 < value < 1:
        return f"{max(value, 0.1):.1f}{THIN}%"
    return f"{value:.0f}{THIN}%"


def span(seconds: float) -> str:
    """The two words for a length of time: `45 s`, `12 min`, `3 h`, `4 d`."""
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // divisor)}{THIN}{unit}"
    return f"{int(seconds // 86_400)}{THIN}d"


def age(at: int | None, now: int) -> str:
    """How long ago, or how soon; both in epoch ms."""
    if not at:
        return "never"
    seconds = (now - at) / 1000
    if abs(seconds) < 2:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def instant(at: int | None) -> str:
    """`23 Nov 2026 14:32:07 UTC`."""
    moment = _moment(at)
    return NOTHING if moment is None else f"{moment:%d %b %Y %H:%M:%S} UTC"


def clock(at: int | None, now: int) -> str:
    """`14:32:07`, or `23 Nov 14:32` for what is older than a day."""
    moment = _moment(at)
    if moment is None or at is None:
        return NOTHING
    return f"{moment:%H:%M:%S}" if abs(now - at) < _DAY_MS else f"{moment:%d %b %H:%M}"


def iso(at: int | None) -> str:
    """For the `datetime` attribute; empty when unknown."""
    moment = _moment(at)
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def duration(start: int | None, end: int | None) -> str:
    """Length between two moments in epoch ms; with seconds below ten minutes."""
    if not start or not end or end < start:
        return NOTHING
    seconds = (end - start) // 1000
    if 60 <= seconds < 600 and seconds % 60:
        return f"{span(seconds)} {seconds % 60}{THIN}s"
    return span(seconds)


def middle(value: str, longest: int = 20) -> str:
    """Shortened in the middle, where ids and hashes differ least."""
    if len(value) <= longest:
        return value
    tail = (longest - 1) // 2
    return f"{value[: longest - 1 - tail]}…{value[-tail:]}"


def visible(value: object, longest: int = LONGEST_TEXT) -> str:
    """Text of a device with control and direction characters made visible, and an end."""
    raw = str(value)
    clean = "".join(_shown(character) for character in raw[:longest])
    return clean + "…" if len(raw) > longest else clean


def sentence(told: str) -> str:
    """With a capital at its start and a stop at its end, as people expect what is said to them."""
    told = told.strip()
    return told[:1].upper() + told[1:] + ("" if not told or told[-1] in ".!?" else ".")


def plural(value: int, one: str, many: str) -> str:
    """`1 device`, `12 041 devices`."""
    return f"{count(value)} {one if value == 1 else many}"


def _shown(character: str) -> str:
    if character.isprintable() or character == "\n" or category(character) == "Zs":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _moment(at: int | None) -> datetime | None:
    if not at:
        return None
    try:
        return datetime.fromtimestamp(at / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return None
