"""Cookies that prove an address before anything is remembered of it (RFC 6347 section 4.2.1)."""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

Address = tuple[str, int]

COOKIE_BYTES: Final = 16
# A cookie is good for one to two slots: long enough for a slow link, short enough not to be collected.
SLOT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Cookies:
    """Cookies are a keyed hash of the address and the minute, so the server keeps none."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def make(self, address: Address, now: float) -> bytes:
        """The cookie for an address; `now` in seconds of any steady clock."""
        return self._of(address, int(now // SLOT_SECONDS))

    def holds(self, cookie: bytes, address: Address, now: float) -> bool:
        """Whether this process gave the cookie to this address in this slot or the one before."""
        slot = int(now // SLOT_SECONDS)
        return any(hmac.compare_digest(cookie, self._of(address, number)) for number in (slot, slot - 1))

    def _of(self, address: Address, slot: int) -> bytes:
        text = f"{slot} {address[0]} {address[1]}".encode()
        return hmac.digest(self.secret, text, "sha256")[:COOKIE_BYTES]
