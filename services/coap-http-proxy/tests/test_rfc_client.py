"""What RFC 7252, 7959, 8132, 8516, 8768 and 9175 ask of the proxy as a client, seen from the CoAP server it asks."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from coap_http_proxy.door import Door
from coap_http_proxy.settings import ProxySettings
from coap_wire import Block, Code, Message, Options, Type, decode, decode_block, encode, encode_block, encode_uint
from coap_wire import options as option
from updraft_local.ports import free_port

UNKNOWN_SAFE, UNKNOWN_UNSAFE, UNKNOWN_UNSAFE_CRITICAL = 2048, 2050, 2051
Said = tuple[int, bytes, Options]


class Server(asyncio.DatagramProtocol):
    """A CoAP server that says what it is told to, and remembers what it was asked, and from where."""

    def __init__(self) -> None:
        self.says: Callable[[Message], Said] = lambda _: (Code.CONTENT, b"plain", ())
        self.asked: list[Message] = []
        self.ports: list[int] = []
        self.held: list[Message] | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @property
    def base(self) -> str:
        """URI of its root, without a slash at the end."""
        return f"coap://127.0.0.1:{self.transport.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = decode(data)
        if message.code == Code.EMPTY:
            return
        self.asked.append(message)
        self.ports.append(addr[1])
        code, payload, options = self.says(message)
        ordered = tuple(sorted(options, key=lambda pair: pair[0]))
        self.transport.sendto(encode(Message(Type.ACK, code, message.mid, message.token, ordered, payload)), addr)


class Desk:
    """A device before a proxy whose only upstream is `server`, with a clock to turn."""

    def __init__(self, door: Door, server: Server) -> None:
        self.door, self.server, self.now = door, server, 1000.0
        self.numbers: Iterator[int] = itertools.count(1)
        door.service.cross_proxy.clock = door.upstream.representations.clock = lambda: self.now

    async def ask(
        self, path: str = "/r", *options: tuple[int, bytes], code: int = Code.GET, payload: bytes = b""
    ) -> Message:
        """The answer to one request for a path of the server."""
        uri = (option.PROXY_URI, (self.server.base + path).encode())
        request = Message(Type.CON, code, next(self.numbers), b"t", (uri, *options), payload)
        return decode((await self.door.knock(encode(request)))[-1])

    async def upload(self, body: bytes, *options: tuple[int, bytes], code: int = Code.PUT) -> Message:
        """The answer to a body that is sent in blocks of 1024 bytes."""
        for num in itertools.count():
            more = (num + 1) << 10 < len(body)
            block = (option.BLOCK1, encode_block(Block(num, more, 6)))
            reply = await self.ask("/r", block, *options, code=code, payload=body[num << 10 : (num + 1) << 10])
            if not more:
                return reply
            assert reply.code == Code.CONTINUE
        raise AssertionError


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    settings = ProxySettings(
        redis_url=SecretStr(""),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=tmp_path,
        allowed_upstreams=server.base,
    )
    async with Door(settings) as door:
        yield Desk(door, server)
    transport.close()


@pytest.mark.rfc("7252-5.4.1-d", "7252-5.7.1-f", "7252-5.7.1-g")
async def test_options_of_an_answer_that_are_not_known_pass_when_they_are_safe_and_spoil_it_when_not(
    desk: Desk,
) -> None:
    desk.server.says = lambda _: (Code.CONTENT, b"x", ((UNKNOWN_SAFE, b"1"), (UNKNOWN_SAFE, b"2")))
    assert (await desk.ask("/safe")).options_of(UNKNOWN_SAFE) == (b"1", b"2")
    for number in (UNKNOWN_UNSAFE, UNKNOWN_UNSAFE_CRITICAL):
        desk.server.says = lambda _, number=number: (Code.CONTENT, b"x", ((number, b""),))  # type: ignore[misc]
        assert (await desk.ask(f"/{number}")).code == Code.BAD_GATEWAY


@pytest.mark.rfc("7252-5.10.6-a", "7252-5.4.4-b", "7252-5.6.1-b")
async def test_a_tag_of_any_bytes_is_passed_on_and_an_answer_without_max_age_is_fresh_for_a_minute(desk: Desk) -> None:
    for tag in (b"\x00", b"\xff" * 8, b'"W/"', os.urandom(8)):
        desk.server.says = lambda _, tag=tag: (Code.CONTENT, b"x", ((option.ETAG, tag),))  # type: ignore[misc]
        path = f"/{tag.hex()}"
        assert (await desk.ask(path)).option(option.ETAG) == tag
        asked = len(desk.server.asked)
        desk.now += 59
        assert (await desk.ask(path, (option.ETAG, tag))).code == Code.VALID
        assert len(desk.server.asked) == asked
        desk.now += 2
        await desk.ask(path)
        assert len(desk.server.asked) == asked + 1


@pytest.mark.rfc("7252-5.9.1-d", "7252-5.6.2-a")
async def test_2_03_gives_what_is_stored_a_new_life_and_new_options(desk: Desk) -> None:
    etag = (option.ETAG, b"e")
    desk.server.says = lambda _: (Code.CONTENT, b"x", (etag, (option.MAX_AGE, b"\x05"), (UNKNOWN_SAFE, b"old")))
    assert (await desk.ask()).option(UNKNOWN_SAFE) == b"old"
    desk.now += 6
    desk.server.says = lambda _: (Code.VALID, b"", (etag, (option.MAX_AGE, b"\x09"), (UNKNOWN_SAFE, b"new")))
    again = await desk.ask()
    assert (again.code, again.payload, again.uint(option.MAX_AGE)) == (Code.CONTENT, b"x", 9)
    assert again.options_of(UNKNOWN_SAFE) == (b"new",)
    assert desk.server.asked[-1].options_of(option.ETAG) == (b"e",)


@pytest.mark.rfc("7252-5.6.2-b", "7252-5.6-d")
async def test_an_answer_that_is_another_one_replaces_what_was_stored(desk: Desk) -> None:
    life = (option.MAX_AGE, b"\x05")
    desk.server.says = lambda _: (Code.CONTENT, b"old", ((option.ETAG, b"1"), life))
    await desk.ask()
    desk.now += 6
    desk.server.says = lambda _: (Code.CONTENT, b"new", ((option.ETAG, b"2"), life))
    for _ in range(2):
        assert (await desk.ask()).payload == b"new"
    assert len(desk.server.asked) == 2
    desk.server.says = lambda _: (2 << 5 | 30, b"strange", (life,))
    for _ in range(2):
        assert (await desk.ask("/strange")).payload == b"strange"
    assert len(desk.server.asked) == 4, "a success that nobody knows is not stored"


@pytest.mark.rfc("7252-5.9.1-a", "7252-5.10.7-a", "8132-3-d")
@pytest.mark.parametrize(
    ("method", "code", "location", "stale"),
    [
        (Code.PUT, Code.CHANGED, (), "/r"),
        (Code.PUT, Code.CREATED, (), "/r"),
        (Code.DELETE, Code.DELETED, (), "/r"),
        (Code.PATCH, Code.CHANGED, (), "/r"),
        (Code.IPATCH, Code.CREATED, (), "/r"),
        (Code.POST, Code.CREATED, ((option.LOCATION_PATH, b"made"),), "/made"),
        (Code.POST, Code.CREATED, ((option.LOCATION_PATH, b"a/b"), (option.LOCATION_QUERY, b"c")), "/a%2Fb?c"),
    ],
)
async def test_what_was_changed_or_made_is_asked_for_again(
    method: int, code: int, location: Options, stale: str, desk: Desk
) -> None:
    await desk.ask(stale)
    await desk.ask(stale)
    assert len(desk.server.asked) == 1
    desk.server.says = lambda _: (code, b"", location)
    assert (await desk.ask("/r", code=method, payload=b"x")).code == code
    desk.server.says = lambda _: (Code.CONTENT, b"changed", ())
    assert (await desk.ask(stale)).payload == b"changed"


@pytest.mark.rfc("7959-2.4-a", "7959-2.4-e", "7959-2.4-f", "7959-4-a")
async def test_blocks_are_fetched_in_the_servers_size_and_from_the_start_when_the_tag_changes(desk: Desk) -> None:
    bodies = {b"1": os.urandom(700), b"2": os.urandom(900)}

    def says(request: Message) -> Said:
        tag = b"1" if len(desk.server.asked) < 5 else b"2"
        value = request.option(option.BLOCK2)
        num = 0 if value is None else decode_block(value).num
        body = bodies[tag]
        block = Block(num, (num + 1) * 64 < len(body), 2)
        return Code.CONTENT, body[num * 64 :][:64], ((option.ETAG, tag), (option.BLOCK2, encode_block(block)))

    desk.server.says = says
    assert (await desk.ask("/r", (option.BLOCK2, b"\x06"))).payload == bodies[b"2"]
    asked = [decode_block(value) for request in desk.server.asked if (value := request.option(option.BLOCK2))]
    assert {block.szx for block in asked if block.num} == {2}
    assert not any(block.more for block in asked)
    assert not any(request.option(option.SIZE2) for request in desk.server.asked)


@pytest.mark.rfc("7959-2.3-e", "7959-2.5-c", "7959-2.7-a", "7959-2.10-a")
async def test_a_body_is_sent_in_order_in_the_servers_size_and_its_answer_fetched_in_order(desk: Desk) -> None:
    body, answer = os.urandom(5000), os.urandom(3000)

    def says(request: Message) -> Said:
        if (value := request.option(option.BLOCK1)) is None:
            num = decode_block(request.option(option.BLOCK2) or b"").num
            return Code.CHANGED, answer[num * 512 :][:512], ((option.BLOCK2, encode_block(Block(num, num < 5, 5))),)
        block = decode_block(value)
        done = (option.BLOCK1, encode_block(Block(block.num, block.more, min(block.szx, 3))))
        if block.more:
            return Code.CONTINUE, b"", (done,)
        return Code.CHANGED, answer[:512], (done, (option.BLOCK2, encode_block(Block(0, True, 5))))

    desk.server.says = says
    reply = await desk.upload(body, (option.IF_NONE_MATCH, b""), (option.CONTENT_FORMAT, b"\x2a"))
    assert (reply.code, reply.payload) == (Code.CHANGED, answer[:1024])
    sent = [request for request in desk.server.asked if request.option(option.BLOCK1) is not None]
    blocks = [decode_block(request.option(option.BLOCK1) or b"") for request in sent]
    assert b"".join(request.payload for request in sent) == body
    assert [block.offset for block in blocks] == sorted(block.offset for block in blocks)
    assert [block.szx for block in blocks] == [6] + [3] * (len(blocks) - 1)
    assert [request.option(option.IF_NONE_MATCH) is not None for request in sent] == [True] + [False] * (len(sent) - 1)
    assert {request.option(option.CONTENT_FORMAT) for request in sent} == {b"\x2a"}
    fetched = [decode_block(request.option(option.BLOCK2) or b"").num for request in desk.server.asked[len(sent) :]]
    assert fetched == [1, 2, 3, 4, 5]


@pytest.mark.rfc("8516-4-a")
async def test_a_server_that_has_too_much_to_do_is_left_alone_for_as_long_as_it_says(desk: Desk) -> None:
    desk.server.says = lambda _: (Code.TOO_MANY_REQUESTS, b"", ((option.MAX_AGE, encode_uint(30)),))
    for left in (30, 20, 10):
        reply = await desk.ask()
        assert (reply.code, reply.uint(option.MAX_AGE)) == (Code.TOO_MANY_REQUESTS, left)
        desk.now += 10
    assert len(desk.server.asked) == 1
    desk.now += 1
    await desk.ask()
    assert len(desk.server.asked) == 2


@pytest.mark.rfc("8768-3-a", "8768-3-c", "8768-3-d", "8768-3-e", "8768-4-a")
async def test_the_hop_limit_that_arrives_is_one_less_or_sixteen(desk: Desk) -> None:
    for number, (options, arrives) in enumerate(
        [((), 16), ((b"\x07",), 6), ((b"\xff",), 254), ((b"\x02",), 1), ((b"\x09", b"\x01"), 8)]
    ):
        await desk.ask(f"/{number}", *((option.HOP_LIMIT, value) for value in options))
        assert desk.server.asked[-1].options_of(option.HOP_LIMIT) == (bytes((arrives,)),)
    reply = await desk.ask("/last", (option.HOP_LIMIT, b"\x01"))
    assert reply.code == Code.HOP_LIMIT_REACHED
    assert reply.payload.startswith(b"updraft-")
    assert len(desk.server.asked) == 5


@pytest.mark.rfc("9175-2.2.1-b", "9175-2.3-e", "9175-2.3-f", "9175-2.3-g")
async def test_an_echo_goes_back_as_it_came_to_the_server_it_came_from_and_ours_goes_nowhere(desk: Desk) -> None:
    value = os.urandom(40)

    def says(request: Message) -> Said:
        if request.option(option.ECHO) == value:
            return Code.CONTENT, b"welcome", ()
        return Code.UNAUTHORIZED, b"", ((option.ECHO, value),)

    desk.server.says = says
    assert (await desk.ask("/r", (option.ECHO, b"the device's own"))).payload == b"welcome"
    assert [request.options_of(option.ECHO) for request in desk.server.asked] == [(), (value,)]
    assert await desk.ask("/r", (option.ECHO, b"another"), code=Code.PUT, payload=b"x")
    assert {*itertools.chain(*(request.options_of(option.ECHO) for request in desk.server.asked))} == {value}


@pytest.mark.rfc("9175-3.4-a")
async def test_bodies_sent_at_a_time_are_kept_apart_by_the_ports_they_come_from(desk: Desk) -> None:
    def says(request: Message) -> Said:
        value = request.option(option.BLOCK1) or b""
        more = decode_block(value).more
        return (Code.CONTINUE if more else Code.CHANGED), b"", ((option.BLOCK1, value),)

    desk.server.says = says
    bodies = [bytes((n,)) * 3000 for n in range(3)]
    for body in bodies:
        await desk.upload(body, (option.REQUEST_TAG, b"device"))
    arrived: dict[int, bytes] = {}
    for port, request in zip(desk.server.ports, desk.server.asked, strict=True):
        arrived[port] = arrived.get(port, b"") + request.payload
        assert request.option(option.REQUEST_TAG) is None
    assert sorted(arrived.values()) == bodies
