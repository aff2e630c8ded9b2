"""Every client, a device each, led through updates by the real gateway and served by the real proxy.

The update manager is the gateway's shipped fake; gateway, proxy, Redis, devices and their flash are real.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import HttpUpstream
from lwm2m.firmware import PUSH_ONLY, RESULT, STATE
from lwm2m_gateway.bootstrap import Service
from lwm2m_gateway.settings import GatewaySettings
from lwm2m_gateway.testing import FakeManager
from softdevice.coap_endpoint import Transmission
from softdevice.fleet import Fleet
from softdevice.images import new_key, small_image
from softdevice.options import DeviceOptions
from softdevice.personalities import Personality
from softdevice.profiles import PROFILES
from softdevice.resources import BATTERY_LEVEL
from updraft_local.ports import free_port

KEY = new_key()
OLD = small_image(KEY, "1.0.0", 3000)
OPTIONS = replace(
    DeviceOptions(server=("", 0), slot_sectors=8, lifetime_seconds=60),
    transmission=Transmission(ack_timeout_seconds=0.5, ack_random_factor=1.2),
    reboot_seconds=0.05,
    boot_seconds=0.02,
    self_test_seconds=0.05,
    confirm_deadline_seconds=0.6,
    retry_seconds=0.1,
    wake_seconds=0.5,
    report_seconds=0.2,
)
NAMES = tuple(f"dev-{name}" for name in PROFILES)
PULLING = tuple(f"dev-{name}" for name, profile in PROFILES.items() if profile.delivery != PUSH_ONLY)


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


class World:
    """A fleet at its gateway; `ended` has the last word about each device's action."""

    def __init__(self, manager: FakeManager, upstream: HttpUpstream, store: "redis.Redis", fleet: Fleet) -> None:
        self.manager, self.upstream, self.store, self.fleet = manager, upstream, store, fleet
        self._action = 0

    async def roll_out(self, image: bytes, version: str, names: tuple[str, ...]) -> None:
        """Assigns an image to devices."""
        self._action += 1
        path = f"/fw/{self._action}.bin"
        self.upstream.files[path] = image
        for name in names:
            self.manager.assign(name, self._action, version, len(image))
            artifact = self.manager.deployments[name]["deployment"]["chunks"][0]["artifacts"][0]
            artifact["hashes"]["sha256"] = hashlib.sha256(image).hexdigest()
            artifact["_links"]["download-http"]["href"] = self.upstream.url(path)
            await self.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": name})

    def ended(self) -> dict[str, dict[str, Any]]:
        """How the last rollout ended, by device."""
        return {
            name: status
            for name, action, status in self.manager.feedback
            if action == self._action and status["execution"] == "closed"
        }

    async def cancel(self, names: tuple[str, ...]) -> None:
        """Cancels the last rollout on devices."""
        for name in names:
            self.manager.cancels[name] = self._action
            await self.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": name})

    async def all_end(self, names: tuple[str, ...]) -> dict[str, str]:
        """Waits for the end; `success` or what went wrong, by device."""
        try:
            await until(lambda: set(self.ended()) >= set(names))
        except TimeoutError as error:
            told = [(name, status["execution"], status["details"]) for name, _, status in self.manager.feedback]
            raise AssertionError(f"not ended: {set(names) - set(self.ended())}; told: {told}") from error
        return {
            name: "success" if status["result"]["finished"] == "success" else " ".join(status["details"])
            for name, status in self.ended().items()
        }

    async def said(self) -> list[str]:
        """Texts of all phases the gateway has reported."""
        entries: Any = await self.store.xrange("updraft:uplink")
        events = [json.loads(fields[b"event"]) for _, fields in entries]
        return [event["text"] for event in events if event["type"] == "phase"]

    def running(self) -> dict[str, str]:
        """Versions in the devices' primary slots."""
        return {name: str(device.board.contents().running) for name, device in self.fleet.devices.items()}


@pytest.fixture
async def world(redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    store = redis.Redis.from_url(redis_url)
    await store.flushdb()
    async with (
        FakeManager() as manager,
        HttpUpstream({}) as upstream,
        Proxy(
            ProxySettings(
                redis_url=SecretStr(redis_url),
                port=free_port(),
                coap_port=free_port(2),
                cache_directory=tmp_path / "blobs",
                allowed_upstreams=upstream.url("/fw"),
            )
        ) as proxy,
    ):
        port = free_port(2)
        settings = GatewaySettings(
            redis_url=SecretStr(redis_url),
            port=free_port(),
            coap_port=port,
            ddi_url=f"http://127.0.0.1:{manager.port}",
            gateway_token=SecretStr("secret"),
            proxy_uri=f"coap://127.0.0.1:{proxy.transport.port}",
            settle_seconds=0.02,
            soak_seconds=1.2,
            ask_again_seconds=0.5,
            request_seconds=3.0,
            sweep_seconds=60.0,
        )
        options = replace(OPTIONS, server=("127.0.0.1", port))
        fleet = Fleet(NAMES, tmp_path, options, image=OLD, keys=(KEY.public,), profiles=tuple(PROFILES.values()))
        async with Service(settings), fleet:
            await until(lambda: set(manager.attributes) == set(NAMES))
            yield World(manager, upstream, store, fleet)
    await store.aclose()


async def test_each_client_is_updated_reverted_and_updated_again(world: World) -> None:
    assert {world.manager.attributes[name]["firmware.version"] for name in NAMES} == {"1.0.0", "1.0.0 build #0"}

    await world.roll_out(small_image(KEY, "1.1.0+3", 9000), "1.1.0+3", NAMES)
    outcome = await world.all_end(NAMES)
    assert {outcome.pop(name) for name in PULLING} == {"success"}, outcome
    # What is left takes packages by push only; the gateway says so at once.
    assert set(outcome) == {"dev-wakaama"} and "push" in outcome["dev-wakaama"]
    assert world.running() == dict.fromkeys(PULLING, "1.1.0+3") | {"dev-wakaama": "1.0.0"}

    # A release that hangs: all come back with the old one, dm-lwm2m says Result 8, at this boot and at every other.
    await world.roll_out(small_image(KEY, "1.2.0", 8000, personality=Personality.HANGS), "1.2.0", PULLING)
    outcome = await world.all_end(PULLING)
    assert "success" not in outcome.values(), outcome
    assert world.running() == dict.fromkeys(PULLING, "1.1.0+3") | {"dev-wakaama": "1.0.0"}

    # The next one is not held against what stands there since.
    await world.roll_out(small_image(KEY, "1.3.0", 7000), "1.3.0", PULLING)
    assert set((await world.all_end(PULLING)).values()) == {"success"}


async def test_each_client_is_cancelled_in_mid_download_and_updated_by_the_next_assignment(world: World) -> None:
    world.upstream.misbehave = "slow"
    await world.roll_out(small_image(KEY, "1.1.0", 9000), "1.1.0", PULLING)
    devices = [world.fleet[name] for name in PULLING]
    await until(lambda: all(one.application and one.application.resources[STATE] == 1 for one in devices))
    await world.cancel(PULLING)
    assert set((await world.all_end(PULLING)).values()) == {"success"}
    # No Zephyr has left its State by then: an empty URI does not end its download, the end of its ticket does.
    still = {one.name for one in devices if one.application and one.application.resources[STATE] == 1}
    assert still == set(PULLING) - {"dev-anjay"}

    world.upstream.misbehave = ""
    await world.roll_out(small_image(KEY, "1.2.0", 7000), "1.2.0", PULLING)
    assert set((await world.all_end(PULLING)).values()) == {"success"}
    assert world.running() == dict.fromkeys(PULLING, "1.2.0") | {"dev-wakaama": "1.0.0"}


async def test_an_update_that_the_device_puts_off_is_waited_for(world: World) -> None:
    device = world.fleet["dev-updraft"]
    assert device.application is not None
    device.application.resources.set(BATTERY_LEVEL, 10)
    await world.roll_out(small_image(KEY, "1.1.0", 9000), "1.1.0", ("dev-updraft",))
    async with asyncio.timeout(30):
        while "the device has the image and puts the update off" not in await world.said():
            await asyncio.sleep(0.02)
    assert device.application.resources[RESULT] == 11 and world.ended() == {}
    assert device.application is not None
    device.application.resources.set(BATTERY_LEVEL, 90)
    assert await world.all_end(("dev-updraft",)) == {"dev-updraft": "success"}
