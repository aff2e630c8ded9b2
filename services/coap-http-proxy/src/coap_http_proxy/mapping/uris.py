"""Which upstreams may be asked: scheme, host, port and path prefix, compared after parsing, never as text.

A proxy that fetches what strangers name is a hole in the network it stands in. Nothing is allowed that was not
configured, and what is compared is what will be connected to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "coap": 5683, "coaps": 5684}
MAX_URI_BYTES: Final = 1024


class ForbiddenUri(ValueError):
    """Not an upstream of this proxy (4.03), no URI at all (4.00 when `malformed`), or nothing that is proxied here
    whatever the allow-list says (5.05 when `unspoken`)."""

    def __init__(self, message: str, *, malformed: bool = False, unspoken: bool = False) -> None:
        super().__init__(message)
        self.malformed = malformed
        self.unspoken = unspoken


@dataclass(frozen=True, slots=True)
class Base:
    """An allowed upstream: everything below `path` on `host`:`port` by `scheme`."""

    scheme: str
    host: str
    port: int
    path: str


def parse_base(text: str) -> Base:
    """Read a configured base URL; raises ValueError when it is none."""
    scheme, host, port, path = _split(text.strip())
    return Base(scheme, host, port, path if path.endswith("/") else path + "/")


def parse_bases(text: str) -> tuple[Base, ...]:
    """Read a comma-separated list."""
    return tuple(parse_base(part) for part in text.split(",") if part.strip())


def parse_authorities(text: str) -> frozenset[tuple[str, int]]:
    """Read a comma-separated list of `host:port`, the port of coap when there is none; raises ValueError."""
    bases = [parse_base(f"coap://{part.strip()}") for part in text.split(",") if part.strip()]
    if any(base.path != "/" for base in bases):
        raise ValueError("a name of this proxy is a host and a port, without a path")
    return frozenset((base.host, base.port) for base in bases)


def authority(uri: str) -> tuple[str, int] | None:
    """Host and port of a coap or coaps URI, None for any other; raises ForbiddenUri for what is no URI."""
    scheme, host, port, _ = _split(uri)
    return (host, port) if scheme in ("coap", "coaps") else None


def origin(uri: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URI; raises ForbiddenUri for what is none."""
    return _split(uri)[:3]


def allowed(uri: str, bases: Iterable[Base]) -> Base:
    """The base that allows `uri`, of several the one with the longest path; raises ForbiddenUri."""
    scheme, host, port, path = _split(uri)
    bases = tuple(bases)
    if not bases:
        raise ForbiddenUri("this server is no proxy: it has no upstreams", unspoken=True)
    found = [
        base
        for base in bases
        if (scheme, host, port) == (base.scheme, base.host, base.port) and (path + "/").startswith(base.path)
    ]
    if not found:
        raise ForbiddenUri(f"{scheme}://{host}:{port} is not an upstream of this proxy")
    return max(found, key=lambda base: len(base.path))


@lru_cache(maxsize=1024)  # one request is looked at in several places, none of which trusts the one before
def _split(uri: str) -> tuple[str, str, int, str]:
    # Of all white space only the plain space counts as printable.
    if len(uri.encode()) > MAX_URI_BYTES or " " in uri or not uri.isprintable():
        raise ForbiddenUri("the URI is too long or holds characters no URI has", malformed=True)
    try:
        parts = urlsplit(uri)
        scheme, host = parts.scheme.lower(), (parts.hostname or "").lower().rstrip(".")
        port = DEFAULT_PORTS.get(scheme, 0) if parts.port is None else parts.port
    except ValueError as error:
        raise ForbiddenUri("the URI cannot be parsed", malformed=True) from error
    if not scheme or not host:
        raise ForbiddenUri("the URI has no scheme or no host", malformed=True)
    if scheme not in DEFAULT_PORTS:
        raise ForbiddenUri(f"scheme {scheme[:10]} is not served here", unspoken=True)
    # Credentials in a URI, a backslash, a fragment or dot segments are tricks to make two parsers disagree.
    if "@" in parts.netloc or "\\" in uri or "#" in uri or _has_dot_segments(parts.path):
        raise ForbiddenUri("the URI holds credentials, a backslash, a fragment or dot segments", malformed=True)
    return scheme, host, port, parts.path or "/"


def _has_dot_segments(path: str) -> bool:
    """Also behind several layers of percent-encoding, and as `..;x`, which servlet containers take for `..`."""
    while True:
        if any(part.partition(";")[0] in (".", "..") for part in path.replace("\\", "/").split("/")):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
