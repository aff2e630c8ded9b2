"""A fleet and its server in one process, in virtual time: a week with outages in seconds, and twice the same week."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from device_world import KEY, NEW, OLD
from scripted_server import ScriptedServer

from coap_wire import Code
from lwm2m.firmware import PACKAGE_URI, STATE, UPDATE
from softdevice import virtual_time
from softdevice.coap_endpoint import Transmission
from softdevice.fleet import Fleet, device_names
from softdevice.link import GOOD, LinkProfile
from softdevice.options import DeviceOptions
from softdevice.profiles import PROFILES, mixed
from softdevice.registrar import Registrar
from softdevice.report import fleet_report

HOUR, DAY, WEEK = 3600.0, 24 * 3600.0, 7 * 24 * 3600.0
OPTIONS = DeviceOptions(
    server=("server", 5683),
    lifetime_seconds=4 * 3600,
    report_seconds=24 * HOUR,
    wake_seconds=2 * HOUR,
    slot_sectors=8,
    seed=1,
    wall_clock=lambda: 1_800_000_000.0,
    link=LinkProfile(
        delay=0.1, jitter=0.4, loss=0.05, duplication=0.01, outage=1800, outage_every=24 * HOUR, rebinding=300
    ),
)


def life(
    options: DeviceOptions, seconds: float, restart_at: float | None = None
) -> tuple[dict[str, int], dict[str, Any]]:
    """What server and fleet report of that long a time of a hundred devices; the server may lose its memory in it."""

    async def story() -> tuple[dict[str, int], dict[str, Any]]:
        server = Registrar()
        await server.open(("server", 5683))
        fleet = Fleet(
            device_names(100),
            None,
            options,
            image=OLD,
            keys=(KEY.public,),
            profiles=mixed(dict.fromkeys(PROFILES, 1), 100),
            stagger_seconds=1.0,
        )
        await fleet.start()
        if restart_at is not None:
            await asyncio.sleep(restart_at)
            server.forget()
        await asyncio.sleep(seconds - (restart_at or 0.0))
        told, report = server.report(), fleet_report(fleet, seconds=seconds)
        await fleet.stop(deregister=False)
        server.close()
        return told, report

    return virtual_time.run(story())


def test_hundred_devices_keep_their_registrations_for_a_week_of_outages_and_losses() -> None:
    told, report = life(OPTIONS, WEEK)
    assert (told["registeredNow"], report["registered"]) == (100, 100)
    counts = report["counts"]
    # Outages of half an hour a day and a NAT that forgets after five minutes: much is asked twice, and here and there
    # an Update is given up and answered by a new registration.
    assert counts["retransmissions"] > 1000 and counts["rebindings"] > 1000 and counts["registrations lost"] > 10
    assert counts["updates"] > 2000 and told["duplicates"] > 100
    assert 100 < counts["registrations"] <= told["registered"] + told["registeredAgain"]


def test_the_seed_decides_everything() -> None:
    first, again, other = (json.dumps(life(replace(OPTIONS, seed=seed), DAY / 2)) for seed in (1, 1, 2))
    assert first == again != other


def test_fleet_comes_back_by_itself_after_the_server_lost_its_memory() -> None:
    told, report = life(replace(OPTIONS, link=LinkProfile(delay=0.05)), DAY, restart_at=DAY / 2)
    assert told["registeredNow"] == report["registered"] == 100
    # Those whose client registers anew when it wakes are never told that they are unknown.
    assert 0 < told["unknown"] <= 100 and told["expired"] == 0


def test_server_that_was_away_for_an_hour_is_not_run_over_by_the_whole_fleet_at_once() -> None:
    async def story() -> list[int]:
        server = Registrar()
        await server.open(("server", 5683))
        # Switched on within two seconds: in step, as after a power cut of a whole site.
        # Retransmissions do not spread here, so that it is the pauses that must.
        patient = Transmission(ack_random_factor=1.0)
        options = replace(OPTIONS, link=LinkProfile(delay=0.05), lifetime_seconds=600, transmission=patient)
        fleet = Fleet(device_names(200), None, options, image=OLD, keys=(KEY.public,), stagger_seconds=0.01)
        await fleet.start()
        await asyncio.sleep(60.0)
        server.close()
        await asyncio.sleep(HOUR)
        assert fleet.registered == 0
        server = Registrar()
        await server.open(("server", 5683))
        each_second, seen = [], 0
        while len(server.registrations) < 200:
            await asyncio.sleep(1.0)
            total = server.report()["registered"]
            each_second.append(total - seen)
            seen = total
        await asyncio.sleep(5.0)
        assert fleet.registered == 200
        await fleet.stop(deregister=False)
        server.close()
        return each_second

    each_second = virtual_time.run(story())
    # A pause of up to a minute and a half, and what a Register is repeated for, bring everybody back.
    assert 30 < len(each_second) < 190 and max(each_second) <= 20


def test_registrar_forgets_who_does_not_renew_in_time() -> None:
    async def story() -> list[dict[str, int]]:
        server = Registrar()
        await server.open(("server", 5683))
        options = replace(OPTIONS, link=LinkProfile(), lifetime_seconds=600)
        fleet = Fleet(device_names(5), None, options, image=OLD, keys=(KEY.public,))
        await fleet.start()
        await asyncio.sleep(550.0)
        await fleet.stop(deregister=False)
        told = []
        for _ in range(2):
            await asyncio.sleep(49.0)
            told.append(server.report())
            await asyncio.sleep(4.0)
        server.close()
        return told

    before, after = virtual_time.run(story())
    assert (before["registeredNow"], before["expired"]) == (5, 0)
    assert (after["registeredNow"], after["expired"], after["deregistered"]) == (0, 5, 0)


def test_update_takes_virtual_seconds_and_hardly_real_ones() -> None:
    async def story() -> float:
        server = ScriptedServer()
        await server.open(5683)
        server.files["f", "token", "new.bin"] = NEW
        options = replace(
            OPTIONS,
            link=LinkProfile(delay=1.0),
            transmission=Transmission(ack_timeout_seconds=10),
            self_test_seconds=60.0,
        )
        fleet = Fleet(device_names(1), None, options, image=OLD, keys=(KEY.public,))
        async with fleet:
            await server.registrations.get()
            await server.ask(Code.PUT, PACKAGE_URI, server.uri("f/token/new.bin").encode(), ((12, b""),))
            while await server.read(STATE) != "2":
                await asyncio.sleep(1.0)
            await server.ask(Code.POST, UPDATE)
            await server.registrations.get()
            (device,) = fleet.devices.values()
            while not device.board.confirmed:
                await asyncio.sleep(1.0)
            assert str(device.board.contents().running) == "1.1.0+3"
        server.close()
        return asyncio.get_running_loop().time()

    took = virtual_time.run(story())
    # Eighteen blocks at a round trip of two seconds, a minute of self-test.
    assert 96 < took < 140


def test_waiting_for_what_never_happens_is_an_error_and_no_wait() -> None:
    async def story() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(virtual_time.Stalled):
        virtual_time.run(story())


def test_thousand_devices_whose_server_is_gone_end_together_and_soon() -> None:
    async def story() -> float:
        server = Registrar()
        await server.open(("server", 5683))
        options = replace(OPTIONS, link=GOOD)
        fleet = Fleet(device_names(1000), None, options, image=OLD, keys=(KEY.public,), stagger_seconds=0.0)
        await fleet.start()
        await asyncio.sleep(60)
        assert fleet.registered == 1000
        server.close()
        begun = asyncio.get_running_loop().time()
        await fleet.stop(deregister=True)
        assert fleet.registered == 0
        return asyncio.get_running_loop().time() - begun

    assert virtual_time.run(story()) <= 10
