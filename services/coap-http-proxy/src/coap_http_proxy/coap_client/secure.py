"""A CoAP client endpoint over DTLS, for `coaps` upstreams: one session for one conversation (RFC 7252 section 9)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from coap_http_proxy.coap_client.exchange import Endpoint, NoAnswer
from coap_http_proxy.psk import ClientKey
from dtls import Client

HANDSHAKE_SECONDS: Final = 20.0
TICK_SECONDS: Final = 0.2


class SecureEndpoint(Endpoint):
    """The same endpoint; what it sends and hears is DTLS."""

    def __init__(self, turn: asyncio.Lock, key: ClientKey) -> None:
        super().__init__(turn)
        self._tls = Client(key.identity, key.key)
        self._changed = asyncio.Event()
        self._unreachable: Exception | None = None

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: nobody listens there."""
        self._unreachable = exc
        self._changed.set()
        super().error_received(exc)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._out(self._tls.receive(data))
        heard, self._tls.heard = self._tls.heard, []
        for plaintext in heard:
            super().datagram_received(plaintext, addr)
        self._changed.set()

    def _out(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            super()._pass_on(datagram)

    def _pass_on(self, datagram: bytes) -> None:
        self._out(self._tls.send(datagram))

    async def shake_hands(self) -> None:
        """Make the session; raises NoAnswer when the server does not prove to know the key, OSError without a route."""
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        self._out(self._tls.start())
        while not self._tls.connected:
            if self._unreachable is not None:
                raise OSError(str(self._unreachable))
            if self._tls.failed or time.monotonic() > deadline:
                raise NoAnswer("the server does not complete a handshake with our key")
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), TICK_SECONDS)
            except TimeoutError:
                self._out(self._tls.repeat())

    def close(self) -> None:
        """Say goodbye, and let the socket go."""
        self._out(self._tls.close())
        super().close()


@asynccontextmanager
async def secure_endpoint(
    address: tuple[str, int], turn: asyncio.Lock, key: ClientKey
) -> AsyncIterator[SecureEndpoint]:
    """Like exchange.endpoint, after a handshake; raises NoAnswer and OSError."""
    loop = asyncio.get_running_loop()
    _, made = await loop.create_datagram_endpoint(lambda: SecureEndpoint(turn, key), remote_addr=address)
    try:
        await made.shake_hands()
        yield made
    finally:
        made.close()
