"""URIs put together from CoAP options and taken apart into them (RFC 7252 sections 6.4 and 6.5).

A segment is a segment: a `/` inside one is written `%2F`, a `&` inside a query item `%26`, and comes back as it was.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

from coap_http_proxy.mapping.reverse import QUERY_SAFE, SEGMENT_SAFE
from coap_wire import Options, encode_uint
from coap_wire import options as option

COAP_PORTS: Final = {"coap": 5683, "coaps": 5684}
# RFC 3986 section 3.2.2: what a registered name may hold besides unreserved characters.
HOST_SAFE: Final = "!$&'()*+,;="
MAX_OPTION_BYTES: Final = 255


def composed(scheme: str, host: str, port: int | None, path: Sequence[str], query: Sequence[str]) -> str:
    """The URI that Proxy-Scheme, Uri-Host, Uri-Port, Uri-Path and Uri-Query stand for; `host` may be `[v6]`."""
    literal = host.startswith("[") and host.endswith("]")
    authority = host if literal else quote(host, safe=HOST_SAFE)
    if port is not None:
        authority += f":{port}"
    segments = "/".join(quote(segment, safe=SEGMENT_SAFE) for segment in path)
    return f"{scheme}://{authority}/{segments}" + ("?" + query_of(query) if query else "")


def query_of(items: Sequence[str]) -> str:
    """Uri-Query items as a query, without the question mark."""
    return "&".join(quote(item, safe=QUERY_SAFE) for item in items)


def taken_apart(uri: str) -> Options:
    """Uri-Host (when it is a name), Uri-Port, Uri-Path and Uri-Query of an absolute coap URI.

    Raises ValueError when a part is too long for its option (RFC 7252 section 5.10).
    """
    parts = urlsplit(uri)
    host = parts.hostname or ""
    options: list[tuple[int, bytes]] = []
    # An address as host is where the datagram goes anyway (RFC 7252 section 6.4 step 5).
    if not _is_address(host):
        options.append((option.URI_HOST, unquote_to_bytes(host)))
    if parts.port is not None and parts.port != COAP_PORTS.get(parts.scheme.lower()):
        options.append((option.URI_PORT, encode_uint(parts.port)))
    return (*options, *path_options(parts.path, option.URI_PATH), *query_options(parts.query, option.URI_QUERY))


def path_options(path: str, number: int) -> Options:
    """Uri-Path or Location-Path options of a URI's path; raises ValueError when a segment is too long."""
    if path in ("", "/"):
        return ()
    return tuple((number, _bounded(segment)) for segment in path.removeprefix("/").split("/"))


def query_options(query: str, number: int) -> Options:
    """Uri-Query or Location-Query options of a URI's query; raises ValueError when an item is too long."""
    return tuple((number, _bounded(item)) for item in query.split("&")) if query else ()


def _bounded(text: str) -> bytes:
    value = unquote_to_bytes(text)
    if len(value) > MAX_OPTION_BYTES:
        raise ValueError("a part of the URI is longer than its option may be")
    return value


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
