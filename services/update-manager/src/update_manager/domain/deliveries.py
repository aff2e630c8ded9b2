"""How an action's image went on air: as a delta, as the full image, or as one after the other; plain JSON values.

`delivery` is what the gateway said it offered (docs/contracts.md), one offer after the other:

    kind, size, fullSize               of the last offer; `kind` is `delta` or `full`, sizes in bytes
    from, deltaSize, deltaSha256       of the delta that was offered, kept when the full image had to follow

`download` is what the proxy counted; `bytesOnAir` is all that was sent for the action, `deltaBytesOnAir` the part of it
that was sent as a delta.
"""

import re
from typing import Any, Final

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
# Beyond this a JSON number is no exact integer any more, and a sum of a fleet's would not fit a bigint.
MAX_NUMBER: Final = 2**48
NUMBERS: Final = ("offset", "size", "bytesOnAir", "repeatedBytes", "restarts", "rateBytesPerSecond")
# Phases in which the whole image was on the device.
ARRIVED: Final = ("downloaded", "executing", "rebooting", "verifying", "succeeded", "rolled_back")
NEVER_BACK: Final = ("offset", "repeatedBytes", "restarts")


def number(value: Any) -> int | None:
    """A count somebody may name; None for anything else (True is no number)."""
    return value if type(value) is int and 0 <= value < MAX_NUMBER else None


def sha256(value: Any) -> str | None:
    """A SHA-256 in lower-case hex; None for anything else."""
    return value if isinstance(value, str) and _SHA256.fullmatch(value) else None


def offered(before: dict[str, Any] | None, told: Any) -> dict[str, Any] | None:
    """The delivery after an offer; an offer that makes no sense changes nothing."""
    if not isinstance(told, dict) or told.get("kind") not in ("delta", "full"):
        return before
    size, full = number(told.get("size")), number(told.get("fullSize"))
    if size is None or full is None:
        return before
    now = {**(before or {}), "kind": told["kind"], "size": size, "fullSize": full}
    if told["kind"] == "delta":
        now |= {"from": sha256(told.get("from")), "deltaSize": size, "deltaSha256": sha256(told.get("sha256"))}
    return now


def sent(before: dict[str, Any] | None, delivery: dict[str, Any] | None, told: dict[str, Any]) -> dict[str, Any]:
    """The download after a report of the proxy's.

    Reports may overtake each other: a download never goes backwards on the screen, and what is told of a delta after
    the full image was offered counts for the bytes only.
    """
    old, delivered = before or {}, delivery or {}
    new = {name: value for name in NUMBERS if (value := number(told.get(name))) is not None}
    of_delta = delivered.get("deltaSha256") is not None and told.get("sha256") == delivered["deltaSha256"]
    as_delta = old.get("deltaBytesOnAir", 0)
    as_full = old.get("bytesOnAir", 0) - as_delta
    if of_delta:
        as_delta = max(as_delta, new.get("bytesOnAir", 0))
    else:
        as_full = max(as_full, new.get("bytesOnAir", 0))
    bytes_on_air = {"bytesOnAir": as_delta + as_full} | ({"deltaBytesOnAir": as_delta} if as_delta else {})
    if of_delta and delivered.get("kind") == "full":
        return {**old, **bytes_on_air}
    if new.get("size") != old.get("size", new.get("size")):
        old = {}
    merged = {**new, **{name: max(new.get(name, 0), old.get(name, 0)) for name in NEVER_BACK}, **bytes_on_air}
    size = merged.get("size") or 0
    merged["percent"] = min(100, merged["offset"] * 100 // size) if size else 0
    return merged
