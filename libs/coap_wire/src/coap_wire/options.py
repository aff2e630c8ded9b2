"""Option numbers and the classes their numbers encode (RFC 7252 section 5.4.6 and 12.2, RFC 7959, RFC 7641)."""

from typing import Final

IF_MATCH: Final = 1
URI_HOST: Final = 3
ETAG: Final = 4
IF_NONE_MATCH: Final = 5
OBSERVE: Final = 6
URI_PORT: Final = 7
LOCATION_PATH: Final = 8
URI_PATH: Final = 11
CONTENT_FORMAT: Final = 12
MAX_AGE: Final = 14
URI_QUERY: Final = 15
HOP_LIMIT: Final = 16
ACCEPT: Final = 17
LOCATION_QUERY: Final = 20
BLOCK2: Final = 23
BLOCK1: Final = 27
SIZE2: Final = 28
PROXY_URI: Final = 35
PROXY_SCHEME: Final = 39
SIZE1: Final = 60
ECHO: Final = 252
NO_RESPONSE: Final = 258
REQUEST_TAG: Final = 292


def is_critical(number: int) -> bool:
    """A recipient that does not know a critical option must refuse the message (RFC 7252 section 5.4.1)."""
    return number & 1 == 1


def is_unsafe(number: int) -> bool:
    """A proxy that does not know an unsafe option must not forward the message (RFC 7252 section 5.4.2)."""
    return number & 2 == 2


def is_no_cache_key(number: int) -> bool:
    """Two requests that differ only in such options may get the same cached response (RFC 7252 section 5.4.2)."""
    return number & 0x1E == 0x1C


def encode_uint(value: int) -> bytes:
    """Shortest big-endian form; zero is the empty string (RFC 7252 section 3.2)."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def decode_uint(value: bytes) -> int:
    """Inverse of `encode_uint`; leading zeros are accepted."""
    return int.from_bytes(value, "big")
