"""An HTTP server that can be stopped in the midst of an answer and started again, and counts what it gave away."""

import asyncio
import re
from dataclasses import dataclass, field

PIECE_BYTES = 4096


@dataclass
class FrailUpstream:
    """Serves `files` with Range. It gives at most `allowance` bytes and then holds its breath, or dies if told to."""

    files: dict[str, bytes]
    allowance: int = 1 << 40
    sent: int = 0
    ranges: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def die(self) -> None:
        """Stop listening and reset what is open, as a killed server's kernel does."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    def url(self, path: str) -> str:
        """Absolute URL of a file."""
        return f"http://127.0.0.1:{self.port}{path}"

    def allow(self, allowance: int) -> None:
        """Let it give that many bytes in all."""
        self.allowance = allowance
        self._more.set()
        self._more = asyncio.Event()

    @property
    def holds_its_breath(self) -> bool:
        """Whether it has given all it may."""
        return self.sent >= self.allowance

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                await self._answer(writer, head)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, head: str) -> None:
        data = self.files[head.split(" ")[1]]
        found = re.search(r"^range: bytes=(\d+)-", head, re.MULTILINE | re.IGNORECASE)
        start = int(found[1]) if found else 0
        self.ranges.append(f"{start}-")
        body = data[start:]
        status = "206 Partial Content" if found else "200 OK"
        about = f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n" if found else ""
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{about}\r\n".encode())
        for at in range(0, len(body), PIECE_BYTES):
            while self.holds_its_breath:
                await self._more.wait()
            piece = body[at : at + PIECE_BYTES]
            writer.write(piece)
            self.sent += len(piece)
            await writer.drain()
