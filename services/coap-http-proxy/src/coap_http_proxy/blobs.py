"""Verified bytes on disk: content-addressed files, mapped, never served before their SHA-256 was checked.

A blob arrives in a file `part-<sha256>`, locked by the process that writes it, and is renamed when its hash is right:
so kill -9 leaves a whole blob or a part, and the next process goes on where that ends. The least recently used blobs go
when all are over their size.
"""

import contextlib
import errno
import fcntl
import hashlib
import math
import mmap
import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from coap_wire import encode_uint

# Each mapping costs a file descriptor; a ticket in use keeps its own blob open besides.
MAX_OPEN_BLOBS = 128
TOUCH_SECONDS: Final = 60.0
LEFTOVER_SECONDS: Final = 3600.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(eq=False)
class Blob:
    """Bytes that may be served, and the options that are the same in all their answers."""

    sha256: str
    data: mmap.mmap | bytes
    size: int
    etag: bytes
    content_format: int = 42
    touched: float = -math.inf
    # Constant options in front of Block2: ETag (4) and Content-Format (12); behind it Size2 (28).
    head: bytes = b""
    tail: bytes = b""

    def __post_init__(self) -> None:
        form = encode_uint(self.content_format)
        self.head = bytes((0x40 | len(self.etag),)) + self.etag + bytes((0x80 | len(form),)) + form
        size = encode_uint(self.size)
        self.tail = bytes((0x50 | len(size),)) + size + b"\xff"


def blob_of(data: bytes, content_format: int = 42) -> Blob:
    """A blob that lives in memory only."""
    digest = hashlib.sha256(data).digest()
    return Blob(digest.hex(), data, len(data), digest[:8], content_format)


class BlobStore:
    """Blobs in `folder`, at most `max_bytes` of them on disk; several processes may share it."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._open: OrderedDict[str, Blob] = OrderedDict()
        # Large files are hashed in a thread.
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._drop_leftovers()

    def get(self, sha256: str) -> Blob | None:
        """The blob, hashed anew when this process meets its file for the first time; None when it is not there."""
        with self._lock:
            blob = self._open.get(sha256)
            if blob is not None:
                self._open.move_to_end(sha256)
        if blob is not None:
            self._used(blob)
            return blob
        path = self.folder / sha256
        try:
            with path.open("rb") as file:
                # A private copy, never written: only of such a one does ctypes give C the address.
                size = os.fstat(file.fileno()).st_size
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size else b""
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            path.unlink(missing_ok=True)  # a disk that forgot is asked again upstream
            return None
        blob = Blob(sha256, data, size, bytes.fromhex(sha256)[:8])
        with self._lock:
            blob = self._open.setdefault(sha256, blob)
            while len(self._open) > MAX_OPEN_BLOBS:
                self._open.popitem(last=False)
        self._used(blob)
        return blob

    def knows(self, sha256: str) -> bool:
        """Whether `get` answers at once: this process has met the blob."""
        return sha256 in self._open

    def part(self, sha256: str) -> Path:
        """Where a blob lies while it arrives."""
        return self.folder / f"part-{sha256}"

    def take_part(self, sha256: str) -> FileIO | None:
        """The part, open and locked until it is closed, with what a killed process left in it; None when another
        process has it."""
        path = self.part(sha256)
        file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have renamed or removed it since it was opened here.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except (BlockingIOError, FileNotFoundError):
            pass
        file.close()
        return None

    def keep(self, part: Path, sha256: str) -> Blob:
        """Take a complete, verified part in; returns its blob."""
        os.replace(part, self.folder / sha256)
        self._evict(keep=sha256)
        blob = self.get(sha256)
        if blob is None:
            raise OSError(errno.EIO, "the disk does not give back what was written")
        return blob

    def _used(self, blob: Blob) -> None:
        """Note it where other processes see it: by the file's time of modification, once a minute at most."""
        now = time.monotonic()
        if now - blob.touched < TOUCH_SECONDS:
            return
        blob.touched = now
        with contextlib.suppress(OSError):  # evicted meanwhile: it is served on, from the mapping
            os.utime(self.folder / blob.sha256)

    def _evict(self, keep: str) -> None:
        self._drop_leftovers()
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            # Two processes that count at once would both remove.
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = [(path, path.stat()) for path in self.folder.iterdir() if _SHA256.fullmatch(path.name)]
            total = sum(stat.st_size for _, stat in files)
            for path, stat in sorted(files, key=lambda file: file[1].st_mtime_ns):
                if total <= self.max_bytes:
                    return
                if path.name != keep:
                    path.unlink(missing_ok=True)
                    with self._lock:
                        self._open.pop(path.name, None)  # whoever still serves it keeps the mapping alive
                    total -= stat.st_size
        finally:
            os.close(lock)

    def _drop_leftovers(self) -> None:
        """Remove parts that nobody writes and nobody asked for since."""
        for part in self.folder.glob("part-*"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > LEFTOVER_SECONDS and (file := self.take_part(part.name[5:])):
                    part.unlink()
                    file.close()
