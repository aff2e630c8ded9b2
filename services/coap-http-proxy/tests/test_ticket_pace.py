"""A ticket that gets more than its pace leaves the fast path, and comes back when it has paid."""

import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis

from coap_http_proxy.blobs import blob_of
from coap_http_proxy.downloads import Downloads
from coap_http_proxy.fast_path import fast_path
from coap_http_proxy.limits import Buckets
from coap_http_proxy.peers import Peer
from coap_http_proxy.testing import mint
from coap_http_proxy.tickets import Tickets
from coap_wire import Block, Code, Message, Type, encode, encode_block
from coap_wire import options as option

IMAGE = bytes(range(256)) * 64
PEER = Peer("192.0.2.1", 5683)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    yield client
    await client.aclose()


def asked(token: str, num: int) -> bytes:
    """One block, as Zephyr asks."""
    path = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"a"))
    return encode(Message(Type.CON, Code.GET, num, b"", (*path, (option.BLOCK2, encode_block(Block(num, False, 6))))))


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "python"])
async def test_who_takes_more_than_its_pace_waits_and_others_do_not(compiled: bool, store: "redis.Redis") -> None:
    downloads = Downloads(Tickets(store), store, fast_path(compiled), pace=Buckets(rate=100, burst=4000))
    blob = blob_of(IMAGE)
    greedy, modest = [await mint(store, "http://x/", IMAGE) for _ in range(2)]
    for token in (greedy, modest):
        downloads.ready(await downloads.find(token, PEER), blob)
    answer = downloads.fast_path.answer
    assert all(answer(asked(greedy, num)) is not None for num in range(10))
    assert all(answer(asked(modest, num)) is not None for num in range(3))
    now = time.monotonic()
    downloads.slow_down(now)
    assert answer(asked(greedy, 10)) is None
    assert answer(asked(modest, 3)) is not None
    assert 60 < downloads.wait_of(greedy) < 63  # 10,240 bytes less 4,000 at 100 a second
    assert (downloads.wait_of(modest), downloads.wait_of("unknown-tick")) == (0, 0)

    download = await downloads.find(greedy, PEER)
    downloads.ready(download, blob)
    assert answer(asked(greedy, 10)) is None  # the long way serves it, and does not let it back in yet
    downloads.served(download, 10240, 1024)
    downloads.slow_down(now + 30)
    downloads.ready(download, blob)
    assert answer(asked(greedy, 11)) is None
    downloads.slow_down(now + 100)
    downloads.ready(download, blob)
    assert answer(asked(greedy, 11)) is not None


async def test_what_an_earlier_process_served_is_not_held_against_a_ticket(store: "redis.Redis") -> None:
    token = await mint(store, "http://x/", IMAGE)
    earlier = Downloads(Tickets(store), store, fast_path())
    download = await earlier.find(token, PEER)
    for num in range(16):
        earlier.served(download, num * 1024, 1024)
    await earlier.report()
    later = Downloads(Tickets(store), store, fast_path(), pace=Buckets(rate=1, burst=1000))
    later.ready(await later.find(token, PEER), blob_of(IMAGE))
    later.slow_down(time.monotonic())
    assert later.wait_of(token) == 0
