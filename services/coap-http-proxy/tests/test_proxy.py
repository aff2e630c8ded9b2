"""The proxy as devices meet it: real sockets, a real Redis, an HTTP upstream that may misbehave."""

import asyncio
import hashlib
import json
import os
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
from coap_wire import Block, Code, Message, Type, encode
from coap_wire import options as option
from updraft_local.ports import free_port

IMAGE = os.urandom(30_001)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@asynccontextmanager
async def running(redis_url: str, folder: Path, upstream: HttpUpstream) -> AsyncIterator[tuple[Proxy, CoapClient]]:
    settings = ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=folder,
        allowed_upstreams=upstream.url("/"),
        gateway_token=SecretStr("gateway-secret"),
        ack_delay_seconds=0.2,
        report_seconds=0.1,
    )
    async with Proxy(settings) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        yield proxy, client
        client.close()


@pytest.mark.parametrize("szx", range(7))
async def test_an_image_arrives_byte_equal_at_every_block_size(
    szx: int, redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    image = IMAGE[: 3001 if szx < 3 else None]
    async with HttpUpstream({"/a": image}) as upstream, running(redis_url, tmp_path, upstream) as (proxy, client):
        token = await mint(store, upstream.url("/a"), image)
        assert await client.fetch("f", token, "a.bin", szx=szx) == image
        blocks = -(-len(image) // (16 << szx))
        assert proxy.downloads.fast_path.blocks == blocks
        assert proxy.upstream.stats.bytes == len(image)
        assert upstream.requests[0]["authorization"] == "GatewayToken gateway-secret"


async def test_any_number_of_devices_cost_one_fetch(redis_url: str, store: "redis.Redis", tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/a": IMAGE}, "slow") as upstream,
        running(redis_url, tmp_path, upstream) as (proxy, _),
    ):
        tokens = [await mint(store, upstream.url("/a"), IMAGE, controllerId=f"d{n}") for n in range(20)]
        clients = [await CoapClient.connect(proxy.transport.port) for _ in tokens]
        fetched = await asyncio.gather(
            *(one.fetch("f", token, "a.bin") for one, token in zip(clients, tokens, strict=True))
        )
        assert set(fetched) == {IMAGE}
        assert proxy.upstream.stats.bytes == len(IMAGE)
        assert len(upstream.requests) == 1
        for one in clients:
            one.close()


async def test_a_slow_upstream_costs_an_empty_ack_and_no_error(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, running(redis_url, tmp_path, upstream) as (_, client):
        token = await mint(store, upstream.url("/a"), IMAGE)
        request = Message(Type.CON, 1, 77, b"tk", tuple((11, part) for part in (b"f", token.encode(), b"a")))
        client.send_raw(encode(request))
        client.send_raw(encode(request))  # a duplicate starts no second exchange
        first = await client.replies.get()
        assert (first.type, first.code, first.mid) == (Type.ACK, Code.EMPTY, 77)
        second = await asyncio.wait_for(client.replies.get(), 5)
        assert (second.type, second.code, second.token) == (Type.CON, Code.CONTENT, b"tk")
        await asyncio.sleep(0.3)
        assert client.replies.empty()


@pytest.mark.parametrize("trouble", ["break", "error"])
async def test_a_connection_that_breaks_is_resumed(
    trouble: str, redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with (
        HttpUpstream({"/a": IMAGE}, trouble) as upstream,
        running(redis_url, tmp_path, upstream) as (proxy, client),
    ):
        token = await mint(store, upstream.url("/a"), IMAGE)
        assert await client.fetch("f", token, "a") == IMAGE
        assert proxy.upstream.stats.bytes == len(IMAGE)


@pytest.mark.parametrize("trouble", ["lie", "long"])
async def test_bytes_that_are_not_the_artifact_are_never_served(
    trouble: str, redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}, trouble) as upstream, running(redis_url, tmp_path, upstream) as (_, client):
        token = await mint(store, upstream.url("/a"), IMAGE)
        reply = await client.get("f", token, "a", block=Block(0, False, 5))
        assert reply.code == Code.BAD_GATEWAY
        assert list(tmp_path.iterdir()) == []


async def test_a_restarted_proxy_serves_from_disk_and_counts_on(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream:
        token = await mint(store, upstream.url("/a"), IMAGE)
        async with running(redis_url, tmp_path, upstream) as (_, client):
            for num in range(10):
                await client.get("f", token, "a", block=Block(num, False, 5))
        async with running(redis_url, tmp_path, upstream) as (proxy, client):
            for num in range(10, 20):
                assert (await client.get("f", token, "a", block=Block(num, False, 5))).code == Code.CONTENT
            assert proxy.downloads.open[token].progress.offset == 20 * 512
            assert proxy.downloads.open[token].progress.restarts == 0
            assert proxy.upstream.stats.requests == 0
        (tmp_path / hashlib.sha256(IMAGE).hexdigest()).write_bytes(b"rotten")
        async with running(redis_url, tmp_path, upstream) as (proxy, client):
            assert await client.fetch("f", token, "a") == IMAGE
            assert proxy.upstream.stats.requests == 1
        entries: Any = await store.xrange("updraft:uplink")
        events = [json.loads(fields[b"event"]) for _, fields in entries]
        assert {event["type"] for event in events} == {"progress"}
        assert max(event["offset"] for event in events) == len(IMAGE)


async def test_a_revoked_ticket_is_gone(
    redis_url: str, store: "redis.Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coap_http_proxy.downloads.SWEEP_SECONDS", 0.1)
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as (proxy, client):
        token = await mint(store, upstream.url("/a"), IMAGE)
        assert (await client.get("f", token, "a", block=Block(0, False, 5))).code == Code.CONTENT
        await store.delete(f"updraft:ticket:{token}")
        async with asyncio.timeout(5):
            while proxy.downloads.open:
                await asyncio.sleep(0.05)
        assert (await client.get("f", token, "a", block=Block(1, False, 5))).code == Code.NOT_FOUND


async def test_proxy_uri_leads_to_allowed_upstreams_only(redis_url: str, store: "redis.Redis", tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/a": IMAGE, "/small": b"hello"}) as upstream,
        HttpUpstream({"/secret": b"internal"}) as other,
        running(redis_url, tmp_path, upstream) as (_, client),
    ):

        def uri(text: str) -> tuple[tuple[int, bytes], ...]:
            return ((option.PROXY_URI, text.encode()),)

        assert await client.fetch("coap2http", extra=uri(upstream.url("/a"))) == IMAGE
        assert (await client.get(extra=uri(upstream.url("/small")))).payload == b"hello"
        assert (await client.get(extra=uri(upstream.url("/absent")))).code == Code.NOT_FOUND
        forbidden = [other.url("/secret"), "http://169.254.169.254/", "coap://127.0.0.1:5683/x"]
        for text in forbidden:
            assert (await client.get(extra=uri(text))).code == Code.FORBIDDEN, text
        malformed = [
            upstream.url("/x/../a"),
            upstream.url("/%2e%2e/a"),
            "http://u:p@127.0.0.1/",
            "nonsense",
            "http://[",
        ]
        for text in malformed:
            assert (await client.get(extra=uri(text))).code == Code.BAD_REQUEST, text
        assert other.requests == []
        token = await mint(store, upstream.url("/a"), IMAGE)
        assert await client.fetch("coap2coap", extra=uri(f"coap://10.0.0.1:5683/f/{token}/a.bin")) == IMAGE


async def test_bad_requests_get_the_code_the_rfc_names(redis_url: str, store: "redis.Redis", tmp_path: Path) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as (_, client):
        token = await mint(store, upstream.url("/a"), IMAGE)
        path = ("f", token, "a")
        assert (await client.get("f", "x" * 12, "a")).code == Code.NOT_FOUND
        assert (await client.get("f", "short", "a")).code == Code.NOT_FOUND
        assert (await client.get("nothing")).code == Code.NOT_FOUND
        assert (await client.get(*path, block=Block(9999, False, 5))).code == Code.BAD_REQUEST
        for _ in range(2):  # before and after the ticket is ready
            assert (await client.get(*path, extra=((option.BLOCK2, b"\x07"),))).code == Code.BAD_REQUEST
            assert (await client.get(*path, extra=((option.BLOCK2, b"1234"),))).code == Code.BAD_OPTION
            assert (await client.get(*path, block=Block(0, False, 5))).code == Code.CONTENT
        assert (await client.get(*path, extra=((option.IF_MATCH, b"x"),))).code == Code.BAD_OPTION
        assert (await client.get(*path, extra=((option.ACCEPT, b"\x32"),))).code == Code.NOT_ACCEPTABLE
        assert (await client.get(extra=((option.URI_PATH, b"\xff"),))).code == Code.BAD_REQUEST
        etag = hashlib.sha256(IMAGE).digest()[:8]
        assert (await client.get(*path, extra=((option.ETAG, etag),))).code == Code.VALID
        assert b"firmware" in (await client.get(".well-known", "core")).payload


async def test_format_errors_and_pings_are_reset_and_nothing_else_breaks(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as (proxy, client):
        for datagram in (b"\x40\x00\x12\x34", b"\x40\x01\x12\x35\xff"):
            client.send_raw(datagram)
            reply = await asyncio.wait_for(client.replies.get(), 5)
            assert (reply.type, reply.code, reply.mid) == (Type.RST, 0, int.from_bytes(datagram[2:4], "big"))
        for size in (0, 1, 3, 1000, 60_000):
            client.send_raw(os.urandom(size))
        for method in (Code.POST, Code.PUT, Code.DELETE):
            client.send_raw(encode(Message(Type.CON, method, client.next_mid(), b"m", ((11, b"f"),))))
        token = await mint(store, upstream.url("/a"), IMAGE)
        assert await client.fetch("f", token, "a") == IMAGE
        assert proxy.service.answers[Code.METHOD_NOT_ALLOWED] == 3


async def test_redis_away_is_no_reason_to_give_up(redis_url: str, tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/a": IMAGE}) as upstream,
        running("redis://127.0.0.1:1", tmp_path, upstream) as (proxy, client),
    ):
        reply = await client.get("f", "a" * 12, "a", block=Block(0, False, 5))
        assert (reply.code, reply.uint(option.MAX_AGE)) == (Code.SERVICE_UNAVAILABLE, 5)
        assert await proxy.checks() == {"redis": "ConnectionError"}


@pytest.mark.parametrize("named", [False, True], ids=["first", "named"])
async def test_the_gateway_token_goes_to_the_update_manager_and_to_no_other_upstream(
    named: bool, redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with (
        HttpUpstream({"/in/a": IMAGE, "/b": IMAGE[:-1]}) as manager,
        HttpUpstream({"/a": IMAGE[:-2]}) as other,
    ):
        # Without a word it is the first of all; named it may be any of them.
        bases = [manager.url("/in/"), other.url("/"), manager.url("/b")]
        settings = ProxySettings(
            redis_url=SecretStr(redis_url),
            port=free_port(),
            coap_port=free_port(2),
            cache_directory=tmp_path,
            allowed_upstreams=",".join(reversed(bases) if named else bases),
            gateway_token=SecretStr("gateway-secret"),
            gateway_token_base=bases[0] if named else "",
        )
        async with Proxy(settings) as proxy:
            client = await CoapClient.connect(proxy.transport.port)
            for url, image in (
                (manager.url("/in/a"), IMAGE),
                (manager.url("/b"), IMAGE[:-1]),
                (other.url("/a"), IMAGE[:-2]),
            ):
                assert await client.fetch("f", await mint(store, url, image), "a") == image
            client.close()
        assert [request.get("authorization") for request in manager.requests] == ["GatewayToken gateway-secret", None]
        assert [request.get("authorization") for request in other.requests] == [None]


def test_a_base_for_the_gateway_token_that_may_not_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of allowed_upstreams"):
        ProxySettings(allowed_upstreams="http://manager/in/", gateway_token_base="http://elsewhere/")
