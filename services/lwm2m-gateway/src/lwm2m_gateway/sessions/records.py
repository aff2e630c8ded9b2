"""What is remembered of one device on its way to one image, how patient we are with it, and both as text for Redis."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from lwm2m_gateway.sessions.phases import FINAL, Phase


@dataclass(frozen=True, slots=True)
class Feedback:
    """One DDI feedback: `execution` and `finished` as DDI spells them; details in order."""

    execution: str
    finished: str
    details: tuple[str, ...] = ()
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a journey is; seconds."""

    soak: float = 60.0
    silence: float = 3600.0
    reboot: float = 900.0
    ask_again: float = 30.0


@dataclass(frozen=True, slots=True)
class Journey:
    """Small, plain, serialisable. Times are epoch seconds; `url` is the upstream's, `token` the ticket's."""

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
    token: str = ""
    old_version: str = ""
    state: int | None = None
    result: int | None = None
    new_seen_at: float = 0.0
    old_seen: bool = False
    deadline: float = 0.0
    wake_at: float = 0.0
    feedback: tuple[Feedback, ...] = ()

    @property
    def over(self) -> bool:
        """Ended, and nothing is left to tell."""
        return self.phase in FINAL and not self.feedback


def resumed(journey: Journey, now: float, pace: Pace) -> Journey:
    """As another process goes on with it: the time in which nobody listened is not held against the device."""
    return replace(journey, deadline=max(journey.deadline, now + pace.reboot))


def encode(journey: Journey) -> str:
    """JSON for Redis; under 1 KiB (a test holds it)."""
    return json.dumps(asdict(journey), separators=(",", ":"))


def decode(text: str | bytes) -> Journey:
    """Inverse of `encode`; raises ValueError, KeyError or TypeError for what another release wrote."""
    record: dict[str, Any] = json.loads(text)
    record["phase"] = Phase(record["phase"])
    record["feedback"] = tuple(Feedback(**{**item, "details": tuple(item["details"])}) for item in record["feedback"])
    return Journey(**record)
