"""How far a download is, seen from the blocks that were served: pure counting, one object a ticket.

This is the specification of what libs/datagrams counts in C for the compiled fast path; the same tests run over both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

MAX_GAPS: Final = 16


class Counted(Protocol):
    """What is known of one ticket's download; bytes, and seconds of the monotonic clock.

    `offset` is the end of what was served without a gap; it never goes backwards. `retransmissions` are blocks asked
    for twice in a row. `rtt_seconds` is the smoothed time from a block to the request for the next one (the network's
    round trip, and what the device does with a block); `rtt_sum` and `rtt_count` are of all such times.
    """

    size: int
    offset: int
    bytes_on_air: int
    repeated_bytes: int
    restarts: int
    retransmissions: int
    rtt_count: int
    rtt_seconds: float
    rtt_sum: float
    last_block_at: float
    changed: bool

    def served(self, offset: int, length: int, now: float) -> None:
        """Note one block."""

    def cover(self, start: int, end: int) -> int:
        """Note bytes `start` to `end`, whoever served them; returns how many of them are new."""


@dataclass(eq=False, slots=True)
class Progress:
    """Counted, in Python."""

    size: int
    offset: int = 0
    bytes_on_air: int = 0
    repeated_bytes: int = 0
    restarts: int = 0
    # Earlier processes counted up to `offset` and may have served more than they could note.
    resumed: bool = False
    retransmissions: int = 0
    rtt_count: int = 0
    rtt_seconds: float = 0.0
    rtt_sum: float = 0.0
    last_block_at: float = 0.0
    changed: bool = False
    # The block before; and whether its time counts: after a repeat nobody knows which one was answered (Karn).
    last_offset: int = -1
    last_length: int = 0
    timed: bool = False
    # Bytes served beyond a gap: start and end, neither overlapping nor touching, bounded.
    ahead: list[tuple[int, int]] = field(default_factory=list)

    def served(self, offset: int, length: int, now: float) -> None:
        """Note one block."""
        self.changed = True
        if self.resumed:
            self.resumed = False
            if self.offset < offset < self.size:
                # A client asks for a block when it has those before. The gap was served by a process that could not
                # note it any more; or, when none noted anything, by ticket or without one, nobody knows.
                noted = self.bytes_on_air > 0
                self.bytes_on_air += self.cover(0, offset) * noted
        if offset == self.last_offset:
            self.retransmissions += 1
            self.timed = False
        else:
            if self.timed and offset == self.last_offset + self.last_length:
                gap = now - self.last_block_at
                # The weight of RFC 6298 section 2.3.
                self.rtt_seconds = self.rtt_seconds + (gap - self.rtt_seconds) / 8 if self.rtt_count else gap
                self.rtt_sum += gap
                self.rtt_count += 1
            self.timed = True
            # Block 0 twice in a row is a lost datagram, later it is a download begun anew.
            if offset == 0 and self.offset > length:
                self.restarts += 1
        self.last_offset, self.last_length, self.last_block_at = offset, length, now
        self.bytes_on_air += length
        if offset == self.offset and not self.ahead:
            self.offset = offset + length
        else:
            self.repeated_bytes += length - self.cover(offset, offset + length)

    def cover(self, start: int, end: int) -> int:
        """Note bytes `start` to `end`, whoever served them; returns how many of them are new."""
        fresh = max(0, end - max(start, self.offset))
        low, high, apart = start, end, []
        for gap in self.ahead:
            if gap[0] > end or start > gap[1]:
                apart.append(gap)
                continue
            fresh -= max(0, min(end, gap[1]) - max(start, gap[0]))
            low, high = min(low, gap[0]), max(high, gap[1])
        if low <= self.offset:
            self.offset = max(self.offset, high)
        elif len(apart) < MAX_GAPS:
            apart.append((low, high))
        self.ahead = apart
        return fresh


def state_of(progress: Counted) -> dict[str, int]:
    """What must survive a restart of the proxy."""
    return {
        "size": progress.size,
        "offset": progress.offset,
        "bytesOnAir": progress.bytes_on_air,
        "repeatedBytes": progress.repeated_bytes,
        "restarts": progress.restarts,
    }


def restored(size: int, state: dict[str, Any] | None, new: Callable[..., Counted] = Progress) -> Counted:
    """Progress as an earlier process left it; anything odd in the state starts from nothing."""
    if not state or state.get("size") != size:
        return new(size, resumed=True)
    numbers = [state.get(key) for key in ("offset", "bytesOnAir", "repeatedBytes", "restarts")]
    # C counts in 64 bits.
    if not all(isinstance(number, int) and 0 <= number < 1 << 63 for number in numbers):
        return new(size, resumed=True)
    offset, on_air, repeated, restarts = (int(number) for number in numbers if isinstance(number, int))
    return new(size, min(offset, size), on_air, repeated, restarts, resumed=True)
