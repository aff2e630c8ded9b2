"""HTTP clients meet CoAP devices: real sockets on both sides, a device that says what the test tells it to say."""

import asyncio
import socket
from dataclasses import replace

import aiocoap
import aiocoap.resource
import httpx
import pytest

from coap_http_proxy.coap_client import exchange
from coap_http_proxy.http_face.app import HttpFace
from coap_http_proxy.mapping import uris
from coap_http_proxy.testing import Say, ScriptedDevice, answer, http_face
from coap_wire import Block, Code, Message, Type, decode, decode_block, encode, encode_block, encode_uint
from coap_wire import options as option
from updraft_local.ports import free_port

BODY = bytes(range(256)) * 20


def blockwise(body: bytes, szx: int = 6) -> Say:
    """Serves `body` in blocks, statelessly."""

    def say(request: Message) -> list[Message]:
        wanted = request.option(option.BLOCK2)
        block = Block(0, False, szx) if wanted is None else decode_block(wanted)
        part = body[block.offset : block.offset + block.size]
        sent = encode_block(replace(block, more=block.offset + block.size < len(body)))
        return [answer(request, Code.CONTENT, part, block2=sent, etag=b"\1", size2=encode_uint(len(body)))]

    return say


@pytest.mark.rfc("8075-5.3-a")
async def test_a_small_resource_is_a_whole_http_response() -> None:
    said = lambda request: [answer(request, Code.CONTENT, b"22.5", content_format=b"", max_age=b"\5", etag=b"\xab")]  # noqa: E731
    async with ScriptedDevice.listening(said) as device, http_face(device.uri) as http:
        got = await http.get(f"/hc/{device.uri}/sensors/t?unit=C")
        assert (got.status_code, got.content) == (200, b"22.5")
        assert got.headers["content-type"] == "text/plain; charset=utf-8"
        assert got.headers["cache-control"] == "max-age=5"
        assert got.headers["etag"] == '"ab"'
        assert got.headers["content-length"] == "4"
        assert got.headers["x-content-type-options"] == "nosniff"
        (request,) = device.requests
        assert (request.uri_path, request.uri_query) == (("sensors", "t"), ("unit=C",))


@pytest.mark.rfc("8075-8.3-a")
@pytest.mark.parametrize("szx", [0, 3, 6])
async def test_a_large_resource_is_put_together_from_its_blocks(szx: int) -> None:
    async with ScriptedDevice.listening(blockwise(BODY, szx)) as device, http_face(device.uri) as http:
        got = await http.get(f"/hc?target_uri={device.uri}/big")
        assert got.content == BODY
        assert got.headers["transfer-encoding"] == "chunked"
        assert len(device.requests) == -(-len(BODY) // (16 << szx))


async def test_no_response_waits_for_more_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nagle's algorithm is off on every connection: with it, one of two small writes waits for a delayed ACK."""
    switched: list[int] = []
    real = socket.socket.setsockopt

    def noted(self: socket.socket, level: int, name: int, *value: int) -> None:
        real(self, level, name, *value)
        if (level, name) == (socket.IPPROTO_TCP, socket.TCP_NODELAY):
            switched.append(self.getsockname()[1])

    monkeypatch.setattr(socket.socket, "setsockopt", noted)
    async with http_face() as http:
        await http.get("/.well-known/core")
        assert http.base_url.port in switched


async def test_head_costs_one_block() -> None:
    async with ScriptedDevice.listening(blockwise(BODY)) as device, http_face(device.uri) as http:
        got = await http.head(f"/hc/{device.uri}/big")
        assert (got.status_code, got.content, got.headers["etag"]) == (200, b"", '"01"')
        assert len(device.requests) == 1


def receives(into: bytearray, szx: int = 6, refuse_first: bool = False, forget_once: bool = False) -> Say:
    """Takes a request body in blocks of at most `szx`, into `into`."""
    state = {"refuse": refuse_first, "forget": forget_once}

    def say(request: Message) -> list[Message]:
        value = request.option(option.BLOCK1)
        block = Block(0, False, 6) if value is None else decode_block(value)
        hint = encode_block(replace(block, szx=min(szx, block.szx)))
        if state["refuse"]:
            state["refuse"] = False
            return [answer(request, Code.REQUEST_ENTITY_TOO_LARGE, block1=encode_block(Block(0, False, szx)))]
        if state["forget"] and block.num == 2:
            state["forget"] = False
            into.clear()
            return [answer(request, Code.REQUEST_ENTITY_INCOMPLETE)]
        assert block.offset == len(into)
        # Of a first block larger than it likes, a server keeps what it asked for (RFC 7959 section 2.3 allows all).
        into.extend(request.payload)
        code = Code.CONTINUE if block.more else Code.CHANGED
        return [answer(request, code, **({} if value is None else {"block1": hint}))]

    return say


@pytest.mark.rfc("8075-8.3-c")
@pytest.mark.parametrize("szx", [2, 6])
async def test_a_large_body_is_sent_in_blocks_of_the_size_the_device_wants(szx: int) -> None:
    got = bytearray()
    async with ScriptedDevice.listening(receives(got, szx)) as device, http_face(device.uri) as http:
        done = await http.put(
            f"/hc/{device.uri}/fw", content=BODY, headers={"Content-Type": "application/octet-stream"}
        )
        assert (done.status_code, done.content) == (204, b"")
        assert bytes(got) == BODY
        assert device.requests[0].uint(option.SIZE1) == len(BODY)
        assert {request.uint(option.CONTENT_FORMAT) for request in device.requests} == {42}
        sizes = [len(request.payload) for request in device.requests[1:-1]]
        assert set(sizes) == {16 << szx}


@pytest.mark.rfc("8075-8.3-b")
@pytest.mark.parametrize("size", [600, 5000])
async def test_a_body_that_is_too_large_at_once_is_sent_again_in_smaller_blocks(size: int) -> None:
    got = bytearray()
    async with ScriptedDevice.listening(receives(got, 2, refuse_first=True)) as device, http_face(device.uri) as http:
        assert (await http.post(f"/hc/{device.uri}/x", content=BODY[:size])).status_code == 204
        assert bytes(got) == BODY[:size]


async def test_a_device_that_forgot_the_first_blocks_gets_them_again() -> None:
    got = bytearray()
    async with ScriptedDevice.listening(receives(got, forget_once=True)) as device, http_face(device.uri) as http:
        assert (await http.post(f"/hc/{device.uri}/x", content=BODY)).status_code == 204
        assert bytes(got) == BODY


@pytest.mark.rfc("8075-8.3-d")
async def test_a_device_that_knows_no_blocks_makes_a_large_body_too_large() -> None:
    async with (
        ScriptedDevice.listening(lambda request: [answer(request, Code.BAD_OPTION)]) as device,
        http_face(device.uri) as http,
    ):
        assert (await http.post(f"/hc/{device.uri}/x", content=BODY)).status_code == 413
        assert (await http.post(f"/hc/{device.uri}/x", content=b"small")).status_code == 500


async def test_what_the_device_refuses_finally_is_too_large() -> None:
    said = lambda request: [answer(request, Code.REQUEST_ENTITY_TOO_LARGE, size1=b"\1")]  # noqa: E731
    async with ScriptedDevice.listening(said) as device, http_face(device.uri) as http:
        assert (await http.post(f"/hc/{device.uri}/x", content=BODY)).status_code == 413


async def test_a_copy_that_is_still_good_is_not_sent_again() -> None:
    def say(request: Message) -> list[Message]:
        good = request.options_of(option.ETAG) == (b"\xab\xcd",)
        return [answer(request, Code.VALID if good else Code.CONTENT, b"", etag=b"\xab\xcd", max_age=b"\x0a")]

    async with ScriptedDevice.listening(say) as device, http_face(device.uri) as http:
        got = await http.get(f"/hc/{device.uri}/x", headers={"If-None-Match": '"abcd"'})
        assert (got.status_code, got.content, got.headers["etag"]) == (304, b"", '"abcd"')
        assert got.headers["cache-control"] == "max-age=10"


@pytest.mark.rfc("8075-6.5.3-a", "8075-7-b", "8075-7-c")
@pytest.mark.parametrize(
    ("code", "payload", "status"),
    [
        (Code.NOT_FOUND, b"no such thing", 404),
        (Code.CREATED, b"made", 201),
        (Code.DELETED, b"gone", 200),
        (Code.SERVICE_UNAVAILABLE, b"", 503),
    ],
)
async def test_what_the_device_says_is_the_body(code: int, payload: bytes, status: int) -> None:
    async with (
        ScriptedDevice.listening(lambda request: [answer(request, code, payload)]) as device,
        http_face(device.uri) as http,
    ):
        got = await http.post(f"/hc/{device.uri}/x", content=b"1")
        assert (got.status_code, got.content) == (status, payload)


@pytest.mark.rfc("8075-6.5.3-b")
async def test_what_the_device_says_gets_into_no_line_of_the_head() -> None:
    said = b"no\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK"
    async with (
        ScriptedDevice.listening(lambda request: [answer(request, Code.NOT_FOUND, said)]) as device,
        http_face(device.uri) as http,
    ):
        got = await http.get(f"/hc/{device.uri}/x")
        assert (got.status_code, got.reason_phrase, got.content) == (404, "Not Found", said)
        assert "x-evil" not in got.headers


async def test_a_separate_response_is_waited_for_and_acknowledged() -> None:
    def say(request: Message) -> list[Message]:
        separate = Message(Type.CON, Code.CONTENT, 4711, request.token, (), b"late")
        return [Message(Type.ACK, Code.EMPTY, request.mid), separate]

    async with ScriptedDevice.listening(say) as device, http_face(device.uri) as http:
        assert (await http.get(f"/hc/{device.uri}/x")).content == b"late"
        await device.heard.get()
        acknowledgement = await device.heard.get()
        assert (acknowledgement.type, acknowledgement.code, acknowledgement.mid) == (Type.ACK, Code.EMPTY, 4711)


async def test_a_lost_request_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "ACK_TIMEOUT_SECONDS", 0.05)
    heard: list[int] = []

    def say(request: Message) -> list[Message]:
        heard.append(request.mid)
        return [answer(request, Code.CONTENT, b"at last")] if len(heard) == 3 else []

    async with ScriptedDevice.listening(say) as device, http_face(device.uri) as http:
        assert (await http.get(f"/hc/{device.uri}/x")).content == b"at last"
    assert len(heard) == 3 and len(set(heard)) == 1


@pytest.mark.rfc("8075-8.5-a")
async def test_a_device_that_says_nothing_is_a_gateway_timeout() -> None:
    async with ScriptedDevice.listening(lambda _: []) as device, http_face(device.uri, seconds=0.2) as http:
        assert (await http.get(f"/hc/{device.uri}/x")).status_code == 504


async def test_a_port_nobody_listens_on_is_a_bad_gateway() -> None:
    uri = f"coap://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    async with http_face(uri) as http:
        got = await http.get(f"/hc/{uri}/x")
        assert (got.status_code, "cannot be reached" in got.text) == (502, True)


@pytest.mark.rfc("8075-10.1-a", "8075-10.3-a")
@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("coap://127.0.0.2/x", 403),
        ("coap://127.0.0.1:1/x", 403),
        ("coaps://127.0.0.1/x", 403),
        ("coap://224.0.1.187/x", 403),
        ("coap://[ff05::fd]/x", 403),
        ("coap://user@127.0.0.1/x", 400),
        ("coap://127.0.0.1/../x", 400),
        ("coap://127.0.0.1/%2e%2e/x", 400),
        ("coap://", 400),
        ("coap://127.0.0.1:99999/x", 400),
        ("http://127.0.0.1/x", 400),
        ("127.0.0.1/x", 400),
    ],
)
async def test_it_is_no_open_proxy(target: str, status: int) -> None:
    async with http_face("coap://127.0.0.1:5683/", "http://127.0.0.1/") as http:
        assert (await http.get(f"/hc?target_uri={target}")).status_code == status
        assert (await http.get(f"/hc/{target}")).status_code in (400, 403)
    async with http_face() as http:
        assert (await http.get("/hc/coap://127.0.0.1/x")).status_code == 403


@pytest.mark.rfc("8075-8.4-a")
async def test_a_group_is_not_asked_even_when_it_is_allowed() -> None:
    async with http_face("coap://224.0.1.187/") as http:
        assert (await http.get("/hc/coap://224.0.1.187/x")).status_code == 403


async def test_a_host_the_guard_refuses_is_not_asked() -> None:
    async def refuse(host: str, port: int) -> tuple[str, int]:
        raise OSError(f"{host} leads to no address that may be connected to")

    made = HttpFace((uris.parse_base("coap://device.example/"),), refuse, 100, 100, 1.0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://proxy", timeout=5) as http:
        assert (await http.get("/hc/coap://device.example/x")).status_code == 502


async def test_a_request_body_is_bounded() -> None:
    async with ScriptedDevice.listening(blockwise(b"x")) as device, http_face(device.uri, limit=1000) as http:
        assert (await http.post(f"/hc/{device.uri}/x", content=b"x" * 1001)).status_code == 413
        assert device.requests == []


@pytest.mark.rfc("8075-5.5-a")
async def test_the_face_says_how_it_is_asked() -> None:
    async with http_face() as http:
        got = await http.get("/.well-known/core?rt=core.hc")
        assert got.headers["content-type"].startswith("application/link-format")
        assert got.text.startswith('</hc/>;rt="core.hc"')
        assert (await http.post("/.well-known/core")).status_code == 405
        assert (await http.get("/")).status_code == 404
        assert (await http.request("OPTIONS", "/hc/coap://127.0.0.1/")).status_code == 403


async def test_one_device_is_asked_one_question_at_a_time() -> None:
    waiting: list[Message] = []
    most = 0

    def say(request: Message) -> list[Message]:
        nonlocal most
        waiting.append(request)
        most = max(most, len(waiting))
        asyncio.get_running_loop().call_later(0.05, later, request)
        return []

    def later(request: Message) -> None:
        waiting.remove(request)
        device.transport.sendto(encode(answer(request, Code.CONTENT, b"x")), peers[request.token])

    peers: dict[bytes, tuple[str, int]] = {}
    async with ScriptedDevice.listening(say) as device, http_face(device.uri) as http:
        received = device.datagram_received

        def noted(data: bytes, addr: tuple[str, int]) -> None:
            peers[decode(data).token] = addr
            received(data, addr)

        device.datagram_received = noted  # type: ignore[method-assign]
        got = await asyncio.gather(*(http.get(f"/hc/{device.uri}/x") for _ in range(5)))
        assert [one.content for one in got] == [b"x"] * 5
    assert most == 1


class Store(aiocoap.resource.Resource):  # type: ignore[misc]  # the library has no types
    """What was put is what is got; the library does the blocks."""

    content = b""

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=self.content, content_format=42)

    async def render_put(self, request: aiocoap.Message) -> aiocoap.Message:
        self.content = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED)


async def test_a_large_body_goes_to_aiocoap_and_comes_back() -> None:
    site = aiocoap.resource.Site()
    site.add_resource(["store"], Store())
    port = free_port(socket.SOCK_DGRAM)
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    try:
        async with http_face(f"coap://127.0.0.1:{port}") as http:
            uri = f"/hc/coap://127.0.0.1:{port}/store"
            assert (await http.put(uri, content=BODY * 4)).status_code == 204
            assert (await http.get(uri)).content == BODY * 4
            assert (await http.get(uri + "x")).status_code == 404
    finally:
        await context.shutdown()
