"""The UDP socket, drained in bounded batches, with two readers: the fast path first, the message layer for the rest."""

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

Address = tuple[str, int]
BATCH = 64
RECEIVE_BUFFER_BYTES = 4 << 20
MAX_DATAGRAM_BYTES = 65535


class Transport:
    """One socket. `fast` answers a datagram or returns None; then `slow` gets it."""

    def __init__(
        self,
        host: str,
        port: int,
        fast: Callable[[bytes], bytes | None],
        slow: Callable[[bytes, Address], None],
    ) -> None:
        self._fast, self._slow = fast, slow
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BUFFER_BYTES)
        self._socket.setblocking(False)
        self._socket.bind((host, port))
        self.received = 0

    @property
    def port(self) -> int:
        """UDP port bound to."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to read."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

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
