"""The message layer for everything the fast path does not know (RFC 7252 section 4), seen from a server.

    arrives                             gets
    CON request                         ACK with the answer; or, after a while, an empty ACK and the answer as CON
    NON request                         the answer as NON
    either, once more, byte by byte     the same again, or nothing; it is carried out once
    CON: empty (ping), a response,      RST
      a reserved code, malformed
    NON, ACK, RST of these kinds        nothing
    ACK or RST of an answer sent        ends its repetition

What a CON answer needs to arrive (timeouts, repetitions, one at a time to each peer) is data in coap_wire.Transmission.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from coap_http_proxy.limits import UnderWay, sender_of
from coap_http_proxy.mapping.refusals import Unheard, refused
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_wire import (
    DEFAULT_TRANSMISSION,
    Code,
    DecodeError,
    EncodeError,
    Message,
    Transmission,
    Type,
    decode,
    encode,
    is_request,
)
from coap_wire.options import NO_RESPONSE, PROXY_URI

logger = logging.getLogger(__name__)

Respond = Callable[[Message, Peer], Awaitable[Message]]
Send = Callable[[bytes, Peer], None]
# All its bytes are part of it: a device that rebooted counts message ids from the start, but asks something new; and
# four bytes with the message id of a long request must not call for the long answer at an address that may be forged.
Key = tuple[Peer, bytes]

# Replies kept for duplicates: the bounds keep a flood from filling memory.
REMEMBERED_REPLIES: Final = 8192
REMEMBERED_BYTES: Final = 4 << 20
# Peers whose next message id is known; one that is forgotten begins at a random one again.
NUMBERED_PEERS: Final = 4096
# Answers one sender has to acknowledge, under way and queued; any more are sent once, so that its silence is its own.
UNCONFIRMED_PER_SENDER: Final = 64
_BROKEN: Final = refused(Refusal(Code.INTERNAL_SERVER_ERROR, ""))


@dataclass(eq=False, slots=True)
class _Exchange:
    """A request whose answer is being made."""

    request: Message
    peer: Peer
    key: Key
    acknowledged: bool = False
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False, slots=True)
class _Turn:
    """Confirmable answers to one peer go one after the other (NSTART, RFC 7252 section 4.7)."""

    free: asyncio.Semaphore
    users: int = 0
    # True once it left one unacknowledged to the end: those that wait have nobody to go to.
    silent: bool = False


@dataclass(eq=False, slots=True)
class _Kept:
    """What a request was answered by, None while that is being made, and how many copies may still call for it."""

    at: float
    reply: bytes | None
    copies: float


@dataclass(eq=False, slots=True)
class _Seen:
    """Replies by request; the oldest first."""

    replies: "OrderedDict[Key, _Kept]" = field(default_factory=OrderedDict)
    size: int = 0

    def put(self, key: Key, now: float, reply: bytes | None, copies: float = inf) -> None:
        self.drop(key)
        self.replies[key] = _Kept(now, reply, copies)
        self.size += len(reply or b"")
        while len(self.replies) > REMEMBERED_REPLIES or self.size > REMEMBERED_BYTES:
            self.drop(next(iter(self.replies)))

    def drop(self, key: Key) -> None:
        if (gone := self.replies.pop(key, None)) is not None:
            self.size -= len(gone.reply or b"")

    def copy(self, key: Key) -> bytes | None:
        """What a copy of a request that was seen is answered by, if anything."""
        kept = self.replies[key]
        kept.copies -= 1
        return kept.reply if kept.copies >= 0 else None

    def forget(self, before: float) -> None:
        while self.replies and next(iter(self.replies.values())).at < before:
            self.drop(next(iter(self.replies)))


class Exchanges:
    """Turns datagrams into calls of `respond` and its answers into datagrams.

    `respond` may raise Refusal, or Unheard when nothing shall be sent. An answer of type NON is never sent twice.
    """

    def __init__(
        self,
        send: Send,
        respond: Respond,
        ack_delay_seconds: float,
        max_exchanges: int,
        clock: Callable[[], float] = time.monotonic,
        transmission: Transmission = DEFAULT_TRANSMISSION,
        dice: random.Random | None = None,
    ) -> None:
        self._send, self._respond, self._clock = send, respond, clock
        self._ack_delay, self._max = ack_delay_seconds, max_exchanges
        self._transmission, self._dice = transmission, dice or random.Random()
        # Answers being made, and answers that wait for their acknowledgement: a bound each, or silence would stop both.
        self._making: set[asyncio.Task[Message | None]] = set()
        self._confirming: set[asyncio.Task[None]] = set()
        self._unconfirmed = UnderWay()
        self._remembered = _Seen()
        self._unacknowledged: dict[tuple[Peer, int], asyncio.Event] = {}
        self._turns: dict[Peer, _Turn] = {}
        self._mids: OrderedDict[Peer, int] = OrderedDict()
        self._draining = False
        self.malformed = 0
        self.duplicates = 0
        self.retransmissions = 0
        self.given_up = 0
        self.shed = 0

    @property
    def _seen(self) -> "OrderedDict[Key, _Kept]":
        return self._remembered.replies

    @property
    def waiting(self) -> int:
        """Exchanges whose answer is still being made or not yet acknowledged."""
        return len(self._making) + len(self._confirming)

    def received(self, datagram: bytes, peer: Peer) -> None:
        """Handle one datagram; never raises."""
        try:
            message = decode(datagram)
        except DecodeError:
            self.malformed += 1
            # RFC 7252 section 4.2: a confirmable message with a format error is rejected by a Reset, others are
            # ignored; so is another version (section 3). The Reset is no longer than what it answers.
            if len(datagram) >= 4 and datagram[0] >> 4 == 0b0100:
                self._send(b"\x70\x00" + datagram[2:4], peer)
            return
        if message.type in (Type.ACK, Type.RST):
            self._ended(message, peer)
        elif is_request(message.code):
            self._requested(message, peer, datagram)
        elif message.type == Type.CON:
            # A ping (section 4.3), a response nobody waits for, or a code of a reserved class (section 4.2).
            self._send(encode(Message(Type.RST, Code.EMPTY, message.mid)), peer)

    def _ended(self, message: Message, peer: Peer) -> None:
        """What carries an ACK does not matter (section 5.2.2); a Reset is empty, or it is none (section 4.2)."""
        if message.type == Type.ACK or message.code == Code.EMPTY:
            event = self._unacknowledged.get((peer, message.mid))
            if event is not None:
                event.set()

    def _requested(self, request: Message, peer: Peer, datagram: bytes) -> None:
        exchange = _Exchange(request, peer, (peer, hashlib.blake2b(datagram, digest_size=16).digest()))
        now = self._clock()
        self._remembered.forget(now - self._transmission.exchange_lifetime)
        if exchange.key in self._seen:
            self.duplicates += 1
            if reply := self._remembered.copy(exchange.key):
                self._send(reply, peer)
            return
        if self._draining or len(self._making) >= self._max:
            # Unanswered it comes again in two seconds, which is kinder than an error: perhaps to our successor.
            self.shed += 1
            return
        self._remembered.put(exchange.key, now, None)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._answer_of(request, peer))
        self._making.add(task)
        if request.type == Type.CON:
            exchange.timer = loop.call_later(self._ack_delay, self._acknowledge, exchange)
        task.add_done_callback(lambda done: self._answered(exchange, done))

    async def _answer_of(self, request: Message, peer: Peer) -> Message | None:
        try:
            return await self._respond(request, peer)
        except Refusal as refusal:
            return refused(refusal)
        except Unheard:
            return None
        except Exception:
            logger.exception("a request could not be answered")
            return _BROKEN

    def _acknowledge(self, exchange: _Exchange) -> None:
        exchange.acknowledged = True
        self._reply(exchange, Message(Type.ACK, Code.EMPTY, exchange.request.mid))

    def _answered(self, exchange: _Exchange, task: "asyncio.Task[Message | None]") -> None:
        self._making.discard(task)
        if exchange.timer is not None:
            exchange.timer.cancel()
        if task.cancelled():
            return
        answer = task.result()
        if answer is None:
            self._remembered.drop(exchange.key)  # when it comes again it is heard again
            return
        try:
            self._deliver(exchange, answer)
        except EncodeError:
            logger.exception("an answer cannot be encoded")
            self._deliver(exchange, _BROKEN)

    def _deliver(self, exchange: _Exchange, answer: Message) -> None:
        request = exchange.request
        if is_unwanted(request, answer.code):
            if request.type == Type.CON and not exchange.acknowledged:
                self._acknowledge(exchange)
        elif request.type == Type.NON and answer.code == Code.BAD_OPTION and request.option(PROXY_URI) is None:
            pass  # section 5.4.1: rejected, and that in silence; only a proxy's request gets its 4.02 (section 5.7.1)
        elif request.type == Type.CON and not exchange.acknowledged:
            # An address that may be forged gets it again no oftener than an honest client asks (section 4.2).
            copies = self._transmission.max_retransmit if answer.type == Type.NON else inf
            self._reply(exchange, _addressed(answer, Type.ACK, request.mid, request.token), copies)
        elif request.type == Type.NON or answer.type == Type.NON or self._full_for(exchange.peer):
            # Section 5.2.3; and to an address that may be forged nothing is repeated (RFC 9175 section 2.4).
            self._send(
                encode(_addressed(answer, Type.NON, self._next_mid(exchange.peer), request.token)), exchange.peer
            )
        else:
            encode(answer)  # raises here, where somebody can still say 5.00
            separate = asyncio.get_running_loop().create_task(self._separate(answer, request.token, exchange.peer))
            sender = sender_of(exchange.peer.host, exchange.peer.identity)
            self._unconfirmed.begin(sender)
            self._confirming.add(separate)
            separate.add_done_callback(self._confirming.discard)
            separate.add_done_callback(lambda _: self._unconfirmed.end(sender))

    def _full_for(self, peer: Peer) -> bool:
        """Whether too many answers wait for an acknowledgement already; one may also be sent without (5.2.2)."""
        of_sender = self._unconfirmed.of(sender_of(peer.host, peer.identity))
        return of_sender >= UNCONFIRMED_PER_SENDER or self._unconfirmed.total >= self._max

    def _reply(self, exchange: _Exchange, message: Message, copies: float = inf) -> None:
        datagram = encode(message)
        self._remembered.put(exchange.key, self._clock(), datagram, copies)
        self._send(datagram, exchange.peer)

    async def _separate(self, answer: Message, token: bytes, peer: Peer) -> None:
        turn = self._turns.setdefault(peer, _Turn(asyncio.Semaphore(self._transmission.nstart)))
        turn.users += 1
        try:
            async with turn.free:
                if not turn.silent:
                    message = _addressed(answer, Type.CON, self._next_mid(peer), token)
                    turn.silent = not await self._acknowledged(message, peer)
                self.given_up += turn.silent
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[peer]

    async def _acknowledged(self, message: Message, peer: Peer) -> bool:
        """Send it until it is acknowledged; False when it never was."""
        acknowledged = asyncio.Event()
        self._unacknowledged[peer, message.mid] = acknowledged
        datagram = encode(message)
        try:
            for number, timeout in enumerate(self._transmission.timeouts(self._dice)):
                self.retransmissions += number > 0
                self._send(datagram, peer)
                try:
                    async with asyncio.timeout(timeout):
                        await acknowledged.wait()
                    return True
                except TimeoutError:
                    continue
            return False
        finally:
            del self._unacknowledged[peer, message.mid]

    def _next_mid(self, peer: Peer) -> int:
        """Counted for each peer, so that one does not come again within its lifetime (RFC 7252 section 4.4)."""
        mid = self._mids.pop(peer, self._dice.randrange(65536))
        self._mids[peer] = (mid + 1) & 0xFFFF
        if len(self._mids) > NUMBERED_PEERS:
            self._mids.popitem(last=False)
        return mid

    async def drain(self, seconds: float) -> None:
        """Take no more requests, let exchanges finish for at most `seconds`, then cancel them."""
        self._draining = True
        deadline = asyncio.get_running_loop().time() + seconds
        # An answer that is done may still have to be acknowledged: that is another task.
        while self.waiting and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._making | self._confirming, timeout=left)
        stopped = self._making | self._confirming
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)


def is_unwanted(request: Message, code: int) -> bool:
    """Whether the client said that it wants no answer of this class (No-Response, RFC 7967 section 2.1)."""
    value = request.option(NO_RESPONSE)
    if value is None or len(value) > 1:
        return False
    return bool(int.from_bytes(value, "big") >> (code >> 5) - 1 & 1)


def _addressed(answer: Message, kind: Type, mid: int, token: bytes) -> Message:
    return Message(kind, answer.code, mid, token, answer.options, answer.payload)
