"""Whole devices on loopback: updates that work, updates that do not, and what a device does when the world is bad."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path as FilePath

import pytest
from scripted_server import ScriptedServer

from coap_wire import Code, Message, Type, decode_block
from coap_wire.options import BLOCK2, OBSERVE
from lwm2m.firmware import PACKAGE, PACKAGE_URI, RESULT, STATE, UPDATE
from lwm2m.paths import Path
from softdevice.coap_endpoint import Transmission
from softdevice.device import Device
from softdevice.fleet import Fleet
from softdevice.images import new_key, small_image
from softdevice.inspection import inspect_device
from softdevice.options import DeviceOptions, Misbehaviour

KEY = new_key()
OLD, NEW = small_image(KEY, "1.0.0", 6000), small_image(KEY, "1.1.0+3", 9000)
VERSION = Path(3, 0, 3)
NAME = "dev-0001"
TEXT = ((12, b""),)

Make = Callable[..., Device]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    await server.open()
    server.files["f", "token", "new.bin"] = NEW
    yield server
    server.close()


@pytest.fixture
async def make(server: ScriptedServer, tmp_path: FilePath) -> AsyncIterator[Make]:
    """Makes a running device with short timers."""
    made: list[Fleet] = []
    base = replace(
        DeviceOptions(server=("127.0.0.1", server.port), slot_sectors=8),
        transmission=Transmission(ack_timeout_seconds=0.05, ack_random_factor=1.2, response_seconds=0.5),
        reboot_seconds=0.02,
        boot_seconds=0.02,
        self_test_seconds=0.05,
        confirm_deadline_seconds=0.4,
        retry_seconds=0.05,
        patience_seconds=2.0,
        report_seconds=30.0,
    )

    def start(*vices: Misbehaviour, **changed: object) -> Device:
        options = replace(base, misbehaviours=frozenset(vices), **changed)  # type: ignore[arg-type]
        fleet = Fleet((NAME,), tmp_path, options, image=OLD, keys=(KEY.public,))
        made.append(fleet)
        fleet[NAME].start()
        return fleet[NAME]

    yield start
    for fleet in made:
        await fleet.stop(deregister=False)


async def registered(server: ScriptedServer) -> Message:
    async with asyncio.timeout(5):
        return await server.registrations.get()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def state_is(server: ScriptedServer, state: int, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while int(await server.read(STATE)) != state:
            await asyncio.sleep(0.01)


async def offer(server: ScriptedServer, path: str = "f/token/new.bin") -> None:
    answer = await server.ask(Code.PUT, PACKAGE_URI, server.uri(path).encode(), TEXT)
    assert answer.code == Code.CHANGED


async def download(server: ScriptedServer) -> None:
    await registered(server)
    await offer(server)
    await state_is(server, 2)


async def result_of(server: ScriptedServer, path: str) -> int:
    await offer(server, path)
    await asyncio.sleep(0.02)
    await state_is(server, 0)
    return int(await server.read(RESULT))


async def test_update_is_downloaded_tried_registered_and_confirmed(server: ScriptedServer, make: Make) -> None:
    device = make()
    await download(server)
    assert await server.read(Path(5, 0, 7)) == "1.1.0+3"
    assert (await server.ask(Code.POST, UPDATE)).code == Code.CHANGED
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3"
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "0")
    await until(lambda: device.board.confirmed)
    await device.stop()
    assert server.deregistered == 1
    found = inspect_device(device.ledger.path.parent)
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
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "0")
    assert device.board.confirmed and device.ledger.reverts == 1


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


async def test_proxy_that_stays_away_is_result_4(server: ScriptedServer, make: Make) -> None:
    make(patience_seconds=0.3)
    server.on_file = lambda message: None
    await registered(server)
    assert await result_of(server, "f/token/new.bin") == 4


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (small_image(new_key(), "9.9.9"), 5),
        (NEW[:3000] + b"?" + NEW[3001:], 5),
        (NEW[:-40], 5),
        (b"no image" * 100, 6),
        (NEW + b"\xff" * 40_000, 2),
    ],
    ids=["foreign", "damaged", "cut short", "no image", "too large"],
)
async def test_bad_file_has_its_result_and_the_old_image_stays(
    server: ScriptedServer, make: Make, content: bytes, result: int
) -> None:
    device = make()
    server.files["f", "token", "bad.bin"] = content
    await registered(server)
    assert await result_of(server, "f/token/bad.bin") == result
    assert (await server.ask(Code.POST, UPDATE)).code == Code.METHOD_NOT_ALLOWED
    # And the next offer, of a good image, is taken.
    await offer(server)
    await state_is(server, 2)
    assert str(device.board.secondary_version()) == "1.1.0+3"


async def test_bad_uris_have_results_and_an_empty_one_resets(server: ScriptedServer, make: Make) -> None:
    make()
    await registered(server)
    for uri, result in (("nonsense", 7), ("coap://127.0.0.1:1", 7), ("http://127.0.0.1/a", 9)):
        assert (await server.ask(Code.PUT, PACKAGE_URI, uri.encode(), TEXT)).code == Code.CHANGED
        await asyncio.sleep(0.02)
        assert (await server.read(STATE), int(await server.read(RESULT))) == ("0", result)
    assert await result_of(server, "f/token/missing.bin") == 4
    await server.ask(Code.PUT, PACKAGE_URI, b"", TEXT)
    assert (await server.read(RESULT), await server.read(PACKAGE_URI)) == ("0", "")
    await offer(server)
    await state_is(server, 2)
    assert (await server.ask(Code.PUT, PACKAGE, b"\0", ((12, b"\x2a"),))).code == Code.CHANGED
    assert await server.read(STATE) == "0"
    assert (await server.ask(Code.PUT, PACKAGE, b"push", ((12, b"\x2a"),))).code == Code.METHOD_NOT_ALLOWED


async def test_empty_uri_ends_a_download_under_way(server: ScriptedServer, make: Make) -> None:
    make()
    server.on_file = lambda message: None
    await registered(server)
    await offer(server)
    assert await server.read(STATE) == "1"
    await server.ask(Code.PUT, PACKAGE_URI, b"", TEXT)
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "0")
    seen = len(server.file_requests)
    await asyncio.sleep(0.3)
    assert len(server.file_requests) == seen


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


@pytest.mark.parametrize(
    ("path", "content_format", "payload"),
    [
        (Path(1, 0, 1), b"", b"0"),
        (Path(1, 0, 1), b"", b"99999999999999999999"),
        (Path(1, 0, 1), b"\x70", b"\x81\xa2\x00\x66/1/0/1\x02\xfb\x7f\xf0\0\0\0\0\0\0"),
        (Path(1, 0, 7), b"", b"U" * 200),
        (Path(1, 0, 7), b"\x6e", b'[{"n":"/1/0/7","vs":"\\ud800"}]'),
        (Path(5, 0, 1), b"\x6e", b'[{"n":"/5/0/1","vs":"\\ud800"}]'),
        (Path(5, 0, 1), b"\x6e", b"[" * 1500),
        (Path(5, 0, 1), b"", b"c" * 256),
        (Path(5, 0, 1), b"\x2d\x16", b"\xc8\x01\xff"),
    ],
)
async def test_hostile_writes_are_bad_requests(
    server: ScriptedServer, make: Make, path: Path, content_format: bytes, payload: bytes
) -> None:
    make()
    await registered(server)
    answer = await server.ask(Code.PUT, path, payload, ((12, content_format),))
    assert answer.code == Code.BAD_REQUEST
    assert await server.read(VERSION) == "1.0.0"
