"""A device's update attempts: what it passed through, where it stopped and why, and what went over the wire."""

from collections.abc import Iterable
from dataclasses import dataclass

from frontend.view_models import savings, states
from frontend.view_models.advice import Advice, advice
from frontend.view_models.formatting import percent, rate, size
from frontend.view_models.overview import release_name
from frontend.view_models.reading import Json, child, children, decimal, maybe_number, number, text, texts
from frontend.view_models.states import Badge

# The states of object 5 (OMA LwM2M 1.1, E.6, resource 3).
_OBJECT_5_STATES = {0: "idle", 1: "downloading", 2: "downloaded", 3: "updating"}


@dataclass(frozen=True, slots=True)
class Step:
    """A station of an attempt. `state`: `past`, `now`, `failed` or `ahead`."""

    name: str
    state: str
    at: int | None
    text: str
    detail: str


@dataclass(frozen=True, slots=True)
class Download:
    """How far the image has come; `width` of 100."""

    percent: str
    width: float
    words: str
    rate: str
    on_air: str
    repeated: str
    restarts: int
    delivered: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """A feedback of the device or the gateway."""

    at: int | None
    status: str
    messages: tuple[str, ...]
    code: str
    tone: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One action on the device."""

    action_id: str
    badge: Badge
    active: bool
    release: str
    release_href: str
    rollout: str
    rollout_href: str
    started_at: int | None
    ended_at: int | None
    cause: str
    cause_title: str
    cause_text: str
    advice: Advice
    steps: tuple[Step, ...]
    download: Download | None
    log: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A message between device and suite; `arrow` is `arrow-down` towards the device, `arrow-up` from it."""

    at: int | None
    arrow: str
    direction: str
    text: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """All attempts, newest first, and the wire."""

    attempts: tuple[Attempt, ...]
    trace: tuple[TraceLine, ...]

    @property
    def trouble(self) -> Attempt | None:
        """The newest attempt, when it failed: what the operator came to read."""
        newest = self.attempts[0] if self.attempts else None
        return newest if newest is not None and newest.badge.tone == "bad" else None


def timeline(source: Json) -> Timeline:
    """From `GET /targets/{id}/timeline`."""
    attempts = sorted(
        (_attempt(item) for item in children(source, "attempts")), key=lambda one: one.started_at or 0, reverse=True
    )
    return Timeline(tuple(attempts), tuple(_trace(item) for item in children(source, "trace")))


def _attempt(source: Json) -> Attempt:
    release, rollout = child(source, "distributionSet"), child(source, "rollout")
    badge = states.attempt(source)
    cause = text(source, "cause")
    return Attempt(
        action_id=text(source, "actionId"),
        badge=badge,
        active=source.get("active") is True,
        release=release_name(release),
        release_href=f"/releases/{text(release, 'id')}" if "id" in release else "",
        rollout=text(rollout, "name"),
        rollout_href=f"/rollouts/{text(rollout, 'id')}" if "id" in rollout else "",
        started_at=maybe_number(source, "startedAt"),
        ended_at=maybe_number(source, "endedAt"),
        cause=cause,
        cause_title=states.words(cause) if cause else "",
        cause_text=text(source, "causeText"),
        advice=advice(cause),
        steps=_steps(children(source, "phases"), text(source, "phase").lower(), badge),
        download=_download(child(source, "download"), child(source, "delivery"), source.get("active") is True),
        log=tuple(_log_line(item) for item in children(source, "log")),
    )


def _steps(phases: Iterable[Json], current: str, badge: Badge) -> tuple[Step, ...]:
    """The stations passed, the one it stands at, and those still ahead when it is on its way."""
    seen: dict[str, Json] = {}
    for phase in phases:  # a phase entered twice (a download resumed) is told by its last entry
        name = text(phase, "phase").lower()
        seen.pop(name, None)
        seen[name] = phase
    current = current or next(reversed(seen), "")
    moving = badge.tone in ("run", "wait") and current not in ("cancelled", *states.BAD_PHASES)
    steps = [_step(name, phase, current, moving) for name, phase in seen.items()]
    if moving:
        reached = max((states.GOOD_WAY.index(name) for name in seen if name in states.GOOD_WAY), default=-1)
        steps += [Step(states.phase_name(name), "ahead", None, "", "") for name in states.GOOD_WAY[reached + 1 :]]
    return tuple(steps)


def _step(name: str, source: Json, current: str, moving: bool) -> Step:
    state = "past"
    if name in states.BAD_PHASES:
        state = "failed"
    elif moving and name == current:
        state = "now"
    parts = []
    if (lwm2m_state := maybe_number(source, "state")) is not None:
        parts.append(f"5/0/3 = {lwm2m_state} ({_OBJECT_5_STATES.get(lwm2m_state, 'unknown')})")
    if (result := maybe_number(source, "result")) is not None:
        parts.append(f"5/0/5 = {result}")
    title, told = states.phase_name(name), text(source, "text")
    return Step(
        title, state, maybe_number(source, "at"), "" if told.lower() == title.lower() else told, ", ".join(parts)
    )


def _download(source: Json, delivery: Json, active: bool) -> Download | None:
    if not source:
        return None
    whole, offset = number(source, "size"), number(source, "offset")
    share = decimal(source, "percent")
    if share is None:
        share = 100 * offset / whole if whole else 0.0
    repeated = number(source, "repeatedBytes")
    return Download(
        percent=percent(share),
        width=round(min(max(share, 0), 100), 2),
        words=f"{size(offset)} of {size(whole or None)}",
        rate=rate(decimal(source, "rateBytesPerSecond")) if active and share < 100 else "",
        on_air=size(maybe_number(source, "bytesOnAir")),
        repeated=size(repeated) if repeated else "",
        restarts=number(source, "restarts"),
        delivered=savings.delivered(delivery),
    )


def _log_line(source: Json) -> LogLine:
    status = text(source, "status")
    cause = text(source, "cause")
    code = text(source, "code")
    return LogLine(
        at=maybe_number(source, "at"),
        status=states.words(status).lower(),
        messages=texts(source, "messages"),
        code=" ".join(part for part in (cause, code) if part),
        tone="bad" if cause else states.event_tone(status),
    )


def _trace(source: Json) -> TraceLine:
    incoming = text(source, "direction").lower() in ("in", "up", "uplink")
    return TraceLine(
        at=maybe_number(source, "at"),
        arrow="arrow-up" if incoming else "arrow-down",
        direction="from the device" if incoming else "to the device",
        text=text(source, "text"),
        ok=source.get("ok") is not False,
    )
