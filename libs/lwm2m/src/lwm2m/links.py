"""CoRE link format as LwM2M clients send it (RFC 6690 section 2), strictly bounded.

    </>;rt="oma.lwm2m";ct="110 112",</1/0>,</3/0>,</5>;ver=1.1

A link is a target in angle brackets and attributes after semicolons: a bare key, key=token or key="quoted".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from lwm2m.errors import DecodeError

MAX_LINKS = 1024
MAX_BYTES = 32768


@dataclass(frozen=True, slots=True)
class Link:
    """`target` without brackets; attributes in order of arrival, a bare key has the value None."""

    target: str
    attributes: dict[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"<{self.target}>" + "".join(
            f";{key}" if value is None else f";{key}={_quoted(value)}" for key, value in self.attributes.items()
        )


def _quoted(value: str) -> str:
    if value and all(character.isalnum() or character in ".-" for character in value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def encode(links: Iterable[Link]) -> str:
    """The document of several links."""
    return ",".join(map(str, links))


def decode(payload: bytes) -> tuple[Link, ...]:
    """Parse a link-format document; an empty one has no links. Raises DecodeError with the offset."""
    if len(payload) > MAX_BYTES:
        raise DecodeError(f"more than {MAX_BYTES} bytes of links", MAX_BYTES)
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("links are not UTF-8", error.start) from error
    links: list[Link] = []
    at, end = 0, len(text)
    while at < end:
        link, at = _link(text, at)
        links.append(link)
        if len(links) > MAX_LINKS:
            raise DecodeError(f"more than {MAX_LINKS} links", at)
        if at < end:
            if text[at] != ",":
                raise DecodeError("expected a comma between links", at)
            at += 1
            if at == end:
                raise DecodeError("a comma with no link after it", at)
    return tuple(links)


def _link(text: str, at: int) -> tuple[Link, int]:
    while text[at : at + 1] == " ":
        at += 1
    if text[at : at + 1] != "<":
        raise DecodeError("expected <", at)
    close = text.find(">", at)
    if close < 0:
        raise DecodeError("< without >", at)
    target = text[at + 1 : close]
    attributes: dict[str, str | None] = {}
    at = close + 1
    while text[at : at + 1] == ";":
        key, value, at = _attribute(text, at + 1)
        attributes.setdefault(key, value)
    return Link(target, attributes), at


def _attribute(text: str, at: int) -> tuple[str, str | None, int]:
    start = at
    while at < len(text) and text[at] not in ';,="<>':
        at += 1
    key = text[start:at].strip()
    if not key:
        raise DecodeError("an attribute without a name", start)
    if text[at : at + 1] != "=":
        return key, None, at
    at += 1
    if text[at : at + 1] == '"':
        return key, *_quoted_string(text, at + 1)
    start = at
    while at < len(text) and text[at] not in ";,":
        at += 1
    return key, text[start:at], at


def _quoted_string(text: str, at: int) -> tuple[str, int]:
    out: list[str] = []
    start = at
    while at < len(text):
        character = text[at]
        if character == "\\" and at + 1 < len(text):
            out.append(text[at + 1])
            at += 2
            continue
        if character == '"':
            return "".join(out), at + 1
        out.append(character)
        at += 1
    raise DecodeError("a quoted value that never ends", start - 1)
