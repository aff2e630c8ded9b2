"""A whole delta applied in memory, checks included: for who has both ends at hand, as a server or a test has."""

from hashlib import sha256

from firmware_delta.container import HEADER_BYTES, decode_header
from firmware_delta.decoder import Decoder
from firmware_delta.errors import DecodeError


def apply(delta: bytes, base: bytes) -> bytes:
    """The result of `delta` (container and patch) on `base`; raises DecodeError for anything but the right one.

    The checks are those of a device, in its order: form, base, patch, result. A size the caller cannot hold is the
    caller's to refuse, by `decode_header`.
    """
    header = decode_header(delta)
    if (len(base), sha256(base).digest()) != (header.from_size, header.from_sha256):
        raise DecodeError("made for another base")
    decoder = Decoder(header, lambda offset, length: base[offset : offset + length])
    result = decoder.feed(delta[HEADER_BYTES:])
    decoder.finish()
    if sha256(result).digest() != header.to_sha256:
        raise DecodeError("the result is not what the container says")
    return result
