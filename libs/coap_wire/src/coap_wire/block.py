"""Block options and their arithmetic (RFC 7959 section 2.2): NUM, M and SZX in zero to three bytes."""

from dataclasses import dataclass

from coap_wire.errors import DecodeError, EncodeError
from coap_wire.options import decode_uint, encode_uint

MAX_NUM = (1 << 20) - 1
MAX_SZX = 6


@dataclass(frozen=True, slots=True)
class Block:
    """Block `num` of size `2**(szx+4)` bytes; `more` says that another one follows."""

    num: int
    more: bool
    szx: int

    @property
    def size(self) -> int:
        """Block size in bytes: 16 to 1024."""
        return 16 << self.szx

    @property
    def offset(self) -> int:
        """Offset of the block's first byte in the representation."""
        return self.num << (self.szx + 4)


def decode_block(value: bytes) -> Block:
    """Parse an option value; raises DecodeError for more than three bytes and for the reserved SZX 7."""
    if len(value) > 3:
        raise DecodeError("block option longer than three bytes")
    number = decode_uint(value)
    if number & 7 == 7:
        # RFC 7959 section 2.2: reserved, MUST be answered with 4.00.
        raise DecodeError("reserved block size exponent 7")
    return Block(number >> 4, bool(number & 8), number & 7)


def encode_block(block: Block) -> bytes:
    """The option value; raises EncodeError when a field is out of range."""
    if not 0 <= block.num <= MAX_NUM or not 0 <= block.szx <= MAX_SZX:
        raise EncodeError(f"block {block.num} with exponent {block.szx} cannot be encoded")
    return encode_uint(block.num << 4 | block.more << 3 | block.szx)


def szx_for(size: int) -> int:
    """The largest exponent whose block size is at most `size` bytes (at least 16, at most 1024)."""
    return max(0, min(MAX_SZX, size.bit_length() - 5))
