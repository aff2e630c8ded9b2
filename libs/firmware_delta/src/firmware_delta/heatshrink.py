"""heatshrink, unpacked: a bit stream of literals and of copies from the last 256 bytes (github.com/atomicobject).

    1 + 8 bits              a literal byte
    0 + 8 bits + 7 bits     a copy: how far back less one, how many less one; it may reach into what it writes

The window starts full of zeros, and encoders do copy from there. The last byte is filled up with zero bits, which
look like the start of a copy; more than seven of them, or a one among them, is no end of a stream.
"""

import struct
from collections.abc import Iterator
from typing import Final

from firmware_delta.container import HEATSHRINK_BITS
from firmware_delta.errors import DecodeError

_WINDOW_BITS, _LOOKAHEAD_BITS = HEATSHRINK_BITS
WINDOW_BYTES: Final = 1 << _WINDOW_BITS
_LITERAL_BITS: Final = 9
_COPY_BITS: Final = 1 + _WINDOW_BITS + _LOOKAHEAD_BITS
_STATE: Final = struct.Struct(f"<HB{WINDOW_BYTES}s")
# detools puts one byte before the stream: window less four, lookahead less three (`compression/heatshrink.py`).
PREFIX: Final = bytes([(_WINDOW_BITS - 4) << 4 | (_LOOKAHEAD_BITS - 3)])
_PIECE_BYTES: Final = 4096


class Heatshrink:
    """One stream being unpacked; at any byte its state is the window and less than two bytes of bits."""

    def __init__(self) -> None:
        self._bits = 0
        self._count = 0
        self._window = bytes(WINDOW_BYTES)

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, in pieces of some 4 KiB; exhaust it before the next call."""
        bits, count, out = self._bits, self._count, bytearray(self._window)
        for byte in data:
            bits, count = bits << 8 | byte, count + 8
            while count >= _LITERAL_BITS:
                if bits >> (count - 1):
                    count -= _LITERAL_BITS
                    out.append(bits >> count & 0xFF)
                elif count >= _COPY_BITS:
                    count -= _COPY_BITS
                    _copy(out, bits >> count)
                else:
                    break
                bits &= (1 << count) - 1
            if len(out) > WINDOW_BYTES + _PIECE_BYTES:
                yield bytes(out[WINDOW_BYTES:])
                del out[:-WINDOW_BYTES]
        self._bits, self._count, self._window = bits, count, bytes(out[-WINDOW_BYTES:])
        yield bytes(out[WINDOW_BYTES:])

    def finish(self) -> None:
        """Raise DecodeError when the stream cannot end here."""
        if self._count > 7 or self._bits:
            raise DecodeError("the compressed stream ends inside a token")

    def dump(self) -> bytes:
        """The state, for `restore`."""
        return _STATE.pack(self._bits, self._count, self._window)

    @classmethod
    def restore(cls, dump: bytes) -> "Heatshrink":
        """A stream that goes on where the dumped one stood."""
        stream = cls()
        stream._bits, stream._count, stream._window = _STATE.unpack(dump)
        return stream


def _copy(out: bytearray, token: int) -> None:
    distance, length = (token >> _LOOKAHEAD_BITS) + 1, (token & (1 << _LOOKAHEAD_BITS) - 1) + 1
    start = len(out) - distance
    seen = out[start : start + length]
    out += seen if length <= distance else (seen * (length // distance + 1))[:length]
