"""CoAP over DTLS (RFC 7252 section 9): the `coaps` port, between libs/dtls and what answers plain datagrams.

Whoever speaks here has proved an identity; it goes along with every request as part of its Peer. An answer goes out on
the session its request came in on, or not at all (section 9.1.1): the address may be another device's meanwhile.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Final, assert_never

import redis.asyncio as redis

from coap_http_proxy.peers import Peer
from coap_http_proxy.psk import Keys
from datagrams import Transport
from dtls import Address, Association, Closed, KeyWanted, Opened, Output, Received, Server, Transmit

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.2
# How long a session may go on with a key that was taken back.
SETTLE_SECONDS: Final = 30.0
SETTLE_CHUNK: Final = 500


class SecureFace:
    """Decrypts for `fast` and `slow`, and encrypts what they answer; `fast` may leave a datagram to `slow`."""

    def __init__(
        self,
        opened: socket.socket,
        server: Server,
        keys: Keys,
        fast: Callable[[bytes, Peer], bytes | None],
        slow: Callable[[bytes, Peer], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        # Nothing can be answered before it is decrypted.
        self.transport = Transport(opened, lambda _: None, self._arrived)
        self._keys = keys
        self._fast, self._slow = fast, slow
        self._clock = clock
        self._associations: dict[int, Association] = {}
        self._lookups: set[asyncio.Task[None]] = set()
        self._timers: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self.transport.start()
        self._timers = asyncio.create_task(self._keep_time())

    def _arrived(self, datagram: bytes, address: Address) -> None:
        self._carry_out(self.server.receive(datagram, address, self._clock()))

    def send(self, plaintext: bytes, peer: Peer) -> None:
        """Send a CoAP message on the peer's session; if that is over, it is dropped."""
        association = self._associations.get(peer.session)
        datagram = self.server.seal(plaintext, association) if association else None
        if datagram is not None:
            self.transport.send(datagram, (peer.host, peer.port))

    async def _keep_time(self) -> None:
        settled = self._clock()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._carry_out(self.server.tick(self._clock()))
            if self._clock() - settled >= SETTLE_SECONDS:
                settled = self._clock()
                await self.settle()

    async def settle(self) -> None:
        """Look up the keys of all sessions again."""
        identities = self.server.identities()
        for at in range(0, len(identities), SETTLE_CHUNK):
            chunk = identities[at : at + SETTLE_CHUNK]
            try:
                found = await self._keys.find(chunk)
            except (redis.RedisError, OSError) as error:
                logger.warning("keys cannot be looked up now, sessions go on: %s", type(error).__name__)
                return
            for identity, psk in zip(chunk, found, strict=True):
                self._carry_out(self.server.settle(identity, psk))

    def close(self) -> None:
        """Tell every peer that its session is over, so that it makes a new one and does not wait; let the port go."""
        for task in (*self._lookups, self._timers):
            if task is not None:
                task.cancel()
        for association in self.server.associations():
            self._carry_out(self.server.close(association))
        self.transport.close()

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Received(plaintext, association):
                    self._answer(plaintext, association)
                case Transmit(datagram, address):
                    self.transport.send(datagram, address)
                case KeyWanted(address, identity):
                    task = asyncio.get_running_loop().create_task(self._look_up(address, identity))
                    self._lookups.add(task)
                    task.add_done_callback(self._lookups.discard)
                case Opened(association):
                    self._associations[association.number] = association
                    logger.info("session opened", extra={"identity": association.identity})
                case Closed(association):
                    self._associations.pop(association.number, None)
                case _:
                    assert_never(output)

    def _answer(self, plaintext: bytes, association: Association) -> None:
        host, port = association.address
        peer = Peer(host, port, association.identity, association.subject, association.number)
        reply = self._fast(plaintext, peer)
        if reply is None:
            self._slow(plaintext, peer)
        else:
            self.send(reply, peer)

    async def _look_up(self, address: Address, identity: str) -> None:
        try:
            (psk,) = await self._keys.find([identity])
        except (redis.RedisError, OSError) as error:
            # The handshake is left to its timeout: the device begins anew.
            logger.warning("keys cannot be looked up now: %s", type(error).__name__)
            return
        if psk is None:
            logger.info("unknown identity", extra={"identity": identity})
        self._carry_out(self.server.provide(address, identity, psk, self._clock()))


# Its part of a snapshot (metrics.ROWS).
_COUNTS: Final[dict[str, Callable[[Server], int]]] = {
    "dtlsSessions": lambda server: server.sessions,
    "dtlsHalfOpen": lambda server: server.half_open,
    "dtlsOpened": lambda server: server.counters.opened,
    "dtlsAbandoned": lambda server: server.counters.abandoned,
    "dtlsDiscarded": lambda server: server.counters.discarded,
}


def counts(face: SecureFace | None) -> dict[str, int]:
    """What was counted since the start; nothing without DTLS."""
    return {key: count(face.server) if face else 0 for key, count in _COUNTS.items()}
