"""What RFC 7252 and RFC 7959 ask of every answer, seen from the device: byte by byte where bytes matter."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.door import Door
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpAnswer, HttpOrigin, HttpRequest, mint
from coap_wire import Block, Code, Message, Options, Type, decode, decode_block, encode, encode_block, encode_uint
from coap_wire import options as option
from updraft_local.ports import free_port

IMAGE = os.urandom(3000)
UINTS = (option.CONTENT_FORMAT, option.MAX_AGE, option.SIZE1, option.SIZE2, option.BLOCK1, option.BLOCK2)
REPEATABLE = (option.LOCATION_PATH, option.LOCATION_QUERY)
# What may stand in which answer (RFC 7252 sections 5.9 and 5.10, RFC 7959 section 2.1, RFC 9175 section 2.3).
BODY = {option.CONTENT_FORMAT, option.ETAG, option.BLOCK1, option.BLOCK2, option.SIZE2, option.ECHO}
ERROR = {option.MAX_AGE, option.BLOCK1, option.ECHO}
DEFINED = {
    Code.CONTENT: BODY | {option.MAX_AGE},
    Code.VALID: {option.ETAG, option.MAX_AGE, option.ECHO},
    Code.CREATED: BODY | {option.LOCATION_PATH, option.LOCATION_QUERY},
    Code.CHANGED: BODY,
    Code.DELETED: BODY,
    Code.CONTINUE: {option.BLOCK1, option.ECHO},
    Code.REQUEST_ENTITY_TOO_LARGE: ERROR | {option.SIZE1},
}
CORE = ((option.URI_PATH, b".well-known"), (option.URI_PATH, b"core"))


def origin_says(asked: HttpRequest) -> HttpAnswer:
    """An HTTP server with one small and one large resource."""
    if asked.method == "POST":
        return 201, {"Location": "/new/1?a=1", "Content-Type": "application/json"}, b"{}"
    if asked.method != "GET":
        return 204, {}, b""
    found = {"/a": IMAGE, "/b": b"small"}.get(asked.path)
    if found is None:
        return 404, {}, "weg, für immer".encode()
    return 200, {"Content-Type": "text/plain", "ETag": '"1"', "Cache-Control": "max-age=9"}, found


class Device:
    """Knocks at a proxy's door with message ids of its own."""

    def __init__(self, door: Door, origin: HttpOrigin, token: str) -> None:
        self.door, self.origin = door, origin
        self.ticket = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"a"))
        self.numbers: Iterator[int] = itertools.count(1)

    async def sent(self, options: Options, code: int = Code.GET, payload: bytes = b"", kind: Type = Type.CON) -> bytes:
        """The last datagram that is sent for one request, empty for none."""
        request = Message(kind, code, next(self.numbers), b"t", options, payload)
        return [b"", *await self.door.knock(encode(request))][-1]

    async def ask(self, *options: tuple[int, bytes], code: int = Code.GET, payload: bytes = b"") -> Message:
        """The answer to one confirmable request."""
        return decode(await self.sent(options, code, payload))

    def uri(self, path: str) -> tuple[int, bytes]:
        """Proxy-Uri of the HTTP server."""
        return option.PROXY_URI, self.origin.url(path).encode()

    def requests_of_all_kinds(self) -> Iterator[tuple[Options, int, bytes]]:
        """Requests that get every sort of answer: contents, blocks, successes, refusals."""
        block = (option.BLOCK2, encode_block(Block(1, False, 2)))
        valid = ((option.ETAG, b"12345678"), (option.SIZE2, b""), (option.ACCEPT, b""))
        for target in (self.ticket, CORE, (self.uri("/a"),), (self.uri("/b"),), (self.uri("/none"),)):
            yield target, Code.GET, b""
            yield (*target, block), Code.GET, b""
            yield (*target, *valid), Code.GET, b""
            for code in (Code.POST, Code.PUT, Code.DELETE, Code.FETCH, 31):
                yield target, code, b"body"
        yield (self.uri("/a"), (option.BLOCK1, encode_block(Block(0, True, 0)))), Code.PUT, b"0123456789abcdef"
        yield (self.uri("/a"), (option.BLOCK1, encode_block(Block(9, False, 0)))), Code.PUT, b"x"
        yield (self.uri("/a"), (option.SIZE1, b"\xff" * 4), (option.BLOCK1, b"\x08")), Code.PUT, b"0123456789abcdef"
        yield ((option.URI_PATH, b"\xff"),), Code.GET, b""
        yield ((option.PROXY_URI, "http://ü".encode() + "ü".encode() * 300 + b"/"),), Code.GET, b""
        yield ((option.PROXY_URI, b"http://elsewhere.example/"),), Code.GET, b""
        yield (self.uri("/a"), (option.HOP_LIMIT, b"\x01")), Code.GET, b""


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> ProxySettings:
    return ProxySettings(
        redis_url=SecretStr(redis_url), port=free_port(), coap_port=free_port(2), cache_directory=tmp_path
    )


@pytest.fixture
async def device(redis_url: str, settings: ProxySettings) -> AsyncIterator[Device]:
    async with (
        HttpOrigin(origin_says) as origin,
        Door(settings.model_copy(update={"allowed_upstreams": origin.url("/")})) as door,
    ):
        store = redis.Redis.from_url(redis_url)
        token = await mint(store, origin.url("/a"), IMAGE)
        await store.aclose()
        yield Device(door, origin, token)


@pytest.mark.rfc(
    "7252-3.1-a", "7252-3.2-a", "7252-5.4-a", "7252-5.4.5-a", "7252-5.10.6-b", "7959-2.2-a", "7959-4-c", "9175-3.4-c"
)
async def test_every_answer_holds_options_that_belong_there_once_and_in_their_shortest_form(device: Device) -> None:
    codes = set()
    for options, code, payload in device.requests_of_all_kinds():
        datagram = await device.sent(options, code, payload)
        reply = decode(datagram)
        codes.add(reply.code)
        numbers = [number for number, _ in reply.options]
        assert encode(reply) == datagram, "in order, and no longer than needed"
        assert set(numbers) <= DEFINED.get(Code(reply.code), ERROR), reply
        assert len(numbers) == len({*numbers}) or {n for n in numbers if numbers.count(n) > 1} <= {*REPEATABLE}
        for number, value in reply.options:
            assert number not in UINTS or value[:1] != b"\x00", "no leading zero bytes"
            assert number not in (option.BLOCK1, option.BLOCK2) or decode_block(value).szx < 7
    assert codes >= {Code.CONTENT, Code.CREATED, Code.CHANGED, Code.DELETED, Code.CONTINUE}
    assert len([code for code in codes if code >> 5 in (4, 5)]) >= 8


@pytest.mark.rfc("7252-5.5.2-a", "7252-5.9.2-b")
async def test_every_error_says_in_short_utf_8_what_was_wrong(device: Device) -> None:
    for options, code, payload in device.requests_of_all_kinds():
        reply = await device.ask(*options, code=code, payload=payload)
        if reply.code >> 5 in (4, 5):
            assert 0 < len(reply.payload) < 128, reply
            assert reply.payload.decode("utf-8").isprintable(), reply


@pytest.mark.rfc("7252-3.2-b")
async def test_numbers_with_leading_zeros_are_the_same_numbers(device: Device) -> None:
    plain = await device.ask(*device.ticket, (option.ACCEPT, b"\x2a"), (option.BLOCK2, b"\x15"))
    padded = await device.ask(*device.ticket, (option.ACCEPT, b"\x00\x2a"), (option.BLOCK2, b"\x00\x00\x15"))
    assert (plain.code, padded.options, padded.payload) == (Code.CONTENT, plain.options, plain.payload)


@pytest.mark.rfc("7252-5.1-a", "7252-5.5-a")
async def test_a_get_asks_for_nothing_but_a_representation_whatever_it_carries(device: Device) -> None:
    for target in (device.ticket, (device.uri("/b"),), CORE):
        assert (await device.ask(*target, payload=b"do something")).code == Code.CONTENT
    assert {(asked.method, asked.body) for asked in device.origin.requests} == {("GET", b"")}


@pytest.mark.rfc("7252-5.4.1-e")
async def test_a_non_confirmable_request_with_an_unknown_critical_option_is_rejected(device: Device) -> None:
    for number in (9, 65_001):
        rejected = await device.sent((*device.ticket, (number, b"")), kind=Type.NON)
        assert rejected == b"" or decode(rejected).type == Type.RST


@pytest.mark.rfc("7252-5.4.4-b")
async def test_host_and_port_that_are_left_out_are_this_proxy(device: Device) -> None:
    named = ((option.URI_HOST, b"127.0.0.1"), (option.URI_PORT, encode_uint(device.door.settings.coap_port)))
    for target in (device.ticket, CORE):
        assert (await device.ask(*named, *target)).payload == (await device.ask(*target)).payload


@pytest.mark.rfc("7252-6.1-a")
@pytest.mark.parametrize(
    "uri",
    ["http://", "http:///a", "http://:80/a", "coap://:5683/a", "coap:a", "http:/a", "//a/b", "/a", "?", "coap://"],
)
async def test_a_uri_without_a_host_is_4_00(device: Device, uri: str) -> None:
    assert (await device.ask((option.PROXY_URI, uri.encode()))).code == Code.BAD_REQUEST


@pytest.mark.rfc("7959-2.1-a", "7959-2.1-b")
async def test_a_block_option_is_followed_or_refused_and_never_overlooked(device: Device) -> None:
    upload = (option.BLOCK1, encode_block(Block(0, True, 0)))
    for target in (device.ticket, CORE, (device.uri("/b"),)):
        assert (await device.ask(*target, upload)).code == Code.BAD_OPTION, "there is no body to be in blocks"
        for twice in (option.BLOCK1, option.BLOCK2):
            assert (await device.ask(*target, (twice, b""), (twice, b""))).code == Code.BAD_OPTION
    assert (await device.ask(device.uri("/b"), upload, code=Code.DELETE)).code == Code.BAD_OPTION
    assert device.origin.requests == []


@pytest.mark.rfc("7959-2.3-b", "7959-2.9.1-a", "7959-2.5-d", "9175-3.3-b")
async def test_a_block_of_many_is_continued_bare_and_a_new_first_one_begins_anew(device: Device) -> None:
    async def put(num: int, more: bool, piece: bytes, *others: tuple[int, bytes]) -> Message:
        block = (option.BLOCK1, encode_block(Block(num, more, 0)))
        return await device.ask(
            device.uri("/b"), block, (option.BLOCK2, b"\x02"), *others, code=Code.PUT, payload=piece
        )

    tags = [(), *(((option.REQUEST_TAG, tag),) for tag in (b"", bytes(8), b"\xff" * 8))]
    for _, tag in itertools.product(range(2), tags):
        reply = await put(0, True, b"lost lost lost!!", *tag)
        assert (reply.code, reply.payload, reply.option(option.BLOCK2)) == (Code.CONTINUE, b"", None)
    for tag in reversed(tags):
        assert (await put(0, True, b"0123456789abcdef", *tag)).code == Code.CONTINUE
        assert (await put(1, False, b"end", *tag)).code == Code.CHANGED
    assert {asked.body for asked in device.origin.requests} == {b"0123456789abcdefend"}
    assert len(device.origin.requests) == len(tags)


@pytest.mark.rfc("7959-2.3-c")
async def test_every_block_says_the_format_of_the_whole(device: Device) -> None:
    for target in (device.ticket, (device.uri("/a"),)):
        blocks = [
            await device.ask(*target, (option.BLOCK2, encode_block(Block(num, False, 5))))
            for num in range(-(-len(IMAGE) // 512))
        ]
        assert len({reply.option(option.CONTENT_FORMAT) for reply in blocks}) == 1
        assert blocks[0].option(option.CONTENT_FORMAT) is not None


@pytest.mark.rfc("9175-3.4-b")
async def test_a_request_tag_without_blocks_means_nothing(device: Device) -> None:
    for tag in (b"", b"tag", bytes(8)):
        assert (await device.ask(device.uri("/b"), (option.REQUEST_TAG, tag))).payload == b"small"
    assert len(device.origin.requests) == 1, "and asks nobody anew"


@pytest.mark.rfc("7252-4.2-i")
async def test_devices_that_are_gone_when_their_answer_comes_deafen_nobody(settings: ProxySettings) -> None:
    async with Proxy(settings) as proxy:
        stays = await CoapClient.connect(proxy.transport.port)
        for _ in range(20):
            gone = await CoapClient.connect(proxy.transport.port)
            gone.send_raw(encode(Message(Type.CON, Code.GET, 1, b"", CORE)))
            gone.close()  # the answer meets a closed port, and an ICMP error comes back
            await asyncio.sleep(0)
            assert (await stays.get(".well-known", "core", seconds=5)).code == Code.CONTENT
        stays.close()


@pytest.mark.rfc("7252-5.7.2-b", "7252-5.10.2-a")
async def test_a_uri_that_names_this_proxy_is_answered_here(device: Device) -> None:
    port = device.door.settings.coap_port
    own = (option.PROXY_URI, f"coap://127.0.0.1:{port}/.well-known/core".encode())
    parts = (
        (option.URI_HOST, b"127.0.0.1"),
        (option.URI_PORT, encode_uint(port)),
        *CORE,
        (option.PROXY_SCHEME, b"coap"),
    )
    here = (await device.ask(*CORE)).payload
    assert (await device.ask(own)).payload == here
    assert (await device.ask(*parts)).payload == here
    assert (await device.ask((option.PROXY_URI, f"coap://127.0.0.1:{port}/nothing".encode()))).code == Code.NOT_FOUND
