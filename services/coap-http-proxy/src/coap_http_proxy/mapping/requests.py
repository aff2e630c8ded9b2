"""What a request asks for: one of ours by ticket, something upstream by Proxy-Uri, or nothing we have.

Zephyr sends `coap2http` or `coap2coap` as Uri-Path with the Package URI in Proxy-Uri; others send Proxy-Uri alone.
"""

from dataclasses import dataclass
from typing import Final

from coap_wire import Block, Code, DecodeError, Message, decode_block, dotted, is_critical
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
SINGLE: Final = (option.BLOCK2, option.PROXY_URI, option.ACCEPT, option.URI_HOST, option.URI_PORT)
# Longest values, bytes (RFC 7252 section 5.10); a longer one is an option not known (section 5.4.3).
LONGEST: Final = {
    option.URI_HOST: 255,
    option.URI_PORT: 2,
    option.URI_PATH: 255,
    option.URI_QUERY: 255,
    option.ACCEPT: 2,
    option.PROXY_URI: 1034,
    option.PROXY_SCHEME: 255,
}


class Refusal(Exception):
    """The answer is an error: its code and a diagnostic for people (RFC 7252 section 5.5.2).

    `max_age_seconds` says when to come again, None for the usual few; `options` go along, such as Size1.
    """

    def __init__(
        self,
        code: int,
        diagnostic: str,
        max_age_seconds: int | None = None,
        options: tuple[tuple[int, bytes], ...] = (),
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
    """A representation by absolute URI; whether it may be asked for is checked later."""

    uri: str


@dataclass(frozen=True, slots=True)
class Directory:
    """`/.well-known/core`."""


Wanted = Ticketed | Proxied | Directory


def wanted(request: Message) -> Wanted:
    """What a request asks for; raises Refusal with the code its sender gets."""
    for number, value in request.options:
        if is_critical(number) and number not in UNDERSTOOD:
            raise Refusal(Code.BAD_OPTION, f"option {number} is critical and not known here")
        if len(value) > LONGEST.get(number, len(value)):
            raise Refusal(Code.BAD_OPTION, f"option {number} is longer than it may be")
    for number in SINGLE:
        if len(request.options_of(number)) > 1:
            raise Refusal(Code.BAD_OPTION, f"option {number} may be given once")
    if request.code != Code.GET:
        raise Refusal(Code.METHOD_NOT_ALLOWED, "only GET is served")
    if (accept := request.uint(option.ACCEPT)) not in (None, 0, 40, 42):
        raise Refusal(Code.NOT_ACCEPTABLE, f"content format {accept} is not what there is")
    try:
        path = request.uri_path
        proxy_uri = request.option(option.PROXY_URI)
        uri = None if proxy_uri is None else proxy_uri.decode("utf-8")
    except (DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Code.BAD_REQUEST, "the path or Proxy-Uri is not UTF-8") from error
    if uri is not None:
        return Proxied(uri)
    if request.option(option.PROXY_SCHEME) is not None:
        raise Refusal(Code.PROXYING_NOT_SUPPORTED, "give the whole URI in Proxy-Uri")
    if len(path) == 3 and path[0] == "f" and len(path[1]) == TICKET_BYTES:
        return Ticketed(path[1])
    if path == (".well-known", "core"):
        return Directory()
    raise Refusal(Code.NOT_FOUND, "no such resource")


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
