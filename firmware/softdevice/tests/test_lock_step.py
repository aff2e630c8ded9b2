"""The client's bytes on the wire, one datagram at a time, against a socket that follows a script."""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from wire import Wire

from lwm2m.firmware import STATE
from softdevice.application import Application
from softdevice.board import Board
from softdevice.coap_endpoint import Transmission
from softdevice.images import new_key, small_image
from softdevice.ledger import Ledger
from softdevice.options import DeviceOptions, Misbehaviour

KEY = new_key()
OLD, NEW = small_image(KEY, "1.0.0", 3000), small_image(KEY, "1.1.0", 3000)


@pytest.fixture
async def device(wire: Wire, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Application]:
    board = Board((KEY.public,), sectors=8)
    board.provision(OLD)
    options = DeviceOptions(
        server=("127.0.0.1", wire.port),
        lifetime_seconds=60,
        transmission=Transmission(ack_timeout_seconds=0.15, ack_random_factor=1.0),
        retry_seconds=0.1,
        slot_sectors=8,
        misbehaviours=getattr(request, "param", frozenset()),
    )
    application = Application(board, Ledger(tmp_path / "device.json", "dev-1"), options, "1.0.0")
    task = asyncio.create_task(application.run())
    yield application
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


REGISTER = (
    rb"\x48\x02(..)(.{8})\xb2rd\x11\x28\x39lwm2m=1\.1\x08ep=dev-1\x05lt=60\x03b=U"
    rb'\xff</>;rt="oma\.lwm2m";ct="60 110 112 11542",</1/0>,</3/0>,</4/0>,</5/0>,</26250/0>'
)


async def register(wire: Wire) -> None:
    asked = await wire.expect(REGISTER)
    # ACK 2.01, Location-Path rd, abc.
    wire.send(b"\x68\x41" + asked[1] + asked[2] + b"\x82rd\x03abc")
    await asyncio.sleep(0.02)


async def test_register_is_repeated_until_acknowledged_and_then_no_more(wire: Wire, device: Application) -> None:
    first = await wire.expect(REGISTER)
    again = await wire.expect(REGISTER)
    assert again[0] == first[0]
    wire.send(b"\x68\x41" + first[1] + first[2] + b"\x82rd\x03abc")
    await wire.expect_silence(0.4)
    assert device.registration is not None and device.registration.is_registered


@pytest.mark.parametrize("device", [frozenset({Misbehaviour.QUEUE_MODE})], indirect=True)
async def test_queue_mode_is_announced_by_a_bare_q(wire: Wire, device: Application) -> None:
    await wire.expect(REGISTER.replace(rb"\x03b=U", rb"\x03b=U\x01Q"))


async def test_response_that_acknowledges_another_message_is_none(wire: Wire, device: Application) -> None:
    asked = await wire.expect(REGISTER)
    foreign = bytes((asked[1][0] ^ 1, asked[1][1]))
    wire.send(b"\x68\x41" + foreign + asked[2] + b"\x82rd\x03abc")
    await wire.expect(re.escape(asked[0]))
    assert device.registration is not None and not device.registration.is_registered


async def test_separate_response_to_register_is_acknowledged(wire: Wire, device: Application) -> None:
    asked = await wire.expect(REGISTER)
    wire.send(b"\x60\x00" + asked[1])
    await wire.expect_silence(0.4)
    wire.send(b"\x48\x41\x77\x01" + asked[2] + b"\x82rd\x03abc")
    await wire.expect(rb"\x60\x00\x77\x01")
    assert device.registration is not None and device.registration.is_registered


async def test_a_server_that_has_moved_is_found_under_its_name(
    wire: Wire, device: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(wire)
    moved = Wire()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: moved, local_addr=("127.0.0.1", 0))

    async def resolve(host: str, port: int) -> tuple[str, int]:
        return "127.0.0.1", moved.port

    monkeypatch.setattr("softdevice.application.resolve", resolve)
    assert device.registration is not None
    device.registration.update_now()
    update = await wire.expect(rb"\x48\x02(..)(.{8})\xb2rd\x03abc")
    wire.send(b"\x68\x84" + update[1] + update[2])
    await moved.expect(REGISTER)
    moved.transport.close()


async def test_update_carries_the_location_and_4_04_leads_to_a_new_registration(
    wire: Wire, device: Application
) -> None:
    await register(wire)
    assert device.registration is not None
    device.registration.update_now()
    update = await wire.expect(rb"\x48\x02(..)(.{8})\xb2rd\x03abc")
    wire.send(b"\x68\x44" + update[1] + update[2])
    await asyncio.sleep(0.02)
    device.registration.update_now()
    update = await wire.expect(rb"\x48\x02(..)(.{8})\xb2rd\x03abc")
    wire.send(b"\x68\x84" + update[1] + update[2])
    await register(wire)


async def test_refused_registration_is_tried_again(wire: Wire, device: Application) -> None:
    asked = await wire.expect(REGISTER)
    wire.send(b"\x68\x83" + asked[1] + asked[2])
    await register(wire)


async def test_reads_errors_pings_and_noise(wire: Wire, device: Application) -> None:
    await register(wire)
    script = [
        # GET /3/0/3 -> 2.05 text
        (b"\x42\x01\x12\x34to\xb13\x010\x013", rb"\x62\x45\x12\x34to\xc0\xff1\.0\.0"),
        # GET /5/0/3 Accept TLV -> one TLV with 0
        (b"\x42\x01\x12\x35to\xb15\x010\x013\x62\x2d\x16", rb"\x62\x45\x12\x35to\xc2\x2d\x16\xff\xc1\x03\x00"),
        # GET /0/0 -> 4.01, GET /99 -> 4.04, DELETE /3/0 -> 4.05
        (b"\x42\x01\x12\x36to\xb10\x010", rb"\x62\x81\x12\x36to"),
        (b"\x42\x01\x12\x37to\xb299", rb"\x62\x84\x12\x37to"),
        (b"\x42\x04\x12\x38to\xb13\x010", rb"\x62\x85\x12\x38to"),
        # PUT /3/0/3 -> 4.05; POST /5/0/2 while Idle -> 4.05
        (b"\x42\x03\x12\x39to\xb13\x010\x013\x10\xffnew", rb"\x62\x85\x12\x39to"),
        (b"\x42\x02\x12\x3ato\xb15\x010\x012", rb"\x62\x85\x12\x3ato"),
        # the same message again -> the same reply again, nothing done twice
        (b"\x42\x02\x12\x3ato\xb15\x010\x012", rb"\x62\x85\x12\x3ato"),
        # whatever comes under a message id that was answered gets the old answer: nothing is done twice
        (b"\x42\x01\x12\x34to\xb13\x010\x019", rb"\x62\x45\x12\x34to\xc0\xff1\.0\.0"),
        # ping -> RST; broken CON -> RST; unknown response -> RST
        (b"\x40\x00\x12\x3b", rb"\x70\x00\x12\x3b"),
        (b"\x40\x01\x12\x3c\xff", rb"\x70\x00\x12\x3c"),
        (b"\x42\x45\x12\x3dxx", rb"\x70\x00\x12\x3d"),
        # NON GET -> NON response
        (b"\x52\x01\x12\x3eto\xb13\x010\x019", rb"\x52\x45..to\xc0\xff100"),
    ]
    for sent, expected in script:
        wire.send(sent)
        await wire.expect(expected)
    for noise in (b"", b"\x40", b"\x00\x01\x00\x01", b"\x60\x01\x00", b"\xff" * 40, b"\x70\x00\x00\x01"):
        wire.send(noise)
    await wire.expect_silence(0.1)


async def test_requests_from_elsewhere_are_not_answered(wire: Wire, device: Application) -> None:
    await register(wire)
    stranger = Wire()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: stranger, local_addr=("127.0.0.1", 0))
    stranger.peer = device.endpoint.local[0].replace("0.0.0.0", "127.0.0.1"), device.endpoint.local[1]
    stranger.send(b"\x42\x01\x12\x34to\xb13\x010\x013")
    await stranger.expect_silence(0.2)
    stranger.transport.close()


async def test_retransmissions_back_off_and_end(wire: Wire, device: Application) -> None:
    clock = asyncio.get_running_loop().time
    first = await wire.expect(REGISTER)
    times = [clock()]
    for _ in range(4):
        assert (await wire.expect(REGISTER))[0] == first[0]
        times.append(clock())
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(1.3 < longer / shorter < 3.2 for shorter, longer in pairwise(gaps)), gaps
    async with asyncio.timeout(4):
        again = await wire.received.get()
    assert again != first[0] and re.fullmatch(REGISTER, again, re.DOTALL)


async def test_observation_notifies_until_it_is_reset(wire: Wire, device: Application) -> None:
    await register(wire)
    wire.send(b"\x42\x01\x00\x01ob\x60\x51" + b"5\x010\x013")
    await wire.expect(rb"\x62\x45\x00\x01ob\x61\x01\x60\xff0")
    uri = f"coap://127.0.0.1:{wire.port}/f/tok/n.bin".encode()
    # PUT /5/0/1 text
    wire.send(b"\x42\x03\x00\x02wr\xb15\x010\x011\x10\xff" + uri)
    await wire.expect(rb"\x62\x44\x00\x02wr")
    notified = await wire.expect(rb"\x42\x45(..)ob\x61\x02\x60\xff1")
    wire.send(b"\x70\x00" + notified[1])
    # GET /f/tok/n.bin, Block2 0/0/512, Size2 0 and nothing else.
    asked = await wire.expect(rb"\x48\x01(..)(.{8})\xb1f\x03tok\x05n\.bin\xc1\x05\x50")
    wire.send(b"\x68\x84" + asked[1] + asked[2])
    # The download has failed with Result 4; the observer was reset and hears nothing of it.
    await wire.expect_silence(0.3)
    wire.send(b"\x42\x01\x00\x03to\xb15\x010\x015")
    await wire.expect(rb"\x62\x45\x00\x03to\xc0\xff4")


async def test_notification_is_repeated_until_acknowledged(wire: Wire, device: Application) -> None:
    await register(wire)
    wire.send(b"\x42\x01\x00\x01ob\x60\x51" + b"5\x010\x013")
    await wire.expect(rb"\x62\x45\x00\x01ob\x61\x01\x60\xff0")
    device.observations.changed(STATE)
    first = await wire.expect(rb"\x42\x45(..)ob\x61\x02\x60\xff0")
    assert (await wire.expect(rb"\x42\x45(..)ob\x61\x02\x60\xff0"))[0] == first[0]
    wire.send(b"\x60\x00" + first[1])
    await wire.expect_silence(0.5)


async def test_update_executed_is_answered_before_anything_else_happens(wire: Wire, device: Application) -> None:
    await register(wire)
    wire.send(b"\x42\x03\x00\x02wr\xb15\x010\x011\x10\xffcoap://127.0.0.1:%d/a" % wire.port)
    await wire.expect(rb"\x62\x44\x00\x02wr")
    for number in range(-(-len(NEW) // 512)):
        block = bytes((number << 4 | 5,))
        asked = await wire.expect(rb"\x48\x01(..)(.{8})\xb1a\xc1" + re.escape(block) + rb"\x50")
        piece = NEW[number * 512 : number * 512 + 512]
        more = 8 if (number + 1) * 512 < len(NEW) else 0
        wire.send(b"\x68\x45" + asked[1] + asked[2] + b"\xd1\x0a" + bytes((number << 4 | more | 5,)) + b"\xff" + piece)
    await asyncio.sleep(0.1)
    before = device.board.secondary_trailer.read().magic
    wire.send(b"\x42\x02\x00\x09ex\xb15\x010\x012")
    await wire.expect(rb"\x62\x44\x00\x09ex")
    assert before == "unset" and device.board.secondary_trailer.read().magic == "good"


async def test_deregistration_names_the_location(wire: Wire, device: Application) -> None:
    await register(wire)
    leaving = asyncio.create_task(device.leave())
    asked = await wire.expect(rb"\x48\x04(..)(.{8})\xb2rd\x03abc")
    wire.send(b"\x68\x42" + asked[1] + asked[2])
    await leaving
