"""Requests that are well-formed enough to be read and wrong all the same: each gets the code the RFCs name, no more."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.door import NEIGHBOUR, Door
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from coap_wire import Block, Code, Message, Options, Type, decode, decode_block, encode, encode_block
from coap_wire import options as option
from updraft_local.ports import free_port

IMAGE = os.urandom(8 * 1024)
SECRET = b"not below the base"
RST = b"\x70\x00"


class Device:
    """Knocks at a proxy's door with message ids of its own."""

    def __init__(self, door: Door, upstream: HttpUpstream, token: str) -> None:
        self.door, self.upstream = door, upstream
        self.ticket = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"a"))
        self.number: Iterator[int] = itertools.count(1)

    async def ask(self, options: Options, code: int = Code.GET, payload: bytes = b"", token: bytes = b"t") -> Message:
        """The answer to one confirmable request."""
        request = Message(Type.CON, code, next(self.number), token, options, payload)
        return decode((await self.door.knock(encode(request)))[-1])

    async def code(self, *options: tuple[int, bytes], code: int = Code.GET) -> int:
        """Its code."""
        return (await self.ask(options, code)).code

    async def block(self, block: Block) -> Message:
        """One block of the image."""
        return await self.ask((*self.ticket, (option.BLOCK2, encode_block(block))))

    def uri(self, path: str) -> tuple[int, bytes]:
        """Proxy-Uri of the upstream; the base that may be asked is `/files`."""
        return option.PROXY_URI, self.upstream.url(path).encode()


@pytest.fixture
async def upstream() -> AsyncIterator[HttpUpstream]:
    files = {"/files/a": IMAGE, "/files/b": b"small", "/secret": SECRET, "/filesystem": SECRET, "/": SECRET}
    async with HttpUpstream(files) as server:
        yield server


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, upstream: HttpUpstream) -> ProxySettings:
    return ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=tmp_path,
        allowed_upstreams=upstream.url("/files"),
        reverse=f"/fw={upstream.url('/files')}",
    )


@pytest.fixture
async def token(redis_url: str, upstream: HttpUpstream) -> str:
    store = redis.Redis.from_url(redis_url)
    token = await mint(store, upstream.url("/files/a"), IMAGE)
    await store.aclose()
    return token


@pytest.fixture
async def device(settings: ProxySettings, upstream: HttpUpstream, token: str) -> AsyncIterator[Device]:
    async with Door(settings) as door:
        yield Device(door, upstream, token)


@pytest.mark.rfc("7959-2.2-b")
@pytest.mark.parametrize("value", [b"\x07", b"\x0f", b"\x17", b"\x00\x00\x07", b"\xff\xff\xff"])
async def test_the_reserved_block_size_is_4_00_for_all_there_is(device: Device, value: bytes) -> None:
    core = ((option.URI_PATH, b".well-known"), (option.URI_PATH, b"core"))
    for _ in range(2):  # before the fast path knows the ticket, and after
        for target in (device.ticket, core, (device.uri("/files/a"),)):
            assert await device.code(*target, (option.BLOCK2, value)) == Code.BAD_REQUEST
        assert (await device.block(Block(0, False, 5))).code == Code.CONTENT


async def test_a_block_past_the_end_is_4_00_and_not_an_empty_one(device: Device) -> None:
    for szx in range(7):
        end = len(IMAGE) >> (szx + 4)
        assert (await device.block(Block(end - 1, False, szx))).code == Code.CONTENT
        for num in (end, end + 1, (1 << 20) - 1):
            assert (await device.block(Block(num, False, szx))).code == Code.BAD_REQUEST


@pytest.mark.rfc("7959-2.3-a", "7959-2.4-b", "7959-2.4-c", "7959-2.4-d", "7252-4.6-a")
async def test_a_block_size_that_changes_in_mid_transfer_is_followed(device: Device) -> None:
    data, etags = b"", set()
    for szx in itertools.cycle((5, 2, 0, 6, 3)):
        if len(data) & ((16 << szx) - 1):
            continue  # no block of this size begins here
        reply = await device.block(Block(len(data) >> (szx + 4), False, szx))
        block = decode_block(reply.option(option.BLOCK2) or b"?" * 4)
        assert (block.szx, block.offset, len(reply.payload)) == (szx, len(data), 16 << szx)
        assert len(encode(reply)) <= 1152
        data += reply.payload
        etags.add(reply.option(option.ETAG))
        if not block.more:
            break
    assert data == IMAGE
    assert len(etags) == 1


@pytest.mark.rfc("7959-2.4-a")
async def test_the_more_bit_of_a_request_means_nothing(device: Device) -> None:
    plain, more = await device.block(Block(3, False, 5)), await device.block(Block(3, True, 5))
    assert (more.options, more.payload) == (plain.options, plain.payload)


@pytest.mark.rfc("7252-4.5-a", "7252-4.5-b")
async def test_a_copy_of_a_request_gets_the_same_answer_and_asks_nobody_again(device: Device) -> None:
    request = encode(Message(Type.CON, Code.GET, 7, b"t", (device.uri("/files/b"),)))
    first = await device.door.knock(request)
    device.upstream.files["/files/b"] = b"other"
    assert [await device.door.knock(request) for _ in range(3)] == [first] * 3
    assert len(device.upstream.requests) == 1
    # The same message id means nothing from another port.
    other = await device.door.knock(request, NEIGHBOUR._replace(port=40001))
    assert decode(other[0]).payload in (b"small", b"other")


@pytest.mark.rfc("7252-5.3.1-a", "7252-5.3.1-b", "7252-4.2-c")
@pytest.mark.parametrize("length", range(9))
async def test_a_token_of_any_length_comes_back_as_it_was(device: Device, length: int) -> None:
    for token in (b"\xff" * length, bytes(length), os.urandom(length)):
        for target in (device.ticket, ((option.URI_PATH, b"nothing"),), (device.uri("/files/b"),)):
            reply = await device.ask(target, token=token)
            assert reply.token == token


@pytest.mark.rfc("7252-3-b", "7252-4.2-b", "7252-4.2-d", "7252-4.3-c")
@pytest.mark.parametrize("length", range(9, 16))
async def test_a_token_longer_than_eight_bytes_is_a_format_error(device: Device, length: int) -> None:
    rest = b"\x01\x12\x34" + bytes(length) + b"\xb1f"
    assert await device.door.knock(bytes((0x40 | length,)) + rest) == [RST + b"\x12\x34"]
    assert await device.door.knock(bytes((0x50 | length,)) + rest) == []


@pytest.mark.rfc("7252-5.5-a")
async def test_datagrams_of_every_size_leave_the_proxy_serving(settings: ProxySettings, token: str) -> None:
    path = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"a"))
    with_payload = encode(Message(Type.CON, Code.GET, 1, b"t", path)) + b"\xff" + b"p" * 65_507
    async with Proxy(settings) as proxy:
        client, stranger = [await CoapClient.connect(proxy.transport.port) for _ in range(2)]
        sizes = [*range(40), 255, 256, 1151, 1152, 1153, 1472, 4096, 16_384, 65_000, 65_506, 65_507]
        for size in sizes:
            for filled in (bytes(size), b"\xff" * size, os.urandom(size), with_payload[:size]):
                stranger.send_raw(filled)
            assert (await client.get("f", token, "a", block=Block(7, False, 6))).payload == IMAGE[7168:]
        assert proxy.transport.received >= len(sizes)
        for one in (client, stranger):
            one.close()


@pytest.mark.rfc("7252-3.1-b", "7252-3-c", "7252-4.1-a")
@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b"\xe0\xff\xff\xe0\xff\xff", "option numbers that add up to more than 65535"),
        (b"\xe0\xfe\xf2" * 2, "and just so"),
        (b"\x00" * 300, "more options than a datagram should have"),
        (b"\xee\xff\xff\xff\xff", "a length past the end"),
        (b"\x0f", "a reserved length"),
        (b"\xf0", "a reserved delta"),
        (b"\xff", "a payload marker and nothing behind it"),
        (b"\xd0", "an extended delta cut short"),
        (b"\x0e\x00", "an extended length cut short"),
    ],
)
async def test_options_that_cannot_be_read_are_a_format_error(device: Device, rest: bytes, reason: str) -> None:
    assert await device.door.knock(b"\x40\x01\x12\x34" + rest) == [RST + b"\x12\x34"], reason
    assert await device.door.knock(b"\x50\x01\x12\x35" + rest) == [], reason
    assert await device.door.knock(b"\x40\x00\x12\x36" + rest) == [RST + b"\x12\x36"], "and more so in a ping"


@pytest.mark.rfc("7252-5.4.1-a", "7252-5.4.1-b", "7252-5.4.1-c")
@pytest.mark.parametrize("number", [9, 13, 19, 31, 999, 65_001, 65_535])
async def test_options_nobody_knows_are_refused_when_critical_and_ignored_when_not(device: Device, number: int) -> None:
    reply = await device.ask((*device.ticket, (number, b"x")))
    assert (reply.code, str(number).encode() in reply.payload) == (Code.BAD_OPTION, True)
    assert await device.code(*device.ticket, (number - 1, b"x"), (65_000, b"")) == Code.CONTENT


@pytest.mark.rfc("7252-5.4.5-b")
@pytest.mark.parametrize(
    "twice",
    [
        (option.URI_HOST, b"a"),
        (option.URI_PORT, b"\x16\x33"),
        (option.ACCEPT, b"\x2a"),
        (option.BLOCK2, b"\x05"),
        (option.BLOCK1, b"\x05"),
        (option.PROXY_SCHEME, b"http"),
    ],
)
async def test_a_second_option_of_a_kind_that_is_single_is_refused(device: Device, twice: tuple[int, bytes]) -> None:
    assert await device.code(*device.ticket, twice, twice) == Code.BAD_OPTION
    assert await device.code(device.uri("/files/b"), twice, twice) == Code.BAD_OPTION


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"a\xfe", b"\xf5\x80\x80\x80"])
async def test_text_that_is_not_utf_8_is_4_00_wherever_it_stands(device: Device, text: bytes) -> None:
    assert await device.code((option.URI_PATH, text)) == Code.BAD_REQUEST
    assert await device.code((option.URI_PATH, b"fw"), (option.URI_PATH, text)) == Code.BAD_REQUEST
    assert await device.code((option.URI_PATH, b"fw"), (option.URI_QUERY, text)) == Code.BAD_REQUEST
    assert await device.code((option.PROXY_URI, device.uri("/files/")[1] + text)) == Code.BAD_REQUEST
    assert await device.code((option.PROXY_SCHEME, text), (option.URI_HOST, b"a")) == Code.BAD_REQUEST
    assert await device.code((option.PROXY_SCHEME, b"http"), (option.URI_HOST, text)) == Code.BAD_REQUEST


CLIMBING = (
    *("..", ".", "%2e%2e", "%252e%252e", "..%2fsecret", "..%5csecret", "../secret", "..\\secret", "a/../../secret"),
    *(
        "..;a=b",
        "%2e%2e%2fsecret",
        "/../secret",
        "..\x00",
        "..%00",
        "\uff0e\uff0e",
        "..\u2215secret",
        "..#",
        "..?",
        "@evil",
    ),
)


@pytest.mark.rfc("7252-5.10.1-a")
@pytest.mark.parametrize("segment", CLIMBING)
async def test_no_spelling_climbs_out_of_the_base(device: Device, segment: str) -> None:
    host, port = device.upstream.url("").removeprefix("http://").split(":")
    for path in ((segment, "secret"), (segment,), ("a", segment, segment, "secret")):
        options = [(option.URI_PATH, part.encode()) for part in path]
        ways = [
            (device.uri("/files/" + "/".join(path)),),
            ((option.URI_PATH, b"fw"), *options),
            (
                (option.PROXY_SCHEME, b"http"),
                (option.URI_HOST, host.encode()),
                (option.URI_PORT, int(port).to_bytes(2, "big")),
                (option.URI_PATH, b"files"),
                *options,
            ),
        ]
        for way in ways:
            reply = await device.ask(way)
            assert reply.code >> 5 in (4, 5), (path, reply)
            assert SECRET not in reply.payload
    assert all(asked["path"].startswith("/files/") for asked in device.upstream.requests)
    assert not any("/../" in asked["path"] + "/" for asked in device.upstream.requests)


async def test_a_proxy_uri_is_as_long_as_it_may_be_and_no_longer(device: Device) -> None:
    base = device.uri("/files/")[1]
    assert await device.code((option.PROXY_URI, base.ljust(1034, b"a"))) in (Code.NOT_FOUND, Code.BAD_REQUEST)
    assert await device.code((option.PROXY_URI, base.ljust(1035, b"a"))) == Code.BAD_OPTION
    assert await device.code((option.PROXY_URI, base.ljust(60_000, b"a"))) == Code.BAD_OPTION


@pytest.mark.rfc("7252-5.4.3-a")
@pytest.mark.parametrize(
    ("number", "value"),
    [
        (option.PROXY_URI, b""),
        (option.URI_HOST, b""),
        (option.URI_HOST, b"a" * 256),
        (option.PROXY_SCHEME, b""),
        (option.PROXY_SCHEME, b"a" * 256),
        (option.URI_PORT, b"\x00\x16\x33"),
        (option.URI_PATH, b"a" * 256),
        (option.URI_QUERY, b"a" * 256),
        (option.ACCEPT, b"\x00\x00\x2a"),
        (option.BLOCK2, b"\x00\x00\x00\x05"),
        (option.BLOCK1, b"\x00\x00\x00\x05"),
    ],
)
async def test_a_critical_option_of_a_length_it_cannot_have_is_one_not_known(
    device: Device, number: int, value: bytes
) -> None:
    assert await device.code(*device.ticket, (number, value)) == Code.BAD_OPTION


@pytest.mark.rfc("7252-5.4.3-a")
async def test_an_elective_option_of_a_length_it_cannot_have_is_ignored(device: Device) -> None:
    etag = (await device.block(Block(0, False, 5))).option(option.ETAG) or b""
    assert await device.code(*device.ticket, (option.ETAG, etag)) == Code.VALID
    for number, value in ((option.ETAG, b""), (option.ETAG, etag + b"\x00"), (option.SIZE2, bytes(5)), (14, bytes(5))):
        assert await device.code(*device.ticket, (number, value)) == Code.CONTENT


@pytest.mark.rfc("7252-5.8-a")
@pytest.mark.parametrize("code", [*range(5, 32)])
async def test_a_method_nobody_knows_is_4_05_for_what_is_served_here(device: Device, code: int) -> None:
    assert await device.code(*device.ticket, code=code) == Code.METHOD_NOT_ALLOWED


@pytest.mark.rfc("7252-4.2-b", "7252-4.2-e", "7252-4.3-a", "7252-4.3-c", "7252-3-a")
async def test_what_is_no_request_is_reset_or_ignored(device: Device) -> None:
    for code in (0, *range(32, 256)):
        head = code.to_bytes(1, "big") + b"\x12\x34"
        assert await device.door.knock(b"\x40" + head) == [RST + b"\x12\x34"], "confirmable"
        assert await device.door.knock(b"\x50" + head) == [], "non-confirmable"
    for code in range(256):
        head = code.to_bytes(1, "big") + b"\x12\x34"
        for kind in (b"\x60", b"\x70"):
            assert await device.door.knock(kind + head) == [], "an acknowledgement or a reset"
        for version in (b"\x00", b"\x80", b"\xc0"):
            assert await device.door.knock(version + head) == [], "another version"
