"""The HTTP-to-CoAP face between two hostile sides: devices that answer with anything, clients that send anything."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import httpx
import pytest

from coap_http_proxy.http_face.app import MAX_CONNECTIONS, MAX_HEAD_BYTES
from coap_http_proxy.testing import Say, ScriptedDevice, answer, http_face
from coap_wire import Block, Code, Message, Type, decode, decode_block, encode, encode_block
from coap_wire import options as option
from coap_wire.testing import hostile_datagrams

SEED = 8075
ANSWERS = 400


class Liar(asyncio.DatagramProtocol):
    """Answers each request with some hostile datagrams, some of them spoilt copies of a good answer."""

    def __init__(self) -> None:
        self.count = 0
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            request = decode(data)
        except ValueError:
            return
        self.count += 1
        dice = random.Random(SEED + self.count)
        options = [(option.ETAG, b"\1"), (option.BLOCK2, encode_block(Block(0, True, 0))), (option.MAX_AGE, b"\5")]
        good = [
            encode(Message(Type.ACK, code, request.mid, request.token, tuple(options[: dice.randrange(4)]), b"x" * 16))
            for code in (Code.CONTENT, Code.CREATED, Code.NOT_FOUND, Code.VALID, Code.SERVICE_UNAVAILABLE)
        ]
        for datagram in hostile_datagrams(SEED + self.count, 6, good):
            # Half of them get past the first checks: right message id and token.
            if dice.random() < 0.5 and len(datagram) > 12 and datagram[0] & 15 == 8:
                datagram = b"\x68" + datagram[1:2] + data[2:12] + datagram[12:]
            self.transport.sendto(datagram, addr)
        self.transport.sendto(dice.choice(good), addr)


@asynccontextmanager
async def face(*allowed: str) -> AsyncIterator[int]:
    """The port of a face with tight limits."""
    async with http_face(*allowed, seconds=1.0, limit=1000) as http:
        assert http.base_url.port is not None
        yield http.base_url.port


async def test_a_device_that_lies_gets_an_http_response_or_a_cut_one_and_nothing_else() -> None:
    transport, liar = await asyncio.get_running_loop().create_datagram_endpoint(Liar, local_addr=("127.0.0.1", 0))
    uri = f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    seen: set[int] = set()
    async with face(uri) as port, httpx.AsyncClient(timeout=20) as http:
        while liar.count < ANSWERS:
            try:
                answer = await http.get(f"http://127.0.0.1:{port}/hc/{uri}/x")
            except httpx.RemoteProtocolError:
                continue  # it broke off in the middle of its blocks, and the client sees that
            seen.add(answer.status_code)
            assert len(answer.content) <= 1000
            # What escapes the face is answered by the server below it, without this.
            assert answer.headers["x-content-type-options"] == "nosniff", answer.text
        assert (await http.get(f"http://127.0.0.1:{port}/.well-known/core")).status_code == 200
    transport.close()
    assert {200, 404, 502} <= seen


async def said(port: int, request: bytes, seconds: float = 5.0) -> bytes:
    """The first line of the answer to raw bytes; empty when the connection is closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(seconds):
            return await reader.readline()
    except ConnectionError:
        return b""  # closed before all was read
    finally:
        writer.close()


@pytest.mark.parametrize(
    "said",
    [
        lambda request: [Message(Type.RST, Code.EMPTY, request.mid)],
        lambda request: [answer(request, Code.CONTENT, b"x", uri_host=b"critical")],
        lambda request: [answer(request, Code.CONTENT, b"x", block2=b"\7")],
        lambda request: [answer(request, Code.CONTENT, b"x", block2=encode_block(Block(3, False, 2)))],
        lambda request: [answer(request, Code.CONTENT, b"x", block2=encode_block(Block(0, True, 2)))],
        lambda request: [answer(request, Code.CONTENT, b"x" * 16, block2=b"\x08", size2=b"\xff\xff\xff\xff")],
        lambda request: [answer(request, Code.CONTENT, b"x" * 60_000)],
        lambda request: [answer(request, Code.REQUEST_ENTITY_INCOMPLETE)],
        lambda request: (
            [answer(request, 0xE1)] if request.code == 9 else [answer(request, Code.PROXYING_NOT_SUPPORTED)]
        ),
    ],
    ids=["reset", "critical", "szx7", "other_block", "short_block", "size2", "long", "incomplete", "no_proxy"],
)
async def test_an_answer_that_makes_no_sense_is_a_bad_gateway(said: Say) -> None:
    async with ScriptedDevice.listening(said) as device, http_face(device.uri, limit=50_000) as http:
        assert (await http.get(f"/hc/{device.uri}/x")).status_code == 502


@pytest.mark.parametrize("how", ["etag", "code", "endless", "number", "grown"])
async def test_a_body_that_breaks_off_is_never_taken_for_whole(how: str) -> None:
    def say(request: Message) -> list[Message]:
        value = request.option(option.BLOCK2)
        block = Block(0, True, 2) if value is None else decode_block(value)
        more = encode_block(replace(block, more=True))
        if block.num < 3 or how == "endless":
            return [answer(request, Code.CONTENT, b"x" * 64, block2=more, etag=b"\1")]
        if how == "etag":
            return [answer(request, Code.CONTENT, b"x" * 64, block2=more, etag=b"\2")]
        if how == "code":
            return [answer(request, Code.NOT_FOUND)]
        if how == "grown":
            return [answer(request, Code.CONTENT, b"x" * 128, block2=encode_block(Block(1, False, 3)), etag=b"\1")]
        return [answer(request, Code.CONTENT, b"x" * 64, block2=encode_block(Block(9, False, 2)), etag=b"\1")]

    async with ScriptedDevice.listening(say) as device, http_face(device.uri, limit=10_000) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"/hc/{device.uri}/x")
        # Where it went wrong, nothing more is asked.
        assert len(device.requests) == (10_000 // 64 + 1 if how == "endless" else 4)


async def test_noise_and_answers_to_others_change_nothing() -> None:
    def say(request: Message) -> list[Message]:
        forged = replace(answer(request, Code.CONTENT, b"forged"), token=b"another")
        other = replace(answer(request, Code.CONTENT, b"forged"), mid=request.mid ^ 1)
        return [forged, other, Message(Type.RST, Code.EMPTY, request.mid ^ 1), answer(request, Code.CONTENT, b"true")]

    async with ScriptedDevice.listening(say) as device, http_face(device.uri) as http:
        assert (await http.get(f"/hc/{device.uri}/x")).content == b"true"


HEAD = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (b"GET /hc/coap://127.0.0.1/\xff\xfe" + HEAD + b"\r\n", (b"400",)),
        (b"GET /hc/coap://127.0.0.1/%ff" + HEAD + b"\r\n", (b"400",)),
        (b"GET /hc/coap://127.0.0.1/a\x00b" + HEAD + b"\r\n", (b"400",)),
        (b"GET /hc/coap://%0d%0aevil/" + HEAD + b"\r\n", (b"400",)),
        (b"GET /hc/" + b"coap://" * 200 + HEAD + b"\r\n", (b"400", b"403")),
        (b"GET /hc?target_uri=" + b"%25" * 4000 + HEAD + b"\r\n", (b"400",)),
        (b"GET /" + b"a" * (MAX_HEAD_BYTES * 40) + HEAD + b"\r\n", (b"400", b"")),
        (b"GET http://other/hc/coap://127.0.0.1/" + HEAD + b"\r\n", (b"404", b"403", b"400")),
        (b"POST /hc/coap://127.0.0.1:1/x" + HEAD + b"Content-Length: -5\r\n\r\n", (b"400",)),
        (b"POST /hc/coap://127.0.0.1:1/x" + HEAD + b"Transfer-Encoding: x\r\n\r\n", (b"400", b"403", b"501")),
        (b"GET /hc/coap://[::1/x" + HEAD + b"\r\n", (b"400",)),
        (b"GET /hc/coap://127.0.0.1:5683:1/x" + HEAD + b"\r\n", (b"400",)),
        (b"CONNECT 127.0.0.1:22" + HEAD + b"\r\n", (b"404", b"400", b"501")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, (b"400", b"")),
    ],
)
async def test_a_client_that_sends_anything_gets_a_client_error(
    request_bytes: bytes, statuses: tuple[bytes, ...]
) -> None:
    async with face("coap://127.0.0.1:5683/") as port:
        line = await said(port, request_bytes)
        assert (line.split(b" ")[1] if line else b"") in statuses
        assert b" 200 " in await said(port, b"GET /.well-known/core" + HEAD + b"\r\n")


async def test_clients_that_hold_connections_open_are_bounded_in_number() -> None:
    async with face() as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        assert b" 503 " in await said(port, b"GET /.well-known/core" + HEAD + b"\r\n")
        for _, writer in held:
            writer.close()
        # The server learns of the closed ones in its own time.
        async with asyncio.timeout(5):
            while b" 200 " not in await said(port, b"GET /.well-known/core" + HEAD + b"\r\n"):
                await asyncio.sleep(0.02)


async def test_a_client_that_goes_away_ends_the_transfer() -> None:
    """A device of endless blocks is asked no more when nobody listens."""
    asked = asyncio.Event()
    count = 0

    class Endless(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            nonlocal count
            count += 1
            request = decode(data)
            value = request.uint(option.BLOCK2) or 0
            block = encode_block(Block(value >> 4, True, 0))
            answer = Message(Type.ACK, Code.CONTENT, request.mid, request.token, ((option.BLOCK2, block),), b"x" * 16)
            if count >= 3:
                asked.set()
            if not gone.is_set() and count >= 3:
                held.append((encode(answer), addr))
                return
            transport.sendto(encode(answer), addr)

    held: list[tuple[bytes, tuple[str, int]]] = []
    gone = asyncio.Event()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Endless, local_addr=("127.0.0.1", 0))
    uri = f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    async with face(uri) as port:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(f"GET /hc/{uri}/x".encode() + HEAD + b"\r\n")
        async with asyncio.timeout(5):
            await asked.wait()
        connection.close()
        # A whole answer of another client comes after the close has been heard: the loop is one.
        assert b" 200 " in await said(port, b"GET /.well-known/core" + HEAD + b"\r\n")
        gone.set()
        before = count
        for datagram, addr in held:
            transport.sendto(datagram, addr)
        for _ in range(20):
            assert b" 200 " in await said(port, b"GET /.well-known/core" + HEAD + b"\r\n")
        assert count <= before + 1
    transport.close()
