"""For tests: an HTTP upstream that can misbehave, a client that fetches block by block, a device that says what it is
told to, tickets, and a proxy that stands alone with its client."""

import asyncio
import hashlib
import json
import random
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.http_face.app import HttpFace, serving
from coap_http_proxy.mapping import uris
from coap_http_proxy.settings import ProxySettings
from coap_wire import Block, Code, Message, Options, Type, decode, decode_block, encode, encode_block
from coap_wire import options as option
from datagrams import udp_socket

Say = Callable[[Message], list[Message]]


@dataclass
class HttpUpstream:
    """Serves `files` by path with Range. `misbehave` names what is wrong: `break` (cuts once), `lie` (other bytes),
    `slow` (two seconds before the first byte), `error` (503 twice), `long` (more bytes than promised), `short` (always
    cut half way), `early` (half the bytes, and says so), `no_range` (a Range is answered 206, with the first bytes),
    `drip` (a second between pieces), `forbid` (403), `zip` (says it is compressed), `away` (redirects `elsewhere`)."""

    files: dict[str, bytes]
    misbehave: str = ""
    elsewhere: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "HttpUpstream":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def url(self, path: str) -> str:
        """Absolute URL of a file."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        path = lines[0].split(" ")[1]
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        self.requests.append({"path": path, **headers})
        await self._answer(writer, self.files.get(path), headers)
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, data: bytes | None, headers: dict[str, str]) -> None:
        number = len(self.requests)
        if data is None or (self.misbehave == "error" and number <= 2) or self.misbehave == "forbid":
            status = "404 Not Found" if data is None else "503 Busy"
            status = "403 Forbidden" if self.misbehave == "forbid" else status
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        if self.misbehave == "away":
            writer.write(f"HTTP/1.1 302 X\r\nLocation: {self.elsewhere}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        if self.misbehave == "slow":
            await asyncio.sleep(2)
        start = 0
        if found := re.fullmatch(r"bytes=(\d+)-", headers.get("range", "")):
            start = int(found[1])
        body = data[start:]
        if self.misbehave == "no_range":
            body = data[: len(data) - start]
        if self.misbehave == "early":
            body = data[: len(data) // 2]
        if self.misbehave == "lie":
            body = bytes(len(body))
        if self.misbehave == "long":
            body += b"more"
        status = "206 Partial Content" if start else "200 OK"
        more = "Content-Encoding: gzip\r\n" if self.misbehave == "zip" else ""
        if start and self.misbehave != "no_range":
            more += f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        writer.write(head.encode())
        first = number == 1 if self.misbehave == "break" else self.misbehave == "no_range" and not start
        breaks = self.misbehave == "short" or first
        cut = len(body) // 2 if breaks else len(body)
        if self.misbehave == "drip":
            for at in range(0, cut, cut // 10):
                writer.write(body[at : at + cut // 10])
                await writer.drain()
                await asyncio.sleep(1)
            return
        writer.write(body[:cut])
        await writer.drain()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an HTTP origin was asked; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


HttpAnswer = tuple[int, dict[str, str], bytes]


@dataclass
class HttpOrigin:
    """An HTTP server that does what `answer` says, and remembers what it was asked."""

    answer: Callable[[HttpRequest], HttpAnswer | Awaitable[HttpAnswer]]
    requests: list[HttpRequest] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "HttpOrigin":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def url(self, path: str = "/") -> str:
        """Absolute URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split("\r\n")[0].split(" ")
                lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
                headers = {name.lower(): value.strip() for name, _, value in lines}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append(asked := HttpRequest(method, path, headers, body))
                answer = self.answer(asked)
                status, more, data = answer if isinstance(answer, tuple) else await answer
                length = {} if status in (204, 304) else {"Content-Length": str(len(data))}
                told = "".join(f"{name}: {value}\r\n" for name, value in (length | more).items())
                writer.write(f"HTTP/1.1 {status} X\r\n{told}\r\n".encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def mint(client: "redis.Redis", url: str, data: bytes, **more: Any) -> str:
    """A ticket for `data` at `url`; returns its token."""
    token = secrets.token_urlsafe(9)
    record = {
        "url": url,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "controllerId": "device",
        "tenant": "DEFAULT",
        "actionId": 1,
        "name": "a.bin",
        **more,
    }
    await client.set(f"updraft:ticket:{token}", json.dumps(record), ex=600)
    return token


class CoapClient(asyncio.DatagramProtocol):
    """Sends requests and waits for replies, separate ones too; Zephyr's option set by default."""

    def __init__(self) -> None:
        self.replies: asyncio.Queue[Message] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None
        self._mid = random.randrange(60000)

    @classmethod
    async def connect(cls, port: int) -> "CoapClient":
        """A client of the proxy at 127.0.0.1:`port`."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_datagram_endpoint(cls, remote_addr=("127.0.0.1", port))
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        message = decode(data)
        if message.type == Type.CON:
            self.send_raw(encode(Message(Type.ACK, 0, message.mid)))
        self.replies.put_nowait(message)

    def send_raw(self, datagram: bytes) -> None:
        """Send any bytes."""
        assert self._transport is not None
        self._transport.sendto(datagram)

    def next_mid(self) -> int:
        """A new message id."""
        self._mid += 1
        return self._mid

    async def get(
        self, *path: str, block: Block | None = None, extra: tuple[tuple[int, bytes], ...] = (), seconds: float = 10.0
    ) -> Message:
        """One GET; empty ACKs are skipped."""
        options = [(option.URI_PATH, part.encode()) for part in path]
        if block is not None:
            options += [(option.BLOCK2, encode_block(block)), (option.SIZE2, b"")]
        return await self.ask(Code.GET, (*options, *extra), seconds=seconds)

    async def ask(self, code: int, options: Options, payload: bytes = b"", seconds: float = 10.0) -> Message:
        """One request of any method; empty ACKs are skipped."""
        request = Message(Type.CON, code, self.next_mid(), secrets.token_bytes(8), options, payload)
        self.send_raw(encode(request))
        async with asyncio.timeout(seconds):
            while True:
                reply = await self.replies.get()
                if reply.code != Code.EMPTY and reply.token == request.token:
                    return reply

    async def fetch(self, *path: str, szx: int = 5, extra: tuple[tuple[int, bytes], ...] = ()) -> bytes:
        """A whole representation; asserts 2.05 and an unchanging ETag."""
        data, num, etag = b"", 0, None
        while True:
            reply = await self.get(*path, block=Block(num, False, szx), extra=extra)
            assert reply.code == Code.CONTENT, reply
            assert etag in (None, reply.option(option.ETAG))
            etag = reply.option(option.ETAG)
            value = reply.option(option.BLOCK2)
            assert value is not None
            data += reply.payload
            if not decode_block(value).more:
                return data
            num += 1

    async def upload(self, code: int, options: Options, body: bytes, szx: int = 6) -> Message:
        """A request in blocks (Block1); asserts that each but the last is answered 2.31. Returns the last answer."""
        size = 16 << szx
        for at in range(0, len(body), size):
            more = at + size < len(body)
            block = Block(at // size, more, szx)
            reply = await self.ask(
                code, (*options, (option.BLOCK1, encode_block(block))), body[at : at + size], seconds=30
            )
            assert reply.option(option.BLOCK1) == encode_block(block), reply
            if more:
                assert reply.code == Code.CONTINUE, reply
        return reply

    def close(self) -> None:
        """Let the socket go."""
        assert self._transport is not None
        self._transport.close()


class ScriptedDevice(asyncio.DatagramProtocol):
    """Answers each request with the messages `say` returns; acknowledgements are kept, not answered."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.requests: list[Message] = []
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport
        self.sender = ("", 0)  # of the last request

    @classmethod
    @asynccontextmanager
    async def listening(cls, say: Say) -> AsyncIterator["ScriptedDevice"]:
        """A device on a port of its own."""
        transport, device = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(say), local_addr=("127.0.0.1", 0)
        )
        device.transport = transport
        yield device
        transport.close()

    @property
    def uri(self) -> str:
        """`coap://HOST:PORT`."""
        return f"coap://127.0.0.1:{self.transport.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = decode(data)
        self.heard.put_nowait(message)
        if message.type in (Type.ACK, Type.RST):
            return
        self.requests.append(message)
        self.sender = addr
        for answer in self.say(message):
            self.transport.sendto(encode(answer), addr)


def answer(request: Message, code: int, payload: bytes = b"", **options: bytes) -> Message:
    """A piggybacked response; options by their name in coap_wire.options."""
    given = tuple(sorted((getattr(option, name.upper()), value) for name, value in options.items()))
    return Message(Type.ACK, code, request.mid, request.token, given, payload)


async def _direct(host: str, port: int) -> tuple[str, int]:
    return host, port


@asynccontextmanager
async def http_face(*allowed: str, seconds: float = 10.0, limit: int = 1 << 20) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an HTTP face that may ask the servers at `allowed`."""
    made = HttpFace(tuple(map(uris.parse_base, allowed)), _direct, limit, limit, seconds)
    async with (
        serving(made, "127.0.0.1", 0, 1) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        yield client


@asynccontextmanager
async def standing_alone(folder: Path, allowed: str, **more: Any) -> AsyncIterator[tuple[Proxy, CoapClient]]:
    """A proxy without Redis and without an HTTP face of its own, which may ask `allowed`, and a client of it."""
    settings = ProxySettings(redis_url=SecretStr(""), cache_directory=folder, allowed_upstreams=allowed, **more)
    async with Proxy(settings, udp_socket("127.0.0.1", more.get("coap_port", 0))) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        yield proxy, client
        client.close()


@asynccontextmanager
async def before_origin(
    folder: Path, answer: Callable[[HttpRequest], Any], **more: Any
) -> AsyncIterator[tuple[Proxy, CoapClient, HttpOrigin]]:
    """The same in front of an HTTP origin: its /in may be asked by URI, its /in/firmware also by path, as /fw."""
    async with HttpOrigin(answer) as origin:
        paths = {"reverse": f"/fw={origin.url('/in/firmware')}", "ack_delay_seconds": 0.2, **more}
        async with standing_alone(folder, paths.pop("allowed_upstreams", origin.url("/in")), **paths) as (
            proxy,
            client,
        ):
            yield proxy, client, origin


def by_uri(uri: str, *more: tuple[int, bytes]) -> Options:
    """Options of a forward request."""
    return ((option.PROXY_URI, uri.encode()), *more)
