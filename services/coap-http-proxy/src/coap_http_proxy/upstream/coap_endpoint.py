"""A CoAP client's message layer for one question: one connected UDP socket, one request at a time (RFC 7252 section 4).

A socket of its own gives each question a port nobody can guess, and the kernel's word when nobody listens there. Only
the asked address is heard.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from coap_wire import Code, DecodeError, Message, Options, Type, decode, encode, is_response

ACK_TIMEOUT_SECONDS: Final = 2.0
ACK_RANDOM_FACTOR: Final = 1.5
MAX_RETRANSMIT: Final = 4
TOKEN_BYTES: Final = 8


class NoAnswer(Exception):
    """The server sent a Reset, cannot be reached, or did not acknowledge in time."""

    def __init__(self, reason: str, *, late: bool = False) -> None:
        super().__init__(reason)
        self.late = late


class CoapEndpoint(asyncio.DatagramProtocol):
    """Asks and waits; separate responses are acknowledged, what nobody waits for is reset."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._mid = random.randrange(0x10000)
        self._request: Message | None = None
        self._answer: asyncio.Future[Message] | None = None
        self._acknowledged = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        self._fail(NoAnswer("the server cannot be reached"))

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            message = decode(data)
        except DecodeError:
            return
        request, answer = self._request, self._answer
        mine = request is not None and message.mid == request.mid
        if message.type == Type.RST and mine:
            self._fail(NoAnswer("the server does not want it"))
        if message.type == Type.ACK and mine:
            self._acknowledged.set()
        if not is_response(message.code) or (message.type == Type.ACK and not mine):
            return
        wanted = request is not None and answer is not None and message.token == request.token
        if message.type == Type.CON:
            # RFC 7252 section 4.2: acknowledge what is understood, reject what is not.
            self._send(Message(Type.ACK if wanted else Type.RST, Code.EMPTY, message.mid))
        if wanted and answer is not None and not answer.done():
            self._acknowledged.set()
            answer.set_result(message)

    async def ask(self, code: int, options: Options, payload: bytes) -> Message:
        """The response to one confirmable request, however late; raises NoAnswer. The caller bounds the time."""
        self._mid = (self._mid + 1) & 0xFFFF
        # A token for each request of a transfer: a late block of the one before cannot be taken for this one's.
        token = secrets.token_bytes(TOKEN_BYTES)
        self._request = Message(Type.CON, code, self._mid, token, options, payload)
        self._answer = asyncio.get_running_loop().create_future()
        self._acknowledged.clear()
        try:
            await self._transmit(self._request)
            return await self._answer
        finally:
            self._request = self._answer = None

    async def _transmit(self, request: Message) -> None:
        timeout = ACK_TIMEOUT_SECONDS * random.uniform(1, ACK_RANDOM_FACTOR)
        for _ in range(MAX_RETRANSMIT + 1):
            self._send(request)
            try:
                async with asyncio.timeout(timeout):
                    await self._acknowledged.wait()
                return
            except TimeoutError:
                timeout *= 2
        raise NoAnswer("the server does not answer", late=True)

    def _fail(self, error: NoAnswer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self._acknowledged.set()

    def _send(self, message: Message) -> None:
        if self._transport is not None:
            self._transport.sendto(encode(message))


@asynccontextmanager
async def connected(address: str, port: int) -> AsyncIterator[CoapEndpoint]:
    """An endpoint that talks to one address; raises OSError."""
    loop = asyncio.get_running_loop()
    transport, endpoint = await loop.create_datagram_endpoint(CoapEndpoint, remote_addr=(address, port))
    try:
        yield endpoint
    finally:
        transport.close()
