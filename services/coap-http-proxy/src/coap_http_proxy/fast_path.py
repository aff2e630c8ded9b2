"""One pure function from a request's datagram to its reply's, for blocks that lie ready.

Every byte a device sends for a block is known beforehand but for message id, token and Block2: so the ticket path is
found by comparing fifteen bytes, and what follows the token of the reply is remembered by Block2 value and shared by
all tickets of one blob. Anything that does not look exactly so returns None and goes the long way round.

    0     Ver, Type, TKL | 0.01 | message id | token
          B1 'f'                  Uri-Path f
          0C <12 bytes>           Uri-Path ticket
          0n <name>               Uri-Path name
          Cn <0..3 bytes>         Block2
          50 or nothing           Size2 = 0: tell me the size
"""

from dataclasses import dataclass, field
from typing import Final

from coap_http_proxy.blobs import Blob
from coap_http_proxy.progress import Progress

PREFIX_BYTES: Final = 15
_SIZE2_ASKED: Final = (b"", b"\x50", b"\x51\x00")
MAX_ANSWERS_PER_BLOB: Final = 65536
MAX_REMEMBERED_BYTES: Final = 16 << 20


@dataclass(eq=False, slots=True)
class Ready:
    """A ticket whose blob may be served; `name` is the coded Uri-Path option of the file name."""

    blob: Blob
    progress: Progress


@dataclass(eq=False, slots=True)
class FastPath:
    """Tickets that are ready, by the fifteen bytes their requests start with."""

    ready: dict[bytes, Ready] = field(default_factory=dict)
    blocks: int = 0
    bytes_on_air: int = 0
    remembered: int = 0
    # Every blob that remembers something, whether a ticket still leads to it or not.
    _remembering: set[Blob] = field(default_factory=set)

    def admit(self, token: str, blob: Blob, progress: Progress) -> Ready:
        """Let requests of this ticket take the fast path."""
        entry = Ready(blob, progress)
        self.ready[prefix_of(token)] = entry
        return entry

    def revoke(self, token: str) -> None:
        """Send this ticket's requests the long way round again, where it will be found gone."""
        self.ready.pop(prefix_of(token), None)

    def answer(self, datagram: bytes) -> bytes | None:
        """The reply to a confirmable GET of a ready block, or None."""
        # 0x40 to 0x48: version 1, confirmable, token of up to 8 bytes; then code 0.01.
        if len(datagram) < 19 or not 0x40 <= datagram[0] <= 0x48 or datagram[1] != 1:
            return None
        start = 4 + (datagram[0] & 15)
        at = start + PREFIX_BYTES
        entry = self.ready.get(datagram[start:at])
        if entry is None or at >= len(datagram):
            return None
        # The file name is for people: any name of up to 12 bytes leads to the ticket's blob.
        if datagram[at] > 12:
            return None
        at += 1 + datagram[at]
        if at >= len(datagram) or not 0xC0 <= datagram[at] <= 0xC3:
            return None
        end = at + 1 + (datagram[at] & 15)
        value = datagram[at + 1 : end]
        if end > len(datagram) or datagram[end:] not in _SIZE2_ASKED:
            return None
        rest = entry.blob.answers.get(value)
        if rest is None:
            rest = self._remember(entry.blob, value)
            if rest is None:
                return None
        number = int.from_bytes(value, "big")
        szx = number & 7
        offset = number >> 4 << (szx + 4)
        size = entry.blob.size
        length = 16 << szx
        if offset + length > size:
            length = size - offset
        self.blocks += 1
        self.bytes_on_air += length
        entry.progress.served(offset, length)
        return bytes((datagram[0] + 0x20, 0x45)) + datagram[2:start] + rest

    def _remember(self, blob: Blob, value: bytes) -> bytes | None:
        number = int.from_bytes(value, "big")
        szx = number & 7
        offset = number >> 4 << (szx + 4)
        if szx == 7 or offset >= blob.size:
            return None
        rest = block_answer(blob, number >> 4, szx)
        if self.remembered + len(rest) > MAX_REMEMBERED_BYTES or len(blob.answers) >= MAX_ANSWERS_PER_BLOB:
            for other in self._remembering:
                other.answers.clear()
            self._remembering.clear()
            self.remembered = 0
        self._remembering.add(blob)
        self.remembered += len(rest)
        blob.answers[value] = rest
        return rest


def prefix_of(token: str) -> bytes:
    """The options a ticket's requests start with: Uri-Path `f`, Uri-Path token of 12 bytes."""
    return b"\xb1f\x0c" + token.encode("ascii")


def block_answer(blob: Blob, num: int, szx: int) -> bytes:
    """Options and payload of a 2.05 for one block: ETag, Content-Format, Block2, Size2, payload."""
    offset, size = num << (szx + 4), 16 << szx
    more = offset + size < blob.size
    number = num << 4 | more << 3 | szx
    value = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return blob.head + bytes((0xB0 | len(value),)) + value + blob.tail + blob.data[offset : offset + size]
