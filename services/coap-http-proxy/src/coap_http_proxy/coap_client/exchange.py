"""One CoAP client endpoint, for one conversation: confirmable messages, one at a time (RFC 7252 section 4).

A socket of its own for each keeps conversations apart: a server's answer can reach no other one, and who
does not see the traffic has to guess port, message id and token. All that comes in is hostile until it fits.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, cast

from coap_wire import Code, DecodeError, Message, Type, decode, encode, is_critical, is_response
from coap_wire import options as option

ACK_TIMEOUT_SECONDS: Final = 2.0
ACK_RANDOM_FACTOR: Final = 1.5
MAX_RETRANSMIT: Final = 4
TOKEN_BYTES: Final = 8
# Critical options a response may carry (RFC 7252 section 5.4.1 rejects those not known).
UNDERSTOOD: Final = frozenset({option.BLOCK1, option.BLOCK2})


class NoAnswer(Exception):
    """The server said nothing in time: 504 or 5.04."""


class BadAnswer(Exception):
    """The server cannot be reached, or what it said is no answer: 502 or 5.02."""


class Endpoint(asyncio.DatagramProtocol):
    """A connected socket that asks one question at a time."""

    def __init__(self, turn: asyncio.Lock) -> None:
        self._turn = turn
        self._transport: asyncio.DatagramTransport | None = None
        self._mid = random.randrange(0x10000)
        self._asked: Message | None = None
        self._acknowledged = asyncio.Event()
        self._answer: asyncio.Future[Message] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: nobody listens there."""
        self._fail(BadAnswer(f"the server cannot be reached: {exc}"))

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            message = decode(data)
        except DecodeError:
            return  # RFC 7252 section 4.2: what is no message is ignored, and the question sent again
        asked, answer = self._asked, self._answer
        if asked is None or answer is None:
            return
        if message.type in (Type.ACK, Type.RST) and message.mid != asked.mid:
            return
        if message.type == Type.RST:
            self._fail(BadAnswer("the server rejects the request (Reset)"))
        elif message.type == Type.ACK and message.code == Code.EMPTY:
            self._acknowledged.set()
        elif not is_response(message.code):
            if message.type == Type.CON:  # a request or ping to a client
                self._send(Message(Type.RST, Code.EMPTY, message.mid))
        elif message.token != asked.token:
            # An answer to an earlier question whose ACK was lost; nothing else is asked from here.
            if message.type == Type.CON:
                self._send(Message(Type.ACK, Code.EMPTY, message.mid))
        else:
            if message.type == Type.CON:
                self._send(Message(Type.ACK, Code.EMPTY, message.mid))
            unknown = [number for number, _ in message.options if is_critical(number) and number not in UNDERSTOOD]
            if unknown:
                self._fail(BadAnswer(f"the answer holds option {unknown[0]}, critical and not known here"))
            elif not answer.done():
                answer.set_result(message)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _send(self, message: Message) -> None:
        self._pass_on(encode(message))

    def _pass_on(self, datagram: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.sendto(datagram)

    async def ask(self, request: Message) -> Message:
        """The response to `request`, whose message id and token are chosen here; raises NoAnswer or BadAnswer.

        A separate response may be long in coming: the caller sets the time.
        """
        self._mid = (self._mid + 1) & 0xFFFF
        self._asked = replace(request, mid=self._mid, token=secrets.token_bytes(TOKEN_BYTES))
        self._acknowledged.clear()
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with self._turn:
                await self._until_acknowledged(self._asked, self._answer)
            return await self._answer
        finally:
            self._answer.cancel()

    async def _until_acknowledged(self, asked: Message, answer: "asyncio.Future[Message]") -> None:
        """Send, and send again with doubled pauses, until an ACK or the answer is there (RFC 7252 section 4.2)."""
        pause = ACK_TIMEOUT_SECONDS * random.uniform(1, ACK_RANDOM_FACTOR)
        heard = asyncio.ensure_future(self._acknowledged.wait())
        either: set[asyncio.Future[Any]] = {heard, answer}
        try:
            for _ in range(MAX_RETRANSMIT + 1):
                self._send(asked)
                done, _ = await asyncio.wait(either, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return
                pause *= 2
        finally:
            heard.cancel()
        raise NoAnswer(f"the server does not answer, asked {MAX_RETRANSMIT + 1} times")

    def close(self) -> None:
        """Let the socket go."""
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def endpoint(address: tuple[str, int], turn: asyncio.Lock) -> AsyncIterator[Endpoint]:
    """A client of the CoAP server at an IP address and UDP port; raises OSError when there is no route.

    `turn` is held while a message waits for its acknowledgement: clients of one server share it, and so keep to
    NSTART = 1 (RFC 7252 section 4.7). A separate response keeps nobody waiting.
    """
    loop = asyncio.get_running_loop()
    _, made = await loop.create_datagram_endpoint(lambda: Endpoint(turn), remote_addr=address)
    try:
        yield made
    finally:
        made.close()
