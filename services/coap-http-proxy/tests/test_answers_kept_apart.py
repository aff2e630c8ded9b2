"""What one device or upstream does is nobody else's: private answers, secrets, silence and conditions stay apart."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coap_http_proxy.testing import (
    CoapClient,
    HttpAnswer,
    HttpOrigin,
    HttpRequest,
    before_origin,
    by_uri,
    standing_alone,
)
from coap_http_proxy.upstream import representations
from coap_wire import Block, Code, Options
from coap_wire import options as option


@pytest.mark.rfc("7959 2.4")
async def test_an_answer_that_is_public_now_is_not_continued_from_the_private_one_before(tmp_path: Path) -> None:
    said = [("private", b"A"), ("max-age=60", b"B")]

    def answer(asked: HttpRequest) -> HttpAnswer:
        control, letter = said.pop(0)
        return 200, {"Cache-Control": control}, letter * 2000

    async with before_origin(tmp_path, answer) as (_, client, origin):

        async def letter(num: int) -> bytes:
            asked = by_uri(origin.url("/in/a"))
            return (await client.get(extra=asked, block=Block(num, False, 6))).payload[:1]

        assert [await letter(0), await letter(1)] == [b"A", b"A"]
        assert [await letter(0), await letter(1)] == [b"B", b"B"]
        assert said == []


async def test_an_answer_that_became_private_is_forgotten_when_the_upstream_says_so(tmp_path: Path) -> None:
    def answer(asked: HttpRequest) -> HttpAnswer:
        if "if-none-match" in asked.headers:
            return 304, {"ETag": '"v"', "Cache-Control": "private, no-store"}, b""
        return 200, {"ETag": '"v"', "Cache-Control": "no-cache"}, b"S" * 2000

    async with before_origin(tmp_path, answer) as (proxy, client, origin):
        for _ in range(2):
            reply = await client.get(extra=by_uri(origin.url("/in/a")), block=Block(0, False, 6))
            assert reply.payload == b"S" * 1024
        assert "if-none-match" in origin.requests[1].headers
        stranger = await CoapClient.connect(proxy.transport.port)
        await stranger.get(extra=by_uri(origin.url("/in/a")), block=Block(1, False, 6))
        stranger.close()
        assert len(origin.requests) == 3, "a stranger was told from the cache what is private now"
        assert (await client.get(extra=by_uri(origin.url("/in/a")), block=Block(1, False, 6))).code == Code.CONTENT
        assert len(origin.requests) == 3, "the transfer of whom it was told goes on"


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "max-age=60", "Vary": "Authorization, " * 400},
        {"Cache-Control": "max-age=60, " + "x=y, " * 1000 + "private"},
    ],
    ids=["vary", "cache-control"],
)
async def test_a_header_too_long_to_be_read_makes_no_answer_public(headers: dict[str, str], tmp_path: Path) -> None:
    async with before_origin(tmp_path, lambda _: (200, headers, b"x")) as (_, client, origin):
        for _ in range(2):
            assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).payload == b"x"
        assert len(origin.requests) == 2


async def test_an_encoding_too_long_to_be_read_is_an_encoding_all_the_same(tmp_path: Path) -> None:
    async with before_origin(tmp_path, lambda _: (200, {"Content-Encoding": "gzip, " * 1000}, b"x")) as (
        _,
        client,
        origin,
    ):
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).code == Code.BAD_GATEWAY


async def test_the_longest_base_decides_which_credentials_are_shown(tmp_path: Path) -> None:
    async with HttpOrigin(lambda _: (200, {}, b"x")) as origin:
        keys = tmp_path / "keys.json"
        keys.write_text(json.dumps({origin.url("/"): {"X-Key": "wide"}, origin.url("/deep/"): {"X-Key": "deep"}}))
        keys.chmod(0o600)
        allowed = f"{origin.url('/')},{origin.url('/deep/')}"
        async with standing_alone(tmp_path / "blocks", allowed, credentials_file=keys) as (_, client):
            for path in ("/deep/x", "/x"):
                assert (await client.ask(Code.GET, by_uri(origin.url(path)))).payload == b"x"
        assert [asked.headers["x-key"] for asked in origin.requests] == ["deep", "wide"]


async def test_a_silent_upstream_makes_nobody_wait_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representations, "MAX_AT_ONCE", 2)
    silence, heard = asyncio.Event(), asyncio.Semaphore(0)

    async def silent(asked: HttpRequest) -> HttpAnswer:
        heard.release()
        await silence.wait()
        return 200, {}, b"at last"

    async with HttpOrigin(silent) as first, HttpOrigin(lambda _: (200, {}, b"at once")) as second:
        allowed = f"{first.url('/')},{second.url('/')}"
        async with standing_alone(tmp_path, allowed, ack_delay_seconds=0.2) as (proxy, client):
            crowd = [await CoapClient.connect(proxy.transport.port) for _ in range(2)]
            waiting = asyncio.gather(*(one.ask(Code.GET, by_uri(first.url(f"/{id(one)}"))) for one in crowd))
            for _ in crowd:
                await asyncio.wait_for(heard.acquire(), 5)
            assert (await client.ask(Code.GET, by_uri(second.url("/x")), seconds=5)).payload == b"at once"
            silence.set()
            assert {reply.payload for reply in await waiting} == {b"at last"}
            for one in crowd:
                one.close()


@dataclass
class Leaver:
    """An HTTP server that leaves without a word at a connection's second request; at a PUT always. `together` are
    answered at once, so that each needs a connection of its own."""

    together: asyncio.Barrier
    port: int = 0
    requests: list[tuple[int, str]] = field(default_factory=list)
    _connections: int = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it is left."""
        self._connections += 1
        number = self._connections
        try:
            for turn in range(2):
                method = (await reader.readuntil(b"\r\n\r\n")).decode().partition(" ")[0]
                self.requests.append((number, method))
                if turn or method == "PUT":
                    break
                if number <= self.together.parties:
                    await self.together.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.transport.abort()


@asynccontextmanager
async def before_leaver(folder: Path) -> AsyncIterator[tuple[Leaver, CoapClient, CoapClient]]:
    """A proxy in front of one, with two clients, and as many connections kept."""
    leaver = Leaver(asyncio.Barrier(2))
    server = await asyncio.start_server(leaver.connected, "127.0.0.1", 0)
    leaver.port = server.sockets[0].getsockname()[1]
    async with standing_alone(folder, f"http://127.0.0.1:{leaver.port}/") as (proxy, client):
        other = await CoapClient.connect(proxy.transport.port)
        await asyncio.gather(*(
            one.ask(Code.GET, by_uri(f"http://127.0.0.1:{leaver.port}/{number}"))
            for number, one in enumerate((client, other))
        ))  # fmt: skip
        assert sorted(leaver.requests) == [(1, "GET"), (2, "GET")]
        leaver.requests.clear()
        yield leaver, client, other
        other.close()
    server.close()


async def test_a_second_try_takes_no_connection_that_may_be_as_stale_as_the_first(tmp_path: Path) -> None:
    async with before_leaver(tmp_path) as (leaver, client, _):
        reply = await client.ask(Code.GET, by_uri(f"http://127.0.0.1:{leaver.port}/again"))
        assert (reply.code, reply.payload) == (Code.CONTENT, b"ok")
        (_, first), (number, second) = leaver.requests
        assert (first, number, second) == ("GET", 3, "GET")


@pytest.mark.rfc("9110 9.2.2")
@pytest.mark.parametrize(
    ("condition", "times"),
    [((), 2), (((option.IF_NONE_MATCH, b""),), 1), (((option.IF_MATCH, b""),), 1)],
    ids=["none", "if-none-match", "if-match"],
)
async def test_a_change_under_a_condition_is_not_tried_twice_as_its_own_success_would_break_the_condition(
    condition: Options, times: int, tmp_path: Path
) -> None:
    async with before_leaver(tmp_path) as (leaver, client, _):
        reply = await client.ask(Code.PUT, by_uri(f"http://127.0.0.1:{leaver.port}/a", *condition), b"x")
        assert reply.code == Code.BAD_GATEWAY
        assert [method for _, method in leaver.requests] == ["PUT"] * times
