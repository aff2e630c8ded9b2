"""Path prefixes of ours that stand for upstreams (reverse proxy, RFC 7252 section 5.7.3): `/fw=http://files.lan/firmware`.

The device asks for a resource of this server and never learns where it comes from. Segments are compared and put
together as segments: a `/` inside one becomes `%2F` and cannot climb out of the base.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from coap_http_proxy.mapping.uris import Base, parse_base

# RFC 3986 section 3.3: what a path segment may hold besides unreserved characters; and section 3.4 for queries.
SEGMENT_SAFE: Final = "!$&'()*+,;=:@"
QUERY_SAFE: Final = "!$'()*+,;=:@/?"
# These first segments are answered here and cannot be given away.
OURS: Final = frozenset({"f", ".well-known", "health", "coap2http", "coap2coap"})


@dataclass(frozen=True, slots=True)
class Route:
    """All paths below `prefix` (Uri-Path segments) are asked for below `url`, which ends without a slash.

    `base` is what the allow-list of `mapping.uris` has to hold so that the route can be followed.
    """

    prefix: tuple[str, ...]
    url: str
    base: Base


def parse_route(text: str) -> Route:
    """Read `/prefix=base-url`; raises ValueError with a sentence for the operator."""
    path, equals, url = (part.strip() for part in text.partition("="))
    segments = tuple(path.strip("/").split("/"))
    if not equals or not path.startswith("/") or not all(segments):
        raise ValueError(f"{text.strip()!r} is no route: write /prefix=http://host/path")
    if segments[0] in OURS:
        raise ValueError(f"/{segments[0]} is answered by the proxy itself: choose another prefix")
    if any(segment in (".", "..") for segment in segments):
        raise ValueError(f"{path!r} holds dot segments, which no request can")
    if "?" in url:
        raise ValueError(f"{url!r} holds a query: a base ends with its path")
    return Route(segments, url.rstrip("/"), parse_base(url))


def parse_routes(text: str) -> tuple[Route, ...]:
    """Read a comma-separated list; raises ValueError, for a prefix given twice too."""
    routes = tuple(parse_route(part) for part in text.split(",") if part.strip())
    prefixes = [route.prefix for route in routes]
    for prefix in prefixes:
        if prefixes.count(prefix) > 1:
            raise ValueError(f"/{'/'.join(prefix)} is given twice")
    return routes


def route_of(path: Sequence[str], routes: Iterable[Route]) -> Route | None:
    """The route with the longest prefix of a Uri-Path; None when none fits."""
    fitting = [route for route in routes if tuple(path[: len(route.prefix)]) == route.prefix]
    return max(fitting, key=lambda one: len(one.prefix), default=None)


def upstream_uri(path: Sequence[str], query: Sequence[str], routes: Iterable[Route]) -> str | None:
    """The upstream's URI for a request's Uri-Path and Uri-Query; the longest prefix wins; None when none fits.

    Whether the URI may be asked for is then checked like any other (`uris.allowed`): dot segments are refused there.
    """
    route = route_of(path, routes)
    if route is None:
        return None
    rest = [quote(segment, safe=SEGMENT_SAFE) for segment in path[len(route.prefix) :]]
    return "/".join((route.url, *rest)) + (
        "?" + "&".join(quote(item, safe=QUERY_SAFE) for item in query) if query else ""
    )
