"""Numbers as detools writes them: few bits first, seven more in each further byte, little end first.

Two forms live in one patch. The patch itself counts with a sign (detools `bsdiff.c`, `pack_size`): bit 7 of the first
byte says that another byte follows, bit 6 is the sign, six bits are the lowest of the value. Segments of crle count
without one (`compression/crle.py`): seven bits in the first byte too.

Only what detools would write is taken: no number of more than five bytes, no idle last byte, no minus zero. One value
has one spelling, so a flipped bit is another value or an error.
"""

from typing import Final

from firmware_delta.errors import DecodeError

MAX_SIZE_BYTES: Final = 5
_MORE: Final = 0x80
_SIGN: Final = 0x40


def pack_signed(value: int) -> bytes:
    """The bytes of a size or an adjustment."""
    sign = _SIGN if value < 0 else 0
    head, rest = abs(value) & 0x3F | sign, abs(value) >> 6
    return bytes([head | _MORE]) + _groups_of_seven(rest) if rest else bytes([head])


def pack_unsigned(value: int) -> bytes:
    """The bytes of the size of a crle segment."""
    return _groups_of_seven(value)


def is_complete(raw: bytes) -> bool:
    """Whether `raw`, read byte by byte, is a whole number; DecodeError when it is longer than any may be."""
    if not raw or raw[-1] & _MORE:
        if len(raw) >= MAX_SIZE_BYTES:
            raise DecodeError(f"a number of more than {MAX_SIZE_BYTES} bytes")
        return False
    return True


def unpack_signed(raw: bytes) -> int:
    """The value of a complete number of the patch."""
    value = raw[0] & 0x3F | _sevens(raw[1:]) << 6
    if raw[0] & _SIGN and value == 0:
        raise DecodeError("a number spelled as no encoder does")
    return -value if raw[0] & _SIGN else value


def unpack_unsigned(raw: bytes) -> int:
    """The value of a complete number of crle."""
    return raw[0] & 0x7F | _sevens(raw[1:]) << 7


def _groups_of_seven(value: int) -> bytes:
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | _MORE)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def _sevens(raw: bytes) -> int:
    if raw and raw[-1] == 0:
        raise DecodeError("a number spelled as no encoder does")
    return sum((byte & 0x7F) << 7 * index for index, byte in enumerate(raw))
