"""Message types, method and response codes (RFC 7252 sections 3 and 12.1, RFC 8132, RFC 8516, RFC 8768)."""

from enum import IntEnum
from typing import Final


class Type(IntEnum):
    """Message type, RFC 7252 section 3."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Code(IntEnum):
    """Codes by name; a code on the wire may be any byte, so messages carry plain integers."""

    EMPTY = 0
    GET = 1
    POST = 2
    PUT = 3
    DELETE = 4
    FETCH = 5
    PATCH = 6
    IPATCH = 7
    CREATED = 65
    DELETED = 66
    VALID = 67
    CHANGED = 68
    CONTENT = 69
    CONTINUE = 95
    BAD_REQUEST = 128
    UNAUTHORIZED = 129
    BAD_OPTION = 130
    FORBIDDEN = 131
    NOT_FOUND = 132
    METHOD_NOT_ALLOWED = 133
    NOT_ACCEPTABLE = 134
    REQUEST_ENTITY_INCOMPLETE = 136
    CONFLICT = 137
    PRECONDITION_FAILED = 140
    REQUEST_ENTITY_TOO_LARGE = 141
    UNSUPPORTED_CONTENT_FORMAT = 143
    UNPROCESSABLE_ENTITY = 150
    TOO_MANY_REQUESTS = 157
    INTERNAL_SERVER_ERROR = 160
    NOT_IMPLEMENTED = 161
    BAD_GATEWAY = 162
    SERVICE_UNAVAILABLE = 163
    GATEWAY_TIMEOUT = 164
    PROXYING_NOT_SUPPORTED = 165
    HOP_LIMIT_REACHED = 168


TEXT: Final = 0
LINK_FORMAT: Final = 40
OCTET_STREAM: Final = 42


def dotted(code: int) -> str:
    """A code as people write it: 69 is `2.05`."""
    return f"{code >> 5}.{code & 31:02d}"


def is_request(code: int) -> bool:
    """True for method codes 0.01 to 0.31."""
    return 1 <= code <= 31


def is_response(code: int) -> bool:
    """True for response codes of classes 2, 4 and 5."""
    return code >> 5 in (2, 4, 5)


def is_success(code: int) -> bool:
    """True for class 2."""
    return code >> 5 == 2
