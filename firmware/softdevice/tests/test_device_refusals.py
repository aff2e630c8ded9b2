"""Whole devices on loopback, offered what they must refuse: bad files, bad addresses, hostile writes."""

import asyncio

import pytest
from device_world import NEW, TEXT, VERSION, Make, offer, registered, result_of, state_is
from scripted_server import ScriptedServer

from coap_wire import Code, decode_block
from coap_wire.options import BLOCK2
from lwm2m.firmware import PACKAGE, PACKAGE_URI, RESULT, STATE, UPDATE
from lwm2m.paths import Path
from softdevice.images import new_key, small_image
from softdevice.profiles import PROFILES


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
    assert device.ledger.downloads == 0
    assert (await server.ask(Code.POST, UPDATE)).code == Code.METHOD_NOT_ALLOWED
    # And the next offer, of a good image, is taken.
    await offer(server)
    await state_is(server, 2)
    assert str(device.board.secondary_version()) == "1.1.0+3"
    assert device.ledger.downloads == 1


async def test_file_that_changes_with_every_second_block_is_begun_four_times(
    server: ScriptedServer, make: Make
) -> None:
    device = make()
    server.on_file = lambda message: server.file_reply(message, b"%d" % (len(server.file_requests) // 2))
    await registered(server)
    assert await result_of(server, "f/token/new.bin") == 4
    numbers = [decode_block(message.option(BLOCK2) or b"").num for message in server.file_requests]
    assert numbers.count(0) == 4 and device.ledger.restarts == 3


async def test_bad_uris_have_results_and_an_empty_one_resets(server: ScriptedServer, make: Make) -> None:
    make()
    await registered(server)
    names = [(f"coap://{host}/x", 7) for host in ("a" * 64, "a..b", "a\0b")]
    for uri, result in (("nonsense", 7), ("coap://127.0.0.1:1", 7), ("http://127.0.0.1/a", 9), *names):
        assert (await server.ask(Code.PUT, PACKAGE_URI, uri.encode(), TEXT)).code == Code.CHANGED
        await asyncio.sleep(0.02)
        assert (await server.read(STATE), int(await server.read(RESULT))) == ("0", result)
    assert await result_of(server, "f/token/missing.bin") == 4
    await offer(server)
    await state_is(server, 2)
    await server.ask(Code.PUT, PACKAGE_URI, b"", TEXT)
    assert (await server.read(STATE), await server.read(PACKAGE_URI)) == ("0", "")
    await offer(server)
    await state_is(server, 2)
    assert (await server.ask(Code.PUT, PACKAGE, b"\0", ((12, b"\x2a"),))).code == Code.CHANGED
    assert await server.read(STATE) == "0"
    assert (await server.ask(Code.PUT, PACKAGE, b"push", ((12, b"\x2a"),))).code == Code.INTERNAL_SERVER_ERROR
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "6")


async def test_empty_uri_ends_a_download_under_way(server: ScriptedServer, make: Make) -> None:
    make(profile=PROFILES["anjay"])
    server.on_file = lambda message: None
    await registered(server)
    await offer(server)
    assert await server.read(STATE) == "1"
    await server.ask(Code.PUT, PACKAGE_URI, b"", TEXT)
    assert (await server.read(STATE), await server.read(RESULT)) == ("0", "0")
    seen = len(server.file_requests)
    await asyncio.sleep(0.3)
    assert len(server.file_requests) == seen


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
        # Severity and Maximum Defer Period are integers: no 1.0, no true.
        (Path(5, 0, 11), b"\x6e", b'[{"n":"/5/0/11","v":1.0}]'),
        (Path(5, 0, 11), b"\x3c", b"\xf9\x3c\x00"),
        (Path(5, 0, 11), b"\x3c", b"\xf5"),
        (Path(5, 0, 13), b"\x6e", b'[{"n":"/5/0/13","vb":true}]'),
        (Path(5, 0, 13), b"\x3c", b"\xf9\x3c\x00"),
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
