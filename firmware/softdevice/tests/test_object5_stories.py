"""Object 5 on whole devices: packages pushed, updates put off or cancelled, what a client knows after a reset."""

import asyncio

import pytest
from device_world import KEY, NEW, TEXT, VERSION, Make, offer, registered, state_is, until
from scripted_server import ScriptedServer

from coap_wire import Block, Code, Message, decode_block, encode_block, encode_uint
from coap_wire.options import BLOCK1, BLOCK2, OBSERVE, SIZE1
from lwm2m import tlv
from lwm2m.firmware import PACKAGE, RESULT, STATE, UPDATE
from softdevice.application import Application
from softdevice.device import Device
from softdevice.flash import Cut
from softdevice.images import new_key, small_image
from softdevice.options import Misbehaviour
from softdevice.personalities import Personality
from softdevice.profiles import PROFILES
from softdevice.resources import CANCEL, LAST_STATE_CHANGE, MAX_DEFER_PERIOD, SEVERITY


def running(device: Device) -> Application:
    assert device.application is not None
    return device.application


def shown(device: Device) -> tuple[int, object]:
    """State and Result as the device has them, whatever format it would answer in."""
    return int(running(device).firmware.state), running(device).resources[RESULT]


async def push_block(
    server: ScriptedServer, package: bytes, number: int, szx: int = 4, content_format: int = 42
) -> Message:
    size = 16 << szx
    more = (number + 1) * size < len(package)
    options = (
        (12, encode_uint(content_format)),
        (BLOCK1, encode_block(Block(number, more, szx))),
        (SIZE1, encode_uint(len(package))),
    )
    return await server.ask(Code.PUT, PACKAGE, package[number * size :][:size], options)


def blocks(package: bytes, szx: int) -> range:
    return range(-(-len(package) // (16 << szx)))


@pytest.mark.parametrize(("client", "szx"), [("zephyr", 5), ("zephyr-old", 4), ("anjay", 6), ("wakaama", 6)])
async def test_a_pushed_package_is_installed_like_a_pulled_one(
    server: ScriptedServer, make: Make, client: str, szx: int
) -> None:
    device = make(profile=PROFILES[client])
    await registered(server)
    answers = [(await push_block(server, NEW, number, szx)).code for number in blocks(NEW, szx)]
    # Old Zephyr knows a transfer by its token; the server of these tests takes a new one for each block.
    if client == "zephyr-old":
        assert set(answers[1:]) == {Code.REQUEST_ENTITY_INCOMPLETE}
        return
    assert answers == [*[Code.CONTINUE] * (len(answers) - 1), Code.CHANGED]
    assert shown(device) == (2, 0)
    assert (await server.ask(Code.POST, UPDATE)).code == Code.CHANGED
    await registered(server)
    assert str(device.board.contents().running) == "1.1.0+3"
    await until(lambda: device.board.confirmed)


async def test_a_package_wrapped_in_tlv_is_unwrapped(server: ScriptedServer, make: Make) -> None:
    device = make(profile=PROFILES["anjay"])
    await registered(server)
    wrapped = tlv.encode([tlv.Tlv(tlv.Kind.RESOURCE, 0, NEW)])
    codes = [(await push_block(server, wrapped, number, 5, 11542)).code for number in blocks(wrapped, 5)]
    assert codes[-1] == Code.CHANGED and shown(device) == (2, 0)


async def test_a_wrapped_package_shorter_than_it_says_is_result_5(server: ScriptedServer, make: Make) -> None:
    device = make(profile=PROFILES["anjay"])
    await registered(server)
    wrapped = tlv.encode([tlv.Tlv(tlv.Kind.RESOURCE, 0, NEW + b"!")])[:-1]
    codes = [(await push_block(server, wrapped, number, 5, 11542)).code for number in blocks(wrapped, 5)]
    assert codes[-1] == Code.INTERNAL_SERVER_ERROR and shown(device) == (0, 5)


async def test_a_last_block_sent_again_is_answered_again(server: ScriptedServer, make: Make) -> None:
    device = make()
    await registered(server)
    for number in blocks(NEW, 5):
        last = await push_block(server, NEW, number, 5)
    again = await push_block(server, NEW, number, 5)
    assert (again.code, again.options) == (last.code, last.options) and shown(device) == (2, 0)
    assert device.ledger.downloads == 1


async def test_a_push_that_loses_its_way_begins_anew_at_block_0(server: ScriptedServer, make: Make) -> None:
    device = make()
    await registered(server)
    for number in (0, 1, 2):
        assert (await push_block(server, NEW, number)).code == Code.CONTINUE
    assert (await push_block(server, NEW, 2)).code == Code.CONTINUE, "the same block again"
    assert (await push_block(server, NEW, 5)).code == Code.REQUEST_ENTITY_INCOMPLETE
    codes = [(await push_block(server, NEW, number)).code for number in blocks(NEW, 4)]
    assert codes[-1] == Code.CHANGED and shown(device) == (2, 0)


async def test_a_power_cut_ends_a_push_and_the_next_one_is_whole(server: ScriptedServer, make: Make) -> None:
    device = make()
    await registered(server)
    for number in range(20):
        await push_block(server, NEW, number)
    await device.cut_power()
    again = make()
    await registered(server)
    assert shown(again) == (0, 0)
    assert (await push_block(server, NEW, 20)).code == Code.REQUEST_ENTITY_INCOMPLETE
    codes = [(await push_block(server, NEW, number)).code for number in blocks(NEW, 4)]
    assert codes[-1] == Code.CHANGED and shown(again) == (2, 0)


@pytest.mark.parametrize("operation", [1, 5, 20, 38, 41, 43])
async def test_power_that_goes_with_a_flash_operation_of_a_push_costs_the_push(
    server: ScriptedServer, make: Make, operation: int, caplog: pytest.LogCaptureFixture
) -> None:
    device = make()
    await registered(server)
    device.board.flash.cut = Cut(device.board.flash.operations + operation, applied=4)

    async def update() -> None:
        for number in blocks(NEW, 4):
            if (await push_block(server, NEW, number)).code == Code.REQUEST_ENTITY_INCOMPLETE:
                return
        await server.ask(Code.POST, UPDATE)

    while str(device.board.contents().running) != "1.1.0+3":
        await update()
        await registered(server)
    await until(lambda: device.board.confirmed)
    assert device.board.flash.cut is None
    assert [record for record in caplog.records if record.exc_info] == []


async def test_power_that_goes_while_dm_lwm2m_erases_its_way_back_comes_back_to_the_new_image(
    server: ScriptedServer, make: Make
) -> None:
    device = make(profile=PROFILES["dm-lwm2m"])
    await registered(server)
    await offer(server)
    await until(lambda: shown(device)[0] == 2)
    await server.ask(Code.POST, UPDATE)
    await until(lambda: device.ledger.installs == 1)
    device.board.flash.cut = Cut(device.board.flash.operations + 2, applied=4)
    await registered(server)
    await until(lambda: device.application is not None and device.board.confirmed)
    assert str(device.board.contents().running) == "1.1.0+3" and device.ledger.reverts == 0


@pytest.mark.parametrize(
    ("package", "code", "result"),
    [
        (small_image(new_key(), "9.9.9"), Code.INTERNAL_SERVER_ERROR, 5),
        (NEW[:-40], Code.INTERNAL_SERVER_ERROR, 5),
        (b"no image" * 200, Code.INTERNAL_SERVER_ERROR, 6),
        (NEW + b"\xff" * 40_000, Code.REQUEST_ENTITY_TOO_LARGE, 2),
    ],
    ids=["foreign", "cut short", "no image", "too large"],
)
async def test_a_bad_pushed_package_has_its_code_and_result(
    server: ScriptedServer, make: Make, package: bytes, code: int, result: int
) -> None:
    device = make()
    await registered(server)
    codes = []
    for number in blocks(package, 5):
        codes.append((await push_block(server, package, number, 5)).code)
        if codes[-1] != Code.CONTINUE:
            break
    assert codes[-1] == code and shown(device) == (0, result)
    assert str(device.board.contents().running) == "1.0.0"


async def test_a_push_into_a_pull_and_a_pull_into_a_push_are_kept_apart(server: ScriptedServer, make: Make) -> None:
    device = make()
    server.on_file = lambda message: None
    await registered(server)
    await offer(server)
    await until(lambda: shown(device)[0] == 1)
    assert (await push_block(server, NEW, 0)).code == Code.METHOD_NOT_ALLOWED
    await server.ask(Code.POST, CANCEL)
    assert (await push_block(server, NEW, 0)).code == Code.CONTINUE
    server.file_requests.clear()
    await offer(server)
    assert server.file_requests == [] and shown(device)[0] == 1


async def test_the_user_puts_an_update_off_for_as_long_as_the_server_allows(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.USER_DEFERS)
    await registered(server)
    assert (await server.ask(Code.PUT, MAX_DEFER_PERIOD, b"1", TEXT)).code == Code.CHANGED
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.GET, RESULT, options=((OBSERVE, b""),))
    await server.ask(Code.POST, UPDATE)
    async with asyncio.timeout(3):
        assert (await server.notifications.get()).payload == b"11"
    assert await server.read(STATE) == "2" and int(await server.read(LAST_STATE_CHANGE)) > 0
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3" and device.ledger.installs == 1


async def test_an_update_that_was_put_off_is_forgotten_in_a_reset(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.USER_DEFERS)
    await registered(server)
    await server.ask(Code.PUT, MAX_DEFER_PERIOD, b"3600", TEXT)
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.POST, UPDATE)
    await state_result(server, 11)
    await device.cut_power()
    device.start()
    await registered(server)
    assert shown(device) == (0, 0)


async def test_a_critical_update_is_not_put_off(server: ScriptedServer, make: Make) -> None:
    make(Misbehaviour.USER_DEFERS)
    await registered(server)
    await server.ask(Code.PUT, MAX_DEFER_PERIOD, b"3600", TEXT)
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.POST, UPDATE)
    await state_result(server, 11)
    # Raised to critical while it waits, it is installed at once.
    assert (await server.ask(Code.PUT, SEVERITY, b"0", TEXT)).code == Code.CHANGED
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3"


async def state_result(server: ScriptedServer, result: int) -> None:
    async with asyncio.timeout(3):
        while int(await server.read(RESULT)) != result:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("text", [b"3", b"-1", b"now"])
async def test_a_severity_nobody_knows_is_4_00(server: ScriptedServer, make: Make, text: bytes) -> None:
    make()
    await registered(server)
    assert (await server.ask(Code.PUT, SEVERITY, text, TEXT)).code == Code.BAD_REQUEST
    assert await server.read(SEVERITY) == "1"


async def test_cancel_ends_a_download_and_throws_a_package_away(server: ScriptedServer, make: Make) -> None:
    device = make()
    await registered(server)
    assert (await server.ask(Code.POST, CANCEL)).code == Code.METHOD_NOT_ALLOWED
    server.on_file = lambda message: None
    await offer(server)
    assert (await server.ask(Code.POST, CANCEL)).code == Code.CHANGED
    await until(lambda: shown(device) == (0, 10))
    server.on_file = None
    await offer(server)
    await state_is(server, 2)
    assert (await server.ask(Code.POST, CANCEL)).code == Code.CHANGED
    await until(lambda: shown(device) == (0, 10))
    assert (await server.ask(Code.POST, UPDATE)).code == Code.METHOD_NOT_ALLOWED


async def test_cancel_ends_what_was_put_off(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.USER_DEFERS)
    await registered(server)
    await server.ask(Code.PUT, MAX_DEFER_PERIOD, b"1", TEXT)
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.POST, UPDATE)
    await state_result(server, 11)
    await server.ask(Code.POST, CANCEL)
    await until(lambda: shown(device) == (0, 10))
    # The order went with the package: another one waits for an order of its own, whatever the battery says.
    await offer(server)
    await state_is(server, 2)
    running(device).firmware.reconsider()
    assert shown(device) == (2, 0)


async def test_anjay_goes_on_with_its_download_by_itself_after_a_power_cut(server: ScriptedServer, make: Make) -> None:
    device = make(profile=PROFILES["anjay"], block_size=512)
    served = server.file_reply
    server.on_file = lambda message: (
        served(message, etag=b"\x01") if decode_block(message.option(BLOCK2) or b"").num < 9 else None
    )
    await registered(server)
    await offer(server)
    await until(lambda: device.ledger.blocks == 9)
    await device.cut_power()
    server.on_file = lambda message: served(message, etag=b"\x01")
    server.file_requests.clear()
    again = make(profile=PROFILES["anjay"], block_size=512)
    await registered(server)
    await until(lambda: shown(again) == (2, 0))
    assert decode_block(server.file_requests[0].option(BLOCK2) or b"").num == 9
    await again.cut_power()
    # Downloaded is remembered as well, and the result of the update.
    last = make(profile=PROFILES["anjay"])
    await registered(server)
    assert shown(last) == (2, 0)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    assert shown(last) == (0, 1) and str(last.board.contents().running) == "1.1.0+3"


async def test_zephyr_begins_anew_after_a_reset(server: ScriptedServer, make: Make) -> None:
    device = make(Misbehaviour.REBOOTS_MID_DOWNLOAD, profile=PROFILES["zephyr"])
    await registered(server)
    await offer(server)
    await registered(server)
    assert shown(device) == (0, 0)
    server.file_requests.clear()
    await offer(server)
    await until(lambda: shown(device)[0] == 2)
    assert decode_block(server.file_requests[0].option(BLOCK2) or b"").num == 0 and device.ledger.restarts == 1


@pytest.mark.parametrize(("client", "code"), [("wakaama", Code.BAD_REQUEST), ("anjay", Code.METHOD_NOT_ALLOWED)])
async def test_update_in_idle_is_refused_in_the_clients_own_way(
    server: ScriptedServer, make: Make, client: str, code: int
) -> None:
    make(profile=PROFILES[client])
    await registered(server)
    assert (await server.ask(Code.POST, UPDATE)).code == code


async def test_dm_lwm2m_reports_success_from_the_start_and_a_rollback_at_every_boot(
    server: ScriptedServer, make: Make
) -> None:
    device = make(profile=PROFILES["dm-lwm2m"])
    server.files["f", "t", "h.bin"] = small_image(KEY, "2.0.0", 5000, personality=Personality.HANGS)
    await registered(server)
    assert shown(device) == (0, 1)
    await offer(server, "f/t/h.bin")
    await until(lambda: shown(device)[0] == 2)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    assert shown(device) == (0, 8) and device.ledger.reverts == 1
    await device.cut_power()
    again = make(profile=PROFILES["dm-lwm2m"])
    await registered(server)
    assert shown(again) == (0, 8)
    await offer(server)
    await until(lambda: shown(again)[0] == 2)
    await server.ask(Code.POST, UPDATE)
    await registered(server)
    assert shown(again) == (0, 1) and again.board.confirmed, "confirmed before any server was asked"


async def test_zephyr_in_queue_mode_registers_anew_whenever_it_wakes(server: ScriptedServer, make: Make) -> None:
    make(profile=PROFILES["zephyr-queue"], wake_seconds=0.1)
    for _ in range(3):
        assert "Q" in (await registered(server)).uri_query
    assert server.updates.empty()
