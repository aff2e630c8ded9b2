"""CoAP upstreams that lie: nothing of it reaches a device, and nothing stays."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coap_http_proxy.testing import Say, ScriptedDevice, by_uri, standing_alone
from coap_wire import Block, Code, Message, Type, decode_block, encode_block
from coap_wire import options as option

LARGE = os.urandom(150_003)


@asynccontextmanager
async def saying(say: Say) -> AsyncIterator[tuple[ScriptedDevice, str]]:
    async with ScriptedDevice.listening(say) as server:
        yield server, server.uri


def answer(
    request: Message, code: int = Code.CONTENT, payload: bytes = b"", *options: tuple[int, bytes]
) -> list[Message]:
    ordered = tuple(sorted(options, key=lambda pair: pair[0]))
    return [Message(Type.ACK, code, request.mid, request.token, ordered, payload)]


def asked_block(request: Message) -> Block:
    return decode_block(request.option(option.BLOCK2) or b"\x06")


def endless(request: Message) -> list[Message]:
    block = asked_block(request)
    return answer(request, Code.CONTENT, bytes(1024), (option.BLOCK2, encode_block(Block(block.num, True, 6))))


def out_of_order(request: Message) -> list[Message]:
    return answer(request, Code.CONTENT, bytes(1024), (option.BLOCK2, encode_block(Block(3, True, 6))))


def half_blocks(request: Message) -> list[Message]:
    block = asked_block(request)
    return answer(request, Code.CONTENT, bytes(512), (option.BLOCK2, encode_block(Block(block.num, True, 6))))


def forgetful(request: Message) -> list[Message]:
    block = asked_block(request)
    more = ((option.BLOCK2, encode_block(Block(0, True, 6))),) if block.num == 0 else ()
    return answer(request, Code.CONTENT, bytes(1024), *more)


def changing(request: Message) -> list[Message]:
    block = (option.BLOCK2, encode_block(Block(asked_block(request).num, True, 6)))
    return answer(request, Code.CONTENT, bytes(1024), block, (option.ETAG, os.urandom(4)))


def reserved(request: Message) -> list[Message]:
    return answer(request, Code.CONTENT, b"x", (option.BLOCK2, b"\x07"))


def unsafe(request: Message) -> list[Message]:
    return answer(request, Code.CONTENT, b"x", (2050, b""))


def huge(request: Message) -> list[Message]:
    return answer(request, Code.CONTENT, bytes(40_000))


def reset(request: Message) -> list[Message]:
    return [Message(Type.RST, Code.EMPTY, request.mid)]


def waiting_for_more(request: Message) -> list[Message]:
    return answer(request, Code.CONTINUE)


def taking_a_tag_for_granted(request: Message) -> list[Message]:
    return answer(request, Code.VALID, b"", (option.ETAG, b"x"))


@pytest.mark.rfc("7252-5.7.1-b", "7959-2.4-e")
@pytest.mark.parametrize(
    "lie",
    [
        endless,
        out_of_order,
        half_blocks,
        forgetful,
        changing,
        reserved,
        unsafe,
        huge,
        reset,
        waiting_for_more,
        taking_a_tag_for_granted,
    ],
)
async def test_a_server_that_lies_is_a_bad_gateway_and_fills_nothing(lie: Say, tmp_path: Path) -> None:
    async with (
        saying(lie) as (server, base),
        standing_alone(tmp_path, base, max_representation_bytes=30_000) as (proxy, client),
    ):
        assert (await client.ask(Code.GET, by_uri(f"{base}/x"))).code == Code.BAD_GATEWAY
        assert len(server.requests) <= 32
        assert proxy.upstream.room.taken == 0
        assert len(proxy.upstream.representations.cache) == 0


async def test_a_changed_answer_to_a_post_is_not_asked_for_again(tmp_path: Path) -> None:
    async with saying(changing) as (server, base), standing_alone(tmp_path, base) as (_, client):
        assert (await client.ask(Code.POST, by_uri(f"{base}/x"), b"x")).code == Code.BAD_GATEWAY
        assert sum(bool(request.payload) for request in server.requests) == 1


@pytest.mark.rfc("7252-5.4.3-a")
async def test_options_of_lengths_they_cannot_have_are_ignored(tmp_path: Path) -> None:
    def odd(request: Message) -> list[Message]:
        form, age = (option.CONTENT_FORMAT, b"123"), (option.MAX_AGE, b"\xff" * 200)
        return answer(request, Code.CONTENT, b"x", (option.ETAG, b"e" * 200), form, age)

    async with saying(odd) as (_, base), standing_alone(tmp_path, base) as (_, client):
        reply = await client.ask(Code.GET, by_uri(f"{base}/x"))
        assert (reply.code, reply.payload, reply.option(option.CONTENT_FORMAT)) == (Code.CONTENT, b"x", None)
        assert reply.option(option.ETAG) == hashlib.sha256(b"x").digest()[:8]


@pytest.mark.rfc("7252-5.4.1-d")
async def test_a_critical_option_nobody_here_knows_spoils_an_answer(tmp_path: Path) -> None:
    async with (
        saying(lambda request: answer(request, Code.CONTENT, b"x", (2049, b""))) as (_, base),
        standing_alone(tmp_path, base) as (_, client),
    ):
        assert (await client.ask(Code.GET, by_uri(f"{base}/x"))).code == Code.BAD_GATEWAY


@pytest.mark.rfc("7252-5.6-d")
async def test_a_success_nobody_here_knows_is_passed_on_and_not_kept(tmp_path: Path) -> None:
    strange = 2 << 5 | 30
    async with (
        saying(lambda request: answer(request, strange, b"x", (option.MAX_AGE, b"\x3c"))) as (server, base),
        standing_alone(tmp_path, base) as (_, client),
    ):
        for count in (1, 2):
            assert (await client.ask(Code.GET, by_uri(f"{base}/x"))).code == strange
            assert len(server.requests) == count
