"""One CoAP message over UDP, both ways (RFC 7252 section 3).

      0                   1                   2                   3
     |Ver| T |  TKL  |      Code     |          Message ID           |
     |   Token (0 to 8 bytes) ...
     |   Options (delta, length, value) ...
     |1 1 1 1 1 1 1 1|    Payload ...

Each option is coded as the difference to the option number before it. Delta and length are four bits; 13 and 14
say that one or two more bytes follow (minus 13, minus 269), 15 is reserved for the payload marker 0xFF.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from coap_wire.codes import Code, Type
from coap_wire.errors import DecodeError, EncodeError
from coap_wire.options import LOCATION_PATH, URI_PATH, URI_QUERY, decode_uint

VERSION = 1
MAX_TOKEN_BYTES = 8
# A datagram cannot hold more one-byte options than this; the bound keeps a hostile one from costing much.
MAX_OPTIONS = 256

Options = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message. `options` is sorted by number; values are raw bytes. `mid` is 0 to 65535."""

    type: Type
    code: int
    mid: int
    token: bytes = b""
    options: Options = ()
    payload: bytes = b""

    def option(self, number: int) -> bytes | None:
        """Value of the first option with that number, or None."""
        for candidate, value in self.options:
            if candidate == number:
                return value
        return None

    def options_of(self, number: int) -> tuple[bytes, ...]:
        """Values of all options with that number, in order."""
        return tuple(value for candidate, value in self.options if candidate == number)

    def uint(self, number: int) -> int | None:
        """Value of the first option with that number as an unsigned integer, or None."""
        value = self.option(number)
        return None if value is None else decode_uint(value)

    @property
    def uri_path(self) -> tuple[str, ...]:
        """Uri-Path segments; raises DecodeError when one is not UTF-8."""
        return self._texts(URI_PATH)

    @property
    def uri_query(self) -> tuple[str, ...]:
        """Uri-Query items; raises DecodeError when one is not UTF-8."""
        return self._texts(URI_QUERY)

    @property
    def location_path(self) -> tuple[str, ...]:
        """Location-Path segments of a 2.01."""
        return self._texts(LOCATION_PATH)

    def _texts(self, number: int) -> tuple[str, ...]:
        try:
            return tuple(value.decode("utf-8") for value in self.options_of(number))
        except UnicodeDecodeError as error:
            raise DecodeError(f"option {number} is not UTF-8") from error


def encode_options(options: Iterable[tuple[int, bytes]], previous: int = 0) -> bytes:
    """Encode options, sorted by number (stable); `previous` is the number the first delta counts from."""
    out = bytearray()
    for number, value in sorted(options, key=lambda option: option[0]):
        delta, length = number - previous, len(value)
        if not 0 <= number <= 0xFFFF or length > 0xFFFF:
            raise EncodeError(f"option {number} of {length} bytes cannot be encoded")
        previous = number
        d, d_more = _nibble(delta)
        n, n_more = _nibble(length)
        out.append(d << 4 | n)
        out += d_more
        out += n_more
        out += value
    return bytes(out)


def _nibble(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    if value - 269 > 0xFFFF:
        raise EncodeError(f"{value} is too large for an option delta or length")
    return 14, (value - 269).to_bytes(2, "big")


def encode(message: Message) -> bytes:
    """The datagram of a message; raises EncodeError for a token over 8 bytes or a number out of range."""
    if len(message.token) > MAX_TOKEN_BYTES:
        raise EncodeError("a token has at most 8 bytes")
    if not 0 <= message.mid <= 0xFFFF or not 0 <= message.code <= 0xFF:
        raise EncodeError("message id or code out of range")
    head = bytes((VERSION << 6 | message.type << 4 | len(message.token), message.code)) + message.mid.to_bytes(2, "big")
    body = head + message.token + encode_options(message.options)
    return body + b"\xff" + message.payload if message.payload else body


def decode(datagram: bytes) -> Message:
    """Parse one datagram; raises DecodeError (message format error, RFC 7252 section 3) and nothing else."""
    size = len(datagram)
    if size < 4:
        raise DecodeError("shorter than a header", size)
    first = datagram[0]
    if first >> 6 != VERSION:
        raise DecodeError("unknown version", 0)
    token_length = first & 15
    if token_length > MAX_TOKEN_BYTES:
        raise DecodeError("reserved token length", 0)
    code = datagram[1]
    at = 4 + token_length
    if at > size:
        raise DecodeError("token cut short", size)
    kind = Type(first >> 4 & 3)
    if code == Code.EMPTY and size > 4:
        raise DecodeError("an empty message carries nothing", 4)
    options: list[tuple[int, bytes]] = []
    number = 0
    while at < size:
        byte = datagram[at]
        if byte == 0xFF:
            if at + 1 == size:
                raise DecodeError("payload marker without payload", at)
            at += 1
            break
        start = at
        at += 1
        delta, at = _extended(datagram, byte >> 4, at, size)
        length, at = _extended(datagram, byte & 15, at, size)
        number += delta
        if number > 0xFFFF or at + length > size or len(options) >= MAX_OPTIONS:
            raise DecodeError("option out of bounds", start)
        options.append((number, datagram[at : at + length]))
        at += length
    return Message(
        kind, code, datagram[2] << 8 | datagram[3], datagram[4 : 4 + token_length], tuple(options), datagram[at:]
    )


def _extended(datagram: bytes, nibble: int, at: int, size: int) -> tuple[int, int]:
    if nibble < 13:
        return nibble, at
    if nibble == 13:
        if at + 1 > size:
            raise DecodeError("option header cut short", at)
        return datagram[at] + 13, at + 1
    if nibble == 14:
        if at + 2 > size:
            raise DecodeError("option header cut short", at)
        return (datagram[at] << 8 | datagram[at + 1]) + 269, at + 2
    raise DecodeError("reserved option nibble 15", at)
