"""Any datagrams at the entry of the whole proxy: whatever comes in whatever order, nothing escapes."""

import asyncio
import os
from itertools import count
from pathlib import Path

import pytest
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


def requests(token: str, base: str, value: bytes = encode_block(Block(1, False, 4))) -> list[bytes]:
    """Requests to spoil, good ones but for the `value` of Block2."""
    path = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"fw.bin"))
    block = (option.BLOCK2, value)
    uri = ((option.PROXY_URI, f"{base}a".encode()),)
    upload = (option.BLOCK1, encode_block(Block(0, True, 0)))
    shapes = [(Code.GET, (*path, block, (option.SIZE2, b""))), (Code.GET, uri), (Code.GET, (block, *uri))]
    shapes += [(Code.PUT, (upload, *uri)), (Code.POST, uri), (Code.DELETE, uri)]
    return [encode(Message(Type.CON, code, 7, b"tok", options)) for code, options in shapes]


def test_nothing_escapes_whatever_arrives(redis_url: str, tmp_path: Path) -> None:
    async def opened() -> tuple[Door, str, str]:
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
        return door, token, upstream.url("/")

    with asyncio.Runner() as runner:
        door, token, base = runner.run(opened())
        good, numbers = requests(token, base), count()

        @given(
            st.integers(0, 1 << 32), st.lists(st.binary(max_size=80), max_size=3), st.binary(max_size=4), st.booleans()
        )
        @example(0, [], b"\x07", True)
        @settings(max_examples=60, deadline=None)
        def anything(seed: int, noise: list[bytes], value: bytes, stranger: bool) -> None:
            for datagram in (*hostile_datagrams(seed, 20, good), *noise, *requests(token, base, value)):
                # With a message id of its own, or it would be taken for a copy of the one before.
                fresh = datagram[:2] + next(numbers).to_bytes(3, "big")[1:] + datagram[4:]
                runner.run(door.knock(fresh if len(datagram) >= 4 else datagram, STRANGER if stranger else NEIGHBOUR))

        anything()
        assert runner.run(door.knock(good[0], STRANGER)), "after all that, a device still gets its block"
        runner.run(door.__aexit__())


@pytest.mark.rfc("9175-2.4-a")
async def test_no_copy_that_was_cut_calls_for_the_answer_of_a_longer_request(tmp_path: Path) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream:
        given = ProxySettings(
            redis_url=SecretStr(""), cache_directory=tmp_path, allowed_upstreams=upstream.url("/"), port=free_port()
        )
        async with Door(given) as door:
            uri = (option.PROXY_URI, upstream.url("/a").encode())
            long = encode(Message(Type.CON, Code.GET, 7, b"", (uri,), bytes(400)))
            (answer,) = await door.knock(long, STRANGER)
            assert len(answer) > 1000
            assert await door.knock(long, STRANGER) == [answer], "who did not hear it is told again"
            for kind in (Type.CON, Type.NON):
                for cut in (encode(Message(kind, Code.GET, 7)), encode(Message(kind, Code.GET, 7, b"", (uri,)))):
                    for reply in await door.knock(cut, STRANGER):
                        assert len(reply) <= 3 * len(cut)
