"""Nonsense at the block server's door: every datagram gets a small answer or none, and the next good one is served."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio as redis
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from coap_http_proxy.blobs import blob_of
from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.exchanges import Exchanges
from coap_http_proxy.fast_path import FastPath
from coap_http_proxy.mapping import requests
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_http_proxy.progress import Progress
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from coap_wire import Block, Code, DecodeError, Message, Type, decode, encode, encode_block
from coap_wire import options as option
from coap_wire.testing import hostile_datagrams
from updraft_local.ports import free_port

IMAGE = bytes(range(256)) * 40
TOKEN = "abcdefghijkl"


def good(token: str = TOKEN, num: int = 3) -> bytes:
    """A request as Zephyr sends it."""
    path = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"fw.bin"))
    blocks = ((option.BLOCK2, encode_block(Block(num, False, 5))), (option.SIZE2, b""))
    return encode(Message(Type.CON, Code.GET, 4711, b"12345678", path + blocks))


@given(st.integers(0, 1 << 32))
@settings(max_examples=120, deadline=None)
def test_the_pure_functions_know_an_answer_to_everything(seed: int) -> None:
    fast = FastPath()
    fast.admit(TOKEN, blob_of(IMAGE), Progress(len(IMAGE)))
    for datagram in hostile_datagrams(seed, 120, [good()]):
        reply = fast.answer(datagram)
        assert reply is None or decode(reply).code == Code.CONTENT, datagram
        try:
            message = decode(datagram)
        except DecodeError:
            assert reply is None
            continue
        assert decode(encode(message)) == message
        try:
            requests.wanted(message)
            requests.fitting(requests.block_of(message), len(IMAGE))
        except Refusal as refusal:
            assert refusal.code >> 5 in (4, 5), datagram
            assert len(refusal.diagnostic) < 200


async def test_the_message_layer_answers_small_and_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[bytes] = []

    async def respond(request: Message, _: object) -> Message:
        requests.wanted(request)
        requests.block_of(request)
        return Message(Type.ACK, Code.NOT_FOUND, 0)

    exchanges = Exchanges(lambda datagram, _: sent.append(datagram), respond, 1.0, 64)
    for number, datagram in enumerate(hostile_datagrams(1, 10_000, [good()])):
        sent.clear()
        exchanges.received(datagram, Peer("192.0.2.1", number))
        for _ in range(4):
            await asyncio.sleep(0)
        assert len(sent) <= 1, datagram
        for reply in sent:
            decode(reply)
            assert len(reply) <= max(3 * len(datagram), 128), datagram
    assert [record for record in caplog.records if record.exc_info] == []


@asynccontextmanager
async def running(redis_url: str, folder: Path, upstream: HttpUpstream) -> AsyncIterator[Proxy]:
    given = ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=folder,
        allowed_upstreams=upstream.url("/"),
    )
    async with Proxy(given) as proxy:
        yield proxy


async def test_a_few_thousand_hostile_datagrams_later_the_next_image_is_served(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = redis.Redis.from_url(redis_url)
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as proxy:
        token = await mint(store, upstream.url("/a"), IMAGE)
        client = await CoapClient.connect(proxy.transport.port)
        stranger = await CoapClient.connect(proxy.transport.port)
        for number, datagram in enumerate(hostile_datagrams(2, 4000, [good(token)])):
            stranger.send_raw(datagram)
            if number % 200 == 199:
                assert await client.fetch("f", token, "fw.bin") == IMAGE
        assert proxy.transport.received > 4000
        assert proxy.exchanges.malformed > 500
        for one in (client, stranger):
            one.close()
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []
    assert len(caplog.records) < 100, "a log line for each datagram is a way to fill a disk"
    await store.aclose()


def test_a_request_cut_at_each_byte_is_no_request_or_another_one() -> None:
    whole = good()
    fast = FastPath()
    fast.admit(TOKEN, blob_of(IMAGE), Progress(len(IMAGE)))
    assert fast.answer(whole) is not None
    for cut in range(len(whole)):
        reply = fast.answer(whole[:cut])
        if reply is not None:
            # Without Size2, or with a shorter Block2: still a request, with its own right answer.
            assert decode(whole[:cut]).uri_path == ("f", TOKEN, "fw.bin")
