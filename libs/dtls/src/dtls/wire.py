"""DTLS 1.2 on the wire, as much as a server must see before OpenSSL does: records, handshake fragments (RFC 6347).

    record      type 1 | version 2 | epoch 2 | sequence 6 | length 2 | body
    fragment    type 1 | length 3 | message_seq 2 | fragment_offset 3 | fragment_length 3 | body

Pure. Everything here was sent by strangers: what is malformed ends the reading, nothing is raised.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

RECORD_HEADER_BYTES: Final = 13
FRAGMENT_HEADER_BYTES: Final = 12
VERSION_BYTES: Final = b"\xfe\xfd"

ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23

CLIENT_HELLO: Final = 1
CLIENT_KEY_EXCHANGE: Final = 16

# RFC 4279 section 5.3: identities of up to 128 bytes have to be supported; nobody needs longer ones.
MAX_IDENTITY_BYTES: Final = 128
# A ClientHello with every extension there is stays far below; OpenSSL itself would make room for 100 KiB.
MAX_MESSAGE_BYTES: Final = 2048


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `raw` is all of it, `body` what follows the header, encrypted from epoch 1 on."""

    kind: int
    epoch: int
    sequence: int
    body: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a handshake message of `length` bytes; `body` is what lies at `offset` in it."""

    kind: int
    length: int
    number: int
    offset: int
    body: bytes

    @property
    def is_whole(self) -> bool:
        """Whether the piece is the message."""
        return self.offset == 0 and len(self.body) == self.length


def records(datagram: bytes) -> list[Record]:
    """The records of a datagram, up to the first that is malformed (RFC 6347 section 4.1.2.7)."""
    found, at = [], 0
    while at + RECORD_HEADER_BYTES <= len(datagram):
        end = at + RECORD_HEADER_BYTES + int.from_bytes(datagram[at + 11 : at + 13], "big")
        # Major version 254 is DTLS; the minor one is not looked at before a version is agreed on.
        if end > len(datagram) or datagram[at + 1] != 0xFE:
            break
        found.append(
            Record(
                datagram[at],
                int.from_bytes(datagram[at + 3 : at + 5], "big"),
                int.from_bytes(datagram[at + 5 : at + 11], "big"),
                datagram[at + RECORD_HEADER_BYTES : end],
                datagram[at:end],
            )
        )
        at = end
    return found


def is_one_record(datagram: bytes, kind: int) -> bool:
    """Whether a datagram is one record of this kind and nothing else, as nearly all are."""
    return len(datagram) == RECORD_HEADER_BYTES + int.from_bytes(datagram[11:13], "big") and datagram[0] == kind


def packed(flight: bytes, mtu: int) -> list[bytes]:
    """Cut a run of our own records at their boundaries into datagrams of at most `mtu` bytes where records allow."""
    datagrams: list[bytes] = []
    room = 0
    for record in records(flight):
        if len(record.raw) > room:
            datagrams.append(b"")
            room = mtu
        datagrams[-1] += record.raw
        room -= len(record.raw)
    return datagrams


def fragments(record: Record) -> Iterator[Fragment]:
    """Handshake fragments of an unencrypted record, up to the first that is malformed."""
    body, at = record.body, 0
    while at + FRAGMENT_HEADER_BYTES <= len(body):
        length, offset, size = (int.from_bytes(body[at + first : at + first + 3], "big") for first in (1, 6, 9))
        start = at + FRAGMENT_HEADER_BYTES
        if start + size > len(body) or offset + size > length:
            return
        yield Fragment(
            body[at], length, int.from_bytes(body[at + 4 : at + 6], "big"), offset, body[start : start + size]
        )
        at = start + size


def client_random(record: Record) -> bytes | None:
    """The 32 random bytes of a ClientHello that opens a session: what tells a new handshake from a repeated one."""
    if record.kind != HANDSHAKE or record.epoch != 0:
        return None
    first = next(fragments(record), None)
    # A fragmented ClientHello could not be answered without state (RFC 6347 section 4.2.1), so it is not looked at; and
    # nothing may lie behind it that OpenSSL would take for the beginning of another client's.
    if first is None or first.kind != CLIENT_HELLO or not first.is_whole or not 34 <= first.length <= MAX_MESSAGE_BYTES:
        return None
    if len(record.body) != FRAGMENT_HEADER_BYTES + first.length:
        return None
    return first.body[2:34]


def is_bounded(record: Record) -> bool:
    """Whether OpenSSL may see a record of a handshake: it makes room for as much as a fragment claims to belong to."""
    if record.epoch != 0 or record.kind != HANDSHAKE:
        return len(record.raw) <= MAX_MESSAGE_BYTES
    return all(fragment.length <= MAX_MESSAGE_BYTES for fragment in fragments(record))


@dataclass(slots=True)
class IdentityReader:
    """Finds the PSK identity in a ClientKeyExchange, put together from its fragments (RFC 4279 section 2)."""

    _message: bytearray | None = None
    _missing: set[int] = field(default_factory=set)

    def read(self, record: Record) -> bytes | None:
        """The identity as soon as all of it was seen, else None."""
        if record.kind != HANDSHAKE or record.epoch != 0:
            return None
        for fragment in fragments(record):
            if fragment.kind != CLIENT_KEY_EXCHANGE or not 2 <= fragment.length <= 2 + MAX_IDENTITY_BYTES:
                continue
            if self._message is None or len(self._message) != fragment.length:
                self._message, self._missing = bytearray(fragment.length), set(range(fragment.length))
            end = fragment.offset + len(fragment.body)
            self._message[fragment.offset : end] = fragment.body
            self._missing.difference_update(range(fragment.offset, end))
            if not self._missing and int.from_bytes(self._message[:2], "big") == fragment.length - 2:
                return bytes(self._message[2:])
        return None
