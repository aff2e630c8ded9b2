"""Deltas in words: how an image went to a device, what is planned for a rollout, what has been saved; or nothing."""

from frontend.view_models.formatting import plural, size
from frontend.view_models.reading import Json, maybe_number, number, text


def delivered(source: Json) -> str:
    """`by delta, 16 KiB instead of 121 KiB`, from an attempt's `delivery`; of a full image, that a delta had failed."""
    delta, full = maybe_number(source, "deltaSize"), maybe_number(source, "fullSize")
    if delta is None or full is None:
        return ""
    if text(source, "kind") == "delta":
        return f"by delta, {size(delta)} instead of {size(full)}"
    return f"in full, after a delta of {size(delta)} failed"


def planned(source: Json) -> str:
    """How a population is to be served, from a `forecast`; empty without any delta."""
    by_delta = number(source, "byDelta")
    if not by_delta:
        return ""
    shares = [f"{plural(by_delta, 'device', 'devices')} by delta"]
    for name, words in (("byFull", "in full"), ("unknown", "not known yet")):
        if count := number(source, name):
            shares.append(f"{plural(count, 'device', 'devices')} {words}")
    instead = f"{size(maybe_number(source, 'bytesPlanned'))} instead of {size(maybe_number(source, 'bytesFull'))}"
    return f"{', '.join(shares)}: {instead}"


def achieved(source: Json) -> str:
    """What deltas have saved so far, from `delivery` of a rollout's progress; empty when none was sent."""
    parts = []
    if arrived := number(source, "arrivedByDelta"):
        parts.append(f"{plural(arrived, 'device', 'devices')} by delta")
    if (saved := number(source, "bytesSaved")) > 0:
        parts.append(f"{size(saved)} saved")
    if fell_back := number(source, "fellBackToFull"):
        parts.append(f"{fell_back} fell back to the full image")
    return ", ".join(parts)
