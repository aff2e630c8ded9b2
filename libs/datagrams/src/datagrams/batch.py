"""The compiled part, where it was built: batch.c behind ctypes. Says what C reads and writes, and keeps that alive.

The library's file name carries the hash of its source: one of another version is never loaded.
"""

import ctypes
import hashlib
import mmap
import secrets
import socket
import struct
from functools import cache
from pathlib import Path
from typing import Any, Final

SOURCE: Final = Path(__file__).with_name("batch.c")
BATCH: Final = 64
PREFIX_BYTES: Final = 15
_GAPS, _HEAD, _TAIL = 16, 24, 8
_ANSWER_BYTES: Final = 12 + _HEAD + 4 + _TAIL + 1024


class NotBuilt(RuntimeError):
    """There is no compiled part on this machine."""


class Gap(ctypes.Structure):
    """Bytes `start` to `end`."""

    _fields_ = (("start", ctypes.c_uint64), ("end", ctypes.c_uint64))


class Progress(ctypes.Structure):
    """A ticket's progress, counted in C; the fields mean what the proxy's progress.py says."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("size", "offset", "bytes_on_air", "repeated_bytes", "restarts")),
        *((name, ctypes.c_uint64) for name in ("retransmissions", "rtt_count")),
        *((name, ctypes.c_double) for name in ("rtt_seconds", "rtt_sum", "last_block_at")),
        *((name, ctypes.c_int64) for name in ("last_offset", "last_length")),
        *((name, ctypes.c_uint32) for name in ("changed", "resumed", "timed", "gaps")),
        ("ahead", Gap * _GAPS),
    )
    size: int
    offset: int
    bytes_on_air: int
    repeated_bytes: int
    restarts: int
    retransmissions: int
    rtt_count: int
    rtt_seconds: float
    rtt_sum: float
    last_block_at: float
    changed: bool

    def __init__(
        self,
        size: int,
        offset: int = 0,
        bytes_on_air: int = 0,
        repeated_bytes: int = 0,
        restarts: int = 0,
        resumed: bool = False,
    ) -> None:
        super().__init__(size, offset, bytes_on_air, repeated_bytes, restarts)
        self.resumed, self.last_offset = resumed, -1

    def served(self, offset: int, length: int, now: float) -> None:
        """Note one block, sent at `now` (seconds of the monotonic clock)."""
        library().progress_served(ctypes.byref(self), offset, length, now)

    def cover(self, start: int, end: int) -> int:
        """Note bytes `start` to `end`; returns how many of them are new."""
        return int(library().progress_cover(ctypes.byref(self), start, end))


class Artifact(ctypes.Structure):
    """Bytes that may be served, and the options that are the same in all their answers."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("head_size", ctypes.c_uint32),
        ("tail_size", ctypes.c_uint32),
        ("head", ctypes.c_uint8 * _HEAD),
        ("tail", ctypes.c_uint8 * _TAIL),
    )

    def __init__(self, data: mmap.mmap | bytes, head: bytes, tail: bytes) -> None:
        """`data` is bytes, or a mapping that C may take the address of (ACCESS_COPY); held as long as this lives."""
        if len(head) > _HEAD or len(tail) > _TAIL:
            raise ValueError("more constant options than there is room for")
        held = ctypes.c_char_p(data) if isinstance(data, bytes) else (ctypes.c_uint8 * len(data)).from_buffer(data)
        address = ctypes.cast(held, ctypes.c_void_p)
        super().__init__(address, len(data), len(head), len(tail))
        self.held = (data, held)
        ctypes.memmove(self.head, head, len(head))
        ctypes.memmove(self.tail, tail, len(tail))


class _Left(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint32),
        ("host", ctypes.c_uint32),
        ("port", ctypes.c_uint32),
    )


class _Face(ctypes.Structure):
    """The part of `struct batch` that is read from here."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("received", "blocks", "bytes_on_air")),
        *((name, ctypes.c_uint32) for name in ("left_count", "tickets", "max_tickets", "pad")),
        ("left", _Left * BATCH),
    )


def library_path() -> Path:
    """Where the compiled part of this source lies, when it was built."""
    return SOURCE.with_name(f"batch-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.so")


@cache
def library() -> Any:
    """The loaded library; raises NotBuilt."""
    path = library_path()
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NotBuilt(f"{path.name} cannot be loaded; tools/build_compiled.py makes it: {error}") from error
    face, progress = ctypes.POINTER(_Face), ctypes.POINTER(Progress)
    number, size, text = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_char_p
    for name, result, arguments in (
        ("batch_size_of", number, [ctypes.c_int]),
        ("batch_new", face, [number, ctypes.c_uint32]),
        ("batch_free", None, [face]),
        ("batch_admit", ctypes.c_int, [face, text, ctypes.POINTER(Artifact), progress]),
        ("batch_revoke", None, [face, text]),
        ("batch_answer", ctypes.c_uint32, [face, text, size, text, ctypes.c_double]),
        ("batch_serve", ctypes.c_int, [face, ctypes.c_int]),
        ("progress_served", None, [progress, number, number, ctypes.c_double]),
        ("progress_cover", number, [progress, number, number]),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    layouts: tuple[type[ctypes.Structure], ...] = (Progress, Artifact, _Face)
    for what, ours in enumerate(layouts):
        if loaded.batch_size_of(what) != ctypes.sizeof(ours):
            raise NotBuilt(f"{path.name} lays out {ours.__name__} in another way")
    return loaded


def built() -> bool:
    """Whether there is a compiled part that can be used."""
    try:
        library()
    except NotBuilt:
        return False
    return True


class Batch:
    """A table of tickets, and one system call for many datagrams; at most `max_tickets`. Raises NotBuilt."""

    def __init__(self, max_tickets: int) -> None:
        self._library = library()
        self._batch = self._library.batch_new(secrets.randbits(64), max_tickets)
        if not self._batch:
            raise MemoryError
        self.face: _Face = self._batch.contents
        self._out = ctypes.create_string_buffer(_ANSWER_BYTES)
        # What C points at.
        self._alive: dict[bytes, tuple[Artifact, Progress]] = {}

    def admit(self, prefix: bytes, artifact: Artifact, progress: Progress) -> bool:
        """Answer requests that start with `prefix` (15 bytes, the first three `B1 f 0C`); False when it is full."""
        if len(prefix) != PREFIX_BYTES:
            raise ValueError("a prefix has fifteen bytes")
        if not self._library.batch_admit(self._batch, prefix, ctypes.byref(artifact), ctypes.byref(progress)):
            return False
        self._alive[prefix] = (artifact, progress)
        return True

    def revoke(self, prefix: bytes) -> None:
        """Answer them no longer."""
        if prefix in self._alive:
            self._library.batch_revoke(self._batch, prefix)
            del self._alive[prefix]

    def __len__(self) -> int:
        return int(self.face.tickets)

    def answer(self, datagram: bytes, now: float) -> bytes | None:
        """The reply to one datagram, or None; `now` as in Progress.served."""
        size = self._library.batch_answer(self._batch, datagram, len(datagram), self._out, now)
        return self._out.raw[:size] if size else None

    def serve(self, socket_number: int) -> tuple[int, list[tuple[bytes, tuple[str, int]]]]:
        """Receive, answer and send one batch: how many datagrams came, and those that are left, with their senders."""
        came = self._library.batch_serve(self._batch, socket_number)
        count = self.face.left_count
        if not count:
            return came, []
        return came, [
            (ctypes.string_at(one.data, one.size), (socket.inet_ntoa(struct.pack("=I", one.host)), one.port))
            for one in self.face.left[:count]
        ]

    def __del__(self) -> None:
        if getattr(self, "_batch", None):
            self._library.batch_free(self._batch)
