"""Is the version a device reports the one we sent? Devices write the same MCUboot version in several ways."""

import re
from typing import Final

# "1.2.3", "1.2.3+4", "v1.2.3", "1.2.3 build #4" (dm-lwm2m), "1.2.3.4" (old imgtool prints).
_FORMS: Final = re.compile(
    r"\s*v?(\d{1,10})\.(\d{1,10})\.(\d{1,10})(?:(?:\s*build\s*#|\+|\.)(\d{1,10}))?\s*", re.IGNORECASE
)


def parsed(text: str) -> tuple[int, ...] | None:
    """Major, minor, revision, build; None when the text is no version of that kind."""
    found = _FORMS.fullmatch(text[:64])
    return None if found is None else tuple(int(part or 0) for part in found.groups())


def same_version(one: str, other: str) -> bool:
    """Equal as versions where both are, else equal as text."""
    first, second = parsed(one), parsed(other)
    if first is None or second is None:
        return one.strip() == other.strip()
    return first == second
