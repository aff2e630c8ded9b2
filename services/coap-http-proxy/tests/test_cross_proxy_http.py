"""The cross proxy towards HTTP as devices meet it: methods, conditions, freshness, redirects, formats."""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.testing import (
    CoapClient,
    HttpAnswer,
    HttpOrigin,
    HttpRequest,
    before_origin,
    by_uri,
    standing_alone,
)
from coap_wire import Block, Code, Message, Type, decode_uint, encode, encode_uint
from coap_wire import options as option

LARGE = os.urandom(200_001)


def saying(
    status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> Callable[[HttpRequest], HttpAnswer]:
    return lambda _: (status, headers or {}, body)


class Clock:
    """Turned by hand, and put into a proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self.now = 1000.0
        proxy.service.cross_proxy.clock = proxy.upstream.representations.clock = lambda: self.now


@pytest.mark.rfc(
    "7252-10.1.2-a",
    "7252-10.1.2-b",
    "7252-10.1.3-a",
    "7252-10.1.4-a",
    "7252-5.8.2-b",
    "7252-5.8.3-a",
    "7252-5.8.3-b",
    "7252-5.8.4-a",
)
@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        (Code.PUT, 201, Code.CREATED),
        (Code.PUT, 204, Code.CHANGED),
        (Code.POST, 200, Code.CHANGED),
        (Code.POST, 409, Code.CONFLICT),
        (Code.DELETE, 204, Code.DELETED),
        (Code.DELETE, 404, Code.DELETED),
        (Code.DELETE, 403, Code.FORBIDDEN),
    ],
)
async def test_a_method_arrives_as_itself_and_its_status_comes_back_as_a_code(
    method: int, status: int, code: int, tmp_path: Path
) -> None:
    async with before_origin(tmp_path, saying(status)) as (_, client, origin):
        form = ((option.CONTENT_FORMAT, b"\x32"),) if method != Code.DELETE else ()
        body = b'{"a":1}' if method != Code.DELETE else b""
        reply = await client.ask(method, by_uri(origin.url("/in/x?q=1"), *form), body)
        assert reply.code == code
        (asked,) = origin.requests
        assert (asked.method, asked.path, asked.body) == (Code(method).name, "/in/x?q=1", body)
        assert asked.headers.get("content-type") == ("application/json" if body else None)
        assert asked.headers["via"].startswith("coap/1.0 updraft-")


@pytest.mark.rfc("7252-5.8-a", "8132-3-c")
async def test_methods_that_http_does_not_have_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200)) as (_, client, origin):
        for method, code in ((Code.FETCH, 161), (Code.PATCH, 161), (Code.IPATCH, 161), (8, 133), (31, 133)):
            assert (await client.ask(method, by_uri(origin.url("/in/x")), b"x")).code == code
        assert origin.requests == []


@pytest.mark.rfc("7252-5.7.2-c", "7252-5.10.2-c", "7252-6.5-a")
async def test_a_uri_in_parts_is_asked_for_as_it_is_spelt(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, {"Content-Type": "text/plain"}, b"hello")) as (_, client, origin):
        parts = (
            (option.URI_HOST, b"127.0.0.1"),
            (option.URI_PORT, encode_uint(origin.port)),
            *((option.URI_PATH, part) for part in (b"in", b"a/b", "ü".encode())),
            (option.URI_QUERY, b"x&y=1"),
            (option.PROXY_SCHEME, b"http"),
        )
        reply = await client.ask(Code.GET, parts)
        assert (reply.code, reply.payload, reply.uint(option.CONTENT_FORMAT)) == (Code.CONTENT, b"hello", 0)
        assert origin.requests[0].path == "/in/a%2Fb/%C3%BC?x%26y=1"


@pytest.mark.rfc("7252-5.8.2-a", "7252-10.1.4-b")
async def test_a_reverse_path_shows_the_upstream_as_a_resource_of_ours(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(201, {"Location": "/in/firmware/list/7?x=1"})) as (_, client, origin):
        path = tuple((option.URI_PATH, part) for part in (b"fw", b"list"))
        reply = await client.ask(Code.POST, path, b"new")
        assert origin.requests[0].path == "/in/firmware/list"
        assert (reply.code, reply.location_path) == (Code.CREATED, ("fw", "list", "7"))
        assert reply.options_of(option.LOCATION_QUERY) == (b"x=1",)
        dots = ((option.URI_PATH, b"fw"), (option.URI_PATH, b".."), (option.URI_PATH, b"secret"))
        refused = await client.ask(Code.GET, dots)
        assert (refused.code, refused.payload) == (Code.BAD_REQUEST, b"no such resource")
        assert len(origin.requests) == 1


@pytest.mark.rfc("7252-5.6-c", "7252-5.7.1-c", "7252-10.1.1-c")
async def test_a_fresh_answer_is_told_again_and_its_age_counts(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, {"Cache-Control": "max-age=30", "Age": "10"}, b"x")) as (
        proxy,
        client,
        origin,
    ):
        clock = Clock(proxy)
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).uint(option.MAX_AGE) == 20
        clock.now += 15
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).uint(option.MAX_AGE) == 5
        assert len(origin.requests) == 1
        clock.now += 5
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).uint(option.MAX_AGE) == 20
        assert len(origin.requests) == 2


@pytest.mark.rfc("7252-5.6-c", "7252-5.6.2-a", "7252-5.8.1-a", "7252-5.9.1-b", "7252-5.9.1-c", "7252-10.1.1-d")
@pytest.mark.parametrize(
    ("validator", "condition"),
    [
        ({"ETag": '"v1"'}, ("if-none-match", '"v1"')),
        (
            {"Last-Modified": formatdate(1_700_000_000, usegmt=True), "Date": formatdate(1_700_000_100, usegmt=True)},
            ("if-modified-since", formatdate(1_700_000_000, usegmt=True)),
        ),
    ],
)
async def test_a_stale_answer_is_checked_and_not_fetched_again(
    validator: dict[str, str], condition: tuple[str, str], tmp_path: Path
) -> None:
    name, value = condition
    told = {**validator, "Cache-Control": "max-age=10"}

    def answer(asked: HttpRequest) -> HttpAnswer:
        return (304, told, b"") if asked.headers.get(name) == value else (200, told, LARGE[:3000])

    async with before_origin(tmp_path, answer) as (proxy, client, origin):
        clock = Clock(proxy)
        first = await client.get(extra=by_uri(origin.url("/in/a")), block=Block(0, False, 6))
        etag = first.option(option.ETAG)
        assert etag == hashlib.sha256(LARGE[:3000]).digest()[:8]
        clock.now += 11
        again = await client.ask(Code.GET, by_uri(origin.url("/in/a"), (option.ETAG, etag)))
        assert (again.code, again.payload, again.uint(option.MAX_AGE)) == (Code.VALID, b"", 10)
        assert again.option(option.ETAG) == etag
        assert origin.requests[1].headers[name] == value
        # Who does not hold it gets it whole, from here.
        assert await client.fetch(extra=by_uri(origin.url("/in/a"))) == LARGE[:3000]
        assert (len(origin.requests), proxy.upstream.stats.bytes) == (2, 3000)


@pytest.mark.rfc("7252-5.10.8-a", "7252-5.10.8-b")
async def test_a_conditional_put_is_carried_out_under_the_same_condition(tmp_path: Path) -> None:
    def answer(asked: HttpRequest) -> HttpAnswer:
        if asked.method == "GET":
            return 200, {"ETag": '"v7"', "Cache-Control": "max-age=60"}, b"old"
        held = asked.headers.get("if-match") in ('"v7"', "*") and "if-none-match" not in asked.headers
        return (204 if held else 412), {}, b""

    tag = hashlib.sha256(b"old").digest()[:8]
    async with before_origin(tmp_path, answer) as (_, client, origin):

        async def put(*condition: tuple[int, bytes]) -> int:
            return (await client.ask(Code.PUT, by_uri(origin.url("/in/a"), *condition), b"new")).code

        assert await put((option.IF_NONE_MATCH, b"")) == Code.PRECONDITION_FAILED
        assert origin.requests[-1].headers["if-none-match"] == "*"
        assert await put((option.IF_MATCH, b"another")) == Code.PRECONDITION_FAILED
        assert await put((option.IF_MATCH, b"")) == Code.CHANGED
        assert origin.requests[-1].headers["if-match"] == "*"
        assert await put((option.IF_MATCH, b"another"), (option.IF_MATCH, tag)) == Code.CHANGED
        assert origin.requests[-1].headers["if-match"] == '"v7"'
        assert await put() == Code.PRECONDITION_FAILED  # the upstream insists: 428 and 412 in one
        for condition, code in (
            ((option.IF_MATCH, tag), Code.CONTENT),
            ((option.IF_MATCH, b"x"), Code.PRECONDITION_FAILED),
            ((option.IF_NONE_MATCH, b""), Code.PRECONDITION_FAILED),
        ):
            assert (await client.ask(Code.GET, by_uri(origin.url("/in/a"), condition))).code == code


@pytest.mark.rfc("7252-5.9.1-a")
async def test_what_was_changed_is_asked_for_again(tmp_path: Path) -> None:
    held = [b"old"]

    def answer(asked: HttpRequest) -> HttpAnswer:
        if asked.method == "PUT":
            held[0] = asked.body
            return 204, {}, b""
        return 200, {"Cache-Control": "max-age=600"}, held[0]

    async with before_origin(tmp_path, answer) as (_, client, origin):
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).payload == b"old"
        await client.ask(Code.PUT, by_uri(origin.url("/in/a")), b"new")
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).payload == b"new"


@pytest.mark.parametrize(
    ("control", "trouble", "code"),
    [
        ("max-age=1", 503, Code.CONTENT),
        ("max-age=1", 500, Code.CONTENT),
        ("max-age=1, stale-if-error=5", 502, Code.BAD_GATEWAY),
        ("max-age=1, must-revalidate", 503, Code.SERVICE_UNAVAILABLE),
        ("max-age=1", 404, Code.NOT_FOUND),
    ],
)
async def test_a_stale_answer_is_better_than_none_when_the_upstream_fails(
    control: str, trouble: int, code: int, tmp_path: Path
) -> None:
    said: list[HttpAnswer] = [(200, {"Cache-Control": control}, b"good"), (trouble, {}, b"internal-name.lan broke")]
    async with before_origin(tmp_path, lambda _: said.pop(0)) as (proxy, client, origin):
        clock = Clock(proxy)
        await client.ask(Code.GET, by_uri(origin.url("/in/a")))
        clock.now += 10
        reply = await client.ask(Code.GET, by_uri(origin.url("/in/a")))
        assert reply.code == code
        if code == Code.CONTENT:
            assert (reply.payload, reply.uint(option.MAX_AGE)) == (b"good", 1)
        else:
            assert b"internal" not in reply.payload


@pytest.mark.rfc("8516 4", "7252 5.10.5")
async def test_an_error_is_told_for_a_short_time_without_asking_again(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(503, {"Retry-After": "30"})) as (proxy, client, origin):
        clock = Clock(proxy)
        for left in (30, 20):
            reply = await client.ask(Code.GET, by_uri(origin.url("/in/a")))
            assert (reply.code, reply.uint(option.MAX_AGE)) == (Code.SERVICE_UNAVAILABLE, left)
            clock.now += 10
        assert len(origin.requests) == 1
        clock.now += 11
        await client.ask(Code.GET, by_uri(origin.url("/in/a")))
        assert len(origin.requests) == 2


async def test_a_crowd_costs_one_request_and_a_private_answer_is_nobody_elses(tmp_path: Path) -> None:
    told = {"/in/public": "max-age=9", "/in/private": "private, max-age=9", "/in/never": "no-store"}
    count = iter(range(100))

    async def answer(asked: HttpRequest) -> HttpAnswer:
        await asyncio.sleep(0.2)
        return 200, {"Cache-Control": told[asked.path]}, b"%d" % next(count)

    async with before_origin(tmp_path, answer) as (proxy, _, origin):
        clients = [await CoapClient.connect(proxy.transport.port) for _ in range(6)]
        for path, requests, answers in (("/in/public", 1, 1), ("/in/private", 6, 6), ("/in/never", 6, 6)):
            origin.requests.clear()
            replies = await asyncio.gather(*(one.ask(Code.GET, by_uri(origin.url(path))) for one in clients))
            assert len(origin.requests) == requests
            assert len({reply.payload for reply in replies}) == answers
        assert len(proxy.upstream.representations.cache) == 1
        for one in clients:
            one.close()


async def test_redirects_stay_inside_the_allow_list_and_credentials_at_home(tmp_path: Path) -> None:
    async with HttpOrigin(saying(200, {}, b"secret")) as other:
        steps = {
            "/in/a": "/in/b",
            "/in/b": "c?d",
            "/in/out": "/secret",
            "/in/away": other.url("/x"),
            "/in/loop": "loop",
        }

        def answer(asked: HttpRequest) -> HttpAnswer:
            to = steps.get(asked.path)
            return (302, {"Location": to}, b"") if to else (200, {}, b"here")

        async with HttpOrigin(answer) as origin:
            keys = tmp_path / "keys.json"
            keys.write_text(json.dumps({origin.url("/in"): {"Authorization": "Bearer x"}}))
            keys.chmod(0o600)
            allowed = f"{origin.url('/in')},{other.url('/in')}"
            async with standing_alone(tmp_path / "blocks", allowed, credentials_file=keys) as (proxy, client):
                assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).payload == b"here"
                assert {asked.headers["authorization"] for asked in origin.requests} == {"Bearer x"}
                for path in ("/in/out", "/in/away"):
                    assert (await client.ask(Code.GET, by_uri(origin.url(path)))).code == Code.BAD_GATEWAY
                origin.requests.clear()
                assert (await client.ask(Code.GET, by_uri(origin.url("/in/loop")))).code == Code.BAD_GATEWAY
                assert len(origin.requests) == 4
                assert (await client.ask(Code.POST, by_uri(origin.url("/in/a")), b"x")).code == Code.BAD_GATEWAY
                assert other.requests == []
                steps["/in/away"] = other.url("/in/x")
                origin.requests.clear()
                proxy.upstream.representations.cache._failures.clear()
                assert (await client.ask(Code.GET, by_uri(origin.url("/in/away")))).payload == b"secret"
                assert "authorization" not in other.requests[0].headers


@pytest.mark.rfc("7252 5.10.4", "7252 5.10.3", "8075 6")
async def test_formats_are_named_asked_for_and_refused(tmp_path: Path) -> None:
    kinds = {"/in/json": "application/json", "/in/html": "text/html", "/in/zip": "application/gzip"}
    async with before_origin(tmp_path, lambda asked: (200, {"Content-Type": kinds[asked.path]}, b"x")) as (
        _,
        client,
        origin,
    ):

        async def get(path: str, accept: int | None = None) -> Message:
            wanted = () if accept is None else ((option.ACCEPT, encode_uint(accept)),)
            return await client.ask(Code.GET, by_uri(origin.url(path), *wanted))

        assert (await get("/in/json")).uint(option.CONTENT_FORMAT) == 50
        assert (await get("/in/json", 50)).code == Code.CONTENT
        assert origin.requests[-1].headers["accept"] == "application/json"
        assert (await get("/in/json", 60)).code == Code.NOT_ACCEPTABLE
        assert (await get("/in/html")).option(option.CONTENT_FORMAT) is None
        assert (await get("/in/zip", 42)).uint(option.CONTENT_FORMAT) == 42
        asked = len(origin.requests)
        assert (await get("/in/json", 65000)).code == Code.NOT_ACCEPTABLE
        put = await client.ask(Code.PUT, by_uri(origin.url("/in/a"), (option.CONTENT_FORMAT, b"\xfd\xe8")), b"x")
        assert put.code == Code.UNSUPPORTED_CONTENT_FORMAT
        assert len(origin.requests) == asked


@pytest.mark.rfc("8768 3", "8768 4")
async def test_a_hop_limit_that_is_used_up_names_this_proxy(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200)) as (_, client, origin):
        reply = await client.ask(Code.GET, by_uri(origin.url("/in/a"), (option.HOP_LIMIT, b"\x01")))
        assert reply.code == Code.HOP_LIMIT_REACHED
        assert reply.payload.startswith(b"updraft-")
        assert origin.requests == []


@pytest.mark.rfc("7252 5.2.2", "7252 10.1")
async def test_a_slow_upstream_costs_an_empty_ack_and_one_that_never_answers_5_04(tmp_path: Path) -> None:
    async def answer(asked: HttpRequest) -> HttpAnswer:
        await asyncio.sleep(0.6 if asked.path == "/in/slow" else 30)
        return 200, {}, b"at last"

    async with before_origin(tmp_path, answer, upstream_timeout_seconds=1.5) as (_, client, origin):
        request = Message(Type.CON, Code.GET, 77, b"tk", by_uri(origin.url("/in/slow")))
        client.send_raw(encode(request))
        first = await asyncio.wait_for(client.replies.get(), 5)
        assert (first.type, first.code, first.mid) == (Type.ACK, Code.EMPTY, 77)
        second = await asyncio.wait_for(client.replies.get(), 5)
        assert (second.type, second.token, second.payload) == (Type.CON, b"tk", b"at last")
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/never")))).code == Code.GATEWAY_TIMEOUT


async def test_an_upstream_that_is_not_there_or_sends_too_much_is_a_bad_gateway(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, {}, b"x" * 2000), max_representation_bytes=1000) as (
        proxy,
        client,
        origin,
    ):
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).code == Code.BAD_GATEWAY
        assert proxy.upstream.room.taken == 0
        await origin.__aexit__()
        reply = await client.ask(Code.GET, by_uri(origin.url("/in/b")))
        assert (reply.code, decode_uint(reply.option(option.MAX_AGE) or b"")) == (Code.BAD_GATEWAY, 2)
