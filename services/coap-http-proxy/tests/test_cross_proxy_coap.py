"""The cross proxy towards CoAP: a stranger's server (aiocoap), loops, and what is passed on."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiocoap
import aiocoap.resource
import pytest

from coap_http_proxy.testing import Say, ScriptedDevice, by_uri, standing_alone
from coap_wire import Code, Message, Type, decode_uint, encode
from coap_wire import options as option
from updraft_local.ports import free_port

LARGE = os.urandom(150_003)


class Everything(aiocoap.resource.Resource):  # type: ignore[misc]  # the library has no types
    """Answers any path and method by its own lights; aiocoap cuts and joins the blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[aiocoap.Message] = []

    async def render(self, request: aiocoap.Message) -> aiocoap.Message:
        self.heard.append(request)
        path, method = "/".join(request.opt.uri_path), request.code.name
        if path == "large":
            return aiocoap.Message(code=aiocoap.CONTENT, payload=LARGE, content_format=42, max_age=7)
        if path == "held":
            tag = b"theirs"
            if tag in request.opt.etags:
                return aiocoap.Message(code=aiocoap.VALID, etag=tag, max_age=9)
            return aiocoap.Message(code=aiocoap.CONTENT, payload=b"held", etag=tag, max_age=9)
        if path == "absent":
            return aiocoap.Message(code=aiocoap.NOT_FOUND, payload=b"/srv/secret/absent")
        if method == "POST":
            return aiocoap.Message(code=aiocoap.CREATED, location_path=["new", "1"], location_query=["a=1"])
        digest = hashlib.sha256(request.payload).hexdigest().encode()
        return aiocoap.Message(code=aiocoap.CHANGED if method != "FETCH" else aiocoap.CONTENT, payload=digest)


class Site(aiocoap.resource.Site):  # type: ignore[misc]  # the same
    """One resource for all paths."""

    def __init__(self) -> None:
        super().__init__()
        self.everything = Everything()

    async def render_to_pipe(self, request: Any) -> None:
        await self.everything.render_to_pipe(request)


@asynccontextmanager
async def stranger() -> AsyncIterator[tuple[Everything, str]]:
    """aiocoap's server and its base URI."""
    port, site = free_port(), Site()
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port))
    try:
        yield site.everything, f"coap://127.0.0.1:{port}"
    finally:
        await context.shutdown()


@pytest.mark.rfc("7252-5.7.1-c", "7959-2.4-f")
async def test_a_large_answer_of_a_stranger_arrives_byte_equal_and_is_told_again(tmp_path: Path) -> None:
    async with stranger() as (_, base), standing_alone(tmp_path, base) as (proxy, client):
        for szx in (6, 4):
            assert await client.fetch("coap2coap", extra=by_uri(f"{base}/large"), szx=szx) == LARGE
        assert proxy.upstream.stats.bytes == len(LARGE)
        reply = await client.ask(Code.GET, by_uri(f"{base}/large"))
        assert reply.uint(option.CONTENT_FORMAT) == 42
        assert reply.uint(option.MAX_AGE) in range(8)
        assert reply.uint(option.SIZE2) == len(LARGE)


@pytest.mark.rfc("7252-5.7.2-c", "7959-2.5-b", "7959-2.5-c")
@pytest.mark.parametrize("method", [Code.PUT, Code.FETCH, Code.PATCH, Code.IPATCH])
@pytest.mark.parametrize("size", [10, 5000])
async def test_any_method_is_passed_on_with_its_payload_however_large(method: int, size: int, tmp_path: Path) -> None:
    async with stranger() as (server, base), standing_alone(tmp_path, base) as (_, client):
        body = LARGE[:size]
        reply = await client.upload(method, by_uri(f"{base}/x?q=1", (option.CONTENT_FORMAT, b"\x2a")), body, szx=5)
        assert reply.code == (Code.CONTENT if method == Code.FETCH else Code.CHANGED)
        assert reply.payload == hashlib.sha256(body).hexdigest().encode()
        heard = server.heard[-1]
        assert (heard.opt.uri_query, heard.opt.content_format, int(heard.code)) == (("q=1",), 42, method)


@pytest.mark.rfc("7252-5.8.2-a")
async def test_where_something_was_made_is_passed_back(tmp_path: Path) -> None:
    async with stranger() as (_, base), standing_alone(tmp_path, base) as (_, client):
        reply = await client.ask(Code.POST, by_uri(f"{base}/list"), b"x")
        assert (reply.code, reply.location_path) == (Code.CREATED, ("new", "1"))
        assert reply.options_of(option.LOCATION_QUERY) == (b"a=1",)


@pytest.mark.rfc("7252-5.6.2-a", "7252-5.9.1-d")
async def test_a_stale_answer_is_checked_by_the_upstreams_own_tag(tmp_path: Path) -> None:
    async with stranger() as (server, base), standing_alone(tmp_path, base) as (proxy, client):
        now = [0.0]
        proxy.upstream.representations.clock = proxy.service.cross_proxy.clock = lambda: now[0]
        first = await client.ask(Code.GET, by_uri(f"{base}/held"))
        assert (first.option(option.ETAG), first.payload) == (b"theirs", b"held")
        now[0] += 10
        again = await client.ask(Code.GET, by_uri(f"{base}/held"))
        assert (again.code, again.payload, again.uint(option.MAX_AGE)) == (Code.CONTENT, b"held", 9)
        assert server.heard[-1].opt.etags == (b"theirs",)
        assert proxy.upstream.stats.bytes == 4


@pytest.mark.rfc("8132-2-b")
async def test_fetches_with_different_payloads_are_different_questions(tmp_path: Path) -> None:
    async with stranger() as (server, base), standing_alone(tmp_path, base) as (_, client):
        for body in (b"1", b"2", b"1"):
            reply = await client.ask(Code.FETCH, by_uri(f"{base}/x"), body)
            assert reply.payload == hashlib.sha256(body).hexdigest().encode()
        assert len(server.heard) == 2


async def test_an_error_of_the_upstream_keeps_its_code_and_loses_its_words(tmp_path: Path) -> None:
    async with stranger() as (server, base), standing_alone(tmp_path, base) as (_, client):
        for _ in range(2):
            reply = await client.ask(Code.GET, by_uri(f"{base}/absent"))
            assert reply.code == Code.NOT_FOUND
            assert b"secret" not in reply.payload
        assert len(server.heard) == 1


@pytest.mark.rfc("7252-5.7.2-d")
async def test_a_name_and_a_path_with_signs_arrive_as_options(tmp_path: Path) -> None:
    async with stranger() as (server, base):
        port = base.rpartition(":")[2]
        named = f"coap://localhost:{port}"
        async with standing_alone(tmp_path, named, private_upstreams="127.0.0.0/8,::1/128") as (_, client):
            parts = (
                (option.URI_HOST, b"localhost"),
                (option.URI_PORT, int(port).to_bytes(2, "big")),
                (option.URI_PATH, b"a/b"),
                (option.URI_PATH, "ü".encode()),
                (option.URI_QUERY, b"x&y"),
                (option.PROXY_SCHEME, b"coap"),
            )
            assert (await client.ask(Code.PUT, parts, b"x")).code == Code.CHANGED
            heard = server.heard[-1].opt
            assert (heard.uri_host, heard.uri_path, heard.uri_query) == ("localhost", ("a/b", "ü"), ("x&y",))


@asynccontextmanager
async def saying(say: Say) -> AsyncIterator[tuple[ScriptedDevice, str]]:
    async with ScriptedDevice.listening(say) as server:
        yield server, server.uri


def answer(
    request: Message, code: int = Code.CONTENT, payload: bytes = b"", *options: tuple[int, bytes]
) -> list[Message]:
    ordered = tuple(sorted(options, key=lambda pair: pair[0]))
    return [Message(Type.ACK, code, request.mid, request.token, ordered, payload)]


@pytest.mark.rfc("9175-2.3-f")
async def test_an_upstream_that_asks_for_an_echo_gets_it(tmp_path: Path) -> None:
    def careful(request: Message) -> list[Message]:
        if request.option(option.ECHO) != b"prove it":
            return answer(request, Code.UNAUTHORIZED, b"", (option.ECHO, b"prove it"))
        return answer(request, Code.CONTENT, b"welcome")

    async with saying(careful) as (_, base), standing_alone(tmp_path, base) as (_, client):
        assert (await client.ask(Code.GET, by_uri(f"{base}/x"))).payload == b"welcome"


@pytest.mark.rfc("7252-5.7.1-e", "7252-5.7.1-g", "7252-5.7.2-d", "8768-3-e")
async def test_what_is_safe_is_passed_on_both_ways_and_what_is_not_stays(tmp_path: Path) -> None:
    def telling(request: Message) -> list[Message]:
        return answer(request, Code.CONTENT, b"x", (2048, b"back"))

    async with saying(telling) as (server, base), standing_alone(tmp_path, base) as (_, client):
        more = ((2048, b"there"), (2049, b"critical"), (option.HOP_LIMIT, b"\x07"), (option.SIZE2, b""))
        reply = await client.ask(Code.GET, by_uri(f"{base}/x", *more))
        (heard,) = server.requests
        assert (heard.option(2048), heard.option(2049), heard.uint(option.HOP_LIMIT)) == (b"there", b"critical", 6)
        assert heard.option(option.PROXY_URI) is None
        assert reply.option(2048) == b"back"
        assert (await client.ask(Code.GET, by_uri(f"{base}/x", (2050, b"")))).code == Code.BAD_OPTION
        assert len(server.requests) == 1


@pytest.mark.rfc("7252-5.10.2-a", "8768-3-f", "8768-4-a")
async def test_a_proxy_that_is_its_own_upstream_finds_the_loop(tmp_path: Path) -> None:
    port = free_port(2)
    itself = f"coap://127.0.0.1:{port}"
    async with standing_alone(tmp_path, "", coap_port=port, reverse=f"/loop={itself}/loop") as (proxy, client):
        reply = await client.ask(Code.GET, ((option.URI_PATH, b"loop"), (option.HOP_LIMIT, b"\x05")))
        assert reply.code == Code.HOP_LIMIT_REACHED
        assert reply.payload.count(b"updraft-") >= 3
        assert proxy.upstream.stats.requests <= 16


@pytest.mark.rfc("7252-11.2-b")
async def test_a_circle_through_both_faces_is_found(tmp_path: Path) -> None:
    port, face = free_port(2), free_port()
    itself = f"coap://127.0.0.1:{port}"
    around = f"/loop=http://127.0.0.1:{face}/hc/{itself}/loop"
    async with standing_alone(tmp_path, itself, coap_port=port, http_to_coap_port=face, reverse=around) as (
        proxy,
        client,
    ):
        reply = await client.ask(Code.GET, ((option.URI_PATH, b"loop"),), seconds=5)
        assert reply.code == Code.HOP_LIMIT_REACHED
        assert proxy.upstream.stats.requests == 1


async def test_coap_with_dtls_and_a_closed_port_are_told_at_once(tmp_path: Path) -> None:
    port = free_port()
    bases = f"coap://127.0.0.1:{port},coaps://127.0.0.1:{port}"
    async with standing_alone(tmp_path, bases) as (_, client):
        reply = await client.ask(Code.GET, by_uri(f"coaps://127.0.0.1:{port}/x"))
        assert (reply.code, reply.payload) == (Code.BAD_GATEWAY, b"the proxy has no key for that upstream")
        reply = await client.ask(Code.GET, by_uri(f"coap://127.0.0.1:{port}/x"), seconds=5)
        assert reply.code == Code.BAD_GATEWAY
        assert str(port).encode() not in reply.payload
        assert decode_uint(reply.option(option.MAX_AGE) or b"") == 2


@pytest.mark.rfc("7252-5.9.1-a", "7252-5.10.7-a")
async def test_where_something_was_made_is_asked_for_again(tmp_path: Path) -> None:
    count = iter(range(9))

    def making(request: Message) -> list[Message]:
        if request.code == Code.POST:
            return answer(request, Code.CREATED, b"", (option.LOCATION_PATH, b"a"), (option.LOCATION_PATH, b"b"))
        return answer(request, Code.CONTENT, b"%d" % next(count), (option.MAX_AGE, b"\x3c"))

    async with saying(making) as (_, base), standing_alone(tmp_path, base) as (_, client):
        for told in (b"0", b"0"):
            assert (await client.ask(Code.GET, by_uri(f"{base}/a/b"))).payload == told
        await client.ask(Code.POST, by_uri(f"{base}/list"), b"new")
        assert (await client.ask(Code.GET, by_uri(f"{base}/a/b"))).payload == b"1"


@pytest.mark.rfc("8516-4-a")
async def test_a_post_told_to_wait_is_not_passed_on_before_its_time(tmp_path: Path) -> None:
    async with (
        saying(lambda request: answer(request, Code.TOO_MANY_REQUESTS, b"", (option.MAX_AGE, b"\x1e"))) as (
            server,
            base,
        ),
        standing_alone(tmp_path, base) as (proxy, client),
    ):
        now = [0.0]
        proxy.upstream.representations.clock = lambda: now[0]
        for at, left, asked in ((0.0, 30, 1), (20.0, 10, 1), (31.0, 30, 2)):
            now[0] = at
            reply = await client.ask(Code.POST, by_uri(f"{base}/x"), b"again")
            assert (reply.code, reply.uint(option.MAX_AGE)) == (Code.TOO_MANY_REQUESTS, left)
            assert len(server.requests) == asked


@pytest.mark.rfc("7252-4.7-a")
async def test_one_message_at_a_time_waits_for_a_servers_acknowledgement(tmp_path: Path) -> None:
    waiting: list[Message] = []

    def silent(request: Message) -> list[Message]:
        waiting.append(request)
        return []

    async with saying(silent) as (server, base), standing_alone(tmp_path, base) as (_, client):
        for number in range(3):
            request = Message(Type.CON, Code.GET, number, b"%d" % number, by_uri(f"{base}/{number}"))
            client.send_raw(encode(request))
        for count in (1, 2, 3):
            async with asyncio.timeout(5):
                while len(waiting) < count:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert len(waiting) == count
            # An empty ACK is enough: the answer may come whenever it likes.
            acknowledge = encode(Message(Type.ACK, Code.EMPTY, waiting[-1].mid))
            server.transport.sendto(acknowledge, server.sender)


async def test_small_answers_to_posts_push_nothing_out_of_the_cache(tmp_path: Path) -> None:
    async with (
        saying(lambda request: answer(request, Code.CHANGED, b"ok")) as (_, base),
        standing_alone(tmp_path, base) as (proxy, client),
    ):
        for _ in range(3):
            assert (await client.ask(Code.POST, by_uri(f"{base}/x"), b"1")).payload == b"ok"
        assert len(proxy.upstream.representations.cache) == 0
