"""How far a download is, seen from the blocks that were served: pure counting, one object a ticket."""

from dataclasses import dataclass, field
from typing import Any, Final

MAX_GAPS: Final = 1024


@dataclass(eq=False, slots=True)
class Progress:
    """`offset` is the end of what was served without a gap, in bytes; it never goes backwards."""

    size: int
    offset: int = 0
    bytes_on_air: int = 0
    repeated_bytes: int = 0
    restarts: int = 0
    changed: bool = False
    # An earlier process counted up to `offset` and may have served more than it could note.
    resumed: bool = False
    # Blocks served beyond a gap: start to end, bounded.
    ahead: dict[int, int] = field(default_factory=dict)

    def served(self, offset: int, length: int) -> None:
        """Note one block."""
        self.changed = True
        if self.resumed:
            self.resumed = False
            if self.offset < offset < self.size:
                # A client asks for a block when it has those before: the gap was served, unnoted.
                self.bytes_on_air += offset - self.offset
                self.offset = offset
        self.bytes_on_air += length
        if offset == self.offset:
            self.offset = offset + length
            while self.ahead and self.offset in self.ahead:
                self.offset = self.ahead.pop(self.offset)
            return
        if offset < self.offset:
            self.repeated_bytes += length
            # Block 0 twice in a row is a lost datagram, later it is a download begun anew.
            if offset == 0 and self.offset > length:
                self.restarts += 1
        elif offset in self.ahead:
            self.repeated_bytes += length
        elif len(self.ahead) < MAX_GAPS:
            self.ahead[offset] = offset + length

    def state(self) -> dict[str, int]:
        """What must survive a restart of the proxy."""
        return {
            "size": self.size,
            "offset": self.offset,
            "bytesOnAir": self.bytes_on_air,
            "repeatedBytes": self.repeated_bytes,
            "restarts": self.restarts,
        }


def restored(size: int, state: dict[str, Any] | None) -> Progress:
    """Progress as an earlier process left it; anything odd in the state starts from nothing."""
    if not state or state.get("size") != size:
        return Progress(size)
    numbers = [state.get(key) for key in ("offset", "bytesOnAir", "repeatedBytes", "restarts")]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return Progress(size)
    offset, on_air, repeated, restarts = (int(number) for number in numbers if isinstance(number, int))
    return Progress(size, min(offset, size), on_air, repeated, restarts, resumed=True)
