"""How long an answer may be kept and told again: HTTP's rules (RFC 9111, RFC 5861) become Max-Age (RFC 7252 10.1.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from coap_wire import Code

# What a CoAP client takes for granted when nothing is said (RFC 7252 section 5.10.5).
DEFAULT_SECONDS: Final = 60
MAX_AGE_LIMIT: Final = 0xFFFFFFFF
# Past its freshness an answer is still better than none when the upstream fails: the contract with the operator that
# RFC 9111 section 4.2.4 asks for, unless the upstream forbids it or names another time.
STALE_SECONDS: Final = 300
MAX_STALE_SECONDS: Final = 7 * 86400
# Errors are told again for so long: enough to bear a crowd, short enough that mending shows at once.
NEGATIVE_SECONDS: Final[dict[int, int]] = {
    Code.NOT_FOUND: 5,
    Code.INTERNAL_SERVER_ERROR: 2,
    Code.BAD_GATEWAY: 2,
    Code.SERVICE_UNAVAILABLE: 5,
    Code.GATEWAY_TIMEOUT: 2,
    Code.TOO_MANY_REQUESTS: 5,
}
GONE_SECONDS: Final = 60
LONGEST_RETRY_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Freshness:
    """`seconds` from now it is fresh (Max-Age); `shared` says whether other devices may get it too; `stale_seconds`
    beyond that it may be served when the upstream fails."""

    seconds: int
    shared: bool = True
    stale_seconds: int = 0


def of_http(headers: Mapping[str, str], now: float) -> Freshness:
    """Freshness of a 200 by its headers (names in lower case); `now` is epoch seconds (RFC 9111 section 4.2)."""
    control = directives(headers.get("cache-control", ""))
    if "no-store" in control or "private" in control or not _varies_by_accept_only(headers.get("vary", "")):
        return Freshness(0, shared=False)
    stale = _delta(control.get("stale-if-error"), MAX_STALE_SECONDS)
    if "must-revalidate" in control or "proxy-revalidate" in control or "s-maxage" in control:
        stale = 0
    elif stale is None:
        stale = STALE_SECONDS
    if "no-cache" in control:
        return Freshness(0, True, stale)
    lifetime = _lifetime(control, headers, now)
    return Freshness(max(0, min(lifetime - _age(headers), MAX_AGE_LIMIT)), True, stale)


def of_coap(max_age: int | None) -> Freshness:
    """Freshness by Max-Age, absent: 60 s (RFC 7252 section 5.10.5)."""
    return Freshness(DEFAULT_SECONDS if max_age is None else min(max_age, MAX_AGE_LIMIT), True, STALE_SECONDS)


def of_failure(code: int, status: int, headers: Mapping[str, str], now: float) -> Freshness | None:
    """How long an error may be told again, and its Max-Age; None for one that concerns this request only."""
    if code not in NEGATIVE_SECONDS:
        return None
    seconds = GONE_SECONDS if status == 410 else NEGATIVE_SECONDS[code]
    if code in (Code.SERVICE_UNAVAILABLE, Code.TOO_MANY_REQUESTS):
        asked = retry_after(headers.get("retry-after", ""), now)
        seconds = seconds if asked is None else max(1, min(asked, LONGEST_RETRY_SECONDS))
    return Freshness(seconds)


def retry_after(value: str, now: float) -> int | None:
    """Seconds of a Retry-After header, either form; None when it is absent or nonsense (RFC 9110 section 10.2.3)."""
    if (seconds := _delta(value.strip() or None, MAX_AGE_LIMIT)) is not None:
        return seconds
    at = date(value)
    return None if at is None else max(0, round(at - now))


def directives(text: str) -> dict[str, str]:
    """Cache-Control as name to value, names in lower case; of a repeated one the first counts (RFC 9111, 4.2.1)."""
    found: dict[str, str] = {}
    for name, quoted, plain in re.findall(r'([\w-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s,"]*)))?', text[:4096]):
        found.setdefault(name.lower(), quoted or plain)
    return found


def _lifetime(control: Mapping[str, str], headers: Mapping[str, str], now: float) -> int:
    for name in ("s-maxage", "max-age"):
        if name in control:
            # RFC 9111 section 4.2.1: freshness information that cannot be read is taken as stale.
            return _delta(control[name], MAX_AGE_LIMIT) or 0
    if "expires" in headers:
        expires = date(headers["expires"])
        dated = date(headers.get("date", ""))
        return 0 if expires is None else max(0, round(expires - (now if dated is None else dated)))
    return DEFAULT_SECONDS


def _age(headers: Mapping[str, str]) -> int:
    """RFC 9111 section 4.2.3, but only the Age that is stated: Date less our own clock counts their quarrel."""
    return _delta(headers.get("age"), MAX_AGE_LIMIT) or 0


def _delta(text: str | None, limit: int) -> int | None:
    if text is None or not text.isascii() or not text.isdigit():
        return None
    # RFC 9111 section 1.2.2: a value too large for us is the largest we have.
    return limit if len(text) > 10 else min(int(text), limit)


def date(text: str) -> float | None:
    """Epoch seconds of an HTTP date, None for nonsense."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _varies_by_accept_only(vary: str) -> bool:
    # Accept is in the cache key, and Accept-Encoding is the same in every request of ours.
    names = {name.strip().lower() for name in vary.split(",") if name.strip()}
    return names <= {"accept", "accept-encoding"}
