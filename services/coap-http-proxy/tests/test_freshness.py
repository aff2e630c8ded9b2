"""How long an answer lives: HTTP's headers, one row each, and what becomes of errors."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coap_http_proxy.mapping import freshness
from coap_http_proxy.mapping.freshness import STALE_SECONDS, Freshness
from coap_wire import Code

NOW = 1_800_000_000.0


def at(seconds: float) -> str:
    return formatdate(NOW + seconds, usegmt=True)


@pytest.mark.rfc("7252-5.6.1-a", "7252-5.6.1-b", "7252-10.1.1-c")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"cache-control": "max-age=10"}, 10),
        ({"cache-control": "public, max-age=10", "age": "4"}, 6),
        ({"cache-control": "max-age=10", "age": "40"}, 0),
        ({"cache-control": 'max-age="10"'}, 10),
        ({"cache-control": "MAX-AGE=10"}, 10),
        ({"cache-control": "max-age=10, max-age=99"}, 10),
        ({"cache-control": "max-age=nonsense"}, 0),
        ({"cache-control": "max-age=-1"}, 0),
        ({"cache-control": "max-age=99999999999999999999"}, 0xFFFFFFFF),
        ({"cache-control": "s-maxage=5, max-age=10"}, 5),
        ({"expires": at(30)}, 30),
        ({"expires": at(30), "date": at(10)}, 20),
        ({"expires": at(-30)}, 0),
        ({"expires": "0"}, 0),
        ({"expires": "Thu, 99 Foo 9999 99:99:99 GMT"}, 0),
        ({"expires": at(30), "cache-control": "max-age=10"}, 10),
        ({"cache-control": "no-cache, max-age=10"}, 0),
        ({"cache-control": "no-store"}, 0),
        ({"cache-control": "private, max-age=10"}, 0),
        ({"age": "x"}, 60),
    ],
)
def test_max_age_follows_from_the_headers(headers: dict[str, str], seconds: int) -> None:
    assert freshness.of_http(headers, NOW).seconds == seconds


@pytest.mark.parametrize(
    ("headers", "shared"),
    [
        ({}, True),
        ({"cache-control": "no-store"}, False),
        ({"cache-control": "private"}, False),
        ({"cache-control": "no-cache"}, True),
        ({"vary": "Accept, accept-encoding"}, True),
        ({"vary": "Cookie"}, False),
        ({"vary": "*"}, False),
    ],
)
def test_other_devices_get_what_is_not_private_and_varies_by_what_is_in_the_key(
    headers: dict[str, str], shared: bool
) -> None:
    assert freshness.of_http(headers, NOW).shared is shared


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        ("max-age=1", STALE_SECONDS),
        ("max-age=1, stale-if-error=7", 7),
        ("max-age=1, stale-if-error=0", 0),
        ("max-age=1, must-revalidate", 0),
        ("max-age=1, proxy-revalidate, stale-if-error=9", 0),
        ("s-maxage=1", 0),
        ("max-age=1, stale-if-error=999999999", freshness.MAX_STALE_SECONDS),
    ],
)
def test_stale_answers_are_served_as_long_as_the_upstream_allows(control: str, seconds: int) -> None:
    assert freshness.of_http({"cache-control": control}, NOW).stale_seconds == seconds


@pytest.mark.rfc("8516-3-b")
@pytest.mark.parametrize(
    ("code", "status", "value", "expected"),
    [
        (Code.SERVICE_UNAVAILABLE, 503, "120", 120),
        (Code.SERVICE_UNAVAILABLE, 503, "", 5),
        (Code.SERVICE_UNAVAILABLE, 503, "soon", 5),
        (Code.SERVICE_UNAVAILABLE, 503, at(30), 30),
        (Code.SERVICE_UNAVAILABLE, 503, "999999", freshness.LONGEST_RETRY_SECONDS),
        (Code.SERVICE_UNAVAILABLE, 503, "0", 1),
        (Code.TOO_MANY_REQUESTS, 429, "7", 7),
        (Code.NOT_FOUND, 404, "120", 5),
        (Code.NOT_FOUND, 410, "", 60),
        (Code.BAD_GATEWAY, 502, "", 2),
    ],
)
def test_an_error_lives_shortly_or_as_long_as_retry_after_says(
    code: int, status: int, value: str, expected: int
) -> None:
    assert freshness.of_failure(code, status, {"retry-after": value}, NOW) == Freshness(expected)


def test_an_error_that_concerns_one_request_is_not_told_to_others() -> None:
    for code in (Code.BAD_REQUEST, Code.UNAUTHORIZED, Code.FORBIDDEN, Code.PRECONDITION_FAILED):
        assert freshness.of_failure(code, 400, {}, NOW) is None


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=40))
def test_no_header_breaks_the_rules(control: str, expires: str, age: str) -> None:
    found = freshness.of_http({"cache-control": control, "expires": expires, "age": age, "date": age}, NOW)
    assert 0 <= found.seconds <= 0xFFFFFFFF
    freshness.retry_after(expires, NOW)
