"""Deltas made: bsdiff finds what two images share, we write it down as detools does, the smallest packing is kept.

Only servers and tools import this: a device needs none of it.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from bsdiff4 import core as bsdiff
from heatshrink2 import core as heatshrink

from firmware_delta import crle
from firmware_delta.container import HEATSHRINK_BITS, Compression, Header, encode_header
from firmware_delta.decoder import patch_prefix
from firmware_delta.sizes import pack_signed

# bsdiff's control block: diff bytes, extra bytes, adjustment; magnitude with the sign as highest bit.
_CONTROL: Final = struct.Struct("<QQQ")
_SIGN: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Delta:
    """A delta ready to be served; `data` is container and patch."""

    data: bytes
    header: Header


def create(
    base: bytes, target: bytes, compressions: Sequence[Compression] = (Compression.HEATSHRINK, Compression.CRLE)
) -> Delta:
    """The smallest delta from `base` to `target` among `compressions`; the first of equals.

    The same arguments give the same bytes, in every process. Takes time and memory in proportion to both images (some
    twenty bytes per byte), and more for images of long runs: bound what goes in.
    """
    stream = b"".join(_stream(base, target))
    return min((pack(base, target, stream, compression) for compression in compressions), key=lambda it: len(it.data))


def pack(base: bytes, target: bytes, stream: bytes, compression: Compression) -> Delta:
    """The delta whose patch holds `stream` (decoder.py tells its form), with a container that says the truth."""
    packed = crle.compress(stream) if compression is Compression.CRLE else heatshrink.encode(stream, *HEATSHRINK_BITS)
    patch = patch_prefix(compression, len(target)) + packed
    header = Header(
        from_size=len(base),
        to_size=len(target),
        patch_size=len(patch),
        compression=compression,
        from_sha256=sha256(base).digest(),
        to_sha256=sha256(target).digest(),
    )
    return Delta(encode_header(header) + patch, header)


def _stream(base: bytes, target: bytes) -> Iterator[bytes]:
    """What bsdiff found, as the stream of a patch."""
    if not target:
        return
    control, diff, extra = bsdiff.diff(base, target)
    yield pack_signed(0)
    diff_at = extra_at = 0
    for diff_size, extra_size, adjustment in _CONTROL.iter_unpack(control):
        yield pack_signed(diff_size) + diff[diff_at : diff_at + diff_size]
        yield pack_signed(extra_size) + extra[extra_at : extra_at + extra_size]
        yield pack_signed(adjustment if adjustment < _SIGN else _SIGN - adjustment)
        diff_at, extra_at = diff_at + diff_size, extra_at + extra_size
