"""Checked pieces of request bodies: hawkBit's lengths, no NUL anywhere, one object where an array is expected."""

import unicodedata
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from update_manager.errors import NotSupportedYet

# Entries of one bulk request; hawkBit's quota for assignments.
MAX_ENTRIES: Final = 5000
_LINES: Final = "\n\r\t"


def _printable(text: str) -> str:
    """No control characters: a name with an escape sequence rewrites the terminal of whoever reads a log."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("text must not hold control characters")
    return text


def _prose(text: str) -> str:
    _printable(text.translate(dict.fromkeys(map(ord, _LINES))))
    return text


def _segment(text: str) -> str:
    """A controller id is a segment of a path: what routers and clients fold away can never be asked for again."""
    if "/" in text or text in (".", ".."):
        raise ValueError("a controller id must not hold a slash, nor be . or ..")
    return _printable(text)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128), AfterValidator(_printable)
]
Key = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_printable)]
Version = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_printable)
]
Description = Annotated[str, StringConstraints(max_length=512), AfterValidator(_prose)]
Colour = Annotated[str, StringConstraints(max_length=16), AfterValidator(_printable)]
ControllerId = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]{1,256}$"), AfterValidator(_segment)]
Address = Annotated[str, StringConstraints(max_length=512), AfterValidator(_printable)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
Vendor = Annotated[str, StringConstraints(max_length=256), AfterValidator(_printable)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
MetadataValue = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_prose)]
Query = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_prose)]
ActionType = Literal["forced", "soft", "timeforced", "downloadonly"]
AsList = BeforeValidator(_listed)


def refuse_unsupported(action_type: str, *, confirmation: bool) -> None:
    """What hawkBit can do and Updraft cannot yet, where leaving it out would install too early; NotSupportedYet."""
    if action_type == "timeforced":
        raise NotSupportedYet("timeforced is not supported yet; use soft, and force the action when it is time")
    if confirmation:
        raise NotSupportedYet("confirmation by a user is not supported yet; the device would install without")


class Body(BaseModel):
    """Unknown members are ignored, as hawkBit does."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Reference(Body):
    """An entity by id."""

    id: Annotated[int, Field(ge=-1, le=2**63 - 1)]
