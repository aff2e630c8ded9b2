"""Images to make deltas of: the same bytes on every machine, built from words that repeat, as code is."""

import random
from dataclasses import dataclass

from firmware_delta.container import HEADER_BYTES, Compression, Header, decode_header
from firmware_delta.creation import create
from firmware_delta.decoder import Decoder


def firmware(seed: int, size: int) -> bytes:
    """`size` bytes that repeat themselves as code does."""
    dice = random.Random(seed)
    words = [dice.randbytes(dice.randrange(2, 9)) for _ in range(60 + size // 500)]
    return b"".join(dice.choices(words, k=size // 2 + 1))[:size]


def release(base: bytes, seed: int, edits: int) -> bytes:
    """The next version of `base`: in `edits` places some bytes changed, put in or taken out."""
    dice, code = random.Random(seed), bytearray(base)
    for _ in range(edits):
        at = dice.randrange(len(code))
        code[at : at + dice.randrange(6)] = dice.randbytes(dice.randrange(1, 12))
    return bytes(code)


@dataclass(frozen=True, slots=True)
class Pair:
    """A base, a target and the delta between them."""

    base: bytes
    target: bytes
    delta: bytes

    @property
    def header(self) -> Header:
        """What the container says."""
        return decode_header(self.delta)

    @property
    def patch(self) -> bytes:
        """What follows the container's header."""
        return self.delta[HEADER_BYTES:]

    def read_base(self, offset: int, length: int) -> bytes:
        """The base as a device reads it: never outside, never nothing or much at once."""
        assert offset >= 0 and length > 0 and offset + length <= len(self.base)
        assert length <= max(4096 + 128, len(self.patch))
        return self.base[offset : offset + length]

    def decoder(self) -> Decoder:
        """A decoder at the beginning of the patch."""
        return Decoder(self.header, self.read_base)


def make_pair(size: int, edits: int, compression: Compression) -> Pair:
    """Two versions of an image of `size` bytes, `edits` places apart."""
    base = firmware(size, size)
    target = release(base, size, edits)
    return Pair(base, target, create(base, target, (compression,)).data)
