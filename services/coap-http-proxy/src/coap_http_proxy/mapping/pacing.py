"""How much an address gets that has shown no ticket: a bucket of bytes each, filled again with time; pure counting.

A CoAP answer is up to forty times its request, and a UDP sender's address is easily forged. A ticket's path cannot be
guessed, so who shows one is a device; who names a URI may be anybody, and his victim must not get more than this.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

BURST_BYTES: Final = 256 << 10
BYTES_PER_SECOND: Final = 128 << 10
MAX_ADDRESSES: Final = 4096


@dataclass(slots=True)
class Pacing:
    """Buckets by address, those unused for longest forgotten first."""

    burst: int = BURST_BYTES
    rate: int = BYTES_PER_SECOND
    # Bytes owed at a time: what was taken and has not yet been filled up again.
    _owed: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, address: str, size: int, now: float) -> float:
        """Take `size` bytes for an answer; returns the seconds to wait before it is sent."""
        at, owed = self._owed.pop(address, (now, 0.0))
        owed = max(0.0, owed - (now - at) * self.rate) + size
        self._owed[address] = (now, owed)
        while len(self._owed) > MAX_ADDRESSES:
            self._owed.popitem(last=False)
        return max(0.0, (owed - self.burst) / self.rate)

    def give_back(self, address: str, size: int) -> None:
        """The answer was not sent."""
        if address in self._owed:
            at, owed = self._owed[address]
            self._owed[address] = (at, owed - size)
