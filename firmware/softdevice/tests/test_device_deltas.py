"""Whole devices that are offered deltas: applied, resumed, refused; and what object 26250 says meanwhile."""

import asyncio
import base64
import hashlib

import pytest
from device_world import KEY, OLD, VERSION, Make, offer, registered, result_of, state_is, until
from scripted_server import ScriptedServer

from coap_wire import Block, Code, decode_block, encode_block
from coap_wire.options import BLOCK1, BLOCK2, OBSERVE
from firmware_delta.creation import create
from lwm2m.firmware import RESULT, STATE, UPDATE
from lwm2m.paths import Path
from softdevice.flash import Cut
from softdevice.images import HEADER_BYTES, sign
from softdevice.options import Misbehaviour

# The old image's payload with some code put in.
PAYLOAD = OLD[HEADER_BYTES : HEADER_BYTES + 6000]
NEW = sign(PAYLOAD[:2000] + hashlib.sha256(b"new").digest() * 2 + PAYLOAD[2000:], "1.1.0+3", KEY)
DELTA = create(OLD, NEW).data


async def test_delta_is_applied_and_the_image_object_tells_the_story(server: ScriptedServer, make: Make) -> None:
    device = make()
    server.files["f", "token", "a.udelta"] = DELTA
    await registered(server)
    image = Path(26250, 0)
    assert base64.b64decode(await server.read(image.child(0))) == hashlib.sha256(OLD).digest()
    assert [await server.read(image.child(number)) for number in range(1, 6)] == ["1", "1", "3", "0", "normal"]
    await offer(server, "f/token/a.udelta")
    await state_is(server, 2)
    assert await server.read(Path(5, 0, 7)) == "1.1.0+3"
    assert (await server.ask(Code.POST, UPDATE)).code == Code.CHANGED
    await registered(server)
    assert await server.read(VERSION) == "1.1.0+3"
    assert base64.b64decode(await server.read(image.child(0))) == hashlib.sha256(NEW).digest()
    await server.ask(Code.GET, image.child(1), options=((OBSERVE, b""),))
    async with asyncio.timeout(3):
        assert (await server.notifications.get()).payload == b"1"
    assert [await server.read(image.child(number)) for number in (2, 4)] == ["2", "1"]
    assert device.ledger.blocks == -(-len(DELTA) // 512)


async def test_power_cut_in_the_midst_of_a_delta_costs_no_block_twice(server: ScriptedServer, make: Make) -> None:
    device = make(block_size=64)
    server.files["f", "token", "a.udelta"] = DELTA
    half = len(DELTA) // 128
    server.on_file = lambda message: (
        server.file_reply(message) if decode_block(message.option(BLOCK2) or b"").num < half else None
    )
    await registered(server)
    await offer(server, "f/token/a.udelta")
    await until(lambda: device.ledger.blocks == half)
    await device.cut_power()
    server.on_file = None
    again = make(block_size=64)
    await registered(server)
    await offer(server, "f/token/a.udelta")
    await state_is(server, 2)
    assert again.ledger.blocks == -(-len(DELTA) // 64) and again.ledger.restarts == 0


@pytest.mark.parametrize("vice", [Misbehaviour.TAKES_NO_DELTAS, Misbehaviour.CORRUPTS_DELTAS])
async def test_delta_that_fails_leaves_room_for_the_whole_image(
    server: ScriptedServer, make: Make, vice: Misbehaviour
) -> None:
    make(vice, block_size=64)
    server.files["f", "token", "a.udelta"] = DELTA
    await registered(server)
    assert await server.read(Path(26250, 0, 3)) == ("0" if vice == Misbehaviour.TAKES_NO_DELTAS else "3")
    assert await result_of(server, "f/token/a.udelta") == (6 if vice == Misbehaviour.TAKES_NO_DELTAS else 5)
    await offer(server)
    await state_is(server, 2)


@pytest.mark.parametrize("block", [64, 4096], ids=["in blocks", "whole"])
async def test_delta_that_is_pushed_is_spoiled_as_well(server: ScriptedServer, make: Make, block: int) -> None:
    make(Misbehaviour.CORRUPTS_DELTAS)
    await registered(server)
    assert len(DELTA) < 4096
    for at in range(0, len(DELTA), block):
        option = encode_block(Block(at // block, at + block < len(DELTA), 2))
        options = ((BLOCK1, option),) if block == 64 else ()
        answer = await server.ask(Code.PUT, Path(5, 0, 0), DELTA[at : at + block], options)
    assert answer.code == Code.INTERNAL_SERVER_ERROR
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "5")


@pytest.mark.parametrize("operation", [1, 7, 17, 20, 40])
async def test_device_whose_power_goes_with_a_flash_operation_goes_on_by_itself(
    server: ScriptedServer, make: Make, operation: int
) -> None:
    device = make(block_size=64)
    device.board.flash.cut = Cut(device.board.flash.operations + operation, applied=4)
    server.files["f", "token", "a.udelta"] = DELTA
    await registered(server)
    while await server.read(VERSION) != "1.1.0+3":
        await offer(server, "f/token/a.udelta")
        while server.registrations.empty() and await server.read(STATE) != "2":
            await asyncio.sleep(0.02)
        if server.registrations.empty():
            await server.ask(Code.POST, UPDATE)
        await registered(server)
    await until(lambda: device.board.confirmed)
    assert device.board.flash.cut is None and device.ledger.restarts == 0
