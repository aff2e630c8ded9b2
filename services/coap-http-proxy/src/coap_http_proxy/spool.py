"""Bytes of unknown number as they arrive: in memory while they are few, then in a file without a name.

A file without a name needs no cleaning up: it is gone with its last user, after kill -9 too.
"""

import hashlib
import mmap
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from coap_http_proxy.mapping.requests import Refusal
from coap_wire import Code

Body = bytes | mmap.mmap

IN_MEMORY_BYTES: Final = 64 << 10
PIECE_BYTES: Final = 64 << 10


class TooLarge(Exception):
    """More bytes than this body may have."""


class Room:
    """How many bytes all bodies that are still arriving may take together."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises Refusal (5.03) when there is no room."""
        if self.taken + size > self.max_bytes:
            raise Refusal(Code.SERVICE_UNAVAILABLE, "the proxy holds too much at once")
        self.taken += size

    def give(self, size: int) -> None:
        """What was taken is free again."""
        self.taken -= size


class Spool:
    """One body that arrives; at most `max_bytes`. Leaving the `with` gives its room back, and its file when it was not
    taken out."""

    def __init__(self, folder: Path, room: Room, max_bytes: int) -> None:
        self._folder, self._room, self._max = folder, room, max_bytes
        self._digest = hashlib.sha256()
        self._few = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def write(self, piece: bytes) -> None:
        """Add bytes; raises TooLarge, and Refusal (5.03) when room or disk is full."""
        if self.size + len(piece) > self._max:
            raise TooLarge
        self._room.take(len(piece))
        self.size += len(piece)
        self._digest.update(piece)
        try:
            if self._file is None and self.size > IN_MEMORY_BYTES:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close()
                self._file.write(self._few)
                self._few = bytearray()
            if self._file is None:
                self._few += piece
            else:
                self._file.write(piece)
        except OSError as error:
            raise Refusal(Code.SERVICE_UNAVAILABLE, f"the proxy's disk fails: {error.strerror}") from error

    def digest(self) -> bytes:
        """SHA-256 of what has arrived, 32 bytes."""
        return self._digest.digest()

    def taken_out(self) -> Body:
        """All bytes; those in a file are mapped, and the file lives as long as the mapping."""
        if self._file is None:
            return bytes(self._few)
        try:
            self._file.flush()
            return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise Refusal(Code.SERVICE_UNAVAILABLE, f"the proxy's disk fails: {error.strerror}") from error

    def close(self) -> None:
        """Give the room back; what was taken out stays."""
        self._room.give(self.size)
        self.size = 0
        self._few = bytearray()
        if self._file is not None:
            # What could not be written is tried once more here; the file is closed and gone all the same.
            with suppress(OSError):
                self._file.close()
            self._file = None


async def pieces(body: Body) -> AsyncIterator[bytes]:
    """The body in pieces, for an upload."""
    for at in range(0, len(body), PIECE_BYTES):
        yield bytes(body[at : at + PIECE_BYTES])
