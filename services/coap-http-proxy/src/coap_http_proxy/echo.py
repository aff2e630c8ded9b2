"""Values of the Echo option (RFC 9175): who sends one back has received it, so its address is its own.

A value is a keyed hash over the address and a slice of time: nothing is kept per value, and who cannot read what is
sent to an address cannot make one for it. It proves that the address was reachable, and nothing else.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

# 64 bits: a forger has two slices of time for 2**63 guesses, and each byte costs where answers must be small.
VALUE_BYTES = 8
SLICE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Echo:
    """Makes and knows values. `secret` is at least 16 random bytes, the same in all processes that share a port."""

    secret: bytes = field(repr=False)
    slice_seconds: float = SLICE_SECONDS

    def value(self, host: str, port: int, now: float) -> bytes:
        """The value for an address; `now` in seconds of a clock that all these processes share."""
        return self._value(host, port, int(now // self.slice_seconds))

    def fresh(self, value: bytes, host: str, port: int, now: float) -> bool:
        """Whether it was made for this address in this slice of time or the one before (RFC 9175 section 2.2.1)."""
        number = int(now // self.slice_seconds)
        # Both are compared whatever the first one says: how long it takes tells nothing.
        found = [hmac.compare_digest(value, self._value(host, port, number - age)) for age in (0, 1)]
        return any(found)

    def _value(self, host: str, port: int, number: int) -> bytes:
        text = f"{number} {port} {host}".encode()
        return hmac.digest(self.secret, text, hashlib.sha256)[:VALUE_BYTES]
