"""Verified bytes on disk: content-addressed files, mapped, never served before their SHA-256 was checked.

A blob is written to a temporary file and renamed when its hash is right, so that kill -9 leaves either the whole
blob or a `part-` file that the next start removes. The least recently used blobs go when the folder is over its size.
"""

import hashlib
import mmap
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from coap_wire import encode_uint

# Each mapping costs a file descriptor; a ticket in use keeps its own blob open besides.
MAX_OPEN_BLOBS = 128


@dataclass(eq=False)
class Blob:
    """Bytes that may be served, and the options that are the same in all their answers."""

    sha256: str
    data: mmap.mmap | bytes
    size: int
    etag: bytes
    content_format: int = 42
    last_used: float = field(default_factory=time.monotonic)
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
    """Blobs in `folder`, at most `max_bytes` of them on disk."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._open: OrderedDict[str, Blob] = OrderedDict()
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("part-*"):
            # Another process of this host may be writing; only what has been still for an hour is a leftover.
            if time.time() - leftover.stat().st_mtime > 3600 or not _alive(leftover):
                leftover.unlink(missing_ok=True)

    def get(self, sha256: str) -> Blob | None:
        """The blob, hashed anew when this process meets its file for the first time; None when it is not there."""
        blob = self._open.get(sha256)
        if blob is not None:
            self._open.move_to_end(sha256)
            blob.last_used = time.monotonic()
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
        self._open[sha256] = blob
        while len(self._open) > MAX_OPEN_BLOBS:
            self._open.popitem(last=False)
        return blob

    def part(self, sha256: str) -> Path:
        """Where to write a blob while it arrives."""
        return self.folder / f"part-{os.getpid()}-{sha256}"

    def keep(self, part: Path, sha256: str) -> Blob:
        """Take a complete, verified part in; returns its blob."""
        os.replace(part, self.folder / sha256)
        self._evict(keep=sha256)
        blob = self.get(sha256)
        assert blob is not None
        return blob

    def _evict(self, keep: str) -> None:
        entries = []
        for path in self.folder.iterdir():
            if path.name == keep or path.name.startswith("part-"):
                continue
            opened = self._open.get(path.name)
            entries.append((opened.last_used if opened else 0.0, path, path.stat().st_size))
        kept = self.folder / keep
        total = sum(size for _, _, size in entries) + kept.stat().st_size
        for _, path, size in sorted(entries, key=lambda entry: entry[0]):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            self._open.pop(path.name, None)  # whoever still serves it keeps the mapping alive
            total -= size


def _alive(part: Path) -> bool:
    try:
        os.kill(int(part.name.split("-")[1]), 0)
    except (ValueError, IndexError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(part.name.split("-")[1]) != os.getpid()
