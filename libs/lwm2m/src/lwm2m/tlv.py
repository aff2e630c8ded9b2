"""OMA TLV, content format 11542 (Core 7.4.3), exactly and liberally where real clients are odd.

Each entry: type byte, identifier of one or two bytes, length of zero to three bytes, value.

    bits 7-6   00 object instance, 01 resource instance, 10 multiple resource, 11 resource with value
    bit  5     identifier has 16 bits
    bits 4-3   size of the length field; 00 means the length is in bits 2-0

Object instances and multiple resources hold entries themselves.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from lwm2m.errors import DecodeError, EncodeError

CONTENT_FORMAT = 11542
MAX_ENTRIES = 4096
_MAX_LENGTH = (1 << 24) - 1


class Kind(IntEnum):
    """What an entry is: bits 7-6 of its type byte."""

    OBJECT_INSTANCE = 0
    RESOURCE_INSTANCE = 1
    MULTIPLE_RESOURCE = 2
    RESOURCE = 3


@dataclass(frozen=True, slots=True)
class Tlv:
    """One entry: raw bytes, or entries for the two kinds that nest."""

    kind: Kind
    id: int
    value: "bytes | tuple[Tlv, ...]"


def encode(entries: Iterable[Tlv]) -> bytes:
    """Bytes of the entries; raises EncodeError for an id above 65535 or a value of 16 MiB and more."""
    out = bytearray()
    for entry in entries:
        value = entry.value if isinstance(entry.value, bytes) else encode(entry.value)
        length = len(value)
        if not 0 <= entry.id <= 0xFFFF or length > _MAX_LENGTH:
            raise EncodeError(f"id {entry.id} with {length} bytes cannot be a TLV")
        wide = entry.id > 0xFF
        length_bytes = 0 if length < 8 else (length.bit_length() + 7) // 8
        out.append(entry.kind << 6 | wide << 5 | length_bytes << 3 | (length if length_bytes == 0 else 0))
        out += entry.id.to_bytes(2 if wide else 1, "big")
        if length_bytes:
            out += length.to_bytes(length_bytes, "big")
        out += value
    return bytes(out)


def decode(payload: bytes) -> tuple[Tlv, ...]:
    """Parse a payload; raises DecodeError with the offset, and nothing else."""
    budget = [MAX_ENTRIES]
    return _entries(payload, 0, len(payload), 0, budget)


def _entries(payload: bytes, at: int, end: int, depth: int, budget: list[int]) -> tuple[Tlv, ...]:
    if depth > 2:
        raise DecodeError("entries nested deeper than instance, resource, resource instance", at)
    entries = []
    while at < end:
        start = at
        budget[0] -= 1
        if budget[0] < 0:
            raise DecodeError(f"more than {MAX_ENTRIES} entries", at)
        head = payload[at]
        id_bytes, length_bytes = 1 + (head >> 5 & 1), head >> 3 & 3
        value_at = at + 1 + id_bytes + length_bytes
        if value_at > end:
            raise DecodeError("entry header cut short", start)
        identifier = int.from_bytes(payload[at + 1 : at + 1 + id_bytes], "big")
        length = head & 7
        if length_bytes:
            length = int.from_bytes(payload[at + 1 + id_bytes : value_at], "big")
        at = value_at + length
        if at > end:
            raise DecodeError("value cut short", start)
        kind = Kind(head >> 6)
        nests = kind in (Kind.OBJECT_INSTANCE, Kind.MULTIPLE_RESOURCE)
        value = _entries(payload, value_at, at, depth + 1, budget) if nests else payload[value_at:at]
        entries.append(Tlv(kind, identifier, value))
    return tuple(entries)


def encode_integer(value: int) -> bytes:
    """Two's complement in 1, 2, 4 or 8 bytes, the shortest that fits."""
    for size in (1, 2, 4, 8):
        if -(1 << (size * 8 - 1)) <= value < 1 << (size * 8 - 1):
            return value.to_bytes(size, "big", signed=True)
    raise EncodeError(f"{value} needs more than 64 bits")


def decode_integer(value: bytes) -> int:
    """Any length from 1 to 8 bytes: clients send 3 and leading redundant bytes too."""
    if not 1 <= len(value) <= 8:
        raise DecodeError(f"an integer of {len(value)} bytes")
    return int.from_bytes(value, "big", signed=True)


def decode_float(value: bytes) -> float:
    """IEEE 754 single or double."""
    if len(value) not in (4, 8):
        raise DecodeError(f"a float of {len(value)} bytes")
    number: float = struct.unpack(">f" if len(value) == 4 else ">d", value)[0]
    return number
