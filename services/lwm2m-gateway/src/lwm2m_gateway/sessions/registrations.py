"""A registration as the gateway keeps it: who, where, how long, and whether the device listens just now."""

import json
import math
import secrets
import string
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from lwm2m.paths import Path
from lwm2m.registration import Register, Update

# Zephyr's buffer for the id is small; Leshan uses ten alphanumerics.
_ID_ALPHABET: Final = string.ascii_letters + string.digits
GRACE_SECONDS: Final = 93.0


class HouseFull(Exception):
    """No more devices are taken in; those that are there stay."""


@dataclass(frozen=True, slots=True)
class Registration:
    """`address` is `host:port`; times are epoch seconds; `paths` are the announced objects and instances as text."""

    id: str
    endpoint: str
    address: str
    lifetime: int
    version: str
    queue_mode: bool
    root: str
    formats: tuple[int, ...]
    paths: tuple[str, ...]
    registered_at: float
    seen_at: float

    @property
    def expires_at(self) -> float:
        """When the registration ends without an Update; a grace is kind to slow radios."""
        return self.seen_at + self.lifetime + max(GRACE_SECONDS, 0.1 * self.lifetime)

    @property
    def expected_by(self) -> float:
        """When the device has to be heard of again."""
        return self.seen_at + self.lifetime

    def awake(self, now: float, window_seconds: float) -> bool:
        """Whether a request would be heard: always, but in queue mode only for a while after the device spoke."""
        return self.listens_for(now, window_seconds) >= 0

    def listens_for(self, now: float, window_seconds: float) -> float:
        """Seconds for which a request would still be heard: without end, but in queue mode."""
        return self.seen_at + window_seconds - now if self.queue_mode else math.inf

    def has(self, object_id: int) -> bool:
        """Whether the device announced the object."""
        return any(path.split("/")[1] == str(object_id) for path in self.paths)


def new_id() -> str:
    """A fresh registration id of ten characters."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(10))


def registered(register: Register, address: str, identifier: str, now: float) -> Registration:
    """What a Register makes."""
    return Registration(
        identifier,
        register.endpoint,
        address,
        register.lifetime,
        register.version,
        register.queue_mode,
        register.alternate_path,
        register.content_formats[:16],
        _texts(register.paths),
        now,
        now,
    )


def departed(endpoint: str) -> Registration:
    """Stands for a device of which only the name is known, because its registration is gone: nobody to ask."""
    return Registration("", endpoint, "", 0, "", True, "", (), (), 0.0, 0.0)


def updated(registration: Registration, update: Update, address: str, now: float) -> Registration:
    """What an Update changes: absent items keep their value, a body replaces the object list wholly."""
    return replace(
        registration,
        address=address,
        seen_at=now,
        lifetime=registration.lifetime if update.lifetime is None else update.lifetime,
        queue_mode=registration.queue_mode or bool(update.binding and "Q" in update.binding),
        paths=registration.paths if update.paths is None else _texts(update.paths),
    )


def _texts(paths: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths[:256])


def encode(registration: Registration) -> str:
    """JSON for Redis."""
    return json.dumps(asdict(registration), separators=(",", ":"))


def decode(text: str | bytes) -> Registration:
    """Inverse of `encode`; raises ValueError, KeyError or TypeError for what another release wrote."""
    record: dict[str, Any] = json.loads(text)
    return Registration(**{**record, "formats": tuple(record["formats"]), "paths": tuple(record["paths"])})
