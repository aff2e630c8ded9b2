"""HTTP to CoAP as rules: which URI stands for which resource, header for which option, code for which status."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from coap_http_proxy.http_face import targets, translation
from coap_http_proxy.http_face.targets import NoTarget, Target
from coap_http_proxy.http_face.translation import Refused
from coap_wire import Code, Message, Type
from coap_wire import options as option

HOST = (option.URI_HOST, b"s.example")


@pytest.mark.rfc("8075-5.3-a", "8075-5.3.2-a", "8075 5.4")
@pytest.mark.parametrize(
    ("path", "query", "uri"),
    [
        ("/hc/coap://s.example/light", "", "coap://s.example/light"),
        ("/hc/coap://s.example:61616/a/b", "on&x=1", "coap://s.example:61616/a/b?on&x=1"),
        ("/hc/coap://s.example", "", "coap://s.example"),
        ("/hc/coap:/s.example/light", "", "coap://s.example/light"),
        ("/hc/COAP://s.example/A", "", "coap://s.example/A"),
        ("/hc/coap://%5B2001:db8::1%5D/light", "on", "coap://[2001:db8::1]/light?on"),
        ("/hc/coap://s.example/a%2Fb", "", "coap://s.example/a%2Fb"),
        ("/hc", "target_uri=coap://s.example/light?on&x=1", "coap://s.example/light?on&x=1"),
        ("/hc/", "target_uri=coap://s.example/light", "coap://s.example/light"),
        ("/hc", "target_uri=coap%3A%2F%2Fs.example%2Flight%3Fon", "coap://s.example/light?on"),
        ("/hc", "s=coap&hp=s.example:61616&p=/light&q=on", "coap://s.example:61616/light?on"),
        ("/hc", "s=coap&hp=s.example&p=/light&q=", "coap://s.example/light"),
        ("/hc", "s=coap&hp=s.example&p=/light&q=a=1&b=2", "coap://s.example/light?a=1&b=2"),
        ("/hc", "s=coap&hp=%5B::1%5D", "coap://[::1]"),
    ],
)
def test_an_http_uri_stands_for_a_coap_uri(path: str, query: str, uri: str) -> None:
    assert targets.target_uri(path, query) == uri


@pytest.mark.rfc("8075-5.3.1-a")
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/hc/", ""),
        ("/hc", ""),
        ("/hc/s.example/light", ""),
        ("/hc//s.example/light", ""),
        ("/hc/http://s.example/light", ""),
        ("/hc/coap:///light", ""),
        ("/hc", "uri=coap://s.example"),
        ("/hc", "target_uri=http://s.example/light"),
        ("/hc", "target_uri=s.example/light"),
        ("/hc", "s=http&hp=s.example&p=/light&q="),
        ("/hc", "s=coap&hp=s.example&p=light"),
    ],
)
def test_what_stands_for_nothing_is_refused(path: str, query: str) -> None:
    with pytest.raises(NoTarget):
        targets.target_uri(path, query)


@pytest.mark.rfc("7252 6.4")
@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("coap://s.example", Target("s.example", 5683, (HOST,))),
        ("coap://s.example/", Target("s.example", 5683, (HOST,))),
        ("coap://S.Example:61616/", Target("s.example", 61616, (HOST,))),
        ("coap://192.0.2.1/a", Target("192.0.2.1", 5683, ((option.URI_PATH, b"a"),))),
        ("coap://[2001:db8::1]/a", Target("2001:db8::1", 5683, ((option.URI_PATH, b"a"),))),
        (
            "coap://192.0.2.1/a%2Fb//%C3%BC/?q=1&&%26",
            Target(
                "192.0.2.1",
                5683,
                (
                    *((option.URI_PATH, part) for part in (b"a/b", b"", "ü".encode(), b"")),
                    *((option.URI_QUERY, part) for part in (b"q=1", b"", b"&")),
                ),
            ),
        ),
    ],
)
def test_a_coap_uri_is_taken_apart_into_options(uri: str, target: Target) -> None:
    assert targets.parse(uri) == target


def test_a_part_that_is_no_text_is_refused() -> None:
    with pytest.raises(NoTarget, match="not UTF-8"):
        targets.parse("coap://192.0.2.1/%ff")


def test_a_part_too_long_for_an_option_is_refused() -> None:
    assert targets.parse("coap://192.0.2.1/" + "a" * 255).options == ((option.URI_PATH, b"a" * 255),)
    with pytest.raises(NoTarget, match="longer than 255"):
        targets.parse("coap://192.0.2.1/" + "a" * 256)


@pytest.mark.rfc("8075-5.5-a", "8075-5.4.2-a")
@pytest.mark.parametrize(
    ("query", "count"), [("", 3), ("rt=core.hc", 3), ("rt=core.*", 3), ("rt=core.rd", 0), ("if=x", 0)]
)
def test_the_directory_names_each_form_by_its_template(query: str, count: int) -> None:
    links = targets.directory(query)
    assert links.count('rt="core.hc"') == count
    assert ('hct="?target_uri={+tu}"' in links) == bool(count)


def asked(
    method: str, headers: Mapping[str, str] = MappingProxyType({}), *, body: bool = False
) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    request = translation.request_of(method, headers, Target("192.0.2.1", 5683, ()), has_body=body)
    return request.code, request.options


@pytest.mark.rfc("7252 10.2")
@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("GET", Code.GET),
        ("HEAD", Code.GET),
        ("POST", Code.POST),
        ("PUT", Code.PUT),
        ("DELETE", Code.DELETE),
        ("PATCH", Code.PATCH),
    ],
)
def test_a_method_has_its_code(method: str, code: int) -> None:
    assert asked(method) == (code, ())


@pytest.mark.rfc("7252 10.2")
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "BREW", "get"])
def test_a_method_without_counterpart_is_not_implemented(method: str) -> None:
    with pytest.raises(Refused) as refused:
        asked(method)
    assert refused.value.status == 501


@pytest.mark.rfc("8075 6.2", "8075 6.3")
@pytest.mark.parametrize(
    ("content_type", "options"),
    [
        ("application/json", ((option.CONTENT_FORMAT, b"\x32"),)),
        ("text/plain; charset=utf-8", ((option.CONTENT_FORMAT, b""),)),
        ("application/coap-payload;cf=65000", ((option.CONTENT_FORMAT, b"\xfd\xe8"),)),
        ("application/vnd.example+json", ((option.CONTENT_FORMAT, b"\x32"),)),
        ("text/html", ((option.CONTENT_FORMAT, b""),)),
        (None, ()),
    ],
)
def test_a_body_is_told_by_its_content_format(content_type: str | None, options: tuple[tuple[int, bytes], ...]) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert asked("POST", headers, body=True)[1] == options


@pytest.mark.rfc("8075-6.1-a")
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-unknown"},
        {"content-type": "application/coap-payload"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_a_body_that_no_content_format_names_is_unsupported(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        asked("POST", headers, body=True)
    assert refused.value.status == 415


@pytest.mark.rfc("8075-6.1-b", "8075-6.1-c")
@pytest.mark.parametrize(
    ("accept", "options"),
    [
        ("application/json", ((option.ACCEPT, b"\x32"),)),
        ("application/json;q=0.5, application/cbor", ((option.ACCEPT, b"\x3c"),)),
        ("application/x-unknown, application/cbor;q=0.1", ((option.ACCEPT, b"\x3c"),)),
        ("application/json;q=0, application/cbor", ((option.ACCEPT, b"\x3c"),)),
        ("text/html, */*;q=0.1", ()),
        ("*/*", ()),
        ("text/html", ()),
        ("application/json;q=0", ()),
        ("application/json;q=x", ()),
        ("application/*", ()),
    ],
)
def test_accept_is_sent_only_when_nothing_else_would_do(accept: str, options: tuple[tuple[int, bytes], ...]) -> None:
    assert asked("GET", {"accept": accept})[1] == options


@pytest.mark.rfc("7252 5.10.6.2", "7252 5.10.8")
@pytest.mark.parametrize(
    ("method", "headers", "options"),
    [
        ("GET", {"if-none-match": '"0102", W/"03"'}, ((option.ETAG, b"\1\2"), (option.ETAG, b"\3"))),
        ("GET", {"if-none-match": '"not ours", "00112233445566778899"'}, ()),
        ("GET", {"if-none-match": "*"}, ()),
        ("PUT", {"if-none-match": "*"}, ((option.IF_NONE_MATCH, b""),)),
        ("PUT", {"if-match": "*"}, ((option.IF_MATCH, b""),)),
        ("PUT", {"if-match": '"0102", W/"03"'}, ((option.IF_MATCH, b"\1\2"),)),
    ],
)
def test_conditions_are_carried_over(
    method: str, headers: dict[str, str], options: tuple[tuple[int, bytes], ...]
) -> None:
    assert asked(method, headers)[1] == options


@pytest.mark.parametrize(("headers", "status"), [({"if-match": '"not ours"'}, 412), ({"if-none-match": '"0102"'}, 501)])
def test_a_condition_coap_cannot_say_is_never_dropped(headers: dict[str, str], status: int) -> None:
    with pytest.raises(Refused) as refused:
        asked("PUT", headers)
    assert refused.value.status == status


def answered(code: int, *options: tuple[int, bytes], body: bool = True) -> tuple[int, dict[str, str]]:
    message = Message(Type.ACK, code, 1, options=tuple(sorted(options, key=lambda one: one[0])))
    face = translation.response_of(message, "coap://[2001:db8::1]:61616/list", has_body=body)
    return face.status, face.headers


@pytest.mark.rfc("8075-7-a", "8075-7-d", "8075-6.2-a")
@pytest.mark.parametrize(
    ("code", "options", "body", "status", "headers"),
    [
        (Code.CONTENT, (), True, 200, {"Cache-Control": "max-age=60"}),
        (
            Code.CONTENT,
            ((option.MAX_AGE, b""), (option.ETAG, b"\1\xff"), (option.CONTENT_FORMAT, b"\x32")),
            True,
            200,
            {"Cache-Control": "max-age=0", "ETag": '"01ff"', "Content-Type": "application/json"},
        ),
        (
            Code.CONTENT,
            ((option.CONTENT_FORMAT, b"\xfd\xe8"),),
            True,
            200,
            {"Cache-Control": "max-age=60", "Content-Type": "application/coap-payload;cf=65000"},
        ),
        (Code.VALID, ((option.ETAG, b"\1"),), False, 304, {"Cache-Control": "max-age=60", "ETag": '"01"'}),
        (Code.CHANGED, (), False, 204, {}),
        (Code.CHANGED, ((option.CONTENT_FORMAT, b""),), True, 200, {"Content-Type": "text/plain; charset=utf-8"}),
        (Code.DELETED, (), False, 204, {}),
        (
            Code.CREATED,
            ((option.LOCATION_PATH, b"list"), (option.LOCATION_PATH, b"a/b"), (option.LOCATION_QUERY, b"v=1")),
            False,
            201,
            {"Location": "/hc/coap://%5B2001:db8::1%5D:61616/list/a%2Fb?v=1"},
        ),
        (Code.CREATED, ((option.LOCATION_PATH, b"\xff"),), False, 201, {}),
        (Code.NOT_FOUND, (), True, 404, {"Content-Type": "text/plain; charset=utf-8"}),
        (Code.BAD_OPTION, (), False, 500, {}),
        (Code.METHOD_NOT_ALLOWED, (), False, 400, {}),
        (Code.SERVICE_UNAVAILABLE, ((option.MAX_AGE, b"\x07"),), False, 503, {"Retry-After": "7"}),
        (Code.TOO_MANY_REQUESTS, (), False, 429, {"Retry-After": "60"}),
        (Code.GATEWAY_TIMEOUT, (), False, 504, {}),
    ],
)
def test_a_response_has_its_status_and_headers(
    code: int, options: tuple[tuple[int, bytes], ...], body: bool, status: int, headers: dict[str, str]
) -> None:
    assert answered(code, *options, body=body) == (status, headers)
