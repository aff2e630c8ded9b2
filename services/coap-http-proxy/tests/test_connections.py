"""HTTP connections to upstreams: kept when both sides ended well, dropped when anything is odd, never waited for."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from coap_http_proxy.connections import FRESH, Connections, Streams

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


@dataclass
class Upstream:
    """Answers each request with the bytes that `answer` makes of its number; counts connections."""

    answer: Callable[[int], bytes]
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answer(len(self.requests)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def asked(
    answer: Callable[[int], bytes], seconds: float = 5.0, most: int = 10, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[Upstream, httpx.AsyncClient, str]]:
    """An upstream and a client of it."""

    async def connect(host: str, port: int, context: ssl.SSLContext | None) -> Streams:
        return await asyncio.open_connection(host, port, ssl=context)

    upstream = Upstream(answer)
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=60)
    transport = Connections(connect, ssl.create_default_context(), limits, clock)
    async with httpx.AsyncClient(transport=transport, timeout=seconds, trust_env=False) as client:
        yield upstream, client, f"http://127.0.0.1:{port}/x"
    server.close()


async def test_connection_is_used_again_when_both_sides_ended_well() -> None:
    async with asked(lambda number: GOOD) as (upstream, client, url):
        for _ in range(3):
            assert (await client.get(url)).content == b"body"
    assert upstream.connections == 1
    assert upstream.requests[0].startswith(b"GET /x HTTP/1.1\r\n") and b"\r\nHost: 127.0.0.1" in upstream.requests[0]


async def test_connection_whose_answer_was_left_early_is_not_used_again() -> None:
    async with asked(lambda number: GOOD[:-2] if number == 1 else GOOD) as (upstream, client, url):
        async with client.stream("GET", url) as answer:
            assert answer.status_code == 200
        assert (await client.get(url)).content == b"body"
    assert upstream.connections == 2


@pytest.mark.parametrize("behind", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nforged", b"x"])
async def test_bytes_behind_an_answer_never_begin_the_next_one(behind: bytes) -> None:
    async with asked(lambda number: GOOD + behind if number == 1 else GOOD) as (upstream, client, url):
        assert (await client.get(url)).content == b"body"
        assert (await client.get(url)).content == b"body"
    assert upstream.connections == 2


async def test_connection_that_the_upstream_closed_is_not_used_again() -> None:
    close = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"
    async with asked(lambda number: close) as (upstream, client, url):
        for _ in range(2):
            assert (await client.get(url)).content == b"body"
    assert upstream.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_a_protocol_error(answer: bytes) -> None:
    async with asked(lambda number: answer) as (_, client, url):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)


async def test_silent_upstream_is_left_when_its_time_is_over() -> None:
    async with asked(lambda number: b"", seconds=0.05) as (_, client, url):
        with pytest.raises(httpx.ReadTimeout):
            await client.get(url)


async def test_nobody_waits_for_ever_for_a_turn() -> None:
    async with asked(lambda number: GOOD[:-1], seconds=0.05, most=1) as (_, client, url):
        async with client.stream("GET", url):
            with pytest.raises(httpx.PoolTimeout):
                await client.get(url)
        with pytest.raises(httpx.ReadTimeout):  # the turn was given back
            await client.get(url)


async def test_refused_connection_gives_its_turn_back() -> None:
    async with asked(lambda number: GOOD, most=1) as (_, client, url):
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:1/")
        assert (await client.get(url)).content == b"body"


async def test_a_fresh_connection_is_opened_for_who_asks_for_one() -> None:
    async with asked(lambda number: GOOD) as (upstream, client, url):
        await client.get(url)
        assert (await client.get(url, extensions={FRESH: True})).content == b"body"
        assert upstream.connections == 2


async def test_connections_too_old_leave_their_room_to_those_of_other_upstreams() -> None:
    now = [0.0]
    async with (
        asked(lambda number: GOOD, most=1, clock=lambda: now[0]) as (_, client, url),
        asked(lambda number: GOOD) as (upstream, _, other),
    ):
        await client.get(url)
        now[0] += 61
        for _ in range(3):
            assert (await client.get(other)).content == b"body"
        assert upstream.connections == 1


async def test_an_upstream_that_takes_all_its_turns_leaves_others_theirs() -> None:
    async with (
        asked(lambda number: GOOD[:-1], seconds=0.5, most=1) as (_, client, url),
        asked(lambda number: GOOD) as (_, _, other),
        client.stream("GET", url),
    ):
        assert (await client.get(other)).content == b"body"
