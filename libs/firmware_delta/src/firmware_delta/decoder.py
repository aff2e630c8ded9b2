"""The patch, applied as it arrives: any number of bytes in, what they make of the base out, the state kept small.

A sequential patch of detools (`create.py`, `bsdiff.c`) is

    patch type and compression, one byte | size of the result | (heatshrink: its bits) | the compressed stream

and the compressed stream is the size of a description of the data format (0: we use none), then chunks until the
result is complete:

    size, then that many bytes to add, one by one, to bytes of the base     ("diff")
    size, then that many bytes as they are                                  ("extra")
    how far to move in the base, with a sign                                ("adjustment")

Every number is hostile. What the container knows fixes everything before the stream. A diff stays inside the base, a
chunk inside the result, a chunk of nothing (0, 0, 0) is refused: so a patch of n bytes costs time and memory in
proportion to n and to the result, whatever it says. What comes out may still be wrong, for the format has no checks of
its own: only the hash of the whole result says that it is good.
"""

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from firmware_delta.container import Compression, Header, encode_header
from firmware_delta.crle import Crle
from firmware_delta.errors import DecodeError
from firmware_delta.heatshrink import PREFIX as HEATSHRINK_PREFIX
from firmware_delta.heatshrink import Heatshrink
from firmware_delta.sizes import is_complete, pack_signed, unpack_signed

MAX_DUMP_BYTES: Final = 300
# detools' own numbers, in the low half of the first byte; the high half, 0, is "sequential" (`common.py`).
_DETOOLS_COMPRESSION: Final = {Compression.CRLE: 2, Compression.HEATSHRINK: 4}
_STREAMS: Final[dict[Compression, type[Heatshrink | Crle]]] = {
    Compression.CRLE: Crle,
    Compression.HEATSHRINK: Heatshrink,
}
_STATE: Final = struct.Struct("<BIIIII5p")
_CHECK: Final = struct.Struct("<I")


class Stage(IntEnum):
    """Which part of the compressed stream the next byte belongs to."""

    FORMAT = 0
    DIFF_SIZE = 1
    DIFF = 2
    EXTRA_SIZE = 3
    EXTRA = 4
    ADJUSTMENT = 5
    DONE = 6


def patch_prefix(compression: Compression, to_size: int) -> bytes:
    """What a patch must begin with: all of it that is not compressed. Of an empty result there is no more."""
    prefix = bytes([_DETOOLS_COMPRESSION[compression]]) + pack_signed(to_size)
    return prefix + HEATSHRINK_PREFIX if to_size and compression is Compression.HEATSHRINK else prefix


class Decoder:
    """One patch on its way.

    `read_base(offset, length)` gives bytes of the base. It is never asked for any outside `header.from_size`, nor for
    more at once than was fed, or some 4 KiB. A decoder that refused once refuses for ever.
    """

    def __init__(self, header: Header, read_base: Callable[[int, int], bytes]) -> None:
        self._header = header
        self._read_base = read_base
        self._prefix = patch_prefix(header.compression, header.to_size)
        self._stream = _STREAMS[header.compression]()
        self._stage = Stage.FORMAT if header.to_size else Stage.DONE
        self._number = b""  # bytes of a number not yet complete
        self._left = 0  # bytes the diff or extra still gives
        self._base = 0  # where the next diff reads
        self._chunk = 0  # where in the result this chunk began
        self._sound = True
        self.consumed = 0  # bytes of the patch taken so far
        self.written = 0  # bytes of the result given so far

    def feed(self, patch: bytes) -> bytes:
        """Take the next bytes of the patch, however many; returns the bytes of the result they complete.

        Raises DecodeError when one of them cannot be right. The answers together are never longer than
        `header.to_size`: hold that against the slot before the first call.
        """
        self._must_be_sound()
        self._sound = False  # until all of this went well
        if self.consumed + len(patch) > self._header.patch_size:
            raise DecodeError(f"bytes behind the end of the patch, which has {self._header.patch_size}")
        expected = self._prefix[self.consumed : self.consumed + len(patch)]
        if not patch.startswith(expected):
            raise DecodeError("the patch does not begin as its container says")
        self.consumed += len(patch)
        out = bytearray()
        for piece in self._stream.decompress(patch[len(expected) :]):
            self._take(piece, out)
        self._sound = True
        return bytes(out)

    def finish(self) -> None:
        """Raise DecodeError unless the patch is complete, to the bit."""
        self._must_be_sound()
        if self.consumed != self._header.patch_size or self._stage is not Stage.DONE:
            raise DecodeError(
                f"the patch ends after {self.consumed} of {self._header.patch_size} bytes, "
                f"the result after {self.written} of {self._header.to_size}"
            )
        self._stream.finish()

    def dump(self) -> bytes:
        """All that is needed to go on after a power cut, at most MAX_DUMP_BYTES; to be kept with what was written."""
        self._must_be_sound()
        state = _STATE.pack(self._stage, self.consumed, self.written, self._left, self._base, self._chunk, self._number)
        return _sealed(self._header, state + self._stream.dump())

    @classmethod
    def restore(cls, header: Header, read_base: Callable[[int, int], bytes], dump: bytes) -> "Decoder":
        """The decoder that was dumped; its `consumed` and `written` say where to go on.

        Raises DecodeError for a dump that is torn, or of another delta.
        """
        state, stream = dump[: _STATE.size], dump[_STATE.size : -_CHECK.size]
        if dump != _sealed(header, state + stream):
            raise DecodeError("the state of the decoder is damaged, or that of another delta")
        decoder = cls(header, read_base)
        stage, decoder.consumed, decoder.written, decoder._left, decoder._base, decoder._chunk, decoder._number = (
            _STATE.unpack(state)
        )
        decoder._stage = Stage(stage)
        decoder._stream = _STREAMS[header.compression].restore(stream)
        return decoder

    def _must_be_sound(self) -> None:
        if not self._sound:
            raise DecodeError("the patch was refused before")

    def _take(self, piece: bytes, out: bytearray) -> None:
        """Give a piece of the compressed stream's content to the stages it is for."""
        position = 0
        while position < len(piece):
            if self._stage in (Stage.DIFF, Stage.EXTRA):
                part = piece[position : position + self._left]
                position += len(part)
                out += self._on_base(part) if self._stage is Stage.DIFF else part
                self.written += len(part)
                self._left -= len(part)
                if not self._left:
                    self._stage = Stage(self._stage + 1)
            elif self._stage is Stage.DONE:
                raise DecodeError("bytes behind the end of the result")
            else:
                self._number += piece[position : position + 1]
                position += 1
                if is_complete(self._number):
                    value, self._number = unpack_signed(self._number), b""
                    self._learn(value)

    def _learn(self, value: int) -> None:
        """Take the number that this stage waits for, and go to the next."""
        if self._stage is Stage.FORMAT:
            if value:
                raise DecodeError("a patch in a data format")
            self._stage = Stage.DIFF_SIZE
        elif self._stage is Stage.ADJUSTMENT:
            self._base += value
            if not 0 <= self._base <= self._header.from_size:
                raise DecodeError("a move out of the base")
            if self._chunk == self.written and not value:
                raise DecodeError("a chunk of nothing")
            self._chunk = self.written
            self._stage = Stage.DONE if self.written == self._header.to_size else Stage.DIFF_SIZE
        else:
            end_of_base = self._header.from_size - self._base if self._stage is Stage.DIFF_SIZE else value
            if not 0 <= value <= min(self._header.to_size - self.written, end_of_base):
                raise DecodeError("a chunk longer than the base or the result")
            self._left = value
            self._stage = Stage(self._stage + (1 if value else 2))

    def _on_base(self, diff: bytes) -> bytes:
        base = self._read_base(self._base, len(diff))
        if len(base) != len(diff):
            raise DecodeError("the base ends early")
        self._base += len(diff)
        return bytes((one + other) & 0xFF for one, other in zip(diff, base, strict=True))


def _sealed(header: Header, state: bytes) -> bytes:
    """A state with its check: of the bytes, and of the delta they belong to."""
    return state + _CHECK.pack(zlib.crc32(encode_header(header) + state))
