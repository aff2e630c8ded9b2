"""Any datagrams at the entry of the whole proxy: whatever comes in whatever order, nothing escapes."""

import asyncio
import os
from pathlib import Path

import redis.asyncio as redis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from coap_http_proxy.door import NEIGHBOUR, STRANGER, Door
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import HttpUpstream, mint
from coap_wire import Block, Code, Message, Type, encode, encode_block
from coap_wire import options as option
from coap_wire.testing import hostile_datagrams
from updraft_local.ports import free_port

IMAGE = os.urandom(3000)


def requests(token: str, base: str) -> list[bytes]:
    """Good requests to spoil."""
    path = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"fw.bin"))
    block = (option.BLOCK2, encode_block(Block(1, False, 4)))
    uri = ((option.PROXY_URI, f"{base}a".encode()),)
    upload = (option.BLOCK1, encode_block(Block(0, True, 0)))
    shapes = [(Code.GET, (*path, block, (option.SIZE2, b""))), (Code.GET, uri), (Code.GET, (block, *uri))]
    shapes += [(Code.PUT, (upload, *uri)), (Code.POST, uri), (Code.DELETE, uri)]
    return [encode(Message(Type.CON, code, 7, b"tok", options)) for code, options in shapes]


def test_nothing_escapes_whatever_arrives(redis_url: str, tmp_path: Path) -> None:
    async def opened() -> tuple[Door, list[bytes]]:
        upstream = await HttpUpstream({"/a": IMAGE}).__aenter__()
        settings = ProxySettings(
            redis_url=SecretStr(redis_url),
            port=free_port(),
            coap_port=free_port(2),
            cache_directory=tmp_path,
            allowed_upstreams=upstream.url("/"),
            ack_delay_seconds=0.05,
        )
        door = await Door(settings).__aenter__()
        store = redis.Redis.from_url(redis_url)
        token = await mint(store, upstream.url("/a"), IMAGE)
        await store.aclose()
        door.tokens.add(token.encode())
        return door, requests(token, upstream.url("/"))

    with asyncio.Runner() as runner:
        door, good = runner.run(opened())

        @given(st.integers(0, 1 << 32), st.lists(st.binary(max_size=80), max_size=3), st.booleans())
        @example(0, [], True)
        @settings(max_examples=60, deadline=None)
        def anything(seed: int, noise: list[bytes], stranger: bool) -> None:
            for datagram in (*hostile_datagrams(seed, 20, good), *noise, *good):
                runner.run(door.knock(datagram, STRANGER if stranger else NEIGHBOUR))

        anything()
        assert runner.run(door.knock(good[0], STRANGER)), "after all that, a device still gets its block"
        runner.run(door.__aexit__())
