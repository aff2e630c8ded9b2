"""Which method may be passed on to which sort of upstream (RFC 7252 section 10.1, RFC 8132), as data."""

from collections.abc import Container
from typing import Final

from coap_http_proxy.mapping.requests import Refusal
from coap_wire import Code

TO_HTTP: Final[dict[int, str]] = {Code.GET: "GET", Code.POST: "POST", Code.PUT: "PUT", Code.DELETE: "DELETE"}
TO_COAP: Final = frozenset({*TO_HTTP, Code.FETCH, Code.PATCH, Code.IPATCH})
# Answers that may be kept: a FETCH by its payload too (RFC 8132 section 2.1).
CACHEABLE: Final = frozenset({Code.GET, Code.FETCH})
# Asked twice means what asked once means, so a connection that died before the answer may be tried again.
IDEMPOTENT: Final = frozenset({Code.GET, Code.FETCH, Code.PUT, Code.DELETE, Code.IPATCH})


def repeatable(method: int, headers: Container[str]) -> bool:
    """Whether a request whose answer was lost may be sent again (RFC 9110 section 9.2.2); header names in lower case.

    Not a change under a condition: had the first one been carried out, it would break the condition of the second.
    """
    conditional = "if-match" in headers or "if-none-match" in headers
    return method in CACHEABLE or (method in IDEMPOTENT and not conditional)


def check(method: int, scheme: str) -> None:
    """Raises Refusal: 5.01 for a method that HTTP has no agreed form of, 4.05 for one nobody knows."""
    if method not in TO_COAP:
        raise Refusal(Code.METHOD_NOT_ALLOWED, "no such method here")
    if scheme in ("http", "https") and method not in TO_HTTP:
        raise Refusal(Code.NOT_IMPLEMENTED, "HTTP has no agreed form of this method")
