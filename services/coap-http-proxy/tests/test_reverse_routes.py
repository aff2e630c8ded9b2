"""Reverse routes: which path stands for which upstream URI, and which texts are no routes."""

import pytest

from coap_http_proxy.mapping.reverse import parse_routes, upstream_uri
from coap_http_proxy.mapping.uris import Base, ForbiddenUri, allowed

ROUTES = parse_routes("/fw=http://files.lan:8000/firmware/, /fw/beta=https://beta.lan ,/s=coap://[::1]/sensors")


@pytest.mark.rfc("7252 5.7.3")
@pytest.mark.parametrize(
    ("path", "query", "uri"),
    [
        (("fw", "a.bin"), (), "http://files.lan:8000/firmware/a.bin"),
        (("fw", "d", "a.bin"), (), "http://files.lan:8000/firmware/d/a.bin"),
        (("fw",), (), "http://files.lan:8000/firmware"),
        (("fw", ""), (), "http://files.lan:8000/firmware/"),
        (("fw", "beta", "a"), (), "https://beta.lan/a"),
        (("fw", "betamax"), (), "http://files.lan:8000/firmware/betamax"),
        (("s", "t"), ("unit=C", "n=1"), "coap://[::1]/sensors/t?unit=C&n=1"),
        (("fw", "ü b"), (), "http://files.lan:8000/firmware/%C3%BC%20b"),
        (("fw", "a"), ("x=1&y=2",), "http://files.lan:8000/firmware/a?x=1%26y=2"),
        (("fw", "a?b#c%2e"), (), "http://files.lan:8000/firmware/a%3Fb%23c%252e"),
        (("other",), (), None),
        (("fwx", "a"), (), None),
        ((), (), None),
    ],
)
def test_a_path_below_a_prefix_stands_for_a_uri_below_its_base(
    path: tuple[str, ...], query: tuple[str, ...], uri: str | None
) -> None:
    assert upstream_uri(path, query, ROUTES) == uri
    if uri is not None:
        assert allowed(uri, [route.base for route in ROUTES]) in [route.base for route in ROUTES]


@pytest.mark.parametrize("climbing", ["..", "../x", "..;a", "%2e%2e"])
def test_no_segment_climbs_out_of_its_base(climbing: str) -> None:
    uri = upstream_uri(("fw", climbing, "secret"), (), ROUTES)
    assert uri is not None
    with pytest.raises(ForbiddenUri):
        allowed(uri, [route.base for route in ROUTES])


def test_a_route_names_the_base_that_has_to_be_allowed() -> None:
    (route,) = parse_routes("/fw=http://Files.LAN/firmware")
    assert route.base == Base("http", "files.lan", 80, "/firmware/")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fw=http://a", "write /prefix="),
        ("/fw", "write /prefix="),
        ("/=http://a", "write /prefix="),
        ("/a//b=http://a", "write /prefix="),
        ("/f=http://a", "answered by the proxy itself"),
        ("/.well-known/x=http://a", "answered by the proxy itself"),
        ("/a/../b=http://a", "dot segments"),
        ("/a=http://a/?q=1", "holds a query"),
        ("/a=ftp://a", "scheme ftp"),
        ("/a=http://", "no host"),
        ("/a=http://x,/a=http://y", "given twice"),
    ],
)
def test_what_is_no_route_is_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_routes(text)


def test_no_text_is_no_routes() -> None:
    assert parse_routes(" ") == ()
