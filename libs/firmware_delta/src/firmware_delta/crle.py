"""crle, detools' conditional run lengths: segments of bytes as they are (0) or of one byte repeated (1).

A segment is its kind, its size (`sizes.pack_unsigned`), and the bytes, or the one byte. It beats heatshrink only where
almost nothing changed, and there by far.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final

from firmware_delta.errors import DecodeError
from firmware_delta.sizes import is_complete, pack_unsigned, unpack_unsigned

_SCATTERED: Final = 0
_REPEATED: Final = 1
_STATE: Final = struct.Struct("<?Q6p")
_PIECE_BYTES: Final = 4096
# A run costs three bytes and starts a new segment behind it: shorter ones do not pay.
_RUN: Final = re.compile(rb"(.)\1{5,}", re.DOTALL)


def compress(data: bytes) -> bytes:
    """`data` packed; the same bytes for the same data."""
    packed, position = bytearray(), 0
    for run in _RUN.finditer(data):
        packed += _scattered(data[position : run.start()])
        packed += bytes([_REPEATED]) + pack_unsigned(len(run[0])) + run[1]
        position = run.end()
    return bytes(packed + _scattered(data[position:]))


def _scattered(data: bytes) -> bytes:
    return bytes([_SCATTERED]) + pack_unsigned(len(data)) + data if data else b""


class Crle:
    """One stream being unpacked; at any byte its state is the segment it stands in."""

    def __init__(self) -> None:
        self._head = b""  # kind and size, as far as they came
        self._repeated = False
        self._left = 0  # bytes the segment still gives

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, in pieces no longer than `data` or 4 KiB; exhaust it before the next call."""
        position = 0
        while position < len(data):
            if not self._left:
                self._read_head(data[position])
                position += 1
            elif self._repeated:
                byte = data[position : position + 1]
                position += 1
                while self._left:
                    length = min(self._left, _PIECE_BYTES)
                    self._left -= length
                    yield byte * length
            else:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                yield piece

    def _read_head(self, byte: int) -> None:
        self._head += bytes([byte])
        kind, size = self._head[0], self._head[1:]
        if kind not in (_SCATTERED, _REPEATED):
            raise DecodeError(f"a segment of kind {kind}")
        if is_complete(size):
            self._head, self._repeated, self._left = b"", kind == _REPEATED, unpack_unsigned(size)
            if not self._left:
                raise DecodeError("a segment of nothing")

    def finish(self) -> None:
        """Raise DecodeError when the stream cannot end here."""
        if self._head or self._left:
            raise DecodeError("the compressed stream ends inside a segment")

    def dump(self) -> bytes:
        """The state, for `restore`."""
        return _STATE.pack(self._repeated, self._left, self._head)

    @classmethod
    def restore(cls, dump: bytes) -> "Crle":
        """A stream that goes on where the dumped one stood."""
        stream = cls()
        stream._repeated, stream._left, stream._head = _STATE.unpack(dump)
        return stream
