"""RFC 7252 section 4 from a server's side, rule by rule. Over 400 lines because all of them sit at one desk."""

import asyncio
import random
from collections.abc import Callable

import pytest

from coap_http_proxy import exchanges as message_layer
from coap_http_proxy.exchanges import Exchanges
from coap_http_proxy.mapping.refusals import Unheard
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_wire import DEFAULT_TRANSMISSION, Code, Message, Transmission, Type, decode, encode
from coap_wire import options as option

PEER = Peer("192.0.2.1", 5683)
OTHER = Peer("192.0.2.1", 5684)
QUICK = Transmission(ack_timeout=0.002, max_retransmit=2)
SLOW = Transmission(ack_timeout=3600.0)


class Desk:
    """A message layer with a clock to turn and answers to hold back, that notes what it was asked and what it sent."""

    def __init__(self, ack_delay: float = 3600.0, transmission: Transmission = SLOW, most: int = 64) -> None:
        self.now = 0.0
        self.asked: list[Message] = []
        self.sent: list[tuple[Message, Peer]] = []
        self.ready = asyncio.Event()
        self.ready.set()
        self.answer: Message | Exception = Message(Type.ACK, Code.CONTENT, 0, payload=b"hello")
        self.exchanges = Exchanges(
            lambda datagram, peer: self.sent.append((decode(datagram), peer)),
            self._respond,
            ack_delay,
            most,
            lambda: self.now,
            transmission,
            random.Random(1),
        )

    async def _respond(self, request: Message, _: Peer) -> Message:
        self.asked.append(request)
        await self.ready.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0)

    def hear(self, message: Message, peer: Peer = PEER) -> None:
        self.exchanges.received(encode(message), peer)

    async def ask(self, mid: int, token: bytes = b"t", kind: Type = Type.CON, peer: Peer = PEER) -> list[Message]:
        """What is sent for one GET by the time its exchange is over."""
        before = len(self.sent)
        self.hear(Message(kind, Code.GET, mid, token), peer)
        await self.until(lambda: not self.exchanges.waiting)
        return [message for message, _ in self.sent[before:]]

    async def separately(self, mid: int, peer: Peer = PEER) -> Message:
        """The first sending of a separate answer; it waits for its ACK then."""
        self.ready.clear()
        before = len(self.sent)
        self.hear(Message(Type.CON, Code.GET, mid, b"t"), peer)
        await self.until(lambda: len(self.sent) > before)
        assert self.sent[-1] == (Message(Type.ACK, Code.EMPTY, mid), peer)
        self.ready.set()
        await self.until(lambda: len(self.sent) > before + 1)
        return self.sent[-1][0]


@pytest.mark.rfc("7252-4.2-a", "7252-5.3.1-a", "7252 5.2.1")
@pytest.mark.parametrize("length", range(9))
async def test_a_confirmable_request_is_acknowledged_with_its_answer_and_token(length: int) -> None:
    token = bytes(range(length))
    answer = Message(Type.ACK, Code.CONTENT, 7, token, payload=b"hello")
    assert await Desk().ask(7, token) == [answer]


@pytest.mark.rfc("7252-4.3-a", "7252-4.3-b", "7252-5.2.3-a")
async def test_a_non_confirmable_request_gets_one_non_confirmable_answer_and_no_acknowledgement() -> None:
    desk = Desk(ack_delay=0.0)
    (answer,) = await desk.ask(7, b"t", Type.NON)
    assert (answer.type, answer.code, answer.token, answer.payload) == (Type.NON, Code.CONTENT, b"t", b"hello")


@pytest.mark.rfc("7252-4.5-a", "7252-4.5-b")
async def test_a_copy_of_a_confirmable_request_gets_the_same_answer_and_is_carried_out_once() -> None:
    desk = Desk()
    assert await desk.ask(7) == await desk.ask(7)
    assert (len(desk.asked), desk.exchanges.duplicates) == (1, 1)


@pytest.mark.rfc("7252-4.5-b", "7252-4.5-c")
async def test_a_copy_of_a_non_confirmable_request_is_ignored() -> None:
    desk = Desk()
    assert len(await desk.ask(7, b"t", Type.NON)) == 1
    assert await desk.ask(7, b"t", Type.NON) == []
    assert len(desk.asked) == 1


@pytest.mark.rfc("9175-2.4-a")
@pytest.mark.parametrize("kind", [Type.CON, Type.NON])
async def test_a_short_datagram_with_the_id_of_a_long_request_does_not_call_for_its_long_answer(kind: Type) -> None:
    desk = Desk()
    desk.answer = Message(Type.NON, Code.CONTENT, 0, payload=bytes(1000))
    long = Message(Type.CON, Code.GET, 7, b"", ((option.URI_PATH, b"a"),), bytes(400))
    desk.hear(long)
    await desk.until(lambda: not desk.exchanges.waiting)
    desk.answer = Message(Type.NON, Code.UNAUTHORIZED, 0)
    (answer,) = await desk.ask(7, b"", kind)
    assert (answer.code, answer.payload) == (Code.UNAUTHORIZED, b"")


@pytest.mark.rfc("7252 4.5", "9175-2.4-a")
async def test_an_address_that_may_be_forged_gets_no_more_copies_than_an_honest_client_asks_for() -> None:
    desk = Desk(transmission=DEFAULT_TRANSMISSION)
    desk.answer = Message(Type.NON, Code.CONTENT, 0, payload=b"hello")
    copies = [await desk.ask(7) for _ in range(100)]
    assert copies[0] == copies[DEFAULT_TRANSMISSION.max_retransmit] != []
    assert sum(map(len, copies)) == 1 + DEFAULT_TRANSMISSION.max_retransmit
    assert len(desk.asked) == 1
    desk.answer = Message(Type.ACK, Code.CONTENT, 0, payload=b"hello")
    assert [len(await desk.ask(8)) for _ in range(20)] == [1] * 20, "who is known may lose as many as it likes"


async def test_a_copy_that_comes_while_the_answer_is_made_starts_nothing() -> None:
    desk = Desk()
    desk.ready.clear()
    for _ in range(3):
        desk.hear(Message(Type.CON, Code.GET, 7, b"t"))
    assert desk.exchanges.waiting == 1
    desk.ready.set()
    await desk.until(lambda: not desk.exchanges.waiting)
    assert len(desk.sent) == 1


@pytest.mark.rfc("7252-4.4-a")
async def test_a_message_id_is_new_again_after_its_lifetime() -> None:
    desk = Desk(transmission=DEFAULT_TRANSMISSION)
    await desk.ask(7)
    desk.now = DEFAULT_TRANSMISSION.exchange_lifetime
    await desk.ask(7)
    assert len(desk.asked) == 1
    desk.now += 1
    await desk.ask(7)
    assert len(desk.asked) == 2


async def test_a_device_that_rebooted_and_counts_from_the_start_is_heard() -> None:
    desk = Desk()
    await desk.ask(1, b"before")
    (answer,) = await desk.ask(1, b"after")
    assert answer.token == b"after"
    assert len(desk.asked) == 2


@pytest.mark.rfc("7252-4.4-b")
async def test_the_same_message_id_of_another_endpoint_is_another_request() -> None:
    desk = Desk()
    await desk.ask(1)
    await desk.ask(1, peer=OTHER)
    assert len(desk.asked) == 2


@pytest.mark.rfc("7252-5.2.2-a", "7252-5.2.2-b", "7252-4.2-h", "7252-4.2-c")
async def test_a_slow_answer_comes_separately_and_copies_of_its_request_get_the_empty_acknowledgement() -> None:
    desk = Desk(ack_delay=0.0)
    answer = await desk.separately(7)
    assert (answer.type, answer.code, answer.token, answer.payload) == (Type.CON, Code.CONTENT, b"t", b"hello")
    desk.hear(Message(Type.CON, Code.GET, 7, b"t"))
    assert desk.sent[-1][0] == Message(Type.ACK, Code.EMPTY, 7)
    desk.hear(Message(Type.ACK, Code.EMPTY, answer.mid))
    await desk.until(lambda: not desk.exchanges.waiting)
    desk.hear(Message(Type.CON, Code.GET, 7, b"t"))
    assert desk.sent[-1][0] == Message(Type.ACK, Code.EMPTY, 7)
    assert len(desk.asked) == 1


@pytest.mark.rfc("7252-4.2-f")
async def test_a_separate_answer_nobody_acknowledges_is_repeated_so_often_and_then_given_up() -> None:
    desk = Desk(ack_delay=0.0, transmission=QUICK)
    answer = await desk.separately(7)
    await desk.until(lambda: not desk.exchanges.waiting)
    assert [message for message, _ in desk.sent] == [Message(Type.ACK, Code.EMPTY, 7), answer, answer, answer]
    assert (desk.exchanges.retransmissions, desk.exchanges.given_up) == (2, 1)


ENDS = {
    "an empty acknowledgement": Message(Type.ACK, Code.EMPTY, 0),
    "an acknowledgement with a response": Message(Type.ACK, Code.CONTENT, 0, b"t"),
    "an acknowledgement with a request": Message(Type.ACK, Code.GET, 0, b"t"),
    "a reset": Message(Type.RST, Code.EMPTY, 0),
}


@pytest.mark.rfc("7252-5.2.2-c", "7252-4.2-f")
@pytest.mark.parametrize("ends", ENDS.values(), ids=list(ENDS))
async def test_repetition_ends_with(ends: Message) -> None:
    desk = Desk(ack_delay=0.0)
    answer = await desk.separately(7)
    desk.hear(Message(ends.type, ends.code, answer.mid, ends.token))
    await desk.until(lambda: not desk.exchanges.waiting)
    assert len(desk.sent) == 2
    assert desk.exchanges.given_up == 0


@pytest.mark.rfc("7252-4.4-b", "7252-4.2-d")
async def test_repetition_goes_on_after_what_belongs_to_something_else() -> None:
    desk = Desk(ack_delay=0.0, transmission=QUICK)
    answer = await desk.separately(7)
    desk.hear(Message(Type.ACK, Code.EMPTY, answer.mid), OTHER)
    desk.hear(Message(Type.ACK, Code.EMPTY, answer.mid ^ 1))
    desk.hear(Message(Type.RST, Code.CONTENT, answer.mid))  # a Reset is empty, or it is none
    await desk.until(lambda: not desk.exchanges.waiting)
    assert desk.exchanges.given_up == 1


@pytest.mark.rfc("7252 4.7", "7252-4.8.1-a")
async def test_one_peer_has_one_confirmable_answer_to_acknowledge_at_a_time_and_others_do_not_wait_for_it() -> None:
    desk = Desk(ack_delay=0.0)
    desk.ready.clear()
    for peer, mid in ((PEER, 1), (PEER, 2), (PEER, 3), (OTHER, 4)):
        desk.hear(Message(Type.CON, Code.GET, mid, bytes((mid,))), peer)
    await desk.until(lambda: len(desk.sent) == 4)
    desk.ready.set()
    answered: list[bytes] = []
    await desk.until(lambda: len(desk.sent) == 6)
    assert {peer for _, peer in desk.sent[4:]} == {PEER, OTHER}
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(desk.sent) == 6
    for number in range(4, 8):
        await desk.until(lambda number=number: len(desk.sent) > number)  # type: ignore[misc]
        answer, peer = desk.sent[number]
        answered.append(answer.token)
        desk.hear(Message(Type.ACK, Code.EMPTY, answer.mid), peer)
    await desk.until(lambda: not desk.exchanges.waiting)
    assert sorted(answered) == [b"\1", b"\2", b"\3", b"\4"]
    assert desk.exchanges._turns == {}


async def test_a_sender_that_acknowledges_nothing_keeps_nobody_from_being_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(message_layer, "UNCONFIRMED_PER_SENDER", 8)
    desk = Desk(ack_delay=0.0, most=16)
    for mid in range(100):
        peer = Peer(PEER.host, 1024 + mid % 20)
        before = len(desk.sent)
        desk.hear(Message(Type.CON, Code.GET, mid, b"t"), peer)
        desk.ready.clear()
        await desk.until(lambda before=before: len(desk.sent) > before)  # type: ignore[misc]
        desk.ready.set()
        await desk.until(lambda: not desk.exchanges._making)
    assert (desk.exchanges.waiting, desk.exchanges.shed) == (8, 0)
    assert sum(message.type == Type.NON for message, _ in desk.sent) == 92, "the others were sent once"
    assert (await desk.separately(1, Peer("192.0.2.99", 1))).type == Type.CON
    await desk.exchanges.drain(0.0)
    assert desk.exchanges.waiting == desk.exchanges._unconfirmed.total == 0


async def test_answers_that_nobody_acknowledges_are_bounded_over_all_senders_and_requests_are_still_heard() -> None:
    desk = Desk(ack_delay=0.0, most=4)
    for host in range(1, 30):
        answer = await desk.separately(1, Peer(f"192.0.2.{host}", 5683))
        assert answer.type == (Type.CON if host <= 4 else Type.NON)
    assert (len(desk.exchanges._confirming), desk.exchanges.shed) == (4, 0)
    await desk.exchanges.drain(0.0)


async def test_a_peer_that_left_one_answer_unacknowledged_to_the_end_is_not_sent_those_that_wait() -> None:
    desk = Desk(ack_delay=0.0, transmission=QUICK)
    desk.ready.clear()
    for mid in range(5):
        desk.hear(Message(Type.CON, Code.GET, mid, bytes((mid,))))
    await desk.until(lambda: len(desk.sent) == 5)
    desk.ready.set()
    await desk.until(lambda: not desk.exchanges.waiting)
    assert {message.token for message, _ in desk.sent[5:]} == {desk.sent[5][0].token}
    assert (len(desk.sent), desk.exchanges.given_up) == (5 + 1 + QUICK.max_retransmit, 5)
    assert (await desk.separately(9)).type == Type.CON, "when it asks again it is there again"
    await desk.until(lambda: not desk.exchanges.waiting)


@pytest.mark.rfc("7252-4.4-a")
async def test_message_ids_towards_a_peer_are_counted_whatever_others_get() -> None:
    desk = Desk()
    mids = []
    for number in range(300):
        await desk.ask(number, b"t", Type.NON, OTHER)
        (answer,) = await desk.ask(number, b"t", Type.NON)
        mids.append(answer.mid)
    assert len(set(mids)) == 300
    assert mids == [(mids[0] + number) & 0xFFFF for number in range(300)]


async def test_peers_whose_message_ids_are_counted_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_layer, "NUMBERED_PEERS", 10)
    desk = Desk()
    for port in range(1, 30):
        await desk.ask(1, b"t", Type.NON, Peer("192.0.2.1", port))
    assert len(desk.exchanges._mids) == 10


@pytest.mark.rfc("7967 2.1", "7967 3")
@pytest.mark.parametrize(("kind", "ack_delay"), [(Type.NON, 3600.0), (Type.CON, 3600.0), (Type.CON, 0.0)])
async def test_an_answer_nobody_wants_is_not_sent_but_a_confirmable_request_is_acknowledged(
    kind: Type, ack_delay: float
) -> None:
    desk = Desk(ack_delay)
    desk.ready.clear()
    desk.hear(Message(kind, Code.PUT, 7, b"t", ((option.NO_RESPONSE, b"\x02"),)))
    await desk.until(lambda: bool(desk.asked) and (bool(desk.sent) or ack_delay > 0))
    desk.ready.set()
    await desk.until(lambda: not desk.exchanges.waiting)
    acknowledgement = [(Message(Type.ACK, Code.EMPTY, 7), PEER)]
    assert desk.sent == (acknowledgement if kind == Type.CON else [])


async def test_what_is_not_to_be_heard_gets_no_answer_and_is_heard_when_it_comes_again() -> None:
    desk = Desk()
    desk.answer = Unheard()
    assert await desk.ask(7) == []
    desk.answer = Message(Type.ACK, Code.CONTENT, 0)
    assert [answer.code for answer in await desk.ask(7)] == [Code.CONTENT]
    assert len(desk.asked) == 2


@pytest.mark.rfc("9175-2.4-b")
async def test_an_answer_for_an_address_that_may_be_forged_is_sent_once_however_late_it_is() -> None:
    desk = Desk(ack_delay=0.0, transmission=QUICK)
    desk.answer = Message(Type.NON, Code.CONTENT, 0, payload=b"hello")
    answer = await desk.separately(7)
    assert (answer.type, answer.token) == (Type.NON, b"t")
    await desk.until(lambda: not desk.exchanges.waiting)
    assert len(desk.sent) == 2


@pytest.mark.rfc("7252 5.10.5")
@pytest.mark.parametrize(
    ("error", "code", "seconds"),
    [
        (Refusal(Code.NOT_FOUND, "nothing there"), Code.NOT_FOUND, b"\x05"),
        (Refusal(Code.SERVICE_UNAVAILABLE, "busy", 30), Code.SERVICE_UNAVAILABLE, b"\x1e"),
        (RuntimeError("a bug of ours"), Code.INTERNAL_SERVER_ERROR, b"\x05"),
    ],
)
async def test_errors_say_when_to_come_again_and_nothing_about_our_inside(
    error: Exception, code: int, seconds: bytes
) -> None:
    desk = Desk()
    desk.answer = error
    (answer,) = await desk.ask(7)
    assert (answer.code, answer.option(option.MAX_AGE)) == (code, seconds)
    assert b"bug" not in answer.payload


@pytest.mark.parametrize(("kind", "ack_delay"), [(Type.CON, 3600.0), (Type.CON, 0.0), (Type.NON, 3600.0)])
async def test_an_answer_that_cannot_be_encoded_is_an_error_of_ours(kind: Type, ack_delay: float) -> None:
    desk = Desk(ack_delay, QUICK)
    desk.answer = Message(Type.ACK, Code.CREATED, 0, options=((option.LOCATION_PATH, bytes(70_000)),))
    desk.ready.clear()
    desk.hear(Message(kind, Code.GET, 7, b"t"))
    await desk.until(lambda: bool(desk.asked) and (bool(desk.sent) or ack_delay > 0))
    desk.ready.set()
    await desk.until(lambda: not desk.exchanges.waiting)
    assert (desk.sent[-1][0].code, desk.sent[-1][0].token) == (Code.INTERNAL_SERVER_ERROR, b"t")


async def test_a_refusal_keeps_its_own_options_in_order() -> None:
    desk = Desk()
    desk.answer = Refusal(Code.REQUEST_ENTITY_TOO_LARGE, "x" * 500, options=((option.SIZE1, b"\xff"),))
    (answer,) = await desk.ask(7)
    assert answer.options == ((option.MAX_AGE, b"\x05"), (option.SIZE1, b"\xff"))
    assert len(answer.payload) == 96


async def test_more_requests_than_may_wait_are_not_answered_until_there_is_room() -> None:
    desk = Desk(most=2)
    desk.ready.clear()
    for mid in range(5):
        desk.hear(Message(Type.CON, Code.GET, mid, b"t"))
    assert (desk.exchanges.waiting, desk.exchanges.shed) == (2, 3)
    desk.ready.set()
    await desk.until(lambda: not desk.exchanges.waiting)
    assert len(desk.sent) == 2
    assert [answer.code for answer in await desk.ask(4)] == [Code.CONTENT]


async def test_remembered_replies_are_bounded_by_number_and_bytes_and_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(message_layer, "REMEMBERED_REPLIES", 50)
    desk = Desk(transmission=DEFAULT_TRANSMISSION)
    for mid in range(200):
        await desk.ask(mid, b"t", Type.CON if mid % 2 else Type.NON)
    assert len(desk.exchanges._seen) == 50
    monkeypatch.setattr(message_layer, "REMEMBERED_BYTES", 200)
    await desk.ask(500)
    kept = [one.reply for one in desk.exchanges._seen.values() if one.reply]
    assert 0 < sum(map(len, kept)) == desk.exchanges._remembered.size <= 200
    desk.now = DEFAULT_TRANSMISSION.exchange_lifetime + 1
    await desk.ask(999)
    assert len(desk.exchanges._seen) == 1


async def test_while_it_drains_what_is_under_way_is_finished_and_nothing_new_begun() -> None:
    desk = Desk(ack_delay=0.0)
    desk.ready.clear()
    desk.hear(Message(Type.CON, Code.GET, 1, b"t"))
    await desk.until(lambda: len(desk.sent) == 1)
    drained = asyncio.create_task(desk.exchanges.drain(3600.0))
    await asyncio.sleep(0)
    desk.hear(Message(Type.CON, Code.GET, 2, b"t"))
    desk.ready.set()
    await desk.until(lambda: len(desk.sent) == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not drained.done()  # the answer is not acknowledged yet
    desk.hear(Message(Type.ACK, Code.EMPTY, desk.sent[1][0].mid))
    await drained
    assert (len(desk.asked), len(desk.sent), desk.exchanges.waiting) == (1, 2, 0)


async def test_draining_ends_when_its_time_is_over() -> None:
    desk = Desk()
    desk.ready.clear()
    desk.hear(Message(Type.CON, Code.GET, 1, b"t"))
    await desk.exchanges.drain(0.0)
    assert (desk.exchanges.waiting, desk.sent) == (0, [])
