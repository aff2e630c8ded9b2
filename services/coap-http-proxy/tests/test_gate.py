"""Who gets how much: strangers three times what they sent, devices what they need, floods next to nothing."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from coap_http_proxy import gate as gate_room
from coap_http_proxy.echo import VALUE_BYTES, Echo
from coap_http_proxy.gate import PATIENCE_SECONDS, REFUSALS_BURST, Gate, Limits
from coap_http_proxy.limits import UnderWay
from coap_http_proxy.mapping.addresses import parse_networks
from coap_http_proxy.mapping.refusals import Unheard
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_wire import Block, Code, Message, Type, decode_block, encode, encode_block, encode_uint
from coap_wire import options as option

STRANGER = Peer("192.0.2.7", 40000)
NEIGHBOUR = Peer("127.0.0.1", 40000)
DEVICE = Peer("192.0.2.8", 40000, "sensor-1")
BODY = bytes(range(256)) * 20
ETAG = b"12345678"
NO_LIMITS = Limits(parse_networks("127.0.0.0/8"), 1e9, 1e9, 1000, 1000)


class House:
    """A gate before a house that serves one body by blocks, with a clock to turn; it notes what reached it."""

    def __init__(self, limits: Limits = NO_LIMITS, body: bytes = BODY) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.ticket_waits: dict[str, float] = {}
        self.asked: list[Message] = []
        self.body = body
        self.error: Refusal | None = None
        self.hold: asyncio.Event | None = None
        self.gate = Gate(
            self._serve,
            lambda request: request.options_of(option.URI_PATH)[:1] == (b"f",),
            lambda token: self.ticket_waits.get(token, 0.0),
            limits,
            Echo(bytes(32)),
            lambda: self.now,
            self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def _serve(self, request: Message, peer: Peer) -> Message:
        self.asked.append(request)
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        value = request.option(option.BLOCK2)
        asked = Block(0, False, 6) if value is None else decode_block(value)
        end = asked.offset + asked.size
        block = Block(asked.num, end < len(self.body), asked.szx)
        options = (
            (option.ETAG, ETAG),
            (option.CONTENT_FORMAT, b"\x2a"),
            (option.MAX_AGE, b"\x3c"),
            (option.BLOCK2, encode_block(block)),
            (option.SIZE2, encode_uint(len(self.body))),
        )
        return Message(Type.ACK, Code.CONTENT, 0, options=options, payload=self.body[asked.offset : end])

    async def ask(self, request: Message, peer: Peer = STRANGER) -> Message:
        return await self.gate.respond(request, peer)


def get(
    block: Block | None = None, path: str = "fw/a.bin", echo: bytes | None = None, code: int = Code.GET, **more: bytes
) -> Message:
    options = [(option.URI_PATH, part.encode()) for part in path.split("/")]
    if block is not None:
        options.append((option.BLOCK2, encode_block(block)))
    if echo is not None:
        options.append((option.ECHO, echo))
    return Message(Type.CON, code, 1, more.get("token", b"12345678"), tuple(options), more.get("payload", b""))


def length(request: Message, answer: Message) -> int:
    """On the wire, the empty acknowledgement that may come first included."""
    acknowledged = 4 if request.type == Type.CON else 0
    return acknowledged + len(encode(replace(answer, token=request.token)))


# --- amplification and Echo -------------------------------------------------------------------------------------------


@pytest.mark.rfc("7252-11.3-a", "9175-2.4-a", "7959 2.4")
async def test_a_stranger_who_knows_no_echo_gets_everything_in_small_blocks() -> None:
    house = House()
    data, num, szx = b"", 0, 6
    while True:
        request = get(Block(num, False, szx), path="proxied/firmware.bin")
        answer = await house.ask(request)
        assert answer.code == Code.CONTENT
        assert length(request, answer) <= 3 * len(encode(request))
        assert answer.option(option.ETAG) == ETAG
        value = answer.option(option.BLOCK2)
        assert value is not None
        block = decode_block(value)
        assert block.offset == len(data)
        data += answer.payload
        if not block.more:
            break
        num, szx = block.num + 1, block.szx
    assert data == BODY
    assert house.gate.counts.shortened == 1  # it goes on with the size it got


@pytest.mark.rfc("9175-2.2.1-a", "9175-2.3-d", "9175-2.3-e")
async def test_who_sends_the_echo_back_gets_blocks_of_the_size_it_asked_for_and_need_not_do_so_again_soon() -> None:
    house = House()
    first = await house.ask(get(Block(0, False, 6)))
    echo = first.option(option.ECHO)
    assert echo is not None and len(echo) == VALUE_BYTES
    second = await house.ask(get(Block(0, False, 6), echo=echo))
    assert len(second.payload) == 1024
    assert house.asked[-1].option(option.ECHO) is None
    assert (await house.ask(get(Block(1, False, 6)))).payload == BODY[1024:2048]
    house.now += gate_room.ECHOED_SECONDS + 1
    assert len((await house.ask(get(Block(2, False, 6)))).payload) < 1024


@pytest.mark.rfc("9175-2.2.1-a", "9175-2.3-c", "9175-2.3-d")
@pytest.mark.parametrize("spoil", ["another address", "another port", "too old", "made up", "cut", "empty"])
async def test_an_echo_that_was_not_made_here_for_this_address_just_now_proves_nothing(spoil: str) -> None:
    house = House()
    answer = await house.ask(get(code=Code.POST))
    echo = answer.option(option.ECHO)
    assert echo is not None
    peer = {"another address": Peer("192.0.2.9", 40000), "another port": Peer("192.0.2.7", 40001)}.get(spoil, STRANGER)
    house.now += 300 if spoil == "too old" else 0
    echo = {"made up": b"12345678", "cut": echo[:7], "empty": b""}.get(spoil, echo)
    again = await house.ask(get(code=Code.POST, echo=echo), peer)
    assert again.code == Code.UNAUTHORIZED
    assert again.option(option.ECHO) not in (None, echo)
    assert house.asked == []


@pytest.mark.rfc("9175-2.3-a", "9175-2.3-b", "9175-2.6-a")
@pytest.mark.parametrize("code", [Code.POST, Code.PUT, Code.DELETE, Code.PATCH, Code.IPATCH, 31])
async def test_nothing_is_carried_out_for_an_address_that_may_be_forged(code: int) -> None:
    house = House()
    request = get(code=code, payload=b"x" * 300)
    answer = await house.ask(request)
    assert (answer.code, answer.option(option.MAX_AGE)) == (Code.UNAUTHORIZED, b"")
    assert house.asked == []
    echo = answer.option(option.ECHO)
    assert echo is not None
    await house.ask(get(code=code, echo=echo))
    assert [request.code for request in house.asked] == [code]


async def test_a_fetch_in_blocks_takes_no_place_for_an_address_that_may_be_forged() -> None:
    house = House()
    block = (option.BLOCK1, encode_block(Block(0, True, 2)))
    request = Message(Type.CON, Code.FETCH, 1, b"t", ((option.URI_PATH, b"fw"), block), bytes(64))
    assert (await house.ask(request)).code == Code.UNAUTHORIZED
    assert house.asked == []
    await house.ask(request, DEVICE)
    assert house.asked == [request]


@pytest.mark.rfc("7252-11.3-a")
@pytest.mark.parametrize("peer", [NEIGHBOUR, DEVICE, Peer("::ffff:127.0.0.1", 40000)])
async def test_who_cannot_be_forged_gets_what_it_asks_for_at_once(peer: Peer) -> None:
    house = House()
    answer = await house.ask(get(Block(0, False, 6)), peer)
    assert len(answer.payload) == 1024
    assert answer.option(option.ECHO) is None
    await house.ask(get(code=Code.POST), peer)
    assert [request.code for request in house.asked] == [Code.GET, Code.POST]


async def test_who_shows_a_ticket_gets_its_firmware_in_large_blocks() -> None:
    house = House()
    answer = await house.ask(get(Block(0, False, 6), path="f/abcdefghijkl/a"))
    assert (len(answer.payload), answer.type) == (1024, Type.ACK)


async def test_a_ticket_that_was_made_up_is_no_better_than_none() -> None:
    house = House()
    house.error = Refusal(Code.NOT_FOUND, "x" * 90)
    request = Message(Type.CON, Code.GET, 1, b"", ((option.URI_PATH, b"f"), (option.URI_PATH, b"")))
    answer = await house.ask(request)
    assert (answer.code, answer.type) == (Code.NOT_FOUND, Type.NON)
    assert length(request, answer) <= 3 * len(encode(request))
    known = await house.ask(request, NEIGHBOUR)
    assert len(known.payload) == 90


@pytest.mark.rfc("9175-2.4-b")
async def test_what_a_stranger_gets_is_not_to_be_repeated() -> None:
    house = House()
    assert (await house.ask(get(Block(0, False, 6)))).type == Type.NON
    assert (await house.ask(get(Block(0, False, 6)), DEVICE)).type == Type.ACK


ERRORS = [Refusal(Code.NOT_FOUND, ""), Refusal(Code.BAD_GATEWAY, "é" * 60), Refusal(Code.FORBIDDEN, "n" * 96, 4711)]
PATHS = ["", "a", "fw/a.bin", ".well-known/core", "x" * 200]


@pytest.mark.rfc("7252-11.3-a", "9175-2.4-a")
@pytest.mark.parametrize("kind", [Type.CON, Type.NON])
@pytest.mark.parametrize("token", [b"", b"1", b"12345678"])
@pytest.mark.parametrize("path", PATHS)
async def test_no_stranger_gets_more_than_three_times_what_it_sent(path: str, token: bytes, kind: Type) -> None:
    house = House(replace(NO_LIMITS, address_requests=1.0))
    options = tuple((option.URI_PATH, part.encode()) for part in path.split("/") if part)
    for code, error in itertools.product((Code.GET, Code.POST), (None, *ERRORS)):
        house.error = error
        for _ in range(5):  # the fourth one is over its rate
            request = Message(kind, code, 1, token, options)
            answer = await house.ask(request)
            assert length(request, answer) <= 3 * len(encode(request)), answer
        house.now += 100


async def test_proven_addresses_are_as_many_as_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_room, "MAX_ECHOED", 10)
    house = House()
    for port in range(1, 30):
        peer = Peer("192.0.2.7", port)
        await house.ask(get(echo=house.gate._value(peer)), peer)
    assert len(house.gate._echoed) == 10


# --- pace -------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8516-3-a", "8516-3-b", "7252-4.7-c")
async def test_too_many_requests_of_an_address_are_told_when_to_come_again_and_then_not_answered_at_all() -> None:
    house = House(replace(NO_LIMITS, address_requests=0.5))
    assert (await house.ask(get(), DEVICE)).code == Code.CONTENT
    refusal = await house.ask(get(), DEVICE)
    assert (refusal.code, refusal.option(option.MAX_AGE)) == (Code.TOO_MANY_REQUESTS, b"\2")
    for _ in range(int(REFUSALS_BURST) - 1):
        assert (await house.ask(get(), DEVICE)).code == Code.TOO_MANY_REQUESTS
    with pytest.raises(Unheard):
        await house.ask(get(), DEVICE)
    assert len(house.asked) == 1
    assert (await house.ask(get(), Peer("192.0.2.9", 1, "sensor-2"))).code == Code.CONTENT
    house.now += 2
    assert (await house.ask(get(), DEVICE)).code == Code.CONTENT


async def test_a_client_that_asks_for_one_block_after_the_other_is_slowed_down_and_never_refused() -> None:
    house = House(replace(NO_LIMITS, address_requests=100.0))
    for _ in range(300):
        assert (await house.ask(get(Block(0, False, 0)))).code == Code.CONTENT
        house.now += sum(house.slept)
        house.slept.clear()
    assert house.now == pytest.approx(1001.0, abs=0.02), "two hundred at once, the others a hundredth of a second each"


async def test_ports_of_one_address_share_its_pace_and_identities_have_their_own() -> None:
    house = House(replace(NO_LIMITS, address_requests=0.5))
    codes = [(await house.ask(get(Block(0, False, 0)), Peer("192.0.2.7", port))).code for port in (1, 2)]
    assert codes == [Code.CONTENT, Code.TOO_MANY_REQUESTS]
    assert (await house.ask(get(), Peer("192.0.2.9", 1, "192.0.2.7"))).code == Code.CONTENT, "a name, no address"
    behind_one_nat = [(await house.ask(get(), Peer("192.0.2.8", 1, name))).code for name in ("a", "b")]
    assert behind_one_nat == [Code.CONTENT, Code.CONTENT]


async def test_bytes_come_at_the_addresses_pace_and_what_would_take_too_long_is_refused() -> None:
    house = House(replace(NO_LIMITS, address_bytes=512.0))
    for num in range(3):
        assert (await house.ask(get(Block(num, False, 6)), DEVICE)).code == Code.CONTENT
    assert house.slept == [2.0, 4.0]
    refusal = await house.ask(get(Block(0, False, 6)), DEVICE)
    assert refusal.code == Code.TOO_MANY_REQUESTS
    house.now += 3600
    house.slept.clear()
    assert (await house.ask(get(Block(0, False, 6)), DEVICE)).code == Code.CONTENT
    assert house.slept == []


async def test_a_ticket_is_delayed_however_it_is_named_and_never_refused() -> None:
    house = House()
    ticket = get(Block(0, False, 6), path="f/abcdefghijkl/a")
    by_uri = Message(
        Type.CON, Code.GET, 1, b"", ((option.URI_PATH, b"f"), (option.PROXY_URI, b"coap://h/f/abcdefghijkl/b"))
    )
    for wait in (0.0, 2.0, 3600.0):
        house.ticket_waits["abcdefghijkl"] = wait
        for request in (ticket, by_uri):
            assert (await house.ask(request)).code == Code.CONTENT
    assert house.slept == [2.0, 2.0, PATIENCE_SECONDS, PATIENCE_SECONDS]
    assert (await house.ask(get(Block(0, False, 6), path="f/another-tick/a"))).code == Code.CONTENT
    assert len(house.slept) == 4


async def test_one_ticket_does_not_have_more_under_way_than_one_address() -> None:
    house = House(replace(NO_LIMITS, exchanges_per_address=2))
    house.hold = asyncio.Event()
    waiting = [asyncio.create_task(_asked(house.ask, DEVICE, "f/abcdefghijkl/a")) for _ in range(2)]
    while len(house.asked) < 2:
        await asyncio.sleep(0)
    with pytest.raises(Unheard):
        await _asked(house.ask, DEVICE, "f/abcdefghijkl/b")
    house.hold.set()
    await _asked(house.ask, DEVICE, "f/another-tick/a")
    assert {answer.code for answer in await asyncio.gather(*waiting)} == {Code.CONTENT}
    assert house.gate.tickets_under_way == UnderWay()


async def test_a_trusted_network_is_not_slowed_down() -> None:
    house = House(Limits(parse_networks("127.0.0.0/8"), 0.1, 0.1, 1, 1))
    for _ in range(50):
        assert (await house.ask(get(Block(0, False, 6)), NEIGHBOUR)).code == Code.CONTENT
    assert house.slept == []


@pytest.mark.rfc("8516-3-a")
@pytest.mark.parametrize("per_address", [True, False])
async def test_who_has_too_much_under_way_is_told_to_come_again_while_tickets_are_served(per_address: bool) -> None:
    few = replace(NO_LIMITS, exchanges_per_address=3) if per_address else replace(NO_LIMITS, exchanges=3)
    house = House(few)
    house.hold = asyncio.Event()
    waiting = [asyncio.create_task(_asked(house.ask, DEVICE)) for _ in range(3)]
    while len(house.asked) < 3:
        await asyncio.sleep(0)
    refusal = await house.ask(get(), DEVICE)
    assert (refusal.code, refusal.option(option.MAX_AGE)) == (Code.TOO_MANY_REQUESTS, b"\5")
    other = asyncio.create_task(_asked(house.ask, Peer("192.0.2.9", 1, "sensor-2")))
    ticketed = asyncio.create_task(_asked(house.ask, DEVICE, "f/abcdefghijkl/a"))
    house.hold.set()
    assert (await ticketed).code == Code.CONTENT
    assert (await other).code == (Code.CONTENT if per_address else Code.TOO_MANY_REQUESTS)
    assert {answer.code for answer in await asyncio.gather(*waiting)} == {Code.CONTENT}
    assert house.gate.under_way == UnderWay()


async def _asked(ask: Callable[[Message, Peer], Awaitable[Message]], peer: Peer, path: str = "fw/a.bin") -> Message:
    return await ask(get(path=path), peer)


async def test_what_is_under_way_ends_with_an_error_too() -> None:
    house = House()
    house.error = Refusal(Code.BAD_GATEWAY, "away")
    await house.ask(get(), DEVICE)
    assert house.gate.under_way == UnderWay()
