"""What becomes of a device given an image with a personality: kept, reverted or stuck, and how a server sees it."""

from dataclasses import replace

import pytest
from device_world import KEY, OLD, VERSION, Make, offer, registered, state_is, until
from scripted_server import ScriptedServer

from coap_wire import Code
from coap_wire.options import OBSERVE
from lwm2m.firmware import RESULT, STATE, UPDATE
from lwm2m.paths import Path
from mcuboot_image import parse
from softdevice.application import Application
from softdevice.device import Device
from softdevice.images import small_image
from softdevice.personalities import (
    CUSTOMER_CODE_TEXT,
    MEANINGS,
    PERSONALITY_TLV,
    WRONG_VERSION_TEXT,
    Personality,
    personality_of,
)
from softdevice.profiles import PROFILES
from softdevice.resources import BATTERY_LEVEL


async def updated_to(server: ScriptedServer, personality: Personality) -> None:
    """Downloads an image with a personality and executes it."""
    server.files["f", "t", "p.bin"] = small_image(KEY, "2.0.0", 5000, personality=personality)
    await registered(server)
    await offer(server, "f/t/p.bin")
    await state_is(server, 2)
    assert (await server.ask(Code.POST, UPDATE)).code == Code.CHANGED


def running(device: Device) -> Application:
    assert device.application is not None
    return device.application


@pytest.mark.parametrize("personality", Personality)
def test_an_image_names_its_personality_in_a_protected_tlv(personality: Personality) -> None:
    image = parse(small_image(KEY, "1.0.0", 100, personality=personality))
    assert personality_of(image) == personality and personality in MEANINGS
    assert personality == Personality.NORMAL or image.tlv(PERSONALITY_TLV) is not None


def test_an_image_without_a_personality_or_with_one_nobody_knows_is_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert personality_of(parse(OLD)) == Personality.NORMAL and personality_of(None) == Personality.NORMAL
    image = parse(small_image(KEY, "1.0.0", 100, personality=Personality.HANGS))
    monkeypatch.delitem(Personality._value2member_map_, "hangs_before_network")
    assert personality_of(image) == Personality.NORMAL


def test_a_personality_outside_of_what_is_signed_is_none() -> None:
    image = parse(small_image(KEY, "1.0.0", 100, personality=Personality.HANGS))
    unsigned = tuple(replace(tlv, protected=False) for tlv in image.tlvs)
    assert personality_of(replace(image, tlvs=unsigned)) == Personality.NORMAL


@pytest.mark.parametrize("personality", [Personality.NEVER_CONFIRMS, Personality.CRASHES])
async def test_a_bad_image_that_registers_is_seen_and_then_reverted(
    server: ScriptedServer, make: Make, personality: Personality
) -> None:
    device = make()
    await updated_to(server, personality)
    await registered(server)
    assert await server.read(VERSION) == "2.0.0"
    await registered(server)
    assert await server.read(VERSION) == "1.0.0"
    assert device.board.confirmed and device.ledger.reverts == 1


async def test_an_image_that_crashes_on_a_client_that_confirms_at_once_starts_over_and_over(
    server: ScriptedServer, make: Make
) -> None:
    device = make(profile=PROFILES["dm-lwm2m"])
    await updated_to(server, Personality.CRASHES)
    await until(lambda: device.ledger.boots >= 5)
    assert (device.version, device.ledger.reverts, device.board.confirmed) == ("2.0.0", 0, True)


async def test_a_client_that_confirms_at_once_does_not_so_with_an_image_that_never_confirms(
    server: ScriptedServer, make: Make
) -> None:
    device = make(profile=PROFILES["dm-lwm2m"])
    await updated_to(server, Personality.NEVER_CONFIRMS)
    await until(lambda: device.ledger.reverts == 1)
    assert device.ledger.installs == 1


async def test_an_image_that_hangs_is_never_seen_and_is_reverted_by_the_watchdog(
    server: ScriptedServer, make: Make
) -> None:
    device = make()
    await updated_to(server, Personality.HANGS)
    await registered(server)
    assert await server.read(VERSION) == "1.0.0"
    assert (device.ledger.installs, device.ledger.reverts) == (1, 1)


async def test_an_image_that_confirms_too_early_stays_although_no_server_ever_hears_of_it(
    server: ScriptedServer, make: Make
) -> None:
    device = make()
    await updated_to(server, Personality.CONFIRMS_EARLY)
    server.silent = True
    await until(lambda: device.ledger.installs == 1 and device.board.confirmed)
    assert device.board.contents().secondary is None, "the way back is gone"
    server.silent = False
    await registered(server)
    assert await server.read(VERSION) == "2.0.0" and device.ledger.reverts == 0


async def test_an_image_with_a_wrong_version_is_kept_and_says_the_wrong_one(server: ScriptedServer, make: Make) -> None:
    device = make()
    await updated_to(server, Personality.WRONG_VERSION)
    await registered(server)
    assert await server.read(VERSION) == WRONG_VERSION_TEXT
    await until(lambda: device.board.confirmed)
    assert str(device.board.contents().running) == "2.0.0"


async def test_customers_code_shows_itself_in_the_image_object_and_in_telemetry(
    server: ScriptedServer, make: Make
) -> None:
    make()
    await updated_to(server, Personality.CUSTOMER_CODE)
    assert b"</3303/0>" in (await registered(server)).payload
    assert await server.read(Path(26250, 0, 5)) == CUSTOMER_CODE_TEXT
    assert await server.read(Path(3303, 0, 5750)) == CUSTOMER_CODE_TEXT
    assert float(await server.read(Path(3303, 0, 5700))) == 21.5


async def test_a_drained_battery_puts_the_next_update_off_until_it_is_charged(
    server: ScriptedServer, make: Make
) -> None:
    device = make(report_seconds=0.05)
    await updated_to(server, Personality.DRAINS_BATTERY)
    await registered(server)
    await until(lambda: device.board.confirmed)
    await until(lambda: running(device).resources[BATTERY_LEVEL] == 5)
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.GET, RESULT, options=((OBSERVE, b""),))
    await server.ask(Code.POST, UPDATE)
    assert (await server.notifications.get()).payload == b"11"
    assert await server.read(STATE) == "2"
    running(device).resources.set(BATTERY_LEVEL, 90)
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3"


async def test_a_client_that_cannot_say_deferred_says_failed_and_keeps_the_image(
    server: ScriptedServer, make: Make
) -> None:
    device = make(profile=PROFILES["zephyr-old"])
    await registered(server)
    await offer(server)
    await until(lambda: running(device).firmware.state == 2)
    running(device).resources.set(BATTERY_LEVEL, 10)
    await server.ask(Code.POST, UPDATE)
    await until(lambda: running(device).resources[RESULT] == 8)
    assert running(device).firmware.state == 2
