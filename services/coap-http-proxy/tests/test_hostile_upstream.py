"""Upstreams that lie, break off or dawdle: no byte is served that was not verified, and no device waits for ever."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from coap_wire import Block, Code
from updraft_local.ports import free_port
from updraft_local.processes import answers

IMAGE = os.urandom(30_001)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coap_http_proxy.upstream.artifacts.RETRY_SECONDS", (0.01, 0.01))


@asynccontextmanager
async def running(
    redis_url: str, folder: Path, upstream: HttpUpstream, **more: Any
) -> AsyncIterator[tuple[Proxy, CoapClient]]:
    settings = ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=folder,
        allowed_upstreams=upstream.url("/"),
        ack_delay_seconds=0.2,
        **more,
    )
    async with Proxy(settings) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        yield proxy, client
        client.close()


@pytest.mark.parametrize("trouble", ["lie", "long", "short", "early", "no_range"])
async def test_not_one_byte_is_served_of_what_is_not_the_artifact(
    trouble: str, redis_url: str, store: "redis.Redis", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with HttpUpstream({"/a": IMAGE}, trouble) as upstream, running(redis_url, tmp_path, upstream) as (_, client):
        token = await mint(store, upstream.url("/a"), IMAGE)
        for num in (0, 1, 58):
            reply = await client.get("f", token, "a", block=Block(num, False, 5))
            assert reply.code == Code.BAD_GATEWAY
            assert len(reply.payload) < 128
        assert list(tmp_path.iterdir()) == []
        upstream.misbehave = ""
        good = await mint(store, upstream.url("/a"), IMAGE)
        assert await client.fetch("f", good, "a") == IMAGE
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_ticket_that_lies_about_the_size_gets_nothing(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as (_, client):
        for size in (1, len(IMAGE) - 1, len(IMAGE) + 1):
            token = await mint(store, upstream.url("/a"), IMAGE, size=size)
            assert (await client.get("f", token, "a", block=Block(0, False, 5))).code == Code.BAD_GATEWAY
        for nonsense in (0, -1, "x", None):
            token = await mint(store, upstream.url("/a"), IMAGE, size=nonsense)
            assert (await client.get("f", token, "a", block=Block(0, False, 5))).code == Code.NOT_FOUND
        token = await mint(store, upstream.url("/a"), IMAGE, size=1 << 40)
        assert (await client.get("f", token, "a")).code == Code.REQUEST_ENTITY_TOO_LARGE
        assert list(tmp_path.iterdir()) == []


async def test_what_is_wrong_with_the_upstream_is_not_blamed_on_the_device(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as (_, client):
        token = await mint(store, upstream.url("/a"), IMAGE)
        for trouble in ("away", "forbid"):
            upstream.misbehave = trouble
            assert (await client.get("f", token, "a")).code == Code.BAD_GATEWAY
        upstream.misbehave = ""
        gone = await mint(store, upstream.url("/gone"), IMAGE)
        assert (await client.get("f", gone, "a")).code == Code.NOT_FOUND


async def test_an_upstream_slower_than_the_limit_ends_with_5_04_and_leaves_nothing(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with (
        HttpUpstream({"/a": IMAGE}, "drip") as upstream,
        running(redis_url, tmp_path, upstream, upstream_timeout_seconds=1.5) as (_, client),
    ):
        token = await mint(store, upstream.url("/a"), IMAGE)
        assert (await client.get("f", token, "a", block=Block(0, False, 5))).code == Code.GATEWAY_TIMEOUT
        assert list(tmp_path.iterdir()) == []
        upstream.misbehave = ""
        assert await client.fetch("f", token, "a") == IMAGE


async def test_a_disk_that_fills_up_is_5_03_without_a_traceback(
    redis_url: str, store: "redis.Redis", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        HttpUpstream({"/a": IMAGE}) as upstream,
        running(redis_url, tmp_path, upstream, max_artifact_bytes=1 << 62) as (proxy, client),
    ):
        huge = await mint(store, upstream.url("/a"), IMAGE, size=1 << 61)
        reply = await client.get("f", huge, "a")
        assert (reply.code, reply.payload) == (Code.SERVICE_UNAVAILABLE, b"the proxy's disk is full")
        # It looked as if there was room, then the disk was full all the same: /dev/full answers as such a disk does.
        token = await mint(store, upstream.url("/a"), IMAGE)
        proxy.upstream.store.part(hashlib.sha256(IMAGE).hexdigest()).symlink_to("/dev/full")
        reply = await client.get("f", token, "a")
        assert (reply.code, b"No space left" in reply.payload) == (Code.SERVICE_UNAVAILABLE, True)
        assert list(tmp_path.iterdir()) == []
        assert await client.fetch("f", token, "a") == IMAGE
    assert [record for record in caplog.records if record.exc_info] == []


async def test_kill_9_in_mid_fetch_leaves_no_half_image_that_would_be_served(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}, "drip") as upstream:
        token = await mint(store, upstream.url("/a"), IMAGE)
        http, coap = free_port(), free_port(2)
        told = {
            "REDIS_URL": redis_url,
            "COAP_HTTP_PROXY_PORT": str(http),
            "COAP_HTTP_PROXY_COAP_PORT": str(coap),
            "COAP_HTTP_PROXY_CACHE_DIRECTORY": str(tmp_path),
            "COAP_HTTP_PROXY_ALLOWED_UPSTREAMS": upstream.url("/"),
        }

        async def start() -> asyncio.subprocess.Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "coap_http_proxy", env={**os.environ, **told}, stderr=asyncio.subprocess.DEVNULL
            )
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(answers, http):
                    await asyncio.sleep(0.05)
            return process

        process = await start()
        client = await CoapClient.connect(coap)
        asking = asyncio.create_task(client.get("f", token, "a", block=Block(0, False, 5), seconds=60))
        async with asyncio.timeout(10):
            while not any(path.stat().st_size or upstream.requests for path in tmp_path.glob("part-*")):
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.2)
        process.kill()
        await process.wait()
        asking.cancel()
        left = [path.name for path in tmp_path.iterdir()]
        assert len(left) == 1 and left[0].startswith("part-")
        half = (tmp_path / left[0]).stat().st_size
        assert 0 < half < len(IMAGE)
        upstream.misbehave = ""
        process = await start()
        try:
            assert await client.fetch("f", token, "a") == IMAGE
            assert upstream.requests[-1]["range"] == f"bytes={half}-", "what was there is not fetched again"
            assert [path.name for path in tmp_path.iterdir()] == [hashlib.sha256(IMAGE).hexdigest()]
        finally:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 15) == 0
            client.close()
