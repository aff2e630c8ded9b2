"""Every client that pulls, against the real proxy: by a path of it, and by both forms of Zephyr's proxy builds."""

from pathlib import Path

import pytest

from coap_http_proxy.testing import HttpUpstream, standing_alone
from coap_wire import Message
from lwm2m.firmware import PUSH_ONLY
from softdevice.board import Board
from softdevice.coap_endpoint import Address, CoapEndpoint, Transmission
from softdevice.images import new_key, small_image
from softdevice.ledger import Ledger
from softdevice.options import DeviceOptions
from softdevice.profiles import PROFILES, Profile
from softdevice.pull import Pull

KEY = new_key()
OLD, NEW = small_image(KEY, "1.0.0", 3000), small_image(KEY, "1.1.0", 9000)
PULLING = [profile for profile in PROFILES.values() if profile.delivery != PUSH_ONLY]
BY_PROXY = [profile for profile in PULLING if profile.proxy_paths]


async def pulled(folder: Path, profile: Profile, uri: str, proxy: Address | None = None) -> str:
    """Version of the image a device has in secondary after the pull."""
    board = Board((KEY.public,), sectors=8)
    board.provision(OLD)
    options = DeviceOptions(
        server=("127.0.0.1", 1),
        profile=profile,
        transmission=Transmission(ack_timeout_seconds=0.5),
        patience_seconds=10.0,
        pull_proxy=proxy,
    )

    def nobody_asks(request: Message, peer: Address) -> None:
        raise AssertionError(f"{peer} sent {request}")

    endpoint = CoapEndpoint(nobody_asks, transmission=options.transmission)
    await endpoint.open()
    pull = Pull(board, Ledger(folder / "device.json", "dev-1"), endpoint, options, lambda why, after: None)
    assert await pull.fetch(uri) == len(NEW)
    endpoint.close()
    return str(board.secondary_version())


@pytest.mark.parametrize("profile", PULLING, ids=lambda profile: str(profile.name))
async def test_a_device_pulls_from_a_path_of_the_proxy(profile: Profile, tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/fw/new.bin": NEW}) as upstream,
        standing_alone(tmp_path, "", reverse=f"/fw={upstream.url('/fw')}") as (proxy, _),
    ):
        assert await pulled(tmp_path, profile, f"coap://127.0.0.1:{proxy.transport.port}/fw/new.bin") == "1.1.0"


@pytest.mark.parametrize("profile", BY_PROXY, ids=lambda profile: str(profile.name))
async def test_a_build_with_a_proxy_pulls_http_through_coap2http(profile: Profile, tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/fw/new.bin": NEW}) as upstream,
        standing_alone(tmp_path, upstream.url("/fw")) as (proxy, _),
    ):
        by = "127.0.0.1", proxy.transport.port
        assert await pulled(tmp_path, profile, upstream.url("/fw/new.bin"), by) == "1.1.0"
        assert upstream.requests[0]["path"] == "/fw/new.bin"


@pytest.mark.parametrize("profile", BY_PROXY, ids=lambda profile: str(profile.name))
async def test_a_build_with_a_proxy_pulls_coap_through_coap2coap(profile: Profile, tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/fw/new.bin": NEW}) as upstream,
        standing_alone(tmp_path / "far", "", reverse=f"/fw={upstream.url('/fw')}") as (far, _),
        standing_alone(tmp_path / "near", f"coap://127.0.0.1:{far.transport.port}/fw") as (near, _),
    ):
        uri = f"coap://127.0.0.1:{far.transport.port}/fw/new.bin"
        assert await pulled(tmp_path, profile, uri, ("127.0.0.1", near.transport.port)) == "1.1.0"
