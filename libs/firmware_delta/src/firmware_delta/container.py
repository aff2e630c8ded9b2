"""The container around a patch: what it starts from, what it gives, and how it is packed.

A patch alone does not say which image it belongs to, and detools notices neither a wrong base nor a flipped bit. So
88 bytes go before it, enough to refuse a delta before anything is erased. All numbers are little endian.

     0  4  magic "UDLT"             20  1  compression: 1 crle, 2 heatshrink
     4  1  version, 1               21  1  heatshrink: bits of the window (8), else 0
     5  1  bytes of this header     22  1  heatshrink: bits of the lookahead (7), else 0
     6  2  flags, 0                 23  1  0
     8  4  bytes of the base        24 32  SHA-256 of the base
    12  4  bytes of the result      56 32  SHA-256 of the result
    16  4  bytes of the patch       88     the patch, and nothing behind it

Base and result are whole released files: MCUboot header, body and TLVs.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from firmware_delta.errors import DecodeError, Unsupported

MAGIC: Final = b"UDLT"
VERSION: Final = 1
HEADER_BYTES: Final = 88
_HEADER: Final = struct.Struct("<4sBBHIIIBBBB32s32s")


class Compression(IntEnum):
    """How the patch is packed, as the container numbers it; as bits, what a device says it takes (/26250/0/3)."""

    CRLE = 1
    HEATSHRINK = 2


# Bits of window and lookahead. One choice: patches are long runs of zeros, so a short window with a long lookahead
# gives the smallest, and the decoder's window is 256 bytes of a small device's memory.
HEATSHRINK_BITS: Final = (8, 7)
_BITS: Final = {Compression.CRLE: (0, 0), Compression.HEATSHRINK: HEATSHRINK_BITS}


@dataclass(frozen=True, slots=True)
class Header:
    """What the container says; sizes in bytes, hashes of 32 bytes."""

    from_size: int
    to_size: int
    patch_size: int
    compression: Compression
    from_sha256: bytes
    to_sha256: bytes


def encode_header(header: Header) -> bytes:
    """The 88 bytes of a header."""
    return _HEADER.pack(
        MAGIC,
        VERSION,
        HEADER_BYTES,
        0,
        header.from_size,
        header.to_size,
        header.patch_size,
        header.compression,
        *_BITS[header.compression],
        0,
        header.from_sha256,
        header.to_sha256,
    )


def decode_header(data: bytes) -> Header:
    """Read the first 88 bytes of a delta; what follows them is left alone.

    Raises DecodeError for what is no delta, Unsupported for one of another version or with other parameters.
    """
    if not data.startswith(MAGIC):
        raise DecodeError("the magic of a delta is missing")
    if len(data) < HEADER_BYTES:
        raise DecodeError(f"a delta begins with {HEADER_BYTES} bytes, here are {len(data)}")
    (_, version, size, flags, from_size, to_size, patch_size, compression, window, lookahead, zero, base, result) = (
        _HEADER.unpack_from(data)
    )
    if (version, size, flags, zero) != (VERSION, HEADER_BYTES, 0, 0):
        raise Unsupported(f"a delta of version {version}, header of {size} bytes, flags {flags:#06x}, reserved {zero}")
    if _BITS.get(compression) != (window, lookahead):
        raise Unsupported(f"compression {compression} with window {window} and lookahead {lookahead}")
    return Header(from_size, to_size, patch_size, Compression(compression), base, result)
