"""One pure function from a request's datagram to its reply's, for blocks that lie ready; in Python, and compiled.

Every byte a device sends for a block is known beforehand but for message id, token and Block2: so the ticket path is
found by comparing fifteen bytes, and what follows the token of the reply depends on the bytes after the name alone, for
all tickets of one blob. Anything that does not look exactly so returns None and goes the long way round.

    0     Ver, Type, TKL | 0.01 | message id | token
          B1 'f'                  Uri-Path f
          0C <12 bytes>           Uri-Path ticket
          0n <name>               Uri-Path name
          Cn <0..3 bytes>         Block2
          50 or nothing           Size2 = 0: tell me the size

The Python one remembers ready answers; the compiled one (libs/datagrams) makes them from the mapped file each time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final
from weakref import WeakKeyDictionary

from coap_http_proxy.blobs import Blob
from coap_http_proxy.progress import Counted, Progress
from datagrams import batch

PREFIX_BYTES: Final = 15
_SIZE2_ASKED: Final = (b"", b"\x50", b"\x51\x00")
MAX_ANSWERS_PER_BLOB: Final = 65536
MAX_REMEMBERED_BYTES: Final = 16 << 20
MAX_TICKETS: Final = 1 << 20

# What follows the token of a reply, and which bytes of the blob that serves: offset and length.
Ready = tuple[bytes, int, int]


@dataclass(eq=False, slots=True)
class FastPath:
    """Tickets that are ready, by the fifteen bytes their requests start with; `blocks` and bytes since the start."""

    new_progress: ClassVar[Callable[..., Counted]] = Progress
    batched: ClassVar[None] = None
    ready: dict[bytes, tuple[Blob, Counted]] = field(default_factory=dict)
    blocks: int = 0
    bytes_on_air: int = 0
    remembered: int = 0
    clock: Callable[[], float] = time.monotonic
    # Every blob that has ready answers, whether a ticket still leads to it or not.
    _answers: dict[Blob, dict[bytes, Ready]] = field(default_factory=dict)

    def admit(self, token: str, blob: Blob, progress: Counted) -> None:
        """Let requests of this ticket take the fast path."""
        self.ready[prefix_of(token)] = (blob, progress)

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
        # The file name is for people: any name of up to 12 bytes leads to the ticket's blob.
        if entry is None or at >= len(datagram) or datagram[at] > 12:
            return None
        blob, progress = entry
        asked = datagram[at + 1 + datagram[at] :]
        answers = self._answers.get(blob)
        ready = (answers.get(asked) if answers else None) or self._prepare(blob, asked)
        if ready is None:
            return None
        rest, offset, length = ready
        self.blocks += 1
        self.bytes_on_air += length
        progress.served(offset, length, self.clock())
        return bytes((datagram[0] + 0x20, 0x45)) + datagram[2:start] + rest

    def _prepare(self, blob: Blob, asked: bytes) -> Ready | None:
        """Make and remember what answers the options behind the name."""
        if not asked or not 0xC0 <= asked[0] <= 0xC3:
            return None
        end = 1 + (asked[0] & 15)
        if end > len(asked) or asked[end:] not in _SIZE2_ASKED:
            return None
        number = int.from_bytes(asked[1:end], "big")
        szx = number & 7
        offset = number >> 4 << (szx + 4)
        if szx == 7 or offset >= blob.size:
            return None
        rest = block_answer(blob, number >> 4, szx)
        answers = self._answers.setdefault(blob, {})
        if self.remembered + len(rest) > MAX_REMEMBERED_BYTES or len(answers) >= MAX_ANSWERS_PER_BLOB:
            self._answers.clear()
            self.remembered = 0
            answers = self._answers.setdefault(blob, {})
        self.remembered += len(rest)
        answers[asked] = rest, offset, min(16 << szx, blob.size - offset)
        return answers[asked]


class CompiledFastPath:
    """The same, in C, a batch of datagrams at a time; raises batch.NotBuilt where there is no compiled part."""

    new_progress: ClassVar[Callable[..., Counted]] = batch.Progress

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.batched = batch.Batch(MAX_TICKETS)
        self._clock = clock
        self._artifacts: WeakKeyDictionary[Blob, batch.Artifact] = WeakKeyDictionary()

    @property
    def blocks(self) -> int:
        """Blocks served since the start."""
        return int(self.batched.face.blocks)

    @blocks.setter
    def blocks(self, count: int) -> None:
        self.batched.face.blocks = count

    @property
    def bytes_on_air(self) -> int:
        """Payload bytes served since the start."""
        return int(self.batched.face.bytes_on_air)

    @bytes_on_air.setter
    def bytes_on_air(self, count: int) -> None:
        self.batched.face.bytes_on_air = count

    def admit(self, token: str, blob: Blob, progress: Counted) -> None:
        """Let requests of this ticket take the fast path."""
        assert isinstance(progress, batch.Progress)
        artifact = self._artifacts.get(blob)
        if artifact is None:
            artifact = self._artifacts[blob] = batch.Artifact(blob.data, blob.head, blob.tail)
        self.batched.admit(prefix_of(token), artifact, progress)

    def revoke(self, token: str) -> None:
        """Send this ticket's requests the long way round again, where it will be found gone."""
        self.batched.revoke(prefix_of(token))

    def answer(self, datagram: bytes) -> bytes | None:
        """The reply to a confirmable GET of a ready block, or None."""
        return self.batched.answer(datagram, self._clock())


AnyFastPath = FastPath | CompiledFastPath


def fast_path(compiled: bool = True) -> AnyFastPath:
    """The compiled one when it is wanted and was built, else the one in Python."""
    return CompiledFastPath() if compiled and batch.built() else FastPath()


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
