"""An HTTP request as a CoAP message, the CoAP response as HTTP (RFC 7252 section 10.2, RFC 8075 sections 6 to 8)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from coap_http_proxy.http_face import targets
from coap_http_proxy.mapping import media
from coap_http_proxy.mapping.codes import http_status
from coap_wire import Code, DecodeError, Message, Type, encode_uint, is_success
from coap_wire import options as option

METHODS: Final[dict[str, int]] = {
    "GET": Code.GET,
    # RFC 7252 section 10.2.2: as GET; the body then stays here.
    "HEAD": Code.GET,
    "POST": Code.POST,
    "PUT": Code.PUT,
    "DELETE": Code.DELETE,
    # RFC 8132 section 3 keeps HTTP's meaning.
    "PATCH": Code.PATCH,
}
# RFC 7252 section 5.10.5: what holds when the response says nothing.
DEFAULT_MAX_AGE: Final = 60
MAX_ETAG_BYTES: Final = 8
MAX_ETAGS: Final = 8
_QUOTED: Final = re.compile(r'(W/)?"([^"]*)"')
_RETRY_CODES: Final = (Code.SERVICE_UNAVAILABLE, Code.TOO_MANY_REQUESTS)


class Refused(Exception):
    """The proxy answers by itself: HTTP status and a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Face:
    """Status and headers of the HTTP response."""

    status: int
    headers: dict[str, str]


def request_of(method: str, headers: Mapping[str, str], target: targets.Target, *, has_body: bool) -> Message:
    """The CoAP request without its payload and blocks; `headers` have lower-case names. Raises Refused."""
    code = METHODS.get(method)
    if code is None:
        # RFC 7252 section 10.2: OPTIONS, TRACE, CONNECT and what is unknown have no counterpart.
        raise Refused(501, f"{method[:20]} has no counterpart in CoAP")
    options = list(target.options)
    if has_body:
        options += _content(headers)
    options += _accept(headers.get("accept"))
    options += _conditions(code, headers)
    return Message(Type.CON, code, 0, options=tuple(sorted(options, key=lambda one: one[0])))


def _content(headers: Mapping[str, str]) -> Iterable[tuple[int, bytes]]:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "CoAP has no content codings: send the body as it is")
    if "content-type" not in headers:
        return
    number = media.content_format(headers["content-type"], loose=True)
    if number is None:
        # RFC 8075 section 6.1: a type that has no number cannot be told to the device.
        raise Refused(415, "the media type has no CoAP content format; application/coap-payload;cf=N names any")
    yield option.CONTENT_FORMAT, encode_uint(number)


def _accept(header: str | None) -> Iterable[tuple[int, bytes]]:
    """CoAP's Accept is one format and critical: it is sent only when the client takes nothing else.

    What cannot be said is left away (RFC 8075 section 6.1): better another type than none.
    """
    if header is None:
        return
    found: list[tuple[float, int]] = []
    for part in header.split(","):
        name, quality = _quality(part)
        if quality <= 0:
            continue
        if name.partition(";")[0].strip().endswith("/*"):
            return
        number = media.content_format(name)
        if number is not None:
            found.append((quality, number))
    if found:
        yield option.ACCEPT, encode_uint(max(found, key=lambda one: one[0])[1])


def _quality(part: str) -> tuple[str, float]:
    name, quality = [], 1.0
    for piece in part.split(";"):
        key, _, value = piece.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
            break
        name.append(piece)
    return ";".join(name).strip(), quality


def _conditions(code: int, headers: Mapping[str, str]) -> Iterable[tuple[int, bytes]]:
    """If-None-Match of a GET validates (RFC 7252 section 5.10.6.2), of other methods it is `*` or nothing."""
    none_match, match = headers.get("if-none-match"), headers.get("if-match")
    if none_match is not None:
        if none_match.strip() == "*":
            if code != Code.GET:
                yield option.IF_NONE_MATCH, b""
        elif code == Code.GET:
            yield from ((option.ETAG, tag) for tag in entity_tags(none_match, weak=True))
        else:
            raise Refused(501, "CoAP knows If-None-Match: * only")
    if match is not None:
        if match.strip() == "*":
            yield option.IF_MATCH, b""
            return
        tags = entity_tags(match, weak=False)
        if not tags:
            raise Refused(412, "no entity tag of If-Match is one of a CoAP resource")
        yield from ((option.IF_MATCH, tag) for tag in tags)


def entity_tags(header: str, *, weak: bool) -> Sequence[bytes]:
    """CoAP ETags of an HTTP list of tags; those that never came from here are left out."""
    tags = []
    for is_weak, text in _QUOTED.findall(header):
        if is_weak and not weak:
            continue
        try:
            tag = bytes.fromhex(text)
        except ValueError:
            continue
        if 1 <= len(tag) <= MAX_ETAG_BYTES:
            tags.append(tag)
    return tags[:MAX_ETAGS]


def response_of(response: Message, uri: str, *, has_body: bool) -> Face:
    """Status and headers for the (first block of the) response to a request for `uri`."""
    headers = {}
    max_age = response.uint(option.MAX_AGE)
    if response.code in (Code.CONTENT, Code.VALID):
        headers["Cache-Control"] = f"max-age={DEFAULT_MAX_AGE if max_age is None else max_age}"
    elif response.code in _RETRY_CODES:
        # RFC 7252 section 5.9.3.4 and RFC 8516 section 3: when to come again.
        headers["Retry-After"] = str(DEFAULT_MAX_AGE if max_age is None else max_age)
    etag = response.option(option.ETAG)
    if etag:
        headers["ETag"] = f'"{etag.hex()}"'
    if has_body and is_success(response.code):
        number = response.uint(option.CONTENT_FORMAT)
        # RFC 8075 section 6: without Content-Format nothing is known, and nothing is said.
        if number is not None:
            headers["Content-Type"] = media.media_type_or_number(number)
    elif has_body:
        headers["Content-Type"] = "text/plain; charset=utf-8"  # a diagnostic, RFC 7252 section 5.5.2
    if response.code == Code.CREATED:
        try:
            path, query = response.location_path, _location_query(response)
        except (DecodeError, UnicodeDecodeError):
            path, query = (), ()
        if path or query:
            headers["Location"] = targets.location(path, query, uri)
    return Face(http_status(response.code, payload=has_body), headers)


def _location_query(response: Message) -> tuple[str, ...]:
    return tuple(value.decode() for value in response.options_of(option.LOCATION_QUERY))
