"""What the log says of a download: its ticket's first characters and its device, never the ticket, which is a right."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from coap_wire import Code
from coap_wire import options as option
from servicekit.logs import LineFormatter
from updraft_local.ports import free_port

IMAGE = bytes(range(256)) * 20


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def test_a_ticket_is_logged_shortened_with_its_controller_and_never_whole(
    redis_url: str, store: "redis.Redis", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with HttpUpstream({"/a": IMAGE}) as upstream:
        settings = ProxySettings(
            redis_url=SecretStr(redis_url),
            port=free_port(),
            coap_port=free_port(2),
            cache_directory=tmp_path,
            allowed_upstreams=upstream.url("/"),
        )
        async with Proxy(settings) as proxy:
            client = await CoapClient.connect(proxy.transport.port)
            good = await mint(store, upstream.url("/a"), IMAGE, controllerId="pump-7")
            gone = await mint(store, upstream.url("/gone"), IMAGE + b"!", controllerId="pump-8")
            never = "abcdefghijkl"
            assert await client.fetch("f", good, "a.bin") == IMAGE
            assert (await client.get("f", gone, "a.bin")).code == Code.NOT_FOUND
            assert (await client.get("f", never, "a.bin")).code == Code.NOT_FOUND
            own = (option.PROXY_URI, f"coap://proxy.example/f/{gone}/a.bin".encode())
            assert (await client.get("coap2coap", extra=(own,))).code == Code.NOT_FOUND
            client.close()
    lines = [LineFormatter().format(record) for record in caplog.records]
    (opened,) = [line for line in lines if '"pump-7"' in line and "download opened" in line]
    assert f'ticket="{good[:4]}"' in opened
    assert any('"pump-8"' in line for line in lines)
    said = "\n".join(lines)
    for token in (good, gone, never):
        assert token not in said
        assert token[:8] not in said
