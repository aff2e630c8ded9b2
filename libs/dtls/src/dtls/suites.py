"""Cipher suites that are offered: plain PSK with authenticated encryption, as data (RFC 6655, RFC 5487)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

Aead = AESCCM | AESGCM


@dataclass(frozen=True, slots=True)
class Suite:
    """`openssl` is OpenSSL's name of it, `digest` the hash of its key derivation, sizes in bytes."""

    openssl: str
    key_bytes: int
    tag_bytes: int
    digest: str
    cipher: Callable[[bytes], Aead]


def _ccm(tag_bytes: int) -> Callable[[bytes], Aead]:
    return lambda key: AESCCM(key, tag_length=tag_bytes)


# In the order of preference: what every LwM2M device has comes first (RFC 7252 section 9.1.3.1).
SUITES: Final = (
    Suite("PSK-AES128-CCM8", 16, 8, "sha256", _ccm(8)),
    Suite("PSK-AES128-CCM", 16, 16, "sha256", _ccm(16)),
    Suite("PSK-AES128-GCM-SHA256", 16, 16, "sha256", AESGCM),
    Suite("PSK-AES256-CCM8", 32, 8, "sha256", _ccm(8)),
    Suite("PSK-AES256-CCM", 32, 16, "sha256", _ccm(16)),
    Suite("PSK-AES256-GCM-SHA384", 32, 16, "sha384", AESGCM),
)
BY_NAME: Final = {suite.openssl: suite for suite in SUITES}
