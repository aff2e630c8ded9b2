"""Pre-shared keys for DTLS, never printed: of devices, in Redis (docs/contracts.md) or in a file, and of upstreams.

    # identity       key in hex                         controller, if the key is only for its tickets
    urn:dev:sensor   6f1d7c0a94e8b35207d1c6a2f8e49b13   sensor

What the file names is not looked up in Redis.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis

from coap_http_proxy.secret_files import read_secret
from dtls import Psk

MAX_FILE_BYTES: Final = 4 << 20

# RFC 4279 section 5.3 has keys of up to 64 bytes. Shorter ones than these can be guessed from one recorded handshake.
KEY_BYTES: Final = range(16, 65)
MAX_IDENTITY_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class ClientKey:
    """What an upstream knows this proxy by."""

    identity: str
    key: bytes = field(repr=False)


class BadKeys(ValueError):
    """The file cannot be used; the message says why and holds no key."""


def read_keys(path: Path | None) -> dict[str, Psk]:
    """Keys by identity; raises BadKeys, also when others can read the file."""
    return {} if path is None else parse_keys(_text_of(path))


def read_upstream_keys(path: Path | None) -> dict[tuple[str, int], ClientKey]:
    """Keys of `coaps` upstreams by host and port; raises BadKeys, also when others can read the file."""
    return {} if path is None else parse_upstream_keys(_text_of(path))


def _text_of(path: Path) -> str:
    return read_secret(path, MAX_FILE_BYTES, BadKeys).decode("utf-8", "replace")


def parse_upstream_keys(text: str) -> dict[tuple[str, int], ClientKey]:
    """Read lines `host:port identity key`; raises BadKeys with the number of the line."""
    found: dict[tuple[str, int], ClientKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        host, _, port = words[0].rpartition(":")
        psk = psk_of(words[2], None) if len(words) == 3 else None
        if psk is None or not host or not port.isdecimal() or len(words[1].encode()) > MAX_IDENTITY_BYTES:
            raise BadKeys(f"line {number} is not host:port, identity and key of 16 to 64 bytes in hex")
        found[host.lower(), int(port)] = ClientKey(words[1], psk.key)
    return found


def parse_keys(text: str) -> dict[str, Psk]:
    """Read lines `identity key [controller]`; raises BadKeys with the number of the line."""
    found: dict[str, Psk] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        psk = psk_of(words[1], words[2] if len(words) == 3 else None) if len(words) in (2, 3) else None
        identity = words[0]
        if psk is None or not identity.isprintable() or len(identity.encode()) > MAX_IDENTITY_BYTES:
            raise BadKeys(
                f"line {number} is not an identity of at most {MAX_IDENTITY_BYTES} bytes, a key of {KEY_BYTES.start} "
                f"to {KEY_BYTES.stop - 1} bytes in hex and perhaps a controller"
            )
        if identity in found:
            raise BadKeys(f"line {number} names an identity for the second time")
        found[identity] = psk
    return found


def psk_of(key: Any, controller: Any) -> Psk | None:
    """A key given in hex; None when it is none."""
    try:
        secret = bytes.fromhex(key)
    except (ValueError, TypeError):
        return None
    return Psk(secret, None if controller is None else str(controller)) if len(secret) in KEY_BYTES else None


class Keys:
    """Finds keys by identity."""

    def __init__(self, fixed: dict[str, Psk], client: "redis.Redis | None") -> None:
        self._fixed = fixed
        self._redis = client

    def __repr__(self) -> str:
        return f"Keys({len(self._fixed)} fixed)"

    async def find(self, identities: Sequence[str]) -> list[Psk | None]:
        """The key of each identity, None where there is none; raises RedisError."""
        asked = [identity for identity in identities if identity not in self._fixed]
        found: dict[str, Psk | None] = dict(self._fixed)
        if asked and self._redis is not None:
            records = await self._redis.mget([f"updraft:psk:{identity}" for identity in asked])
            found.update(zip(asked, map(_parsed, records), strict=True))
        return [found.get(identity) for identity in identities]


def _parsed(text: bytes | str | None) -> Psk | None:
    try:
        record = json.loads(text) if text is not None else None
    except ValueError:
        return None
    return psk_of(record.get("key"), record.get("controllerId")) if isinstance(record, dict) else None
