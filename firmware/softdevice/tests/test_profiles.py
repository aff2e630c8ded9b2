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
from lwm2m.firmware import PUSH_ONLY, STATE, State
from lwm2m.registration import decode_register
from softdevice.application import Application
from softdevice.board import Board
from softdevice.coap_endpoint import Transmission
from softdevice.images import small_image
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
# The States, Idle to Updating, in which an empty URI resets a client. Updating is 4.05 for Anjay; else all say 2.04.
RESETS: dict[str, tuple[bool, bool, bool, bool]] = {
    "updraft": (False, False, True, False),
    "zephyr": (False, False, True, False),
    "zephyr-queue": (False, False, True, False),
    "zephyr-old": (True, False, True, False),
    "dm-lwm2m": (True, False, True, False),
    "anjay": (True, True, True, False),
    "wakaama": (False, False, False, False),
}
# A whole package in one datagram.
TINY = small_image(KEY, "1.1.0", 300)
WRITE_PACKAGE = b"\xb15\x010\x010\x11\x2a"

Start = Callable[..., Application]


@pytest.fixture
async def start(wire: Wire, tmp_path: FilePath) -> AsyncIterator[Start]:
    """Starts a client by its name, at the test's socket."""
    tasks: list[asyncio.Task[None]] = []

    def begin(
        name: str, *vices: Misbehaviour, proxy: tuple[str, int] | None = None, reboot_seconds: float = 1.0
    ) -> Application:
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
            reboot_seconds=reboot_seconds,
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
    assert set(REGISTERS) == set(ANSWERS) == set(UPDATES) == set(PULLS) == set(RESETS) == set(PROFILES)


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


async def shows(wire: Wire, resource: bytes, exchange: bytes) -> bytes:
    """A resource of object 5, in text; `exchange` is the message id, one of two bytes that was not used yet."""
    wire.send(b"\x42\x01" + exchange + b"re\xb15\x010\x01" + resource + b"\x60")
    return (await wire.expect(rb"\x62\x45" + exchange + rb"re\xc0(?:\xff(.*))?"))[1] or b""


async def bring_to(state: State, name: str, wire: Wire) -> re.Match[bytes]:
    """Into a State (Idle: with Result 6, of a pushed package that is none); what the device said last."""
    if state == State.DOWNLOADING and PROFILES[name].delivery != PUSH_ONLY:
        wire.send(b"\x42\x03\x12\x01go\xb15\x010\x011\x10\xffcoap://127.0.0.1:%d/f/t/n.bin" % wire.port)
        await wire.expect(rb"\x62\x44\x12\x01go")
        return await wire.expect(rb"\x48\x01(..)(.{8})\xb1f\x01t.*")
    if state == State.DOWNLOADING:
        # Block1 0/more/256.
        wire.send(b"\x42\x03\x12\x01go" + WRITE_PACKAGE + b"\xd1\x02\x0c\xff" + TINY[:256])
        return await wire.expect(rb"\x62\x5f\x12\x01go\xd1\x0e\x0c")
    wire.send(b"\x42\x03\x12\x01go" + WRITE_PACKAGE + b"\xff" + (TINY if state else b"none"))
    pushed = await wire.expect(rb"\x62" + (b"\x44" if state else b"\xa0") + rb"\x12\x01go")
    if state != State.UPDATING:
        return pushed
    wire.send(b"\x42\x02\x12\x02up\xb15\x010\x012")
    return await wire.expect(rb"\x62\x44\x12\x02up")


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", PROFILES)
async def test_an_empty_uri_resets_each_client_in_some_states_and_is_ignored_in_others(
    name: str, state: State, wire: Wire, start: Start
) -> None:
    start(name, reboot_seconds=60.0)
    await registered(wire, name)
    await bring_to(state, name, wire)
    before = await shows(wire, b"3", b"b3"), await shows(wire, b"5", b"b5")
    assert before == (b"%d" % state, b"0" if state else b"6")
    wire.send(b"\x42\x03\x12\x03wr\xb15\x010\x011\x10")
    refused = name == "anjay" and state == State.UPDATING
    await wire.expect(rb"\x62" + (b"\x85" if refused else b"\x44") + rb"\x12\x03wr")
    after = await shows(wire, b"3", b"a3"), await shows(wire, b"5", b"a5")
    assert after == ((b"0", b"0") if RESETS[name][state] else before)
    assert await shows(wire, b"1", b"a1") == b""


async def test_zephyr_goes_on_with_its_download_after_an_empty_uri(wire: Wire, start: Start) -> None:
    start("zephyr")
    await registered(wire, "zephyr")
    asked = await bring_to(State.DOWNLOADING, "zephyr", wire)
    wire.send(b"\x42\x03\x12\x03wr\xb15\x010\x011\x10")
    await wire.expect(rb"\x62\x44\x12\x03wr")
    # 2.05, Block2 0/more/512: the next one is asked for.
    wire.send(b"\x68\x45" + asked[1] + asked[2] + b"\xd1\x0a\x0d\xff" + OLD[:512])
    await wire.expect(rb"\x48\x01..(.{8})\xb1f\x01t\x05n\.bin\xc1\x15\x50")


async def test_zephyr_keeps_a_uri_it_does_not_follow(wire: Wire, start: Start) -> None:
    start("zephyr")
    await registered(wire, "zephyr")
    await bring_to(State.DOWNLOADED, "zephyr", wire)
    wire.send(b"\x42\x03\x12\x03wr\xb15\x010\x011\x10\xffcoap://h/a")
    await wire.expect(rb"\x62\x44\x12\x03wr")
    assert (await shows(wire, b"3", b"a3"), await shows(wire, b"1", b"a1")) == (b"2", b"coap://h/a")


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
