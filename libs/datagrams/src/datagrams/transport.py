"""The UDP socket, drained in bounded batches, with two readers: the fast path first, the message layer for the rest.

asyncio's own datagram endpoint wakes up once a datagram, which costs five times what answering a block costs; so the
socket is ours, and each wake-up reads what is there, up to a bound that leaves the loop to others.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol

from datagrams.unicast import only_unicast

logger = logging.getLogger(__name__)

Address = tuple[str, int]
BATCH: Final = 64
BATCHES_A_WAKE_UP: Final = 4
BUFFER_BYTES: Final = 4 << 20
MAX_DATAGRAM_BYTES: Final = 65535


class Batched(Protocol):
    """A compiled fast path, which reads and answers a batch in one call."""

    def serve(self, socket_number: int) -> tuple[int, list[tuple[bytes, Address]]]:
        """How many datagrams came (fewer than BATCH: no more wait), and those it left."""


def udp_socket(host: str, port: int, share_port: bool = False) -> socket.socket:
    """A non-blocking IPv4 socket bound to `host`:`port`; `share_port` for several processes on one (SO_REUSEPORT)."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        if share_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.setblocking(False)
        only_unicast(opened)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


class Transport:
    """One socket. `fast` answers a datagram or returns None; then `slow` gets it. With `batched`, that comes first."""

    def __init__(
        self,
        opened: socket.socket,
        fast: Callable[[bytes], bytes | None],
        slow: Callable[[bytes, Address], None],
        batched: Batched | None = None,
    ) -> None:
        self._socket = opened
        self._fast, self._slow = fast, slow
        self._batched = batched
        self.received = 0

    @property
    def port(self) -> int:
        """UDP port bound to."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to read."""
        readable = self._readable if self._batched is None else self._batch_readable
        asyncio.get_running_loop().add_reader(self._socket.fileno(), readable)

    def _readable(self) -> None:
        receive, send, fast = self._socket.recvfrom, self._socket.sendto, self._fast
        for _ in range(BATCH):
            try:
                datagram, peer = receive(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier reply; the next datagram is none of its business
            self.received += 1
            reply = fast(datagram)
            if reply is None:
                self._slow(datagram, peer)
                continue
            try:
                send(reply, peer)
            except OSError:
                continue  # a full buffer is a lost datagram: the device asks again

    def _batch_readable(self) -> None:
        assert self._batched is not None
        for _ in range(BATCHES_A_WAKE_UP):
            came, left = self._batched.serve(self._socket.fileno())
            self.received += came
            for datagram, peer in left:
                self._slow(datagram, peer)
            if came < BATCH:
                return

    def send(self, datagram: bytes, peer: Address) -> None:
        """Send one datagram; loss is the protocol's business."""
        try:
            self._socket.sendto(datagram, peer)
        except OSError as error:
            logger.debug("could not send: %s", error)

    def close(self) -> None:
        """Stop reading and let the port go."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
