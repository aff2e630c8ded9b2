"""The proxy on its own: no Redis, so no tickets and no progress, and everything else works."""

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


async def test_without_redis_no_ticket_is_good(settings: ProxySettings) -> None:
    async with Proxy(settings) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        assert (await client.get("f", "abcdefghijkl", "a.bin")).code == Code.NOT_FOUND
        client.close()
