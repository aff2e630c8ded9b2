"""What a DTLS server wants done or told: a closed union of plain values."""

from dataclasses import dataclass

from dtls.cookies import Address


@dataclass(frozen=True, slots=True)
class Psk:
    """A pre-shared key of an identity, and whom it stands for when its keeper says so."""

    key: bytes
    subject: str | None = None

    def __repr__(self) -> str:
        return f"Psk(subject={self.subject!r})"


@dataclass(frozen=True, slots=True)
class Association:
    """One session: `number` is never used again in this process, `identity` is what the handshake proved."""

    number: int
    address: Address
    identity: str
    subject: str | None


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send this datagram."""

    datagram: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """Look up the key of `identity`, then call `Server.provide`; the handshake waits meanwhile."""

    address: Address
    identity: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A handshake is over and its peer knows the key of its identity."""

    association: Association


@dataclass(frozen=True, slots=True)
class Received:
    """Authentic application data, one record."""

    plaintext: bytes
    association: Association


@dataclass(frozen=True, slots=True)
class Closed:
    """A session is over; nothing can be sent on it."""

    association: Association


Output = Transmit | KeyWanted | Opened | Received | Closed
