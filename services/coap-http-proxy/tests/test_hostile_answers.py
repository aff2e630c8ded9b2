"""An HTTP server that answers a Proxy-Uri with whatever it likes: the device gets what was meant or an error, no more.

Beside test_hostile_upstream.py, where what a ticket names is bound to a hash: here nothing is known beforehand.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from coap_http_proxy.door import Door
from coap_http_proxy.settings import ProxySettings
from coap_wire import Code, Message, Type, decode, encode
from coap_wire import options as option
from updraft_local.ports import free_port

OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
LIMIT = 200_000


class Liar:
    """Answers each request with the bytes of `says`, again and again when `for_ever`, and then hangs up or does not."""

    def __init__(self) -> None:
        self.says, self.for_ever, self.hangs_up = GOOD, False, True
        self.requests = 0
        self.port = 0
        self.number: Iterator[int] = itertools.count(1)
        self.door: Door

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            writer.write(self.says)
            await writer.drain()
            head, _, piece = self.says.partition(b"\r\n\r\n")
            while self.for_ever:
                writer.write(piece or head + b"\r\n\r\n")
                await writer.drain()
            if not self.hangs_up:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, code: int = Code.GET) -> Message:
        """What a device gets that asks for something nobody has asked for before."""
        number = next(self.number)
        uri = (option.PROXY_URI, f"http://127.0.0.1:{self.port}/{number}".encode())
        return decode((await self.door.knock(encode(Message(Type.CON, code, number, b"t", (uri,)))))[-1])


@pytest.fixture
async def liar(tmp_path: Path) -> AsyncIterator[Liar]:
    server = Liar()
    listening = await asyncio.start_server(server.connected, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    settings = ProxySettings(
        redis_url=SecretStr(""),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=tmp_path,
        allowed_upstreams=f"http://127.0.0.1:{server.port}/",
        upstream_timeout_seconds=2.0,
        max_representation_bytes=LIMIT,
    )
    async with Door(settings) as door:
        server.door = door
        yield server
        server.says, server.for_ever = GOOD, False
        assert (await server.answer()).payload == b"hello", "the next good answer arrives"
    listening.close()


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.rfc("7252-5.7.1-b")
@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        OK + b"no colon here\r\n\r\n",
        OK + b"X: " + b"x" * 300_000 + b"\r\n\r\n",
        OK + b"X: y\r\n" * 100_000 + b"\r\n",
        OK + b"Content-Length: 9\r\n\r\nshort",
        OK + b"Content-Length: -1\r\n\r\nshort",
        OK + b"Content-Length: five\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhello",
        CHUNKED + b"ffffffffffffffff\r\nhello",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"Content-Encoding: br, zstd\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
    ],
)
async def test_what_is_no_answer_of_http_is_5_02_and_no_part_of_it_is_shown(liar: Liar, says: bytes) -> None:
    liar.says = says
    reply = await liar.answer()
    assert reply.code == Code.BAD_GATEWAY
    assert b"hello" not in reply.payload
    assert len(reply.payload) < 128


@pytest.mark.parametrize("head", [OK + b"\r\n", CHUNKED + b"4\r\n", OK + b"Content-Length: 99999999999\r\n\r\n"])
async def test_an_answer_that_never_ends_is_cut_at_the_limit(liar: Liar, head: bytes) -> None:
    piece = b"1000\r\n" + b"x" * 4096 + b"\r\n" if head.startswith(CHUNKED) else b"x" * 4096
    liar.says, liar.for_ever = (CHUNKED if head.startswith(CHUNKED) else head) + piece, True
    before = liar.door.upstream.stats.bytes
    assert (await liar.answer()).code == Code.BAD_GATEWAY
    assert liar.door.upstream.stats.bytes - before < LIMIT + (1 << 20)


async def test_interim_answers_without_end_are_not_waited_for_longer_than_the_limit(liar: Liar) -> None:
    liar.says, liar.for_ever = b"HTTP/1.1 103 Early Hints\r\n\r\n", True
    assert (await liar.answer()).code in (Code.BAD_GATEWAY, Code.GATEWAY_TIMEOUT)


@pytest.mark.rfc("7252-5.7.1-a")
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\nContent-", OK + b"Content-Length: 5\r\n\r\nhel"])
async def test_a_server_that_falls_silent_is_5_04(liar: Liar, says: bytes) -> None:
    liar.says, liar.hangs_up = says, False
    assert (await liar.answer()).code == Code.GATEWAY_TIMEOUT


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to",
    [
        b"http://169.254.169.254/latest/meta-data/",
        b"http://localhost:1/",
        b"//evil.example/",
        b"file:///etc/passwd",
        b"gopher://127.0.0.1:70/",
        b"coap://127.0.0.1/",
        b"//[",
        b"http://127.0.0.1@evil.example/",
        b"",
    ],
)
async def test_a_redirect_out_of_the_allow_list_is_not_followed(liar: Liar, status: int, to: bytes) -> None:
    liar.says = b"HTTP/1.1 %d Away\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, to)
    reply = await liar.answer()
    assert reply.code == Code.BAD_GATEWAY
    assert b"169.254" not in reply.payload
    assert liar.requests == 1


@pytest.mark.parametrize("to", [b"/round", b"\xff\xfe", b"?again", b"#here", b"a/../round"])
async def test_a_redirect_to_itself_ends(liar: Liar, to: bytes) -> None:
    liar.says = b"HTTP/1.1 302 X\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"
    assert (await liar.answer()).code == Code.BAD_GATEWAY
    assert liar.requests < 10


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Type: " + b"x" * 5000,
        b"Content-Type: application/coap-payload;cf=99999999",
        b"Content-Type: application/coap-payload;cf=-1",
        b"Content-Type: application/coap-payload;cf=x",
        b"Content-Type: text/plain;charset=\xff\xfe",
        b"Content-Type: ;;;=,",
        b"Content-Type: \xf0\x9f\x98\x80/x",
        b"ETag: " + b'"' + b"e" * 5000 + b'"',
        b'ETag: W/"weak"',
        b"ETag: not quoted\xff",
        b'ETag: ""',
        b"Cache-Control: max-age=99999999999999999999999999",
        b"Cache-Control: max-age=-5",
        b"Cache-Control: max-age=abc, s-maxage=, ,=,,",
        b"Cache-Control: max-age=10\r\nAge: 99999999999999999999999999",
        b"Age: -1",
        b"Age: \xb2",
        b"Expires: Thu, 99 Foo 99999 99:99:99 GMT",
        b"Expires: 0\r\nDate: 0",
        b"Date: Fri, 31 Dec 9999 23:59:59 GMT\r\nExpires: Mon, 01 Jan 0001 00:00:00 GMT",
        b"Vary: *",
        b"Content-Range: bytes 0-4/2",
    ],
)
async def test_headers_that_lie_change_nothing_but_themselves(liar: Liar, headers: bytes) -> None:
    liar.says = OK + headers + b"\r\nContent-Length: 5\r\n\r\nhello"
    reply = await liar.answer()
    assert (reply.code, reply.payload) == (Code.CONTENT, b"hello")
    assert all(len(value) <= 8 for value in reply.options_of(option.ETAG))
    assert all(len(value) <= 2 for value in reply.options_of(option.CONTENT_FORMAT))
    assert all(len(value) <= 4 for value in reply.options_of(option.MAX_AGE))


@pytest.mark.parametrize(
    "answer",
    [
        b"101 Switching Protocols",
        b"206 Partial Content",
        b"226 IM Used",
        b"304 Not Modified",
        b"299 Strange",
        b"418 Teapot",
        b"499 Strange",
        b"599 Strange",
        b"600 Strange",
        b"999 Strange",
    ],
)
async def test_a_status_nobody_expected_is_an_error_or_a_success_and_nothing_breaks(liar: Liar, answer: bytes) -> None:
    liar.says = b"HTTP/1.1 " + answer + b"\r\nContent-Length: 5\r\n\r\nhello"
    reply = await liar.answer()
    assert reply.code != Code.VALID, "nobody asked whether something is still valid"
    assert reply.code >> 5 in (2, 4, 5)
    assert (reply.payload == b"hello") == (reply.code == Code.CONTENT)


@pytest.mark.rfc("7252-5.10.7-b")
@pytest.mark.parametrize(
    "to",
    [
        b"/a/../../b",
        b"/./x",
        b"/%2e%2e/x",
        b"/" + b"x" * 300,
        b"/" + b"a/" * 3000,
        b"/a?" + b"q&" * 3000,
        b"http://evil.example/a",
        b"\xff",
        b"//[",
        b"",
    ],
)
async def test_where_something_was_created_is_told_in_options_that_may_be_sent(liar: Liar, to: bytes) -> None:
    liar.says = b"HTTP/1.1 201 Created\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"
    reply = await liar.answer(Code.POST)
    assert reply.code == Code.CREATED
    places = [*reply.options_of(option.LOCATION_PATH), *reply.options_of(option.LOCATION_QUERY)]
    assert all(place not in (b".", b"..") and len(place) <= 255 for place in places)
    assert len(encode(reply)) <= 1152
