"""Delta updates: the container, and the patch applied as it arrives; pure. `firmware_delta.creation` makes them."""

from firmware_delta.application import apply
from firmware_delta.container import HEADER_BYTES, MAGIC, Compression, Header, decode_header, encode_header
from firmware_delta.decoder import MAX_DUMP_BYTES, Decoder
from firmware_delta.errors import DecodeError, Unsupported

__all__ = [
    "HEADER_BYTES",
    "MAGIC",
    "MAX_DUMP_BYTES",
    "Compression",
    "DecodeError",
    "Decoder",
    "Header",
    "Unsupported",
    "apply",
    "decode_header",
    "encode_header",
]
