"""The proxy on its own: no Redis, so no tickets and no progress, and everything else works; health over CoAP."""

from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream
from coap_wire import Code
from coap_wire import options as option
from updraft_local.ports import free_port


@pytest.fixture
def settings(tmp_path: Path) -> ProxySettings:
    return ProxySettings(
        redis_url=SecretStr(""), port=free_port(), coap_port=free_port(2), cache_directory=tmp_path, report_seconds=0.1
    )


async def test_without_redis_a_representation_is_proxied_and_health_is_good(settings: ProxySettings) -> None:
    async with HttpUpstream({"/a": b"body" * 100}) as upstream:
        settings.allowed_upstreams = upstream.url("/")
        async with Proxy(settings) as proxy:
            client = await CoapClient.connect(proxy.transport.port)
            uri = (option.PROXY_URI, upstream.url("/a").encode())
            assert await client.fetch(extra=(uri,)) == b"body" * 100
            async with httpx.AsyncClient(timeout=5) as http:
                answer = await http.get(f"http://127.0.0.1:{settings.port}/healthz")
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            client.close()


async def test_health_is_told_over_coap_too(settings: ProxySettings) -> None:
    async with Proxy(settings) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        directory = await client.get(".well-known", "core")
        assert b'</health>;rt="health"' in directory.payload
        well = await client.get("health")
        assert (well.code, well.payload, well.uint(option.MAX_AGE)) == (Code.CONTENT, b"ok", 0)
        client.close()


async def test_a_proxy_whose_redis_is_away_says_so_over_coap(settings: ProxySettings) -> None:
    settings.redis_url = SecretStr(f"redis://127.0.0.1:{free_port()}/0")
    async with Proxy(settings) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        ill = await client.get("health")
        assert (ill.code, ill.payload) == (Code.SERVICE_UNAVAILABLE, b"not well: redis")
        assert ill.option(option.MAX_AGE) is not None
        client.close()


async def test_without_redis_no_ticket_is_good(settings: ProxySettings) -> None:
    async with Proxy(settings) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        assert (await client.get("f", "abcdefghijkl", "a.bin")).code == Code.NOT_FOUND
        client.close()
