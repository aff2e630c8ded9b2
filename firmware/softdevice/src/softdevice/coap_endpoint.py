"""A thin CoAP endpoint on one UDP socket: requests with retransmission, requests answered, notifications (RFC 7252).

No blocks, no caches, no observations of its own: what a constrained device's stack does, cheap enough that one core
runs thousands. A `Link` stands between it and the socket, and makes it lossy, slow or deaf. All time is the loop's.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from coap_wire import Code, DecodeError, Message, Options, Type, decode, encode, is_request, is_response
from softdevice.link import Link
from softdevice.reply import Reply
from softdevice.tally import Tally

Address = tuple[str, int]
# A server repeats a request for EXCHANGE_LIFETIME; a device remembers only the last few, as Zephyr does.
_REMEMBERED_REPLIES: Final = 16
_MAX_DATAGRAM_BYTES: Final = 2048
# What waits while there is no socket; the oldest is lost when there is more.
_HELD_DATAGRAMS: Final = 16
# One for all: a generator holds 2.5 KB, and this one no state that anybody could share.
SYSTEM_DICE: Final = random.SystemRandom()


class Unanswered(Exception):
    """No acknowledgement, or no response after it, in time."""


class WasReset(Exception):
    """The peer answered with RST: it does not know what we mean."""


@dataclass(frozen=True, slots=True)
class Transmission:
    """Transmission parameters (RFC 7252 section 4.8), seconds; `response_seconds` is the wait after an empty ACK."""

    ack_timeout_seconds: float = 2.0
    ack_random_factor: float = 1.5
    max_retransmit: int = 4
    response_seconds: float = 30.0


RequestHandler = Callable[[Message, Address], "Reply | None"]


@dataclass(slots=True)
class _Exchange:
    """A confirmable message on its way; `answer` is for requests, `lost` for notifications."""

    peer: Address
    message: Message
    datagram: bytes
    timeout: float
    answer: "asyncio.Future[Message] | None" = None
    was_reset: Callable[[], None] | None = None
    sent: int = 0
    acknowledged: bool = False
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class CoapEndpoint(asyncio.DatagramProtocol):
    """One socket. `handler` answers requests; None from it means silence (the peer has no business here).

    `dice` gives message ids, tokens and the spread of timeouts; `tally` counts what the fleet's report tells.
    """

    def __init__(
        self,
        handler: RequestHandler,
        *,
        transmission: Transmission,
        link: Link | None = None,
        dice: random.Random | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.handler = handler
        self.transmission = transmission
        self.link = link or Link()
        self._dice = dice or SYSTEM_DICE
        self._tally = tally or Tally()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._host = ""
        self._rebinding: asyncio.Task[None] | None = None
        self._held: deque[tuple[bytes, Address]] | None = None  # while there is no socket
        self._mid = self._dice.getrandbits(16)
        self._by_mid: dict[tuple[Address, int], _Exchange] = {}
        self._by_token: dict[tuple[Address, bytes], _Exchange] = {}
        self._replies: OrderedDict[tuple[Address, int], bytes] = OrderedDict()

    async def open(self, local: Address = ("0.0.0.0", 0)) -> None:
        """Bind the socket; port 0 takes any."""
        self._host = local[0]
        await self._loop.create_datagram_endpoint(lambda: self, local_addr=local)

    @property
    def local(self) -> Address:
        """Address and port of the socket."""
        assert self._transport is not None, "the endpoint is not open"
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    def close(self) -> None:
        """Close the socket; whoever waits for an answer gets Unanswered."""
        for exchange in list(self._by_mid.values()) + list(self._by_token.values()):
            self._finish(exchange)
            if exchange.answer is not None and not exchange.answer.done():
                exchange.answer.set_exception(Unanswered("the socket was closed"))
        if self._rebinding is not None:
            self._rebinding.cancel()
        if self._transport is not None:
            self._transport.close()

    async def request(
        self, peer: Address, code: int, options: Options, payload: bytes = b"", *, within_seconds: float | None = None
    ) -> Message:
        """Send a confirmable request and wait for its response; raises Unanswered or WasReset.

        `within_seconds` ends the wait earlier than the transmission parameters do.
        """
        message = Message(Type.CON, code, self._next_mid(), self._dice.randbytes(8), options, payload)
        exchange = self._exchange(peer, message)
        exchange.answer = self._loop.create_future()
        self._by_token[peer, message.token] = exchange
        self._transmit(exchange)
        try:
            async with asyncio.timeout(within_seconds):
                return await exchange.answer
        except TimeoutError as error:
            raise Unanswered(f"no answer within {within_seconds} s") from error
        finally:
            self._finish(exchange)

    def notify(
        self, peer: Address, token: bytes, reply: Reply, *, confirmable: bool, was_reset: Callable[[], None]
    ) -> None:
        """Send a notification; `was_reset` is called when it is answered with RST."""
        kind = Type.CON if confirmable else Type.NON
        message = Message(kind, reply.code, self._next_mid(), token, reply.options, reply.payload)
        exchange = self._exchange(peer, message)
        exchange.was_reset = was_reset
        self._transmit(exchange)

    def _exchange(self, peer: Address, message: Message) -> _Exchange:
        parameters = self.transmission
        timeout = parameters.ack_timeout_seconds * self._dice.uniform(1.0, parameters.ack_random_factor)
        exchange = _Exchange(peer, message, encode(message), timeout)
        self._by_mid[peer, message.mid] = exchange
        return exchange

    def _next_mid(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

    def _transmit(self, exchange: _Exchange) -> None:
        if exchange.message.type == Type.CON and exchange.sent > self.transmission.max_retransmit:
            self._give_up(exchange)
            return
        self._send(exchange.datagram, exchange.peer)
        if exchange.sent:
            self._tally.count("retransmissions")
        exchange.sent += 1
        # A NON notification is kept for one timeout, to know the RST that may answer it.
        again = self._transmit if exchange.message.type == Type.CON else self._finish
        exchange.timer = self._loop.call_later(exchange.timeout, again, exchange)
        exchange.timeout *= 2

    def _give_up(self, exchange: _Exchange) -> None:
        self._finish(exchange)
        if exchange.answer is not None and not exchange.answer.done():
            exchange.answer.set_exception(Unanswered(f"no answer after {exchange.sent} transmissions"))

    def _finish(self, exchange: _Exchange) -> None:
        if exchange.timer is not None:
            exchange.timer.cancel()
        self._by_mid.pop((exchange.peer, exchange.message.mid), None)
        if exchange.answer is not None:
            self._by_token.pop((exchange.peer, exchange.message.token), None)

    def _send(self, datagram: bytes, peer: Address) -> None:
        now = self._loop.time()
        if self._held is None and self.link.is_unbound(now):
            self._held = deque(maxlen=_HELD_DATAGRAMS)
            self._rebinding = self._loop.create_task(self._rebind())
        for delay in self.link.sent(len(datagram), now):
            if delay:
                self._loop.call_later(delay, self._put, datagram, peer)
            else:
                self._put(datagram, peer)

    def _put(self, datagram: bytes, peer: Address) -> None:
        if self._held is not None:
            self._held.append((datagram, peer))
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(datagram, peer)

    async def _rebind(self) -> None:
        """Another source port, as behind a NAT that has forgotten the old one."""
        if self._transport is not None:
            # Before the new one is opened, and closed by the loop's next turn: a fleet has a file for each device.
            self._transport.abort()
            await asyncio.sleep(0)
        while True:
            try:
                await self.open((self._host, 0))
                break
            except OSError:
                self._tally.count("errors: no socket")
                await asyncio.sleep(self.transmission.ack_timeout_seconds)
        self._tally.count("rebindings")
        held, self._held = self._held or (), None
        for datagram, peer in held:
            self._put(datagram, peer)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""

        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: the peer is away for now; retransmission decides."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """One datagram came to the far end of the link."""
        if len(data) > _MAX_DATAGRAM_BYTES:
            return
        peer = (addr[0], addr[1])
        for delay in self.link.arrived(len(data), self._loop.time()):
            if delay:
                self._loop.call_later(delay, self._take, data, peer)
            else:
                self._take(data, peer)

    def _take(self, data: bytes, peer: Address) -> None:
        """A datagram reached the device; what is no CoAP is dropped, or reset when it is a confirmable one."""
        if not self.link.hears(self._loop.time()):
            return
        try:
            message = decode(data)
        except DecodeError:
            if len(data) >= 4 and data[0] >> 6 == 1 and (data[0] >> 4 & 3) == Type.CON:
                self._empty(Type.RST, data[2] << 8 | data[3], peer)
            return
        if is_request(message.code):
            self._take_request(message, peer)
        elif is_response(message.code):
            self._take_response(message, peer)
        elif message.type == Type.CON:
            # A ping (empty CON) or a code of a reserved class: RST (RFC 7252 section 4.2).
            self._empty(Type.RST, message.mid, peer)
        elif message.code == Code.EMPTY:
            self._take_empty(message, peer)

    def _empty(self, kind: Type, mid: int, peer: Address) -> None:
        self._send(encode(Message(kind, Code.EMPTY, mid)), peer)

    def _take_empty(self, message: Message, peer: Address) -> None:
        exchange = self._by_mid.get((peer, message.mid))
        if exchange is None:
            return
        if message.type == Type.ACK:
            self._acknowledge(exchange)
        elif message.type == Type.RST:
            self._finish(exchange)
            if exchange.was_reset is not None:
                exchange.was_reset()
            if exchange.answer is not None and not exchange.answer.done():
                exchange.answer.set_exception(WasReset("the peer answered with RST"))

    def _acknowledge(self, exchange: _Exchange) -> None:
        if exchange.answer is None:
            self._finish(exchange)
        elif not exchange.acknowledged:
            exchange.acknowledged = True
            if exchange.timer is not None:
                exchange.timer.cancel()
            wait = self.transmission.response_seconds
            exchange.timer = self._loop.call_later(wait, self._give_up, exchange)

    def _take_response(self, message: Message, peer: Address) -> None:
        exchange = self._by_token.get((peer, message.token))
        if message.type == Type.ACK and exchange is not None and exchange.message.mid != message.mid:
            return
        if message.type == Type.CON:
            self._empty(Type.ACK if exchange else Type.RST, message.mid, peer)
        if exchange is not None and exchange.answer is not None and not exchange.answer.done():
            exchange.answer.set_result(message)
            self._finish(exchange)

    def _take_request(self, message: Message, peer: Address) -> None:
        if message.type not in (Type.CON, Type.NON):
            return
        key = (peer, message.mid)
        if key in self._replies:
            if message.type == Type.CON:
                self._send(self._replies[key], peer)
            return
        reply = self.handler(message, peer)
        if reply is None:
            return
        confirmable = message.type == Type.CON
        kind, mid = (Type.ACK, message.mid) if confirmable else (Type.NON, self._next_mid())
        datagram = encode(Message(kind, reply.code, mid, message.token, reply.options, reply.payload))
        self._replies[key] = datagram
        while len(self._replies) > _REMEMBERED_REPLIES:
            self._replies.popitem(last=False)
        self._send(datagram, peer)
