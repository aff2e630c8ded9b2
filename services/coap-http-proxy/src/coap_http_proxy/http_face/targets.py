"""Which CoAP resource an HTTP URI stands for (RFC 8075 section 5), and what a CoAP URI looks like in options.

Three forms, each with its template (section 5.4), which `/.well-known/core` tells (section 5.5):

    /hc/{+tu}                             /hc/coap://host:port/path?query     default mapping, section 5.3
    /hc?target_uri={+tu}                  /hc?target_uri=coap://host/path     simple form, section 5.4.1
    /hc?s={+s}&hp={+hp}&p={+p}&q={+q}     /hc?s=coap&hp=host&p=/path&q=query  enhanced form, section 5.4.2
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from coap_wire import options as option

BASE_PATH: Final = "/hc"
RESOURCE_TYPE: Final = "core.hc"
# Links by which a client finds out (section 5.5.1); without `hct` the default mapping is meant.
LINKS: Final = (
    f'<{BASE_PATH}/>;rt="{RESOURCE_TYPE}"',
    f'<{BASE_PATH}>;rt="{RESOURCE_TYPE}";hct="?target_uri={{+tu}}"',
    f'<{BASE_PATH}>;rt="{RESOURCE_TYPE}";hct="?s={{+s}}&hp={{+hp}}&p={{+p}}&q={{+q}}"',
)
DEFAULT_PORT: Final = 5683
MAX_OPTION_BYTES: Final = 255
_COAP_URI: Final = re.compile(r"coaps?://", re.IGNORECASE)
_ENHANCED: Final = re.compile(r"s=([^&]*)&hp=([^&]*)(?:&p=([^&]*))?(?:&q=(.*))?")
# `coap:/host` too: HTTP clients and proxies on the way fold the double slash.
_DEFAULT_FORM: Final = re.compile(r"(coaps?):/{1,2}(?=[^/])(.*)", re.IGNORECASE)
# RFC 3986: what may stay as it is in a path segment and in a query.
_SEGMENT_SAFE: Final = "!$&'()*+,;=:@"
_QUERY_SAFE: Final = "!$'()*+,;=:@/?"


class NoTarget(ValueError):
    """The HTTP URI names no CoAP resource; 400, with a sentence for its sender."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask and for what: `options` are Uri-Host, Uri-Path and Uri-Query."""

    host: str
    port: int
    options: tuple[tuple[int, bytes], ...]


def target_uri(raw_path: str, raw_query: str) -> str:
    """The CoAP URI that a request target below `/hc` stands for, both parts as they were sent; raises NoTarget."""
    rest = raw_path.removeprefix(BASE_PATH)
    if rest in ("", "/") and raw_query:
        uri = _from_query(raw_query)
        if not _COAP_URI.match(uri):
            raise NoTarget("the target has to be a coap:// URI")
        return uri
    found = _DEFAULT_FORM.fullmatch(rest.removeprefix("/"))
    if found is None:
        # Section 5.3.1: without a scheme there must be an agreement beforehand, and there is none.
        raise NoTarget("write the CoAP URI with its scheme behind /hc/, or as /hc?target_uri=")
    authority, slash, path = found[2].partition("/")
    # Section 5.3.2: the brackets of an IPv6 address travel encoded; all else is as the target has it.
    return f"{found[1].lower()}://{unquote(authority)}{slash}{path}" + (f"?{raw_query}" if raw_query else "")


def _from_query(raw_query: str) -> str:
    if raw_query.startswith("target_uri="):
        # {+tu} lets reserved characters stand: the target's own `&` and `?` follow unmarked, unless all is encoded.
        uri = raw_query.removeprefix("target_uri=")
        return uri if "://" in uri else unquote(uri)
    if found := _ENHANCED.fullmatch(raw_query):
        scheme, authority, path, query = found[1], unquote(found[2]), found[3] or "", found[4] or ""
        if path and not path.startswith("/"):
            raise NoTarget("p has to begin with a slash")
        return f"{scheme}://{authority}{path}" + (f"?{query}" if query else "")
    raise NoTarget("the query fits no template of /.well-known/core")


def parse(uri: str) -> Target:
    """Take a CoAP URI apart (RFC 7252 section 6.4); it has passed the allow-list. Raises NoTarget."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    options = [(option.URI_HOST, host.encode())] if not _is_address(host) else []
    if parts.path not in ("", "/"):
        options += [(option.URI_PATH, unquote_to_bytes(part)) for part in parts.path[1:].split("/")]
    if parts.query:
        options += [(option.URI_QUERY, unquote_to_bytes(part)) for part in parts.query.split("&")]
    try:
        for _, value in options:
            value.decode()  # RFC 7252 section 5.10.1: these options are text
    except UnicodeDecodeError as error:
        raise NoTarget("a part of the path or query is not UTF-8") from error
    if any(len(value) > MAX_OPTION_BYTES for _, value in options):
        raise NoTarget(f"a part of the path or query is longer than {MAX_OPTION_BYTES} bytes")
    return Target(host, parts.port or DEFAULT_PORT, tuple(options))


def location(path: tuple[str, ...], query: tuple[str, ...], target: str) -> str:
    """Location header of a 2.01: the new resource as this proxy's own URI, default form (RFC 8075 section 5.3)."""
    parts = urlsplit(target)
    # The brackets of an IPv6 address are encoded, as section 5.3.2 wants it.
    authority = quote(parts.netloc, safe=":")
    uri = f"{BASE_PATH}/{parts.scheme}://{authority}/" + "/".join(quote(part, safe=_SEGMENT_SAFE) for part in path)
    return uri + ("?" + "&".join(quote(part, safe=_QUERY_SAFE) for part in query) if query else "")


def directory(raw_query: str) -> str:
    """Links for `/.well-known/core`, filtered by `rt=` (RFC 6690 section 4.1)."""
    name, _, wanted = raw_query.partition("=")
    wanted = unquote(wanted)
    if not raw_query or (name == "rt" and (wanted == RESOURCE_TYPE or _starts(wanted))):
        return ",".join(LINKS)
    return ""


def _starts(pattern: str) -> bool:
    return pattern.endswith("*") and RESOURCE_TYPE.startswith(pattern[:-1])


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
