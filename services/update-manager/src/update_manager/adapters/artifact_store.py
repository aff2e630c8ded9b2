"""Bytes of artifacts, stored once under their SHA-256; written beside and renamed, so nothing half is ever found."""

import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from update_manager.errors import FileTooLarge, StorageFull

CHUNK_BYTES = 256 * 1024
LEFTOVER_SECONDS = 3600


class Upload(Protocol):
    """Anything that gives bytes piece by piece (Starlette's UploadFile)."""

    async def read(self, size: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Received:
    """An upload that has arrived whole, not yet kept; hashes in hex, size in bytes."""

    path: Path
    size: int
    sha256: str
    sha1: str
    md5: str


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

    async def receive(self, upload: Upload) -> Received:
        """Stream to disk, hashed on the way; raises FileTooLarge or StorageFull and leaves nothing behind."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / secrets.token_hex(16)
        hashes = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
        size = 0
        try:
            with path.open("wb") as file:
                while chunk := await upload.read(CHUNK_BYTES):
                    size += len(chunk)
                    if size > self._max:
                        raise FileTooLarge(f"the file is larger than {self._max} bytes", limit=self._max)
                    for one in hashes:
                        one.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StorageFull(f"the artifact store cannot be written: {error.strerror}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(path, size, *(one.hexdigest() for one in hashes))

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
