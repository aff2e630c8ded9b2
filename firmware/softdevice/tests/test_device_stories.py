"""Whole devices on loopback: updates, reverts, resets, sleep and loss, and what is in flash afterwards."""

import asyncio
import hashlib
from pathlib import Path as FilePath

import pytest
from device_world import KEY, NAME, NEW, TEXT, VERSION, Make, download, offer, registered, state_is, until
from scripted_server import ScriptedServer

from coap_wire import Code, Message, Type, decode_block
from coap_wire.options import BLOCK2, OBSERVE
from lwm2m.firmware import PACKAGE_URI, RESULT, STATE, UPDATE
from lwm2m.paths import Path
from softdevice.images import small_image
from softdevice.inspection import inspect_device
from softdevice.options import Misbehaviour


async def test_update_is_downloaded_tried_registered_and_confirmed(
    server: ScriptedServer, make: Make, tmp_path: FilePath
) -> None:
    device = make()
    await download(server)
    assert await server.read(Path(5, 0, 7)) == "1.1.0+3"
    assert (await server.ask(Code.POST, UPDATE)).code == Code.CHANGED
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3"
    # Result 1 comes with the confirmation.
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "0")
    await until(lambda: device.board.confirmed)
    assert await server.read(RESULT) == "1"
    await device.stop()
    assert server.deregistered == 1
    found = inspect_device(tmp_path / NAME)
    assert (found["runningVersion"], found["confirmed"], found["secondaryVersion"]) == ("1.1.0+3", True, "1.0.0")
    assert (found["downloads"], found["installs"], found["restarts"]) == (1, 1, 0)
    assert found["imageSha256"] == hashlib.sha256(NEW).hexdigest()
    assert found["blocksFetched"] == -(-len(NEW) // 512)


async def test_states_are_notified_in_order(server: ScriptedServer, make: Make) -> None:
    make()
    await registered(server)
    assert (await server.ask(Code.GET, STATE, options=((OBSERVE, b""),))).option(OBSERVE) is not None
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.POST, UPDATE)
    async with asyncio.timeout(3):
        states = [(await server.notifications.get()).payload for _ in range(3)]
    assert states == [b"1", b"2", b"3"]


async def test_device_that_never_confirms_goes_back_to_the_old_image(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.NEVER_CONFIRMS)
    await download(server)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3"
    # The way back is not given up for another download.
    refused = await server.ask(Code.PUT, PACKAGE_URI, server.uri("f/token/new.bin").encode(), TEXT)
    assert refused.code == Code.METHOD_NOT_ALLOWED
    await registered(server)
    assert await server.read(VERSION) == "1.0.0"
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "8")
    assert device.board.confirmed and device.ledger.reverts == 1
    # It survives a reset, and goes with the next download.
    await device.cut_power()
    make(Misbehaviour.NEVER_CONFIRMS)
    await registered(server)
    assert await server.read(RESULT) == "8"
    await offer(server)
    assert await server.read(RESULT) == "0"


async def test_new_image_that_reaches_no_server_goes_back(server: ScriptedServer, make: Make) -> None:
    device = make()
    await download(server)
    await server.ask(Code.POST, UPDATE)
    server.silent = True
    await until(lambda: device.ledger.reverts == 1)
    server.silent = False
    await registered(server)
    assert await server.read(VERSION) == "1.0.0"


async def test_device_that_reboots_mid_download_resumes_at_the_next_block(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.REBOOTS_MID_DOWNLOAD)
    server.on_file = lambda message: server.file_reply(message, etag=b"\x01\x02")
    server.files["f", "second", "new.bin"] = NEW
    await registered(server)
    await offer(server)
    await registered(server)
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "0")
    # The ticket is a new one, the file the same.
    await offer(server, "f/second/new.bin")
    await state_is(server, 2)
    numbers = [decode_block(message.option(BLOCK2) or b"").num for message in server.file_requests]
    assert numbers == sorted(numbers) and numbers.count(0) == 1
    assert device.ledger.restarts == 0


async def test_device_that_resumes_nothing_starts_at_block_0(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.REBOOTS_MID_DOWNLOAD, resumes=False)
    await registered(server)
    await offer(server)
    await registered(server)
    await offer(server)
    await state_is(server, 2)
    assert device.ledger.restarts == 1


async def test_second_update_follows_the_first(server: ScriptedServer, make: Make) -> None:
    device = make()
    await download(server)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    await until(lambda: device.board.confirmed)
    # The swap has left the old image's header in sector 0 of secondary, which must not spoil the next one.
    server.files["f", "token", "next.bin"] = small_image(KEY, "1.2.0", 5000)
    await offer(server, "f/token/next.bin")
    await state_is(server, 2)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    assert await server.read(VERSION) == "1.2.0"
    await until(lambda: device.board.confirmed)
    assert device.ledger.installs == 2


async def test_failed_self_test_brings_the_old_image_back(
    server: ScriptedServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = make()
    await download(server)
    monkeypatch.setattr(device.board, "self_test", lambda: False)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    await registered(server)
    assert await server.read(VERSION) == "1.0.0" and device.ledger.reverts == 1


async def test_lossy_device_arrives_all_the_same(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.LOSES_FIFTH)
    await download(server)
    assert device.ledger.restarts == 0
    asked = [decode_block(message.option(BLOCK2) or b"").num for message in server.file_requests]
    assert len(asked) > len(set(asked)), "answers were lost too, not only questions"
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    await until(lambda: device.board.confirmed and device.ledger.installs == 1)


async def test_proxy_that_is_away_for_a_while_costs_no_restart(server: ScriptedServer, make: Make) -> None:
    device = make()
    quiet = 0

    def away(message: Message) -> Message | None:
        nonlocal quiet
        if decode_block(message.option(BLOCK2) or b"").num == 7 and quiet < 6:
            quiet += 1
            # Dead, then up again without its upstream.
            return None if quiet < 4 else Message(Type.ACK, Code.BAD_GATEWAY, message.mid, message.token)
        return server.file_reply(message)

    server.on_file = away
    await registered(server)
    await offer(server)
    await state_is(server, 2)
    assert quiet == 6 and device.ledger.restarts == 0
    numbers = [decode_block(message.option(BLOCK2) or b"").num for message in server.file_requests]
    assert numbers == sorted(numbers)


async def test_server_that_forgot_the_device_gets_a_new_registration(server: ScriptedServer, make: Make) -> None:
    device = make()
    await registered(server)
    server.known = False
    application = device.application
    assert application is not None and application.registration is not None
    application.registration.update_now()
    await registered(server)


async def test_registration_trigger_and_lifetime_are_obeyed(server: ScriptedServer, make: Make) -> None:
    make()
    await registered(server)
    assert (await server.ask(Code.PUT, Path(1, 0, 1), b"77", TEXT)).code == Code.CHANGED
    async with asyncio.timeout(2):
        assert (await server.updates.get()).uri_query == ("lt=77",)
        assert (await server.ask(Code.POST, Path(1, 0, 8))).code == Code.CHANGED
        assert (await server.updates.get()).uri_query == ()
    server.known = False
    assert (await server.ask(Code.POST, Path(1, 0, 8))).code == Code.CHANGED
    assert "lt=77" in (await registered(server)).uri_query


async def test_queue_mode_device_is_deaf_between_its_updates(server: ScriptedServer, make: Make) -> None:
    make(Misbehaviour.QUEUE_MODE, awake_seconds=0.2, wake_seconds=0.8)
    assert "Q" in (await registered(server)).uri_query
    assert await server.read(VERSION) == "1.0.0"
    await asyncio.sleep(0.4)
    asleep = asyncio.create_task(server.read(VERSION))
    await asyncio.sleep(0.15)
    assert not asleep.done()
    async with asyncio.timeout(3):
        await server.updates.get()
        assert await asleep == "1.0.0"


async def test_reboot_by_the_server_and_restart_of_the_process_keep_the_flash(
    server: ScriptedServer, make: Make
) -> None:
    device = make()
    await registered(server)
    assert (await server.ask(Code.POST, Path(3, 0, 4))).code == Code.CHANGED
    await registered(server)
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    await until(lambda: device.board.confirmed)
    await device.cut_power()
    again = make()
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3"
    assert again.ledger.installs == 1 and again.ledger.boots == 4


async def test_power_cut_during_the_download_resumes_with_the_same_uri(server: ScriptedServer, make: Make) -> None:
    device = make()
    await registered(server)
    server.on_file = lambda message: (
        server.file_reply(message) if decode_block(message.option(BLOCK2) or b"").num < 9 else None
    )
    await offer(server)
    await until(lambda: device.ledger.blocks == 9)
    await device.cut_power()
    server.on_file = None
    server.file_requests.clear()
    again = make()
    await registered(server)
    await offer(server)
    await state_is(server, 2)
    assert decode_block(server.file_requests[0].option(BLOCK2) or b"").num == 9
    assert again.ledger.restarts == 0 and again.ledger.downloads == 1


async def test_telemetry_changes_are_notified(server: ScriptedServer, make: Make) -> None:
    make(report_seconds=0.1)
    await registered(server)
    await server.ask(Code.GET, Path(3, 0, 9), options=((OBSERVE, b""),))
    async with asyncio.timeout(3):
        assert [(await server.notifications.get()).payload for _ in range(2)] == [b"99", b"98"]
