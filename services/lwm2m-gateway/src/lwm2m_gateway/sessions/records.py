"""What is remembered of one device on its way to one image, how patient we are with it, and both as text for Redis."""

import json
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from lwm2m_gateway.sessions.phases import FINAL, Phase


@dataclass(frozen=True, slots=True)
class Feedback:
    """One DDI feedback: `execution` and `finished` as DDI spells them; details in order."""

    execution: str
    finished: str
    details: tuple[str, ...] = ()
    cancel: bool = False


class Way(StrEnum):
    """How the image is to reach the device; a journey goes down this list and never back up."""

    OPEN = "open"  # not decided: nobody knows yet what the device runs
    ASKING = "asking"  # the update manager is asked for a delta, which it may still have to build
    DELTA = "delta"
    FULL = "full"  # the whole image, now and for all further attempts


@dataclass(frozen=True, slots=True)
class Delta:
    """A delta to be offered instead of the image: where it is, its hash in hex, its size in bytes."""

    url: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a journey is; seconds."""

    soak: float = 60.0
    silence: float = 3600.0
    reboot: float = 900.0
    ask_again: float = 30.0
    # How long a delta that is being built is waited for; 0: no deltas.
    delta: float = 20.0


@dataclass(frozen=True, slots=True)
class Journey:
    """Small, plain, serialisable. Times are epoch seconds; `url` is the upstream's, `token` the ticket's.

    `base` is the hash of the image the device runs, `formats` the deltas it takes (a mask, object 26250). With `delta`
    it is the delta that the ticket and the open offer are for.
    """

    action_id: int
    version: str
    url: str
    sha256: str
    size: int
    phase: Phase = Phase.ASSIGNED
    attempt: int = 1
    offers: int = 0
    offered_at: float = 0.0
    executes: int = 0
    executed_at: float = 0.0
    accepted: bool = False
    unheard: int = 0
    resets: int = 0
    reset_at: float = 0.0
    token: str = ""
    old_version: str = ""
    state: int | None = None
    result: int | None = None
    new_seen_at: float = 0.0
    old_seen: bool = False
    deadline: float = 0.0
    wake_at: float = 0.0
    feedback: tuple[Feedback, ...] = ()
    way: Way = Way.OPEN
    base: str = ""
    formats: int = 0
    delta: Delta | None = None
    ask_until: float = 0.0

    @property
    def over(self) -> bool:
        """Ended, and nothing is left to tell."""
        return self.phase in FINAL and not self.feedback


def resumed(journey: Journey, now: float, pace: Pace) -> Journey:
    """As another process goes on with it: the time in which nobody listened is not held against the device."""
    return replace(journey, deadline=max(journey.deadline, now + pace.reboot))


# Always written: another release may want them.
_ALWAYS: Final = ("phase", "feedback")
# A delta's address begins with its image's as a rule; this stands for that in Redis.
_SAME: Final = "*"


def encode(journey: Journey) -> str:
    """JSON for Redis, without what is as at the beginning; under 1 KiB (a test holds it)."""
    record = asdict(journey)
    if journey.delta is not None and journey.delta.url.startswith(journey.url):
        record["delta"]["url"] = _SAME + journey.delta.url.removeprefix(journey.url)
    kept = {one.name for one in fields(Journey) if one.name in _ALWAYS or record[one.name] != one.default}
    return json.dumps({name: value for name, value in record.items() if name in kept}, separators=(",", ":"))


def decode(text: str | bytes) -> Journey:
    """Inverse of `encode`; raises ValueError, KeyError or TypeError for what another release wrote."""
    record: dict[str, Any] = json.loads(text)
    record["phase"] = Phase(record["phase"])
    record["way"] = Way(record.get("way", Way.OPEN))
    record["feedback"] = tuple(Feedback(**{**item, "details": tuple(item["details"])}) for item in record["feedback"])
    if (delta := record.get("delta")) is not None:
        url = delta["url"]
        record["delta"] = Delta(**{**delta, "url": record["url"] + url[len(_SAME) :] if url.startswith(_SAME) else url})
    return Journey(**record)
