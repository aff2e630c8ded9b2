"""Bytes of artifacts, stored once under their SHA-256; written beside and renamed, so nothing half is ever found."""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from update_manager.errors import FileTooLarge, StorageFull

CHUNK_BYTES = 256 * 1024
LEFTOVER_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Received:
    """An upload that has arrived whole, not yet kept; hashes in hex, size in bytes."""

    path: Path
    size: int
    sha256: str
    sha1: str
    md5: str


class Incoming:
    """An upload on its way to disk, hashed as it comes; `abandon` it unless `finish` was reached."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max, self._size = path, max_bytes, 0
        self._hashes = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
        self._file = path.open("wb")

    def write(self, piece: bytes) -> None:
        """The next bytes; raises FileTooLarge or StorageFull."""
        self._size += len(piece)
        if self._size > self._max:
            raise FileTooLarge(f"the file is larger than {self._max} bytes", limit=self._max)
        for one in self._hashes:
            one.update(piece)
        try:
            self._file.write(piece)
        except OSError as error:
            raise _full(error) from error

    def finish(self) -> Received:
        """Everything has come and is on the disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _full(error) from error
        return Received(self._path, self._size, *(one.hexdigest() for one in self._hashes))

    def abandon(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # what a full disk cannot flush is thrown away anyway
            self._file.close()
        self._path.unlink(missing_ok=True)


def _full(error: OSError) -> StorageFull:
    return StorageFull(f"the artifact store cannot be written: {error.strerror}")


class ArtifactStore:
    """A folder: `ab/abcd...` for each blob, `incoming/` for what is on its way."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._max = max_bytes

    def prepare(self) -> None:
        """Make the folders, remove uploads that a killed process left."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink(missing_ok=True)

    def begin(self) -> "Incoming":
        """A place for an upload; raises StorageFull."""
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            return Incoming(self._incoming / secrets.token_hex(16), self._max)
        except OSError as error:
            raise _full(error) from error

    def keep(self, received: Received) -> None:
        """Take an upload in; a blob that is already there is the same bytes."""
        target = self.path(received.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(received.path, target)

    def discard(self, received: Received) -> None:
        """Forget an upload that was refused."""
        received.path.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the blob with that hash lies, whether or not it does."""
        return self._folder / sha256[:2] / sha256

    def remove(self, sha256: str) -> None:
        """Drop a blob nobody refers to any more."""
        self.path(sha256).unlink(missing_ok=True)


async def chunks(path: Path, start: int, length: int) -> AsyncIterator[bytes]:
    """`length` bytes of a file from `start`, in pieces."""
    with path.open("rb") as file:
        file.seek(start)
        while length > 0 and (chunk := file.read(min(CHUNK_BYTES, length))):
            length -= len(chunk)
            yield chunk
