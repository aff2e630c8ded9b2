"""The cross proxy towards HTTP: large bodies both ways, in blocks, on disk, within their bounds."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coap_http_proxy.blockwise import MAX_UPLOADS, MAX_UPLOADS_PER_SENDER, Uploads
from coap_http_proxy.mapping.questions import Question
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_http_proxy.spool import Room
from coap_http_proxy.testing import CoapClient, HttpAnswer, HttpRequest, before_origin, by_uri
from coap_wire import Block, Code, Message, Options, Type, encode_block, encode_uint
from coap_wire import options as option

LARGE = os.urandom(200_001)


def saying(
    status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> Callable[[HttpRequest], HttpAnswer]:
    return lambda _: (status, headers or {}, body)


@pytest.mark.rfc("7959-2.4-b", "7959-4-b")
@pytest.mark.parametrize(("control", "szx"), [("max-age=0", 6), ("no-store", 6), ("private", 2), ("max-age=99", 3)])
async def test_a_large_answer_lies_on_disk_and_comes_in_blocks_of_any_size(
    control: str, szx: int, tmp_path: Path
) -> None:
    body = LARGE if szx == 6 else LARGE[:70_001]
    async with before_origin(tmp_path, saying(200, {"Cache-Control": control}, body)) as (proxy, client, origin):
        first = await client.get(extra=by_uri(origin.url("/in/a")), block=Block(0, False, szx))
        assert first.uint(option.SIZE2) == len(body)
        origin.requests.clear()
        assert await client.fetch(extra=by_uri(origin.url("/in/a")), szx=szx) == body
        assert len(origin.requests) == (0 if control == "max-age=99" else 1)
        cache = proxy.upstream.representations.cache
        assert cache.disk_bytes == len(body)
        assert cache.memory_bytes < 10_000
        assert proxy.upstream.room.taken == 0
        assert [path for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.rfc("7959-2.5-b")
@pytest.mark.parametrize("szx", [6, 4])
async def test_a_large_request_is_put_together_and_streamed(szx: int, tmp_path: Path) -> None:
    body = LARGE if szx == 6 else LARGE[:10_000]
    async with before_origin(tmp_path, saying(201, {"Location": "new"})) as (proxy, client, origin):
        reply = await client.upload(Code.POST, by_uri(origin.url("/in/a"), (option.CONTENT_FORMAT, b"\x3c")), body, szx)
        assert (reply.code, reply.location_path) == (Code.CREATED, ("in", "new"))
        (asked,) = origin.requests
        assert asked.body == body
        assert asked.headers["content-type"] == "application/cbor"
        assert (len(proxy.service.cross_proxy.uploads), proxy.upstream.room.taken) == (0, 0)


def block1(num: int, more: bool, szx: int = 2) -> tuple[int, bytes]:
    return option.BLOCK1, encode_block(Block(num, more, szx))


@pytest.mark.rfc("7959-2.5-a", "9175-3.3-a")
async def test_blocks_sent_again_change_nothing_and_gaps_are_refused(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(204)) as (_, client, origin):
        a, b = ((option.REQUEST_TAG, b"a"),), ((option.REQUEST_TAG, b"b"),)

        async def put(num: int, more: bool, piece: bytes, tag: Options = a) -> int:
            return (await client.ask(Code.PUT, by_uri(origin.url("/in/a"), block1(num, more), *tag), piece)).code

        assert await put(0, True, b"0" * 64) == Code.CONTINUE
        assert await put(0, True, b"x" * 64, b) == Code.CONTINUE
        assert await put(1, True, b"1" * 64) == Code.CONTINUE
        assert await put(1, True, b"1" * 64) == Code.CONTINUE
        assert await put(3, True, b"3" * 64) == Code.REQUEST_ENTITY_INCOMPLETE
        assert await put(2, False, b"2") == Code.CHANGED
        assert await put(2, False, b"2") == Code.CHANGED  # its answer was lost: told again, not done again
        assert await put(1, False, b"y", b) == Code.CHANGED
        assert await put(1, True, b"1" * 64, ()) == Code.REQUEST_ENTITY_INCOMPLETE
        assert [asked.body for asked in origin.requests] == [b"0" * 64 + b"1" * 64 + b"2", b"x" * 64 + b"y"]


@pytest.mark.rfc("7959 2.5")
async def test_a_last_block_that_is_sent_again_is_never_told_the_answer_of_an_earlier_request(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, body=b"first")) as (_, client, origin):

        async def send(num: int, piece: bytes) -> int:
            return (await client.ask(Code.POST, by_uri(origin.url("/in/a"), block1(num, not num)), piece)).code

        assert await send(0, b"A" * 64) == Code.CONTINUE
        assert await send(1, b"A") == Code.CHANGED
        origin.answer = saying(403)
        assert await send(0, b"B" * 64) == Code.CONTINUE
        assert await send(1, b"B") == Code.FORBIDDEN
        assert await send(1, b"B") == Code.REQUEST_ENTITY_INCOMPLETE
        assert len(origin.requests) == 2


def test_one_host_with_many_ports_leaves_room_for_the_uploads_of_others(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, Room(1 << 20), 1 << 16)

    def begun(peer: Peer, tag: bytes = b"") -> int:
        request = Message(Type.CON, Code.PUT, 1, b"", (block1(0, True), (option.REQUEST_TAG, tag)), bytes(64))
        try:
            uploads.received(request, Question(Code.PUT, "http://a/"), peer)
        except Refusal as refusal:
            return refusal.code
        return Code.CONTINUE

    codes = [begun(Peer("192.0.2.7", port), bytes((tag,))) for port in range(1, 129) for tag in range(4)]
    assert codes.count(Code.CONTINUE) == MAX_UPLOADS_PER_SENDER < MAX_UPLOADS
    assert begun(Peer("192.0.2.8", 1)) == Code.CONTINUE
    assert begun(Peer("192.0.2.7", 1, "sensor-1")) == Code.CONTINUE, "a device behind the same NAT, with a name"
    uploads.close()


@pytest.mark.rfc("7252-5.9.2-a", "7959-2.2-b", "7959-2.3-a", "7959-2.3-d", "7959-2.9.3-a")
async def test_blocks_that_cannot_be_are_refused(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(204), max_representation_bytes=1000) as (proxy, client, origin):

        async def put(*options: tuple[int, bytes], payload: bytes = b"x" * 64) -> Message:
            return await client.ask(Code.PUT, by_uri(origin.url("/in/a"), *options), payload)

        assert (await put((option.BLOCK1, b"\x0f"))).code == Code.BAD_REQUEST  # SZX 7
        assert (await put((option.BLOCK1, b"1234"))).code == Code.BAD_OPTION
        assert (await put(block1(0, True), payload=b"short")).code == Code.BAD_REQUEST
        assert (await put(block1(0, False), payload=b"x" * 65)).code == Code.BAD_REQUEST
        for options in ((block1(99, True),), (block1(0, True), (option.SIZE1, encode_uint(1001)))):
            large = await put(*options)
            assert (large.code, large.uint(option.SIZE1)) == (Code.REQUEST_ENTITY_TOO_LARGE, 1000)
        assert (await put(block1(0, True), (option.CONTENT_FORMAT, b""))).code == Code.CONTINUE
        assert (await put(block1(1, True), (option.CONTENT_FORMAT, b"\x3c"))).code == Code.REQUEST_ENTITY_INCOMPLETE
        for _ in range(4):
            assert (await put(block1(0, True), (option.REQUEST_TAG, os.urandom(8)))).code == Code.CONTINUE
        assert (await put(block1(0, True))).code == Code.SERVICE_UNAVAILABLE
        assert proxy.upstream.room.taken == 4 * 64
        uploads = proxy.service.cross_proxy.uploads
        uploads.clock = lambda: 1e9
        assert (await put(block1(0, True))).code == Code.CONTINUE
        assert (len(uploads), proxy.upstream.room.taken) == (1, 64)
        assert origin.requests == []


@pytest.mark.rfc("7959 2.7")
async def test_a_large_answer_to_a_post_is_fetched_in_blocks_and_the_post_is_done_once(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, {"Content-Type": "application/json"}, LARGE[:3000])) as (
        _,
        client,
        origin,
    ):
        data = b""
        for num in range(3):
            block = (option.BLOCK2, encode_block(Block(num, False, 6)))
            reply = await client.ask(Code.POST, by_uri(origin.url("/in/a"), block), b"" if num else b"do it")
            assert reply.code == Code.CHANGED
            data += reply.payload
        assert (data, len(origin.requests)) == (LARGE[:3000], 1)
        other = await CoapClient.connect(client_port(client))
        block = (option.BLOCK2, encode_block(Block(1, False, 6)))
        assert (await other.ask(Code.POST, by_uri(origin.url("/in/a"), block))).code == Code.REQUEST_ENTITY_INCOMPLETE
        assert len(origin.requests) == 1
        other.close()


def client_port(client: CoapClient) -> int:
    assert client._transport is not None
    return int(client._transport.get_extra_info("peername")[1])


@contextmanager
def full_disk(max_bytes: int) -> Iterator[None]:
    """Files may not grow beyond `max_bytes`: the kernel says so when it is tried."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_5_03_in_both_directions_and_mends_itself(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, {}, LARGE)) as (proxy, client, origin):
        with full_disk(100_000):
            assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).code == Code.SERVICE_UNAVAILABLE
            codes = []
            for num in range(120):
                block = (option.BLOCK1, encode_block(Block(num, True, 6)))
                codes.append((await client.ask(Code.PUT, by_uri(origin.url("/in/a"), block), bytes(1024))).code)
                if codes[-1] != Code.CONTINUE:
                    break
            assert codes[-1] == Code.SERVICE_UNAVAILABLE
            assert 97 <= codes.count(Code.CONTINUE) < 119
        assert (proxy.upstream.room.taken, len(proxy.service.cross_proxy.uploads)) == (0, 0)
        assert await client.fetch(extra=by_uri(origin.url("/in/a"))) == LARGE
        assert (await client.upload(Code.PUT, by_uri(origin.url("/in/a")), LARGE)).code == Code.CHANGED
        assert origin.requests[-1].body == LARGE


@pytest.mark.parametrize("size", [60_000, 200_001])
async def test_there_is_room_for_the_transfer_under_way_whatever_the_settings_say(size: int, tmp_path: Path) -> None:
    little = {"representation_memory_bytes": 0, "representation_disk_bytes": 0}
    async with before_origin(tmp_path, saying(200, {}, LARGE[:size]), **little) as (_, client, origin):
        assert await client.fetch(extra=by_uri(origin.url("/in/a")), szx=6) == LARGE[:size]
        assert len(origin.requests) == 1


async def test_more_than_there_is_room_for_is_5_03_and_room_comes_back(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, {}, bytes(5000)), arriving_bytes=4000) as (proxy, client, origin):
        assert (await client.ask(Code.GET, by_uri(origin.url("/in/a")))).code == Code.SERVICE_UNAVAILABLE
        assert proxy.upstream.room.taken == 0


async def test_a_weak_tag_is_no_reason_to_believe_that_bytes_are_the_same(tmp_path: Path) -> None:
    async with before_origin(tmp_path, saying(200, {"ETag": 'W/"v"', "Cache-Control": "no-cache"}, b"x")) as (
        _,
        client,
        origin,
    ):
        for _ in range(2):
            await client.ask(Code.GET, by_uri(origin.url("/in/a")))
        assert "if-none-match" not in origin.requests[1].headers
