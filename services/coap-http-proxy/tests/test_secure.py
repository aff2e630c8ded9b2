"""CoAP over DTLS as devices meet it: real sockets, a real Redis, OpenSSL as the device's stack."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

import coap_http_proxy.coap_client.secure as coap_client_secure
from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from coap_wire import Block, Code
from coap_wire import options as option
from dtls import Client
from updraft_local.ports import free_port

IMAGE = os.urandom(30_001)
KEY = b"0123456789abcdef"
NEVER = "AAAAAAAAAAAA"


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def give_key(store: "redis.Redis", identity: str, key: bytes = KEY, controller: str | None = None) -> None:
    """What the owner of a device's credentials writes (docs/contracts.md)."""
    record: dict[str, Any] = {"key": key.hex()}
    if controller is not None:
        record["controllerId"] = controller
    await store.set(f"updraft:psk:{identity}", json.dumps(record))


@asynccontextmanager
async def running(redis_url: str, folder: Path, upstream: HttpUpstream, **more: Any) -> AsyncIterator[Proxy]:
    settings = ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        dtls_port=free_port(2),
        cache_directory=folder,
        allowed_upstreams=upstream.url("/"),
        ack_delay_seconds=0.2,
        report_seconds=0.1,
        **more,
    )
    async with Proxy(settings) as proxy:
        yield proxy


class SecureClient(CoapClient):
    """A CoAP client behind OpenSSL."""

    tls: Client
    changed: asyncio.Event

    @classmethod
    async def shake(cls, proxy: Proxy, identity: str, key: bytes = KEY, seconds: float = 10.0) -> Self:
        """A client whose handshake is over; raises TimeoutError."""
        assert proxy.secure is not None
        loop = asyncio.get_running_loop()
        _, client = await loop.create_datagram_endpoint(cls, remote_addr=("127.0.0.1", proxy.secure.transport.port))
        await client.again(identity, key, seconds)
        return client

    async def again(self, identity: str, key: bytes = KEY, seconds: float = 10.0) -> None:
        """A new handshake from the same port, as after a reboot."""
        self.tls, self.changed = Client(identity, key), asyncio.Event()
        self._out(self.tls.start())
        async with asyncio.timeout(seconds):
            while not self.tls.connected:
                self.changed.clear()
                await self.changed.wait()

    def _out(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            super().send_raw(datagram)

    def send_raw(self, datagram: bytes) -> None:
        self._out(self.tls.send(datagram))

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._out(self.tls.receive(data))
        for plaintext in self.tls.heard:
            super().datagram_received(plaintext, addr)
        self.tls.heard.clear()
        self.changed.set()


async def test_there_is_no_dtls_unless_a_port_is_named(redis_url: str, tmp_path: Path) -> None:
    settings = ProxySettings(
        redis_url=SecretStr(redis_url), port=free_port(), coap_port=free_port(2), cache_directory=tmp_path
    )
    async with Proxy(settings) as proxy:
        assert proxy.secure is None


@pytest.mark.rfc("7252-9.1.3.1-a")
@pytest.mark.parametrize("szx", [6, 5, 2])
async def test_image_arrives_byte_equal_over_dtls(
    szx: int, redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    image = IMAGE[: 3001 if szx < 3 else None]
    await give_key(store, "device")
    async with HttpUpstream({"/a": image}) as upstream, running(redis_url, tmp_path, upstream) as proxy:
        token = await mint(store, upstream.url("/a"), image)
        client = await SecureClient.shake(proxy, "device")
        assert await client.fetch("f", token, "a.bin", szx=szx) == image
        assert proxy.downloads.fast_path.blocks == -(-len(image) // (16 << szx))
        # All but the first block were answered on the short way.
        assert proxy.service.answers == {Code.CONTENT: 1}
        client.close()


@pytest.mark.rfc("7252-11.2-a")
async def test_bound_ticket_is_served_to_its_identity_and_does_not_exist_for_others(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    for identity in ("device", "other"):
        await give_key(store, identity)
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as proxy:
        token = await mint(store, upstream.url("/a"), IMAGE, identity="device")
        device, other = await SecureClient.shake(proxy, "device"), await SecureClient.shake(proxy, "other")
        plain = await CoapClient.connect(proxy.transport.port)
        for _ in range(2):  # before the blocks lie ready, and after
            for stranger in (other, plain):
                for number in range(3):
                    refused = await stranger.get("f", token, "a.bin", block=Block(number, False, 6))
                    unknown = await stranger.get("f", NEVER, "a.bin", block=Block(number, False, 6))
                    assert (refused.code, refused.options, refused.payload) == (
                        unknown.code,
                        unknown.options,
                        unknown.payload,
                    )
                    assert refused.code == Code.NOT_FOUND
            assert await device.fetch("f", token, "a.bin", szx=6) == IMAGE
        assert proxy.service.answers[Code.CONTENT] == 1
        assert (await device.get("g", token, "a.bin", block=Block(0, False, 6))).code == Code.NOT_FOUND
        for client in (device, other, plain):
            client.close()


async def test_key_of_one_controller_opens_no_ticket_of_another(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    await give_key(store, "seven", controller="controller-7")
    await give_key(store, "anybody")
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as proxy:
        own = await mint(store, upstream.url("/a"), IMAGE, controllerId="controller-7")
        foreign = await mint(store, upstream.url("/a"), IMAGE, controllerId="controller-8")
        seven, anybody = await SecureClient.shake(proxy, "seven"), await SecureClient.shake(proxy, "anybody")
        assert await anybody.fetch("f", foreign, "a.bin", szx=6) == IMAGE
        for number in range(3):
            assert (await seven.get("f", foreign, "a.bin", block=Block(number, False, 6))).code == Code.NOT_FOUND
        assert await seven.fetch("f", own, "a.bin", szx=6) == IMAGE
        for client in (seven, anybody):
            client.close()


async def test_many_devices_each_with_a_key_and_a_ticket_of_its_own_download_at_once(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    names = [f"device-{number}" for number in range(25)]
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, running(redis_url, tmp_path, upstream) as proxy:
        for number, name in enumerate(names):
            await give_key(store, name, b"%016d" % number, name)

        async def download(number: int, name: str) -> bytes:
            token = await mint(store, upstream.url("/a"), IMAGE, controllerId=name, identity=name)
            client = await SecureClient.shake(proxy, name, b"%016d" % number)
            image = await client.fetch("f", token, "a.bin", szx=6)
            client.close()
            return image

        images = await asyncio.gather(*(download(number, name) for number, name in enumerate(names)))
        assert set(images) == {IMAGE}
        assert len(upstream.requests) == 1
        assert proxy.secure is not None and proxy.secure.server.sessions == len(names)


@pytest.mark.parametrize(("identity", "key"), [("device", b"w" * 16), ("nobody", KEY)], ids=["wrong-key", "unknown"])
async def test_who_cannot_prove_an_identity_gets_no_session_and_no_word(
    identity: str, key: bytes, redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    await give_key(store, "device")
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as proxy:
        with pytest.raises(TimeoutError):
            await SecureClient.shake(proxy, identity, key, seconds=0.5)
        assert proxy.secure is not None
        assert (proxy.secure.server.sessions, proxy.secure.server.half_open) == (0, 1)
        assert (await proxy.snapshot())["dtlsHalfOpen"] == 1
        assert proxy.service.answers == {}
        assert (await SecureClient.shake(proxy, "device")).tls.connected


@pytest.mark.rfc("7252-9.1.1-a")
async def test_plain_coap_on_the_secure_port_is_not_answered(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as proxy:
        assert proxy.secure is not None
        token = await mint(store, upstream.url("/a"), IMAGE)
        plain = await CoapClient.connect(proxy.secure.transport.port)
        with pytest.raises(TimeoutError):
            await plain.get("f", token, "a.bin", seconds=0.3)
        assert proxy.secure.server.counters.discarded == 1
        plain.close()


@pytest.mark.rfc("7252-9.1.1-b", "7252-9.1.2-a")
async def test_late_answer_is_not_sent_on_the_session_that_came_after(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    await give_key(store, "device")
    await give_key(store, "next")
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, running(redis_url, tmp_path, upstream) as proxy:
        token = await mint(store, upstream.url("/a"), IMAGE, identity="device")
        client = await SecureClient.shake(proxy, "device")
        asking = asyncio.create_task(client.get("f", token, "a.bin", block=Block(0, False, 6), seconds=3.0))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        await client.again("next")  # another device, the same address and port
        with pytest.raises(TimeoutError):
            await asking
        assert proxy.service.answers == {Code.CONTENT: 1}
        assert (await client.get(".well-known", "core")).code == Code.CONTENT
        client.close()


async def test_slow_upstream_costs_a_secure_device_no_download(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    await give_key(store, "device")
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, running(redis_url, tmp_path, upstream) as proxy:
        token = await mint(store, upstream.url("/a"), IMAGE)
        client = await SecureClient.shake(proxy, "device")
        assert await client.fetch("f", token, "a.bin", szx=6) == IMAGE
        client.close()


async def test_session_ends_when_its_key_is_taken_back(redis_url: str, store: "redis.Redis", tmp_path: Path) -> None:
    await give_key(store, "device")
    await give_key(store, "other")
    async with HttpUpstream({"/a": IMAGE}) as upstream, running(redis_url, tmp_path, upstream) as proxy:
        assert proxy.secure is not None
        client, other = await SecureClient.shake(proxy, "device"), await SecureClient.shake(proxy, "other")
        await proxy.secure.settle()
        assert proxy.secure.server.sessions == 2
        await store.delete("updraft:psk:device")
        await proxy.secure.settle()
        assert proxy.secure.server.identities() == ["other"]
        async with asyncio.timeout(5):
            while not client.tls.closed:
                await asyncio.sleep(0.01)
        other.close()


async def test_proxy_that_stops_tells_its_devices(redis_url: str, store: "redis.Redis", tmp_path: Path) -> None:
    await give_key(store, "device")
    async with HttpUpstream({"/a": IMAGE}) as upstream:
        async with running(redis_url, tmp_path, upstream) as proxy:
            client = await SecureClient.shake(proxy, "device")
        async with asyncio.timeout(5):
            while not client.tls.closed:
                await asyncio.sleep(0.01)


async def test_keys_of_a_file_do_without_redis(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"device {KEY.hex()}\n")
    keys.chmod(0o600)
    async with HttpUpstream({"/a": IMAGE}) as upstream, running("", tmp_path, upstream, psk_file=keys) as proxy:
        client = await SecureClient.shake(proxy, "device")
        assert (await client.get(".well-known", "core")).code == Code.CONTENT
        client.close()


@asynccontextmanager
async def in_front_of(secure: Proxy, folder: Path, key: bytes, identity: str = "proxy") -> AsyncIterator[CoapClient]:
    """A client of a proxy that may ask the secure one as its upstream, with this key."""
    assert secure.secure is not None
    folder.mkdir()
    at = f"127.0.0.1:{secure.secure.transport.port}"
    (folder / "keys").write_text(f"{at} {identity} {key.hex()}\n")
    (folder / "keys").chmod(0o600)
    settings = ProxySettings(
        redis_url=SecretStr(""),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=folder / "cache",
        allowed_upstreams=f"coaps://{at}/",
        upstream_psk_file=folder / "keys",
    )
    async with Proxy(settings) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        yield client
        client.close()


@pytest.mark.rfc("7252-11.2-b")
async def test_coaps_upstream_is_asked_over_dtls_with_a_key_for_it_alone(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    await give_key(store, "proxy")
    async with (
        HttpUpstream({}) as upstream,
        running(redis_url, tmp_path, upstream) as secure,
        in_front_of(secure, tmp_path / "front", KEY) as client,
    ):
        assert secure.secure is not None
        uri = f"coaps://127.0.0.1:{secure.secure.transport.port}/.well-known/core"
        told = await client.get(extra=((option.PROXY_URI, uri.encode()),))
        assert (told.code, told.payload[:4]) == (Code.CONTENT, b"</f>")
        assert secure.secure.server.counters.opened == 1
        # What was said to the proxy alone is not kept for others.
        again = await client.get(extra=((option.PROXY_URI, uri.encode()),))
        assert (again.payload, secure.secure.server.counters.opened) == (told.payload, 2)
        async with asyncio.timeout(5):  # the session ends with the question
            while secure.secure.server.sessions:
                await asyncio.sleep(0.01)


async def test_coaps_upstream_that_does_not_know_the_key_is_not_asked(
    redis_url: str, store: "redis.Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coap_client_secure, "HANDSHAKE_SECONDS", 0.5)
    await give_key(store, "proxy")
    async with (
        HttpUpstream({}) as upstream,
        running(redis_url, tmp_path, upstream) as secure,
        in_front_of(secure, tmp_path / "front", b"w" * 16) as client,
    ):
        assert secure.secure is not None
        uri = f"coaps://127.0.0.1:{secure.secure.transport.port}/.well-known/core"
        told = await client.get(extra=((option.PROXY_URI, uri.encode()),))
        assert told.code == Code.GATEWAY_TIMEOUT
        assert secure.service.answers == {}
