"""A device's request as it is put to an upstream: whole, without blocks, addresses and message ids."""

from dataclasses import dataclass, replace
from typing import Final

from coap_http_proxy.mapping import media, methods
from coap_http_proxy.mapping.requests import Refusal
from coap_wire import Code, Message, Options, decode_uint, encode_uint, is_critical, is_no_cache_key, is_unsafe
from coap_wire import options as option

# RFC 8768 section 3: what a proxy puts in when there is none.
DEFAULT_HOP_LIMIT: Final = 16
# What this proxy deals with itself; it never reaches the upstream as the device sent it. Observe and Max-Age ask for
# what is not given; Echo and No-Response concern this hop; Request-Tag keeps apart what is whole by now.
TAKEN: Final = frozenset(
    {
        option.IF_MATCH,
        option.URI_HOST,
        option.ETAG,
        option.IF_NONE_MATCH,
        option.OBSERVE,
        option.URI_PORT,
        option.URI_PATH,
        option.CONTENT_FORMAT,
        option.MAX_AGE,
        option.URI_QUERY,
        option.HOP_LIMIT,
        option.ACCEPT,
        option.BLOCK2,
        option.BLOCK1,
        option.SIZE2,
        option.PROXY_URI,
        option.PROXY_SCHEME,
        option.SIZE1,
        option.ECHO,
        option.NO_RESPONSE,
        option.REQUEST_TAG,
    }
)

CacheKey = tuple[int, str, int | None, Options, bytes]


@dataclass(frozen=True, slots=True)
class Question:
    """`etags` are those the device holds; `if_match` has an empty tag for "anything there"; `carried` are options not
    known here that are safe to forward (to a CoAP upstream as they came). `hop_limit` is already this hop's."""

    method: int
    uri: str
    accept: int | None = None
    content_format: int | None = None
    etags: tuple[bytes, ...] = ()
    if_match: tuple[bytes, ...] = ()
    if_none_match: bool = False
    hop_limit: int = DEFAULT_HOP_LIMIT
    carried: Options = ()

    @property
    def scheme(self) -> str:
        """The URI's scheme in lower case."""
        return self.uri.partition(":")[0].lower()

    @property
    def conditional(self) -> bool:
        """True when the method may only be performed under a condition."""
        return bool(self.if_match) or self.if_none_match

    def cache_key(self, payload_digest: bytes = b"") -> CacheKey:
        """What decides the answer (RFC 7252 section 5.6): method, URI, Accept and other options that are no NoCacheKey;
        of a FETCH its payload too (RFC 8132 section 2.1)."""
        others = tuple(pair for pair in self.carried if not is_no_cache_key(pair[0]))
        if self.content_format is not None:
            others = (*others, (option.CONTENT_FORMAT, encode_uint(self.content_format)))
        return self.method, self.uri, self.accept, others, payload_digest

    def unconditional(self) -> "Question":
        """The same without its conditions."""
        return replace(self, if_match=(), if_none_match=False)

    def as_get(self) -> "Question":
        """The plain GET of what this question wants to change."""
        return replace(self, method=Code.GET, content_format=None, etags=(), if_match=(), if_none_match=False)


def question(request: Message, uri: str) -> Question:
    """Read a request for `uri`; raises Refusal for what must not or cannot be passed on."""
    asked = Question(
        request.code,
        uri,
        _short(request, option.ACCEPT),
        _short(request, option.CONTENT_FORMAT),
        request.options_of(option.ETAG),
        request.options_of(option.IF_MATCH),
        request.option(option.IF_NONE_MATCH) is not None,
        hop_limit(request),
        tuple(pair for pair in request.options if pair[0] not in TAKEN),
    )
    methods.check(asked.method, asked.scheme)
    http = asked.scheme in ("http", "https")
    for number, _ in asked.carried:
        # RFC 7252 section 5.7.1; and HTTP has no place for a critical option.
        if is_unsafe(number) or (http and is_critical(number)):
            raise Refusal(Code.BAD_OPTION, f"option {number} cannot be passed on")
    if http:
        if asked.accept is not None and media.media_type(asked.accept) is None:
            raise Refusal(Code.NOT_ACCEPTABLE, f"content format {asked.accept} has no media type here")
        if asked.content_format is not None and media.media_type(asked.content_format) is None:
            raise Refusal(Code.UNSUPPORTED_CONTENT_FORMAT, f"content format {asked.content_format} has no media type")
    return asked


def hop_limit(request: Message) -> int:
    """The Hop-Limit to pass on (RFC 8768 section 3); raises Refusal 4.00 for a malformed one, 5.08 at its end."""
    value = request.option(option.HOP_LIMIT)
    if value is None:
        return DEFAULT_HOP_LIMIT
    limit = decode_uint(value)
    if len(value) != 1 or limit == 0:
        raise Refusal(Code.BAD_REQUEST, "Hop-Limit is 1 to 255")
    if limit == 1:
        # The payload names the proxy where the loop was found: the service puts its own name in.
        raise Refusal(Code.HOP_LIMIT_REACHED, "")
    return limit - 1


def _short(request: Message, number: int) -> int | None:
    value = request.option(number)
    # An elective option that is too long counts as not known (RFC 7252 section 5.4.3).
    return None if value is None or len(value) > 2 else decode_uint(value)
