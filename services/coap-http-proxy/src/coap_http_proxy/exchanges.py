"""The message layer for everything the fast path does not know (RFC 7252 section 4): duplicates, empty ACK, separate
responses with retransmission. Small on purpose: a server that only answers needs no more.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_wire import Code, DecodeError, Message, Type, decode, encode, encode_uint, is_request
from coap_wire.options import MAX_AGE

logger = logging.getLogger(__name__)

Respond = Callable[[Message, Peer], Awaitable[Message]]
Send = Callable[[bytes, Peer], None]
# The token is part of it: a device that rebooted counts its message ids from the start, but asks something new.
Key = tuple[Peer, int, bytes]

ACK_TIMEOUT_SECONDS: Final = 2.0
ACK_RANDOM_FACTOR: Final = 1.5
MAX_RETRANSMIT: Final = 4
# Strangers get small answers: a forged sender address must not be worth forging.
MAX_DIAGNOSTIC_BYTES: Final = 96
COME_AGAIN_SECONDS: Final = 5
# How long a message id may still be a duplicate (RFC 7252 section 4.8.2), and how many replies are kept meanwhile: the
# bound keeps a flood from filling memory.
EXCHANGE_LIFETIME_SECONDS: Final = 247.0
REMEMBERED_REPLIES: Final = 8192


class Exchanges:
    """Turns datagrams into calls of `respond` and its answers into datagrams."""

    def __init__(
        self,
        send: Send,
        respond: Respond,
        ack_delay_seconds: float,
        max_exchanges: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._respond = respond
        self._ack_delay = ack_delay_seconds
        self._max = max_exchanges
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        # When it was put here, and the reply's datagram, None while that is being made; oldest first.
        self._seen: OrderedDict[Key, tuple[float, bytes | None]] = OrderedDict()
        self._unacknowledged: dict[tuple[Peer, int], asyncio.Event] = {}
        self._mid = random.randrange(65536)
        self.malformed = 0
        self.duplicates = 0

    def received(self, datagram: bytes, peer: Peer) -> None:
        """Handle one datagram; never raises."""
        try:
            message = decode(datagram)
        except DecodeError:
            self.malformed += 1
            # RFC 7252 section 4.2: a confirmable message with a format error is rejected by a Reset.
            if len(datagram) >= 4 and datagram[0] >> 4 == 0b0100:
                self._send(b"\x70\x00" + datagram[2:4], peer)
            return
        if message.type in (Type.ACK, Type.RST):
            if event := self._unacknowledged.get((peer, message.mid)):
                event.set()
            return
        if not is_request(message.code):
            if message.type == Type.CON:  # CoAP ping, or a response nobody waits for
                self._send(encode(Message(Type.RST, Code.EMPTY, message.mid)), peer)
            return
        key = (peer, message.mid, message.token)
        self._forget_old()
        if key in self._seen:
            self.duplicates += 1
            if reply := self._seen[key][1]:
                self._send(reply, peer)
            return
        self._remember(key, None)
        if len(self._tasks) >= self._max:
            self._reply(message, key, refused(Code.SERVICE_UNAVAILABLE, "too many requests wait"), peer)
            return
        task = asyncio.get_running_loop().create_task(self._answer(message, key, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Message, key: Key, peer: Peer) -> None:
        making = asyncio.ensure_future(self._respond_safely(request, peer))
        if request.type == Type.NON:
            answer = await making
            self._send(encode(_addressed(answer, Type.NON, self._next_mid(), request.token)), peer)
            return
        done, _ = await asyncio.wait({making}, timeout=self._ack_delay)
        if done:
            self._reply(request, key, making.result(), peer)
            return
        ack = encode(Message(Type.ACK, Code.EMPTY, request.mid))
        self._remember(key, ack)
        self._send(ack, peer)
        await self._separate(_addressed(await making, Type.CON, self._next_mid(), request.token), peer)

    async def _respond_safely(self, request: Message, peer: Peer) -> Message:
        try:
            return await self._respond(request, peer)
        except Refusal as refusal:
            return refused(refusal.code, refusal.diagnostic)
        except Exception:
            logger.exception("a request could not be answered")
            return Message(Type.ACK, Code.INTERNAL_SERVER_ERROR, 0)

    def _reply(self, request: Message, key: Key, answer: Message, peer: Peer) -> None:
        if request.type == Type.NON:
            reply = encode(_addressed(answer, Type.NON, self._next_mid(), request.token))
        else:
            reply = encode(_addressed(answer, Type.ACK, request.mid, request.token))
        self._remember(key, reply)
        self._send(reply, peer)

    async def _separate(self, message: Message, peer: Peer) -> None:
        acknowledged = asyncio.Event()
        key = (peer, message.mid)
        self._unacknowledged[key] = acknowledged
        datagram = encode(message)
        timeout = ACK_TIMEOUT_SECONDS * random.uniform(1, ACK_RANDOM_FACTOR)
        try:
            for _ in range(MAX_RETRANSMIT + 1):
                self._send(datagram, peer)
                try:
                    async with asyncio.timeout(timeout):
                        await acknowledged.wait()
                    return
                except TimeoutError:
                    timeout *= 2
        finally:
            self._unacknowledged.pop(key, None)

    def _remember(self, key: Key, reply: bytes | None) -> None:
        self._seen[key] = (self._clock(), reply)
        self._seen.move_to_end(key)
        while len(self._seen) > REMEMBERED_REPLIES:
            self._seen.popitem(last=False)

    def _forget_old(self) -> None:
        before = self._clock() - EXCHANGE_LIFETIME_SECONDS
        while self._seen and next(iter(self._seen.values()))[0] < before:
            self._seen.popitem(last=False)

    def _next_mid(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

    @property
    def waiting(self) -> int:
        """Exchanges whose answer is still being made or not yet acknowledged."""
        return len(self._tasks)

    async def drain(self, seconds: float) -> None:
        """Let exchanges finish for at most `seconds`, then cancel them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()


def refused(code: int, diagnostic: str) -> Message:
    """An error answer; 5.03 says when to come again (RFC 7252 section 5.9.3.4), else that would be 60 s."""
    text = diagnostic.encode()[:MAX_DIAGNOSTIC_BYTES].decode(errors="ignore")
    options = ((MAX_AGE, encode_uint(COME_AGAIN_SECONDS)),) if code == Code.SERVICE_UNAVAILABLE else ()
    return Message(Type.ACK, code, 0, options=options, payload=text.encode())


def _addressed(answer: Message, kind: Type, mid: int, token: bytes) -> Message:
    return Message(kind, answer.code, mid, token, answer.options, answer.payload)
