"""What a request asks for, read from its options: forward by URI or by parts, reverse by path, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coap_http_proxy.mapping import headers, methods, questions, requests, uri_options
from coap_http_proxy.mapping.questions import Question, question
from coap_http_proxy.mapping.requests import Directory, Health, Proxied, Refusal, Ticketed, wanted
from coap_http_proxy.mapping.reverse import parse_routes
from coap_http_proxy.mapping.uris import parse_authorities
from coap_wire import Code, Message, Options, Type
from coap_wire import options as option

ROUTES = parse_routes("/fw=http://files.lan/firmware")
TOKEN = "abcdefghijkl"
ROUTED = Proxied("http://files.lan/firmware/a%2Fb?c", ROUTES[0])


def asking(*options: tuple[int, bytes], code: int = Code.GET, payload: bytes = b"") -> Message:
    return Message(Type.CON, code, 1, b"", tuple(sorted(options, key=lambda pair: pair[0])), payload)


def by_parts(scheme: str, host: str, *more: tuple[int, bytes]) -> Message:
    return asking((option.PROXY_SCHEME, scheme.encode()), (option.URI_HOST, host.encode()), *more)


def path(*segments: str) -> tuple[tuple[int, bytes], ...]:
    return tuple((option.URI_PATH, segment.encode()) for segment in segments)


@pytest.mark.rfc("7252-5.10.2-b", "7252-5.10.2-c", "7252-6.5-a")
@pytest.mark.parametrize(
    ("request_", "uri"),
    [
        (asking((option.PROXY_URI, b"http://a/b?c")), "http://a/b?c"),
        (asking((option.PROXY_URI, b"http://a/b"), *path("x"), (option.URI_HOST, b"evil")), "http://a/b"),
        (asking((option.PROXY_URI, b"http://a/b"), (option.PROXY_SCHEME, b"coap")), "http://a/b"),
        (asking((option.PROXY_URI, b"http://a/b"), *path("coap2http")), "http://a/b"),
        (by_parts("http", "a.example"), "http://a.example/"),
        (by_parts("http", "a.example", *path("x", "y")), "http://a.example/x/y"),
        (by_parts("coap", "a.example", (option.URI_PORT, b"\x16\x33"), *path("x")), "coap://a.example:5683/x"),
        (by_parts("http", "[2001:db8::1]", (option.URI_PORT, b"\x50")), "http://[2001:db8::1]:80/"),
        (by_parts("http", "a", *path("x/y", "ü", "")), "http://a/x%2Fy/%C3%BC/"),
        (by_parts("http", "a", *path("a;b=1", "c@d:e", "%2f", "?#")), "http://a/a;b=1/c@d:e/%252f/%3F%23"),
        (by_parts("http", "a", (option.URI_QUERY, b"k=v&w"), (option.URI_QUERY, b"p/q?r")), "http://a/?k=v%26w&p/q?r"),
        (by_parts("http", "a@b"), "http://a%40b/"),
        (by_parts("http", "a", *path("coap2http", "x")), "http://a/x"),
        (asking(*path("fw", "v1", "a b")), "http://files.lan/firmware/v1/a%20b"),
    ],
)
def test_a_uri_is_put_together_as_the_rfc_says(request_: Message, uri: str) -> None:
    what = wanted(request_, ROUTES)
    assert isinstance(what, Proxied)
    assert what.uri == uri


@pytest.mark.rfc("7252-5.7.2-d")
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5).filter(lambda p: p != [""]),
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), max_size=4),
    st.one_of(st.none(), st.integers(1, 65535)),
)
def test_what_is_put_together_comes_apart_as_it_was(segments: list[str], query: list[str], port: int | None) -> None:
    options = uri_options.taken_apart(uri_options.composed("coap", "a.example", port, segments, query))
    message = asking(*options)
    assert message.option(option.URI_HOST) == b"a.example"
    assert list(message.uri_path) == segments
    assert list(message.uri_query) == query
    assert message.uint(option.URI_PORT) == (None if port == 5683 else port)


@pytest.mark.rfc("7252 6.4")
def test_an_address_is_no_uri_host_and_a_part_too_long_is_no_option() -> None:
    assert uri_options.taken_apart("coap://127.0.0.1:5683/") == ()
    assert uri_options.taken_apart("coap://[::1]/a") == ((option.URI_PATH, b"a"),)
    with pytest.raises(ValueError, match="longer"):
        uri_options.taken_apart("coap://h/" + "x" * 256)


@pytest.mark.parametrize("uri", [f"coap://10.0.0.1:5683/f/{TOKEN}/a.bin", f"http://proxy/f/{TOKEN}/a"])
def test_our_own_package_uri_is_a_ticket_in_every_form(uri: str) -> None:
    assert wanted(asking(*path("f", TOKEN, "a"))) == Ticketed(TOKEN)
    assert wanted(asking((option.PROXY_URI, uri.encode()))) == Ticketed(TOKEN)
    assert wanted(by_parts("coap", "10.0.0.1", *path("f", TOKEN, "a"))) == Ticketed(TOKEN)
    assert requests.shows_ticket(asking((option.PROXY_URI, uri.encode())))


OWN = frozenset({("proxy.lan", 5683), ("10.0.0.1", 5700)})


@pytest.mark.rfc("7252 5.7.2", "7252 5.10.1", "7252 5.10.2")
@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (asking((option.PROXY_URI, b"coap://proxy.lan/.well-known/core")), Directory()),
        (asking((option.PROXY_URI, b"coap://PROXY.lan:5683/health")), Health()),
        (by_parts("coap", "10.0.0.1", (option.URI_PORT, b"\x16\x44"), *path("health")), Health()),
        (asking((option.PROXY_SCHEME, b"coap"), *path("health")), Health()),
        (asking((option.PROXY_URI, b"coap://10.0.0.1:5700/fw/a%2Fb?c")), ROUTED),
        (asking((option.PROXY_URI, b"coap://10.0.0.1/health")), Proxied("coap://10.0.0.1/health")),
        (asking((option.PROXY_URI, b"http://proxy.lan:5683/health")), Proxied("http://proxy.lan:5683/health")),
        (asking((option.PROXY_URI, b"coap://[")), Proxied("coap://[")),
    ],
)
def test_what_is_asked_of_this_proxy_by_its_own_name_is_answered_here(request_: Message, what: object) -> None:
    assert wanted(request_, ROUTES, OWN) == what


def test_an_own_uri_without_a_resource_is_4_04_and_one_that_is_too_long_4_00() -> None:
    for uri, code in (
        ("coap://proxy.lan/nothing", Code.NOT_FOUND),
        ("coap://proxy.lan/" + "x" * 300, Code.BAD_REQUEST),
    ):
        with pytest.raises(Refusal) as refused:
            wanted(asking((option.PROXY_URI, uri.encode())), ROUTES, OWN)
        assert refused.value.code == code


def test_names_of_this_proxy_are_read_from_a_list() -> None:
    assert parse_authorities(" proxy.lan, 10.0.0.1:5700 ,[::1]:1") == {
        ("proxy.lan", 5683),
        ("10.0.0.1", 5700),
        ("::1", 1),
    }
    for text in ("a/b", "a:b", ":5683"):
        with pytest.raises(ValueError, match=r"."):
            parse_authorities(text)


@pytest.mark.parametrize(
    "request_",
    [
        asking(*path(".well-known", "core")),
        asking(*path("f", "short", "a")),
        asking(*path("fw", TOKEN, "a")),
        asking((option.PROXY_URI, b"http://a/f")),
        asking((option.PROXY_URI, b"\xff")),
        asking((option.PROXY_SCHEME, b"http")),
        asking((option.URI_PATH, b"\xff")),
    ],
)
def test_all_else_shows_no_ticket(request_: Message) -> None:
    assert not requests.shows_ticket(request_)


def test_the_directory_is_found() -> None:
    assert wanted(asking(*path(".well-known", "core"))) == Directory()


@pytest.mark.rfc("7252-5.4.1-b", "7252-5.4.3-a", "7252-5.4.5-b", "7252-5.8-a", "7252-5.10.4-a")
@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asking(*path("f", TOKEN, "a"), (option.IF_MATCH, b"x")), Code.BAD_OPTION),
        (asking(*path("f", TOKEN, "a"), (9, b"")), Code.BAD_OPTION),
        (asking((option.PROXY_URI, b"x" * 1035)), Code.BAD_OPTION),
        (asking((option.PROXY_URI, b"http://a/"), (option.PROXY_URI, b"http://b/")), Code.BAD_OPTION),
        (asking((option.PROXY_URI, b"http://a/"), (option.IF_MATCH, b"x" * 9)), Code.BAD_OPTION),
        (asking((option.PROXY_SCHEME, b"http")), Code.BAD_REQUEST),
        (asking((option.PROXY_SCHEME, b"http"), (option.URI_HOST, b"\xff")), Code.BAD_REQUEST),
        (asking((option.PROXY_URI, b"\xff\xfe")), Code.BAD_REQUEST),
        (asking((option.URI_PATH, b"\xff")), Code.BAD_REQUEST),
        (asking(*path("nothing")), Code.NOT_FOUND),
        (asking(*path("nothing"), code=Code.POST), Code.METHOD_NOT_ALLOWED),
        (asking(*path("f", TOKEN, "a"), code=Code.PUT), Code.METHOD_NOT_ALLOWED),
        (asking(*path("f", TOKEN, "a"), code=31), Code.METHOD_NOT_ALLOWED),
        (asking(*path("f", TOKEN, "a"), (option.ACCEPT, b"\x32")), Code.NOT_ACCEPTABLE),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(request_: Message, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        wanted(request_, ROUTES)
    assert refused.value.code == code


@pytest.mark.rfc("7252-5.8-a")
@pytest.mark.parametrize(
    ("method", "to_http", "to_coap"),
    [
        (Code.GET, None, None),
        (Code.POST, None, None),
        (Code.PUT, None, None),
        (Code.DELETE, None, None),
        (Code.FETCH, Code.NOT_IMPLEMENTED, None),
        (Code.PATCH, Code.NOT_IMPLEMENTED, None),
        (Code.IPATCH, Code.NOT_IMPLEMENTED, None),
        (8, Code.METHOD_NOT_ALLOWED, Code.METHOD_NOT_ALLOWED),
        (31, Code.METHOD_NOT_ALLOWED, Code.METHOD_NOT_ALLOWED),
    ],
)
def test_each_method_goes_where_it_may(method: int, to_http: int | None, to_coap: int | None) -> None:
    for scheme, code in (("http", to_http), ("https", to_http), ("coap", to_coap), ("coaps", to_coap)):
        if code is None:
            methods.check(method, scheme)
            continue
        with pytest.raises(Refusal) as refused:
            methods.check(method, scheme)
        assert refused.value.code == code


def asked(uri: str, *options: tuple[int, bytes], code: int = Code.GET) -> Question:
    return question(asking(*options, code=code), uri)


def code_of(uri: str, *options: tuple[int, bytes], code: int = Code.GET) -> int:
    with pytest.raises(Refusal) as refused:
        asked(uri, *options, code=code)
    return refused.value.code


UNKNOWN_SAFE_CRITICAL, UNKNOWN_UNSAFE_CRITICAL, UNKNOWN_SAFE, UNKNOWN_UNSAFE = 2049, 2051, 2048, 2050


@pytest.mark.rfc("7252-5.7.1-d", "7252-5.7.1-e")
def test_unknown_options_are_passed_on_when_they_are_safe_and_refused_when_not() -> None:
    carried = ((UNKNOWN_SAFE, b"a"), (UNKNOWN_SAFE_CRITICAL, b"b"))
    assert asked("coap://a/", *carried).carried == carried
    assert code_of("coap://a/", (UNKNOWN_UNSAFE, b"")) == Code.BAD_OPTION
    assert code_of("coap://a/", (UNKNOWN_UNSAFE_CRITICAL, b"")) == Code.BAD_OPTION
    asked("http://a/", (UNKNOWN_SAFE, b""))
    assert code_of("http://a/", (UNKNOWN_SAFE_CRITICAL, b"")) == Code.BAD_OPTION
    assert code_of("http://a/", (UNKNOWN_UNSAFE, b"")) == Code.BAD_OPTION


@pytest.mark.rfc("7252-5.10.4-a")
def test_formats_without_a_media_type_are_refused_towards_http_only() -> None:
    assert code_of("http://a/", (option.ACCEPT, b"\xfd\xe8")) == Code.NOT_ACCEPTABLE
    assert code_of("http://a/", (option.CONTENT_FORMAT, b"\xfd\xe8"), code=Code.PUT) == Code.UNSUPPORTED_CONTENT_FORMAT
    assert asked("coap://a/", (option.ACCEPT, b"\xfd\xe8")).accept == 65000


@pytest.mark.rfc("8768-3-b", "8768-3-c", "8768-3-e", "8768-3-f")
def test_the_hop_limit_goes_down_and_ends_loops() -> None:
    assert asked("coap://a/").hop_limit == questions.DEFAULT_HOP_LIMIT
    assert asked("coap://a/", (option.HOP_LIMIT, b"\x05")).hop_limit == 4
    assert code_of("coap://a/", (option.HOP_LIMIT, b"\x01")) == Code.HOP_LIMIT_REACHED
    assert code_of("coap://a/", (option.HOP_LIMIT, b"\x00")) == Code.BAD_REQUEST
    assert code_of("coap://a/", (option.HOP_LIMIT, b"")) == Code.BAD_REQUEST
    assert code_of("coap://a/", (option.HOP_LIMIT, b"\x01\x00")) == Code.BAD_REQUEST


@pytest.mark.rfc("7252-5.6-a", "7252-5.6-b", "8132-2-b")
def test_what_decides_an_answer_is_in_its_key_and_nothing_else() -> None:
    key = asked("coap://a/").cache_key()
    no_cache_key = ((option.SIZE1, b"\x09"), (option.SIZE2, b""), (28 + 32 * 64, b"x"))
    beside = ((option.ETAG, b"e"), (option.BLOCK2, b"\x06"), (option.HOP_LIMIT, b"\x05"), (option.ECHO, b"e"))
    for options in (no_cache_key, beside):
        assert asked("coap://a/", *options).cache_key() == key
    for one in ((option.ACCEPT, b"\x32"), (UNKNOWN_SAFE, b"x"), (UNKNOWN_SAFE, b"y")):
        assert asked("coap://a/", one).cache_key() != key
    assert asked("coap://b/").cache_key() != key
    fetch = asked("coap://a/", code=Code.FETCH)
    assert len({fetch.cache_key(b"1"), fetch.cache_key(b"2"), key}) == 3


@pytest.mark.rfc("7252-5.10.8-a")
def test_options_become_headers() -> None:
    sent = headers.request_headers(
        Question(Code.PUT, "http://a/", accept=60, content_format=50, if_none_match=True, if_match=(b"",)), "1.1 me"
    )
    assert sent == {
        "accept-encoding": "identity",
        "via": "1.1 me",
        "accept": "application/cbor",
        "content-type": "application/json",
        "if-none-match": "*",
        "if-match": "*",
    }


@pytest.mark.parametrize(
    ("etag", "strong"), [('"a"', '"a"'), ('W/"a"', None), ("a", None), ("", None), (None, None), ('"', None)]
)
def test_a_weak_tag_joins_nothing(etag: str | None, strong: str | None) -> None:
    assert headers.strong(etag) == strong


def test_octet_stream_is_what_has_no_number_for_who_asks_for_it() -> None:
    assert headers.answered_format("application/gzip", 42) == 42
    assert headers.answered_format("application/gzip", None) is None
    assert headers.answered_format("application/json", 42) == 50


ROUTE = ROUTES[0]


@pytest.mark.rfc("7252-5.10.7-b")
@pytest.mark.parametrize(
    ("location", "route", "options"),
    [
        ("/firmware/new", None, ("firmware", "new")),
        ("new?a=1&b", None, ("firmware", "new", "?a=1", "?b")),
        ("http://files.lan/x%2Fy", None, ("x/y",)),
        ("http://other.lan/x", None, ()),
        ("https://files.lan/x", None, ()),
        ("/firmware/new", ROUTE, ("fw", "new")),
        ("/elsewhere/new", ROUTE, ()),
        ("/" + "x" * 256, None, ()),
        ("/x" * 17, None, ()),
        ("/a/%2e%2e/b", None, ()),
        ("http://[", None, ()),
    ],
)
def test_a_location_is_told_when_coap_can_say_it(location: str, route: object, options: tuple[str, ...]) -> None:
    found: Options = headers.location_options(location, "http://files.lan/firmware/list", ROUTE if route else None)
    told = tuple(("?" if number == option.LOCATION_QUERY else "") + value.decode() for number, value in found)
    assert told == options
