"""HTTP headers made of CoAP options, and options made of headers (RFC 7252 section 10.1, RFC 8075 section 6)."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urljoin, urlsplit

from coap_http_proxy.mapping import media, uri_options
from coap_http_proxy.mapping.questions import Question
from coap_http_proxy.mapping.reverse import Route
from coap_wire import Options
from coap_wire import options as option

# RFC 7252 section 5.10.7 sets no number; more is no location a device will follow.
MAX_LOCATION_OPTIONS: Final = 16
MAX_VALUE_BYTES: Final = 4096
# Of an answer: these say who else may get it.
FORBIDDING: Final = ("cache-control", "vary")


def request_headers(asked: Question, via: str) -> dict[str, str]:
    """What goes along with a question but for its conditions; names in lower case.

    `via` is this proxy's pseudonym (RFC 9110 section 7.6.3): by it an HTTP-to-CoAP proxy behind finds a loop.
    """
    headers = {"accept-encoding": "identity", "via": via}
    if asked.accept is not None and (wanted := media.media_type(asked.accept)):
        headers["accept"] = wanted
    if asked.content_format is not None and (sent := media.media_type(asked.content_format)):
        headers["content-type"] = sent
    if asked.if_none_match:
        headers["if-none-match"] = "*"
    if b"" in asked.if_match:
        headers["if-match"] = "*"
    return headers


def answer_headers(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of an answer that are short enough to be read; names in lower case. The others count as absent, but
    those that may forbid to keep the answer, which then are taken to forbid it."""
    told = {name: value for name, value in given if len(value) <= MAX_VALUE_BYTES or name in FORBIDDING}
    if any(len(told.get(name, "")) > MAX_VALUE_BYTES for name in FORBIDDING):
        told["cache-control"] = "no-store"
    return told


def strong(etag: str | None) -> str | None:
    """An ETag header's value when it is a strong one: a weak one joins nothing (RFC 9110 section 8.8.3.2)."""
    return etag if etag and 2 <= len(etag) <= 256 and etag[0] == etag[-1] == '"' else None


def answered_format(content_type: str, accept: int | None) -> int | None:
    """The Content-Format of a response. What has no number of its own is octet-stream for who asks for that."""
    found = media.content_format(content_type)
    return 42 if accept == 42 and found is None else found


def joined(uri: str, reference: str) -> str:
    """What a Location says, seen from `uri`; the reference as it is when it is none, which no allow-list holds."""
    try:
        return urljoin(uri, reference)
    except ValueError:
        return reference


def location_options(location: str, uri: str, route: Route | None) -> Options:
    """Location-Path and Location-Query of a 2.01; nothing when they cannot say it (RFC 7252 section 5.10.7).

    They are relative to what the device asked: so for the upstream's own origin only, and by a reverse route below its
    prefix only.
    """
    try:
        to, origin = urlsplit(urljoin(uri, location)), urlsplit(uri)
        if (to.scheme, to.netloc.lower()) != (origin.scheme, origin.netloc.lower()):
            return ()
        path = to.path
        if route is not None:
            base = urlsplit(route.url).path
            if not (path + "/").startswith(base + "/"):
                return ()
            path = "/" + "/".join(route.prefix) + path.removeprefix(base)
        options = (
            *uri_options.path_options(path, option.LOCATION_PATH),
            *uri_options.query_options(to.query, option.LOCATION_QUERY),
        )
    except ValueError:
        return ()
    if len(options) > MAX_LOCATION_OPTIONS or any(value in (b".", b"..") for _, value in options):
        return ()
    return options
