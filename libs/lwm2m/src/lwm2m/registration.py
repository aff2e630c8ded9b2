"""The registration interface: what Register and Update say, and which answer nonsense gets (Core 6.2, Transport 6.4).

    POST /rd?ep=NAME&lt=SECONDS&lwm2m=1.1&b=U&Q     links of the objects      2.01 Created, Location-Path rd, id
    POST /rd/ID?lt=...                              empty, or all links anew  2.04
    DELETE /rd/ID                                                             2.02

Tolerated on purpose: `lwm2m=1.0.0` (coap-node), a missing content format (lwm2m-node-lib), 1.2 and parameters nobody
has registered; they are kept as attributes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lwm2m import links
from lwm2m.errors import DecodeError
from lwm2m.paths import Path, parse

DEFAULT_LIFETIME_SECONDS: Final = 86400
MAX_LIFETIME_SECONDS: Final = 10 * 365 * 86400
MAX_ENDPOINT_BYTES: Final = 200
MAX_ROOT_BYTES: Final = 64
_ROOT: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
SUPPORTED_VERSIONS: Final = ("1.0", "1.1", "1.2")
_MANDATORY_FORMATS: Final = {"1.0": (11542,), "1.1": (0, 40, 42), "1.2": (0, 40, 42)}


class UnsupportedVersion(DecodeError):
    """The client speaks an enabler version we do not: 4.12 (Core 6.2.1)."""


@dataclass(frozen=True, slots=True)
class Register:
    """A Register request, checked. `lifetime` in seconds; `content_formats` in the order the client gave."""

    endpoint: str
    lifetime: int
    version: str
    binding: str
    queue_mode: bool
    alternate_path: str
    content_formats: tuple[int, ...]
    object_versions: dict[int, str]
    paths: tuple[Path, ...]
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Update:
    """An Update request; None means unchanged."""

    lifetime: int | None
    binding: str | None
    paths: tuple[Path, ...] | None


def _pairs(query: Sequence[str]) -> dict[str, str | None]:
    out: dict[str, str | None] = {}
    for item in query:
        key, equals, value = item.partition("=")
        out[key] = value if equals else None
    return out


def _lifetime(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise DecodeError(f"lt={text!r:.30} is no number of seconds")
    return min(int(text), MAX_LIFETIME_SECONDS)


def _binding(text: str | None, version: str) -> tuple[str, bool]:
    """Binding letters and whether they hold a Q, which only 1.0 allows there."""
    allowed = "UQS" if version == "1.0" else "UTSNMHQ"
    if not text or len(text) > 8 or any(letter not in allowed for letter in text):
        raise DecodeError(f"b={text!r:.20} is no binding of LwM2M {version}")
    return text.replace("Q", "") or "U", "Q" in text


def decode_register(query: Sequence[str], payload: bytes) -> Register:
    """Check a Register; raises DecodeError (answer 4.00) or UnsupportedVersion (4.12)."""
    given = _pairs(query)
    endpoint = given.pop("ep", None)
    if not endpoint:
        raise DecodeError("a Register needs ep=NAME")
    if len(endpoint.encode()) > MAX_ENDPOINT_BYTES or any(ch.isspace() or not ch.isprintable() for ch in endpoint):
        raise DecodeError(f"an endpoint name is printable, without spaces, at most {MAX_ENDPOINT_BYTES} bytes")
    # It becomes a segment of DDI paths, where servers decode %2F and drop dots before they look for who is meant.
    if any(ch in endpoint for ch in "/\\") or endpoint in (".", ".."):
        raise DecodeError("an endpoint name holds no slash and is no dots")
    said = given.pop("lwm2m", "1.0") or ""
    version = next((known for known in SUPPORTED_VERSIONS if said == known or said.startswith(known + ".")), None)
    if version is None:
        raise UnsupportedVersion(f"lwm2m={said[:10]!r} is not one of {', '.join(SUPPORTED_VERSIONS)}")
    lifetime = _lifetime(given.pop("lt")) if "lt" in given else DEFAULT_LIFETIME_SECONDS
    binding, queued = _binding(given.pop("b"), version) if "b" in given else ("U", False)
    if "Q" in given:
        if given.pop("Q") is not None or version == "1.0":
            raise DecodeError("Q is a flag without value, of LwM2M 1.1 and later")
        queued = True
    root, formats, versions, paths = decode_objects(payload)
    known = formats + tuple(number for number in _MANDATORY_FORMATS[version] if number not in formats)
    attributes = {key[:64]: (value or "")[:128] for key, value in list(given.items())[:16]}
    return Register(endpoint, lifetime, version, binding, queued, root, known, versions, paths, attributes)


def decode_update(query: Sequence[str], payload: bytes) -> Update:
    """Check an Update; raises DecodeError (answer 4.00)."""
    given = _pairs(query)
    return Update(
        lifetime=_lifetime(given["lt"]) if "lt" in given else None,
        binding=given.get("b"),
        paths=decode_objects(payload)[3] if payload else None,
    )


def decode_objects(payload: bytes) -> tuple[str, tuple[int, ...], dict[int, str], tuple[Path, ...]]:
    """Root path, content formats, object versions and the objects and instances a client offers."""
    documents = links.decode(payload)
    root = next((link for link in documents if "oma.lwm2m" in (link.attributes.get("rt") or "")), None)
    base = (root.target if root else "/").rstrip("/")
    # Every later request to the device is prefixed with it: what is no plain path would lead somewhere else.
    if not _ROOT.fullmatch(base) or len(base) > MAX_ROOT_BYTES:
        raise DecodeError(f"the alternate path {base[:30]!r} is no path")
    formats: list[int] = []
    versions: dict[int, str] = {}
    paths: list[Path] = []
    for link in documents:
        if link is root or link.target == "/":
            for text in (link.attributes.get("ct") or "").split():
                if text.isascii() and text.isdigit() and len(text) <= 5:
                    formats.append(int(text))
            continue
        if not link.target.startswith(f"{base}/"):
            continue
        try:
            path = parse(link.target[len(base) :])
        except DecodeError:
            continue  # a link that is no object has no LwM2M meaning
        if path.object_id in (None, 0, 21):
            continue  # Security and OSCORE must not be announced (Core 6.2.1)
        paths.append(path)
        if (version := link.attributes.get("ver")) and path.object_id is not None:
            versions[path.object_id] = version[:8]
    return base, tuple(formats), versions, tuple(paths)
