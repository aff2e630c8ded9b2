"""How much a sender may have, and how often: a bucket each, filled again with time; pure counting, and bounded.

A CoAP answer is up to forty times its request, and a UDP sender's address is easily forged. A ticket's path cannot be
guessed, so who shows one is a device; who names a URI may be anybody, and his victim must not get more than this.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address

MAX_BUCKETS = 4096

# What kind of name it is, and the name: an identity that is spelled like an address is another one.
Sender = tuple[str, str]


@dataclass(slots=True)
class Buckets:
    """Buckets by key that hold `burst` units and win `rate` units a second; those unused for longest are forgotten."""

    rate: float
    burst: float
    most: int = MAX_BUCKETS
    # When it was last looked at, and units owed then: what was taken and has not yet been filled up again.
    _owed: "OrderedDict[Hashable, tuple[float, float]]" = field(default_factory=OrderedDict)

    def take(self, key: Hashable, amount: float, now: float, patience: float = 0.0) -> float:
        """Take `amount` units: seconds to wait before they may be used; when more than `patience`, none were taken."""
        at, owed = self._owed.pop(key, (now, 0.0))
        owed = max(0.0, owed - (now - at) * self.rate)
        wait = max(0.0, (owed + amount - self.burst) / self.rate)
        self._owed[key] = (now, owed + amount if wait <= patience else owed)
        while len(self._owed) > self.most:
            self._owed.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._owed)


@dataclass(slots=True)
class UnderWay:
    """How many are under way, by key and altogether; keys without any are not kept."""

    total: int = 0
    _counts: dict[Hashable, int] = field(default_factory=dict)

    def of(self, key: Hashable) -> int:
        """How many of this key are under way."""
        return self._counts.get(key, 0)

    def begin(self, key: Hashable) -> None:
        """One more."""
        self.total += 1
        self._counts[key] = self._counts.get(key, 0) + 1

    def end(self, key: Hashable) -> None:
        """One less."""
        self.total -= 1
        if self._counts[key] == 1:
            del self._counts[key]
        else:
            self._counts[key] -= 1


def sender_of(host: str, identity: str | None = None) -> Sender:
    """What one sender cannot choose freely: its proven identity, its IPv4 address, or the /64 of its IPv6 address."""
    if identity is not None:
        return "identity", identity
    try:
        address = ip_address(host)
    except ValueError:
        return "address", host
    if not isinstance(address, IPv6Address):
        return "address", host
    if address.ipv4_mapped is not None:
        return "address", str(address.ipv4_mapped)
    return "address", str(IPv6Network((int(address) >> 64 << 64, 64)))
