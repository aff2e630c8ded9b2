"""Each client's own bytes: Register, an answer to a Read, Update and the first request of a pull, in lock-step."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path as FilePath

import pytest
from device_world import KEY, OLD
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire

from coap_wire import Code, Message, decode
from lwm2m.firmware import STATE
from lwm2m.registration import decode_register
from softdevice.application import Application
from softdevice.board import Board
from softdevice.coap_endpoint import Transmission
from softdevice.ledger import Ledger
from softdevice.management import decide
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.profiles import PROFILES, mixed, parse_mix, spelled
from softdevice.reply import Reply
from softdevice.resources import Resources

CORE = b"</1/0>,</3/0>,</4/0>,</5/0>"
# Uri-Path rd, Content-Format 40, then the queries in the client's order; then the links.
REGISTERS: dict[str, tuple[bytes, bytes]] = {
    "updraft": (
        b"\x39lwm2m=1.1\x08ep=dev-1\x05lt=60\x03b=U",
        b'</>;rt="oma.lwm2m";ct="60 110 112 11542",' + CORE + b",</26250/0>",
    ),
    "zephyr": (
        b"\x39lwm2m=1.1\x08ep=dev-1\x05lt=60",
        b"</>;ct=112,</1>;ver=1.1,</1/0>,</3>;ver=1.1,</3/0>,</4/0>,</5/0>",
    ),
    "zephyr-queue": (
        b"\x39lwm2m=1.1\x08ep=dev-1\x05lt=60\x01Q",
        b"</>;ct=112,</1>;ver=1.1,</1/0>,</3>;ver=1.1,</3/0>,</4/0>,</5/0>",
    ),
    "zephyr-old": (b"\x39lwm2m=1.0\x08ep=dev-1\x05lt=60", b'</>;rt="oma.lwm2m";ct=11543,' + CORE),
    "dm-lwm2m": (
        b"\x39lwm2m=1.0\x08ep=dev-1\x05lt=60",
        b'</>;rt="oma.lwm2m";ct=11543,</1/0>,</3/0>,</5/0>,</3303/0>',
    ),
    "anjay": (b"\x39lwm2m=1.2\x08ep=dev-1\x05lt=60", b"</1>;ver=1.1," + CORE),
    "wakaama": (b"\x39lwm2m=1.0\x08ep=dev-1\x03b=U\x05lt=60", b'</>;rt="oma.lwm2m",' + CORE),
}
# GET /3/0/3 without Accept: Content-Format and payload.
TLV_OF_VERSION = b"\xc2\x2d\x16\xff\xc7\x03"
ANSWERS: dict[str, bytes] = {
    "updraft": b"\xc0\xff1.0.0+7",
    "zephyr": b"\xc1\x70\xff\x81\xa2\x00\x66/3/0/3\x03\x671.0.0+7",
    "zephyr-queue": b"\xc1\x70\xff\x81\xa2\x00\x66/3/0/3\x03\x671.0.0+7",
    "zephyr-old": TLV_OF_VERSION + b"1.0.0+7",
    "dm-lwm2m": b"\xc2\x2d\x16\xff\xc8\x03\x0e1.0.0 build #7",
    "anjay": b"\xc0\xff1.0.0+7",
    "wakaama": TLV_OF_VERSION + b"1.0.0+7",
}
# Update without news, and the options of the first request of coap://host/f/t/n.bin?q=1, of which most clients drop the
# query; None: it has no pull.
UPDATES = dict.fromkeys(PROFILES, b"\xb2rd\x03abc") | {"dm-lwm2m": b"\xb2rd\x03abc\x45lt=60"}
PATH = b"\xb1f\x01t\x05n.bin"
PULLS: dict[str, bytes | None] = {
    "updraft": PATH + b"\xc1\x05\x50",
    "zephyr": PATH + b"\xc1\x05\x50",
    "zephyr-queue": PATH + b"\xc1\x05\x50",
    "zephyr-old": PATH + b"\xc1\x04\x50",
    "dm-lwm2m": PATH + b"\xc1\x04\x50",
    "anjay": PATH + b"\x43q=1\x81\x06",
    "wakaama": None,
}

Start = Callable[..., Application]


@pytest.fixture
async def start(wire: Wire, tmp_path: FilePath) -> AsyncIterator[Start]:
    """Starts a client by its name, at the test's socket."""
    tasks: list[asyncio.Task[None]] = []

    def begin(name: str, *vices: Misbehaviour, proxy: tuple[str, int] | None = None) -> Application:
        board = Board((KEY.public,), sectors=8)
        board.provision(OLD)
        options = DeviceOptions(
            server=("127.0.0.1", wire.port),
            profile=PROFILES[name],
            lifetime_seconds=60,
            transmission=Transmission(ack_timeout_seconds=1.0, ack_random_factor=1.0),
            retry_seconds=0.1,
            slot_sectors=8,
            misbehaviours=frozenset(vices),
            pull_proxy=proxy,
        )
        application = Application(board, Ledger(tmp_path / "device.json", "dev-1"), options, "1.0.0+7")
        tasks.append(asyncio.create_task(application.run()))
        return application

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def register_of(name: str) -> bytes:
    query, links = REGISTERS[name]
    return rb"\x48\x02(..)(.{8})\xb2rd\x11\x28" + re.escape(query + b"\xff" + links)


async def registered(wire: Wire, name: str) -> None:
    asked = await wire.expect(register_of(name))
    wire.send(b"\x68\x41" + asked[1] + asked[2] + b"\x82rd\x03abc")
    await asyncio.sleep(0)


async def test_every_profile_has_its_bytes_here() -> None:
    assert set(REGISTERS) == set(ANSWERS) == set(UPDATES) == set(PULLS) == set(PROFILES)


@pytest.mark.parametrize("name", PROFILES)
async def test_each_client_registers_answers_updates_and_pulls_in_its_own_bytes(
    name: str, wire: Wire, start: Start
) -> None:
    device = start(name)
    asked = await wire.expect(register_of(name))
    query = decode(asked[0])
    assert decode_register(query.uri_query, query.payload).endpoint == "dev-1"
    wire.send(b"\x68\x41" + asked[1] + asked[2] + b"\x82rd\x03abc")
    wire.send(b"\x42\x01\x12\x34to\xb13\x010\x013")
    await wire.expect(re.escape(b"\x62\x45\x12\x34to" + ANSWERS[name]))
    assert device.registration is not None
    device.registration.update_now()
    if PROFILES[name].registers_on_wake:
        await registered(wire, name)
    else:
        update = await wire.expect(rb"\x48\x02(..)(.{8})" + re.escape(UPDATES[name]))
        wire.send(b"\x68\x44" + update[1] + update[2])
    wire.send(b"\x42\x03\x00\x02wr\xb15\x010\x011\x10\xffcoap://127.0.0.1:%d/f/t/n.bin?q=1" % wire.port)
    await wire.expect(rb"\x62\x44\x00\x02wr")
    pull = PULLS[name]
    if pull is not None:
        await wire.expect(rb"\x48\x01(..)(.{8})" + re.escape(pull))
    else:
        wire.send(b"\x42\x01\x12\x35to\xb15\x010\x013")
        await wire.expect(rb"\x62\x45\x12\x35to\xc2\x2d\x16\xff\xc1\x03\x00")


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.proxy_paths])
@pytest.mark.parametrize(("scheme", "segment"), [("coap", b"coap2coap"), ("https", b"coap2http")])
async def test_a_build_with_a_proxy_sends_it_the_whole_uri(
    name: str, scheme: str, segment: bytes, wire: Wire, start: Start
) -> None:
    start(name, proxy=("127.0.0.1", wire.port))
    await registered(wire, name)
    uri = f"{scheme}://files.example/a/b.bin?key=1".encode()
    wire.send(b"\x42\x03\x00\x02wr\xb15\x010\x011\x10\xff" + uri)
    await wire.expect(rb"\x62\x44\x00\x02wr")
    block = b"\xc1" + (b"\x05" if PROFILES[name].block_size == 512 else b"\x04")
    head = bytes((0xB9,)) + segment + block
    # Proxy-Uri is option 35: twelve behind Block2, with a length of 13 and more.
    await wire.expect(rb"\x48\x01(..)(.{8})" + re.escape(head + b"\xcd" + bytes((len(uri) - 13,)) + uri))


async def test_anjay_offers_an_older_version_to_a_server_that_does_not_know_its_own(wire: Wire, start: Start) -> None:
    start("anjay")
    asked = await wire.expect(register_of("anjay"))
    wire.send(b"\x68\x8c" + asked[1] + asked[2])
    asked = await wire.expect(register_of("anjay").replace(b"1\\.2", b"1\\.1"))
    wire.send(b"\x68\x41" + asked[1] + asked[2] + b"\x82rd\x03abc")


async def test_zephyr_of_lwm2m_1_0_says_queue_mode_in_its_binding(wire: Wire, start: Start) -> None:
    start("zephyr-old", Misbehaviour.QUEUE_MODE)
    query, links = REGISTERS["zephyr-old"]
    await wire.expect(rb"\x48\x02(..)(.{8})\xb2rd\x11\x28" + re.escape(query + b"\x04b=UQ\xff" + links))


async def test_zephyr_takes_only_a_location_of_two_segments(wire: Wire, start: Start) -> None:
    start("zephyr")
    asked = await wire.expect(register_of("zephyr"))
    wire.send(b"\x68\x41" + asked[1] + asked[2] + b"\x82rd\x01a\x01b")
    await registered(wire, "zephyr")


async def test_zephyr_updates_below_rd_whatever_the_first_segment_was(wire: Wire, start: Start) -> None:
    device = start("zephyr")
    asked = await wire.expect(register_of("zephyr"))
    wire.send(b"\x68\x41" + asked[1] + asked[2] + b"\x83dev\x03abc")
    wire.send(b"\x42\x01\x12\x34to\xb13\x010\x013")
    await wire.expect(re.escape(b"\x62\x45\x12\x34to" + ANSWERS["zephyr"]))
    assert device.registration is not None
    device.registration.update_now()
    await wire.expect(rb"\x48\x02(..)(.{8})\xb2rd\x03abc")


async def test_wakaama_answers_senml_in_tlv_and_lwm2m_json_with_5_00(wire: Wire, start: Start) -> None:
    start("wakaama")
    await registered(wire, "wakaama")
    wire.send(b"\x42\x01\x12\x34to\xb15\x010\x013\x61\x6e")
    await wire.expect(rb"\x62\x45\x12\x34to\xc2\x2d\x16\xff\xc1\x03\x00")
    wire.send(b"\x42\x01\x12\x35to\xb15\x010\x013\x62\x2d\x17")
    await wire.expect(rb"\x62\xa0\x12\x35to")


@pytest.mark.parametrize(
    ("name", "first"), [("zephyr", rb"\x42"), ("zephyr-old", rb"\x42"), ("anjay", rb"\x52"), ("wakaama", rb"\x52")]
)
async def test_notifications_are_confirmable_or_not(name: str, first: bytes, wire: Wire, start: Start) -> None:
    device = start(name)
    await registered(wire, name)
    wire.send(b"\x42\x01\x00\x01ob\x60\x51" + b"5\x010\x013")
    await wire.expect(rb"\x62\x45\x00\x01ob\x61\x01.*")
    device.observations.changed(STATE)
    await wire.expect(first + rb"\x45..ob\x61\x02.*")


@given(st.sampled_from(sorted(PROFILES)), st.integers(1, 7), st.binary(max_size=60))
def test_no_request_breaks_any_client(name: str, code: int, rest: bytes) -> None:
    resources = Resources(
        serial="d", model="m", version="1.0.0", lifetime_seconds=60, queue_mode=False, profile=PROFILES[name]
    )
    try:
        message = decode(bytes((0x40, code, 0, 1)) + rest)
    except ValueError:
        return
    assert decide(message, resources, lambda _: None, pushed).reply.code >= 64


def pushed(request: Message) -> Reply:
    return Reply(Code.CONTINUE)


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("zephyr", "1.2.3", "1.2.3"),
        ("zephyr", "1.2.3+4", "1.2.3+4"),
        ("dm-lwm2m", "1.2.3+4", "1.2.3 build #4"),
        ("dm-lwm2m", "1.2.3", "1.2.3 build #0"),
    ],
)
def test_each_client_spells_a_version_in_its_own_way(name: str, version: str, text: str) -> None:
    assert spelled(PROFILES[name], version) == text


def test_a_mix_gives_each_profile_its_share_spread_over_the_fleet() -> None:
    chosen = [profile.name for profile in mixed(parse_mix("zephyr=60,dm-lwm2m=20, anjay=20"), 10)]
    assert {name: chosen.count(name) for name in set(chosen)} == {"zephyr": 6, "dm-lwm2m": 2, "anjay": 2}
    assert set(chosen[:5]) == set(chosen[5:]) == {"zephyr", "dm-lwm2m", "anjay"}


@pytest.mark.parametrize("text", ["", "zephyr", "zephyr=x", "zephyr=0", "riot=5", "zephyr=-1"])
def test_a_mix_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=WEIGHT|weights|no profile"):
        mixed(parse_mix(text), 3)
