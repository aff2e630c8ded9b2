"""A week in minutes: an event loop whose clock jumps to the next timer, and a network inside the process.

Whatever asks the loop for the time, sleeps, sets timers or opens UDP sockets through it runs unchanged: devices, a
server beside them, and the links between them. Nothing waits, nothing comes from outside, and so nothing differs from
run to run but what is drawn without a seed.
"""

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

Address = tuple[str, int]
Result = TypeVar("Result")
_HOST: Final = "127.0.0.1"
_PORTS: Final = range(10_000, 65_536)


class Stalled(RuntimeError):
    """Everything waits for something that will never happen: no timer is set, and nothing is under way."""


class _Jump(selectors.SelectSelector):
    """Instead of waiting for files, moves the clock to where the loop would have waited until."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("nothing is ready and no timer is set")
        self.now += max(timeout, 0.0)
        return []


class _Socket(asyncio.DatagramTransport):
    __slots__ = ("_closed", "_loop", "_name", "_protocol")

    def __init__(self, loop: "VirtualTimeLoop", name: Address, protocol: asyncio.DatagramProtocol) -> None:
        super().__init__()
        self._loop = loop
        self._name = name
        self._protocol = protocol
        self._closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self._closed:
            self._loop.call_soon(self._loop.deliver, bytes(data), self._name, (addr[0], addr[1]))

    def take(self, data: bytes, sender: Address) -> None:
        if not self._closed:
            self._protocol.datagram_received(data, sender)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._name if name == "sockname" else default

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.unbind(self._name)
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop; its time begins at 0 seconds. A host is any name or address: all of them are this process."""

    def __init__(self) -> None:
        self._jump = _Jump()
        self._sockets: dict[int, _Socket] = {}
        self._next_port = _PORTS.start
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jump.now

    async def create_datagram_endpoint(  # type: ignore[override]  # of asyncio's options only local_addr means something
        self,
        protocol_factory: Callable[[], asyncio.DatagramProtocol],
        local_addr: Address | None = None,
        **_: Any,
    ) -> tuple[asyncio.DatagramTransport, asyncio.DatagramProtocol]:
        """A socket of the network in this process; port 0 takes a free one. Raises OSError for a port in use."""
        port = (local_addr or (_HOST, 0))[1] or self._free_port()
        if port in self._sockets:
            raise OSError(f"port {port} is in use")
        protocol = protocol_factory()
        made = self._sockets[port] = _Socket(self, (_HOST, port), protocol)
        protocol.connection_made(made)
        return made, protocol

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        """Every name is this process."""
        return [(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", (_HOST, int(port)))]

    def deliver(self, data: bytes, sender: Address, to: Address) -> None:
        """A datagram has arrived; where nobody listens it is lost."""
        if (there := self._sockets.get(to[1])) is not None:
            there.take(data, sender)

    def unbind(self, name: Address) -> None:
        """A socket was closed."""
        self._sockets.pop(name[1], None)

    def _free_port(self) -> int:
        for _ in _PORTS:
            port = self._next_port
            self._next_port = port + 1 if port + 1 in _PORTS else _PORTS.start
            if port not in self._sockets:
                return port
        raise OSError("no port is free")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` to its end in virtual time; raises Stalled when it can never end."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
