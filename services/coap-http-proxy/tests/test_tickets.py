"""Tickets under a flood: few round trips, wrong ones remembered for a moment, and progress that several report."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.blobs import blob_of
from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.downloads import Download, Downloads
from coap_http_proxy.fast_path import CompiledFastPath, FastPath, fast_path
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from coap_http_proxy.tickets import MAX_WAITING, WRONG_SECONDS, Tickets, Unknown
from coap_wire import Code
from updraft_local.ports import free_port

IMAGE = secrets.token_bytes(100_000)
BLOB = blob_of(IMAGE)
ANYBODY = Peer("127.0.0.1", 40000)
both = pytest.mark.parametrize("compiled", [False, True], ids=["python", "compiled"])


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def lookups(store: "redis.Redis") -> int:
    """MGETs since Redis started: one a round trip."""
    found: Any = await store.info("commandstats")
    return int(found.get("cmdstat_mget", {"calls": 0})["calls"])


async def events(store: "redis.Redis") -> list[dict[str, Any]]:
    entries: Any = await store.xrange("updraft:uplink")
    return [json.loads(fields[b"event"]) for _, fields in entries]


async def test_a_thousand_devices_that_come_at_once_cost_a_few_round_trips(store: "redis.Redis") -> None:
    tickets = Tickets(store)
    tokens = [await mint(store, "http://x/", IMAGE, controllerId=f"d{number}") for number in range(1000)]
    before = await lookups(store)
    found = await asyncio.gather(*(tickets.find(token) for token in tokens))
    assert [one[0].controller_id for one in found if one] == [f"d{number}" for number in range(1000)]
    assert await lookups(store) - before <= 6


async def test_a_flood_of_wrong_tokens_costs_a_few_round_trips_and_holds_up_no_right_one(store: "redis.Redis") -> None:
    tickets = Tickets(store)
    right = await mint(store, "http://x/", IMAGE)
    wrong = [secrets.token_urlsafe(9) for _ in range(5000)]
    before = await lookups(store)
    flood = asyncio.gather(*(tickets.find(token) for token in wrong))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(tickets.find(right), 5) is not None
    assert set(await flood) == {None}
    spent = await lookups(store) - before
    assert spent <= 30
    for token in wrong[-1000:]:
        assert await tickets.find(token) is None
    assert await lookups(store) - before == spent, "what is known to be wrong is not asked for again"


async def test_a_token_is_wrong_for_a_moment_only(store: "redis.Redis") -> None:
    now = [0.0]
    tickets = Tickets(store, lambda: now[0])
    token = await mint(store, "http://x/", IMAGE)
    text = await store.getdel(f"updraft:ticket:{token}")
    assert text is not None
    assert await tickets.find(token) is None
    await store.set(f"updraft:ticket:{token}", text)
    assert await tickets.find(token) is None
    now[0] += WRONG_SECONDS
    assert await tickets.find(token) is not None


async def test_more_than_may_wait_is_refused_at_once(store: "redis.Redis") -> None:
    tickets = Tickets(store)
    waiting = [asyncio.ensure_future(tickets.find(f"{number:012}")) for number in range(MAX_WAITING + 1)]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [one for one in done if one is not None][0:1] == [done[-1]] and isinstance(done[-1], Unknown)


async def test_without_an_answer_from_redis_nobody_is_told_that_a_ticket_is_gone() -> None:
    client = redis.Redis(port=free_port(), socket_connect_timeout=1)
    downloads = Downloads(Tickets(client), client, fast_path())
    refusals = await asyncio.gather(
        *(downloads.find("abcdefghijkl", ANYBODY) for _ in range(3)), return_exceptions=True
    )
    assert [one.code for one in refusals if isinstance(one, Refusal)] == [Code.SERVICE_UNAVAILABLE] * 3
    await client.aclose()


def process(store: "redis.Redis", compiled: bool) -> Downloads:
    """What one worker holds."""
    return Downloads(Tickets(store), store, fast_path(compiled))


def serve(downloads: Downloads, download: Download, *blocks: int) -> None:
    for number in blocks:
        downloads.served(download, number * 1000, 1000)


@both
async def test_two_processes_that_serve_one_ticket_in_turn_never_tell_less_than_before(
    compiled: bool, store: "redis.Redis"
) -> None:
    token = await mint(store, "http://x/", IMAGE)
    first, second = process(store, compiled), process(store, compiled)
    a, b = await first.find(token, ANYBODY), await second.find(token, ANYBODY)
    for who, download, blocks in (
        (first, a, range(30)),
        (second, b, range(30, 50)),
        (first, a, range(50, 60)),
        (second, b, [*range(60, 100), 99, 99]),
    ):
        serve(who, download, *blocks)
        for _ in range(3):
            await who.report()
    told = await events(store)
    offsets = [event["offset"] for event in told]
    assert offsets == sorted(offsets)
    assert {30_000, 50_000, 60_000, 100_000} <= set(offsets)
    assert (told[-1]["bytesOnAir"], told[-1]["repeatedBytes"], told[-1]["size"]) == (102_000, 2000, len(IMAGE))
    assert len({event["id"] for event in told}) == len(told) <= 7


@both
async def test_a_process_that_starts_later_goes_on_where_the_sum_is(compiled: bool, store: "redis.Redis") -> None:
    token = await mint(store, "http://x/", IMAGE)
    first = process(store, compiled)
    serve(first, await first.find(token, ANYBODY), *range(10))
    await first.report()
    later = process(store, compiled)
    download = await later.find(token, ANYBODY)
    assert (download.progress.offset, download.progress.bytes_on_air) == (10_000, 10_000)
    serve(later, download, *range(10, 20))
    await later.report()
    await later.report()
    assert [event["offset"] for event in await events(store)] == [10_000, 20_000], "what did not move is not told"


@both
async def test_a_ticket_revoked_in_mid_download_ends_with_the_next_report(compiled: bool, store: "redis.Redis") -> None:
    token = await mint(store, "http://x/", IMAGE)
    downloads = process(store, compiled)
    download = await downloads.find(token, ANYBODY)
    downloads.ready(download, BLOB)
    request = b"\x40\x01\x00\x01\xb1f\x0c" + token.encode() + b"\x01a\xc1\x06"
    assert downloads.fast_path.answer(request) is not None
    await store.delete(f"updraft:ticket:{token}")
    await downloads.report()
    assert downloads.fast_path.answer(request) is None
    assert not downloads.open
    with pytest.raises(Refusal) as refusal:
        await downloads.find(token, ANYBODY)
    assert refusal.value.code == Code.NOT_FOUND


@both
async def test_what_redis_did_not_take_is_told_later(compiled: bool, store: "redis.Redis", redis_url: str) -> None:
    token = await mint(store, "http://x/", IMAGE)
    downloads = process(store, compiled)
    serve(downloads, await downloads.find(token, ANYBODY), 0, 1)
    gone = redis.Redis(port=free_port(), socket_connect_timeout=1)
    downloads.client = gone
    with pytest.raises(redis.ConnectionError):
        await downloads.report()
    downloads.client = store
    await downloads.report()
    (event,) = await events(store)
    assert (event["offset"], event["bytesOnAir"]) == (2000, 2000)
    await gone.aclose()


@both
async def test_a_report_tells_the_time_of_the_last_block_repeats_and_round_trips(
    compiled: bool, store: "redis.Redis"
) -> None:
    token = await mint(store, "http://x/", IMAGE)
    downloads = process(store, compiled)
    download = await downloads.find(token, ANYBODY)
    for offset, at in ((0, 1.0), (1000, 1.5), (1000, 3.0), (2000, 3.25)):
        download.progress.served(offset, 1000, at)
    downloads.served(download, 3000, 1000)
    await downloads.report()
    (event,) = await events(store)
    assert abs(event["lastBlockAt"] - event["at"]) < 1000
    assert event["retransmissions"] == 1 and event["rttMilliseconds"] >= 500
    assert event["type"] == "progress" and event["actionId"] == 1 and event["controllerId"] == "device"


@both
async def test_an_image_arrives_whole_by_either_fast_path(
    compiled: bool, store: "redis.Redis", redis_url: str, tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream:
        settings = ProxySettings(
            redis_url=SecretStr(redis_url),
            port=free_port(),
            coap_port=free_port(2),
            cache_directory=tmp_path,
            allowed_upstreams=upstream.url("/"),
            compiled=compiled,
        )
        async with Proxy(settings) as proxy:
            assert isinstance(proxy.downloads.fast_path, CompiledFastPath if compiled else FastPath)
            client = await CoapClient.connect(proxy.transport.port)
            token = await mint(store, upstream.url("/a"), IMAGE)
            assert await client.fetch("f", token, "a") == IMAGE
            client.close()
            assert proxy.downloads.fast_path.blocks == -(-len(IMAGE) // 512)
            assert proxy.downloads.long_way == 1, "the first block opens the way for the others"
            assert proxy.downloads.open[token].progress.offset == len(IMAGE)


@pytest.mark.parametrize(
    "size",
    ["Infinity", "1e999", "NaN", pytest.param("[" * 100_000, id="nested"), "-1", '"many"', "null"],
)
async def test_a_ticket_that_cannot_be_read_is_no_ticket_and_holds_up_nobody(size: str, store: "redis.Redis") -> None:
    tickets = Tickets(store)
    right = await mint(store, "http://x/", IMAGE)
    record = f'{{"url": "http://x/", "sha256": "{"0" * 64}", "controllerId": "device", "size": {size}}}'
    await store.set("updraft:ticket:abcdefghijkl", record)
    wrong, found = await asyncio.wait_for(asyncio.gather(tickets.find("abcdefghijkl"), tickets.find(right)), 20)
    assert wrong is None and found is not None


async def test_a_lookup_that_breaks_leaves_nobody_waiting_and_the_next_one_works(
    store: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = Tickets(store)
    token = await mint(store, "http://x/", IMAGE)
    with monkeypatch.context() as broken:
        broken.delattr("coap_http_proxy.tickets.parse")
        failed = await asyncio.wait_for(
            asyncio.gather(tickets.find(token), tickets.find("abcdefghijkl"), return_exceptions=True), 20
        )
    assert [type(one) for one in failed] == [Unknown, Unknown]
    assert await tickets.find(token) is not None


@both
async def test_a_report_that_is_cut_off_is_made_again_by_the_last_one(
    compiled: bool, store: "redis.Redis", redis_url: str
) -> None:
    token = await mint(store, "http://x/", IMAGE)
    slow = redis.Redis.from_url(redis_url)
    downloads = process(slow, compiled)
    serve(downloads, await downloads.find(token, ANYBODY), 0, 1)
    await store.client_pause(60_000, all=False)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await downloads.report()
    finally:
        await store.client_unpause()
    await downloads.report()
    told = await events(store)
    assert told and told[-1]["offset"] == 2000
    await slow.aclose()


@both
async def test_a_block_served_while_a_report_is_on_its_way_is_told_by_the_next(
    compiled: bool, store: "redis.Redis"
) -> None:
    token = await mint(store, "http://x/", IMAGE)
    downloads = process(store, compiled)
    download = await downloads.find(token, ANYBODY)
    serve(downloads, download, 0)
    reporting = asyncio.create_task(downloads.report())
    await asyncio.sleep(0)
    serve(downloads, download, 1)
    await reporting
    await downloads.report()
    await downloads.report()
    assert [event["offset"] for event in await events(store)] == [1000, 2000]
