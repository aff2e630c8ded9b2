"""A socket for lock-step tests: what a device sends is compared with bytes, what it gets are bytes of the test."""

import asyncio
import re
from typing import cast


class Wire(asyncio.DatagramProtocol):
    """A socket that only collects; the test answers."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.peer = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.peer = addr
        self.received.put_nowait(data)

    async def expect(self, pattern: bytes) -> re.Match[bytes]:
        """The next datagram, which must match as a whole."""
        async with asyncio.timeout(3):
            data = await self.received.get()
        found = re.fullmatch(pattern, data, re.DOTALL)
        assert found, data.hex(" ")
        return found

    async def expect_silence(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        assert self.received.empty()

    def send(self, data: bytes) -> None:
        self.transport.sendto(data, self.peer)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])
