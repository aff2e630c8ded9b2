"""What a request asks for: one of ours by ticket, something upstream by URI or reverse path, or nothing we have.

Zephyr sends `coap2http` or `coap2coap` as Uri-Path with the Package URI in Proxy-Uri; others send Proxy-Uri alone, or
Proxy-Scheme with the Uri options (RFC 7252 section 5.7.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from coap_http_proxy.mapping import uri_options, uris
from coap_http_proxy.mapping.reverse import Route, route_of, upstream_uri
from coap_wire import Block, Code, DecodeError, Message, Options, Type, decode_block, dotted, is_critical
from coap_wire import options as option

TICKET_BYTES: Final = 12
UNDERSTOOD: Final = frozenset(
    {
        option.URI_HOST,
        option.URI_PORT,
        option.URI_PATH,
        option.URI_QUERY,
        option.ACCEPT,
        option.BLOCK2,
        option.PROXY_URI,
        option.PROXY_SCHEME,
    }
)
# Options of which a second one makes the request malformed (RFC 7252 section 5.4.5).
SINGLE: Final = (
    option.BLOCK2,
    option.BLOCK1,
    option.PROXY_URI,
    option.PROXY_SCHEME,
    option.ACCEPT,
    option.URI_HOST,
    option.URI_PORT,
    option.IF_NONE_MATCH,
)
# Shortest and longest value of each critical option, bytes (RFC 7252 section 5.10, RFC 7959 section 2.1); one of
# another length is an option not known (RFC 7252 section 5.4.3).
LENGTHS: Final = {
    option.IF_MATCH: (0, 8),
    option.URI_HOST: (1, 255),
    option.IF_NONE_MATCH: (0, 0),
    option.URI_PORT: (0, 2),
    option.URI_PATH: (0, 255),
    option.URI_QUERY: (0, 255),
    option.ACCEPT: (0, 2),
    option.BLOCK2: (0, 3),
    option.BLOCK1: (0, 3),
    option.PROXY_URI: (1, 1034),
    option.PROXY_SCHEME: (1, 255),
}
# First segments Zephyr puts in front of a Proxy-Uri.
ZEPHYR_PATHS: Final = ("coap2http", "coap2coap")


class Refusal(Exception):
    """The answer is an error: its code and a diagnostic for people (RFC 7252 section 5.5.2).

    `max_age_seconds` says when to come again, None for the usual few; `options` go along, such as Size1.
    """

    def __init__(
        self,
        code: int,
        diagnostic: str,
        max_age_seconds: int | None = None,
        options: Options = (),
    ) -> None:
        super().__init__(f"{dotted(code)} {diagnostic}")
        self.code = code
        self.diagnostic = diagnostic
        self.max_age_seconds = max_age_seconds
        self.options = options


@dataclass(frozen=True, slots=True)
class Ticketed:
    """Firmware by ticket path `/f/<token>/<name>`."""

    token: str


@dataclass(frozen=True, slots=True)
class Proxied:
    """What an absolute URI stands for; whether it may be asked for is checked later. `route`: by reverse path."""

    uri: str
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """`/.well-known/core`."""


@dataclass(frozen=True, slots=True)
class Health:
    """`/health`."""


Wanted = Ticketed | Proxied | Directory | Health


def wanted(request: Message, routes: Sequence[Route] = (), own: frozenset[tuple[str, int]] = frozenset()) -> Wanted:
    """What a request asks for; raises Refusal with the code its sender gets.

    `own` are the hosts and ports by which this proxy is known: what is asked of them is asked of it.
    """
    _check_options(request)
    what = _target(request, routes, own)
    if isinstance(what, Proxied):
        return what
    for number, _ in request.options:
        if is_critical(number) and number not in UNDERSTOOD:
            raise Refusal(Code.BAD_OPTION, f"option {number} is critical and not known here")
    if request.code != Code.GET:
        raise Refusal(Code.METHOD_NOT_ALLOWED, "only GET is served")
    if what is None:
        raise Refusal(Code.NOT_FOUND, "no such resource")
    if (accept := request.uint(option.ACCEPT)) not in (None, 0, 40, 42):
        raise Refusal(Code.NOT_ACCEPTABLE, f"content format {accept} is not what there is")
    return what


def shows_ticket(request: Message) -> bool:
    """True for a request in the form of a ticket's, by path or as our own URI; whether it is valid is seen later."""
    try:
        return isinstance(_target(request, (), frozenset()), Ticketed)
    except Refusal:
        return False


def _check_options(request: Message) -> None:
    for number, value in request.options:
        shortest, longest = LENGTHS.get(number, (0, len(value)))
        if not shortest <= len(value) <= longest:
            raise Refusal(Code.BAD_OPTION, f"option {number} has not the length it may have")
    for number in SINGLE:
        if len(request.options_of(number)) > 1:
            raise Refusal(Code.BAD_OPTION, f"option {number} may be given once")


def _target(request: Message, routes: Sequence[Route], own: frozenset[tuple[str, int]]) -> Wanted | None:
    try:
        path, query = request.uri_path, request.uri_query
        # Proxy-Uri takes precedence over all Uri options (RFC 7252 section 5.10.2).
        if (proxy_uri := request.option(option.PROXY_URI)) is not None:
            return _by_uri(proxy_uri.decode("utf-8"), routes, own)
        if (scheme := request.option(option.PROXY_SCHEME)) is not None:
            if scheme == b"coap" and not request.option(option.URI_HOST):
                # Its default is the address the datagram was sent to (RFC 7252 section 5.10.1): this proxy itself.
                return _local(path, query, routes)
            return _by_uri(_by_scheme(request, scheme.decode("utf-8"), path, query), routes, own)
    except (DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Code.BAD_REQUEST, "the path, query or URI is not UTF-8") from error
    return _local(path, query, routes)


def _local(path: Sequence[str], query: Sequence[str], routes: Sequence[Route]) -> Wanted | None:
    if len(path) == 3 and path[0] == "f" and len(path[1]) == TICKET_BYTES:
        return Ticketed(path[1])
    if tuple(path) == (".well-known", "core"):
        return Directory()
    if tuple(path) == ("health",):
        return Health()
    route = route_of(path, routes)
    uri = upstream_uri(path, query, routes)
    return None if uri is None else Proxied(uri, route)


def _by_uri(uri: str, routes: Sequence[Route], own: frozenset[tuple[str, int]]) -> Wanted | None:
    # A Package URI of ours that came back (Zephyr's proxy build) is served here, never asked for.
    parts = uri.split("/")
    if (
        len(parts) == 6
        and parts[0] in ("coap:", "coaps:", "http:")
        and parts[3] == "f"
        and len(parts[4]) == TICKET_BYTES
    ):
        return Ticketed(parts[4])
    try:
        if own and uris.authority(uri) in own:
            # RFC 7252 section 5.7.2: a local request, whose answer never leaves this process; so it runs in no circle.
            asked = Message(Type.CON, Code.GET, 0, options=uri_options.taken_apart(uri))
            return _local(asked.uri_path, asked.uri_query, routes)
    except uris.ForbiddenUri:
        pass  # what is wrong with it is said where it is checked
    except ValueError as error:
        raise Refusal(Code.BAD_REQUEST, "the URI cannot be asked for") from error
    return Proxied(uri)


def _by_scheme(request: Message, scheme: str, path: tuple[str, ...], query: tuple[str, ...]) -> str:
    host = request.option(option.URI_HOST)
    if not host:
        raise Refusal(Code.BAD_REQUEST, "Proxy-Scheme without Uri-Host names this proxy itself")
    # Zephyr's segment is the proxy's, not the upstream's.
    path = path[1:] if path[:1] and path[0] in ZEPHYR_PATHS else path
    return uri_options.composed(scheme, host.decode("utf-8"), request.uint(option.URI_PORT), path, query)


def block_of(request: Message, largest_szx: int = 6) -> Block:
    """The block asked for; without Block2 the first one of the largest size. Raises Refusal."""
    value = request.option(option.BLOCK2)
    if value is None:
        return Block(0, False, largest_szx)
    try:
        block = decode_block(value)
    except DecodeError as error:
        raise Refusal(Code.BAD_REQUEST, error.reason) from error
    return block


def fitting(block: Block, size: int) -> Block:
    """The block to send of a representation of `size` bytes; raises Refusal past its end (RFC 7959 section 2.2)."""
    if block.offset >= size and not (block.num == 0 and size == 0):
        raise Refusal(Code.BAD_REQUEST, f"block {block.num} of {block.size} bytes lies past the end at {size}")
    return Block(block.num, block.offset + block.size < size, block.szx)
