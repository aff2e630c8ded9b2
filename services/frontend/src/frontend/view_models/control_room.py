"""The control room of one rollout: how far, how well, why not, and what one may do about it."""

from dataclasses import dataclass
from typing import Final

from frontend.view_models import bars, savings, states
from frontend.view_models.advice import Advice, advice
from frontend.view_models.feed import EventLine, device_path, event_lines
from frontend.view_models.formatting import count, duration, percent, plural, rate, size, span
from frontend.view_models.overview import release_name
from frontend.view_models.reading import Json, child, children, decimal, maybe_number, number, text, texts
from frontend.view_models.states import Badge

_MOST_DEVICES_OF_A_CAUSE: Final = 50


@dataclass(frozen=True, slots=True)
class Action:
    """A button; `confirm` is what it says when it must be said twice, else empty."""

    verb: str
    label: str
    icon: str
    tone: str
    confirm: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the strip."""

    label: str
    value: str
    tone: str
    note: str


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group (wave) with its bar and the thresholds that open the next one or stop all."""

    name: str
    href: str
    badge: Badge
    targets: int
    totals: bars.Totals
    segments: tuple[bars.Segment, ...]
    in_words: str
    percent: str
    success_threshold: str
    error_threshold: str


@dataclass(frozen=True, slots=True)
class DeviceLink:
    """A device and its page."""

    controller_id: str
    href: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why devices failed, and which."""

    code: str
    title: str
    text: str
    advice: Advice
    count: int
    width: float
    devices: tuple[DeviceLink, ...]
    more: int


@dataclass(frozen=True, slots=True)
class InFlight:
    """A device that is receiving or restarting; `width` of 100."""

    device: DeviceLink
    phase: str
    words: str
    percent: str
    width: float
    rate: str


@dataclass(frozen=True, slots=True)
class ControlRoom:
    """All of the page."""

    id: int
    name: str
    description: str
    target_filter: str
    badge: Badge
    release: str
    release_href: str
    judgement: str
    percent: str
    whole: int
    totals: bars.Totals
    segments: tuple[bars.Segment, ...]
    in_words: str
    actions: tuple[Action, ...]
    figures: tuple[Figure, ...]
    groups: tuple[GroupLine, ...]
    causes: tuple[Cause, ...]
    in_flight: tuple[InFlight, ...]
    events: tuple[EventLine, ...]
    moving: bool
    status_line: str


def control_room(source: Json, now: int) -> ControlRoom:
    """From `GET /rollouts/{id}/progress`; `now` in epoch ms."""
    rollout = child(source, "rollout")
    release = child(source, "distributionSet")
    of = bars.totals(child(source, "totals"))
    whole = max(number(rollout, "totalTargets"), of.all)
    segments = bars.rollout_bar(of, whole)
    status = text(source, "status") or text(rollout, "status")
    badge = states.rollout_status(status)
    done = decimal(source, "percent")
    share = percent(of.share(whole) if done is None else done)
    return ControlRoom(
        id=number(rollout, "id"),
        name=text(rollout, "name", "Rollout"),
        description=text(rollout, "description"),
        target_filter=text(rollout, "targetFilterQuery"),
        badge=badge,
        release=release_name(release),
        release_href=f"/releases/{text(release, 'id')}" if "id" in release else "",
        judgement=text(source, "judgement"),
        percent=share,
        whole=whole,
        totals=of,
        segments=segments,
        in_words=bars.summary(segments, whole),
        actions=actions(status, of.running),
        figures=_figures(source, of, whole, now),
        groups=tuple(_group(item, number(rollout, "id")) for item in children(source, "groups")),
        causes=_causes(children(source, "causes")),
        in_flight=tuple(_in_flight(item) for item in children(source, "inFlight")),
        events=event_lines(children(source, "events"), 12),
        moving=of.running > 0 or status in ("creating", "ready", "starting", "running", "paused", "stopping"),
        status_line=f"{badge.word}: {share} done, {count(of.error)} failed",
    )


def actions(status: str, in_flight: int) -> tuple[Action, ...]:
    """What one may do with a rollout in this status."""
    cancel = f", cancel {count(in_flight)} in flight" if in_flight else ""
    stop = Action("stop", "Stop", "circle-stop", "danger", f"Stop for good{cancel}")
    match status:
        case "ready":
            return (Action("start", "Start rollout", "play", "primary", ""),)
        case "running" | "starting":
            return (Action("pause", "Pause", "pause", "plain", ""), stop)
        case "paused":
            return (Action("resume", "Resume", "play", "primary", ""), stop)
        case _:
            return ()


def _figures(source: Json, of: bars.Totals, whole: int, now: int) -> tuple[Figure, ...]:
    started, ended = maybe_number(source, "startedAt"), maybe_number(source, "endedAt")
    eta = _finish(source)
    tried = of.confirmed + of.error
    if ended:
        time = Figure("Took", duration(started, ended), "", "")
    elif eta is not None:
        time = Figure("Finishes in about", span(eta), "", f"running for {duration(started, now)}" if started else "")
    else:
        time = Figure("Since its start", duration(started, now), "", "")
    return (
        Figure("Confirmed", count(of.confirmed), "ok" if of.confirmed else "", f"of {count(whole)}"),
        Figure("In flight", count(of.running), "run" if of.running else "", ""),
        Figure("Failed", count(of.error), "bad" if of.error else "",
               f"{percent(100 * of.error / tried)} of those ended" if of.error and tried else ""),
        Figure("Waiting", count(of.waiting), "", ""),
        time,
        Figure("On air", size(maybe_number(source, "bytesOnAir")), "", _on_air(source, of)),
    )  # fmt: skip


def _on_air(source: Json, of: bars.Totals) -> str:
    """What was saved by deltas, what is still to be, and who needed nothing."""
    to_come = savings.planned(child(source, "forecast")) if not maybe_number(source, "endedAt") else ""
    had_it = f"{plural(of.already_installed, 'device', 'devices')} had it already" if of.already_installed else ""
    parts = (savings.achieved(child(source, "delivery")), to_come and f"to come {to_come}", had_it)
    return "; ".join(part for part in parts if part)


def _finish(source: Json) -> float | None:
    """Seconds to the end as estimated from all devices, but no sooner than the slowest download under way."""
    eta = decimal(source, "etaSeconds")
    left = [_download_left(one) for one in children(source, "inFlight")]
    return eta if eta is None else max(eta, *left, 0.0)


def _download_left(source: Json) -> float:
    rate_now = decimal(source, "rateBytesPerSecond") or 0.0
    return max(number(source, "size") - number(source, "offset"), 0) / rate_now if rate_now > 0 else 0.0


def _group(source: Json, rollout_id: int) -> GroupLine:
    of = bars.totals(source)
    targets = max(number(source, "targets"), of.all)
    segments = bars.rollout_bar(of, targets)
    done = decimal(source, "percent")
    return GroupLine(
        name=text(source, "name"),
        href=f"/rollouts/{rollout_id}/groups/{number(source, 'id')}" if "id" in source else "",
        badge=states.rollout_status(text(source, "status")),
        targets=targets,
        totals=of,
        segments=segments,
        in_words=bars.summary(segments, targets),
        percent=percent(of.share(targets) if done is None else done),
        success_threshold=percent(decimal(source, "successThreshold")),
        error_threshold=percent(decimal(source, "errorThreshold")),
    )


def _causes(sources: tuple[Json, ...]) -> tuple[Cause, ...]:
    ordered = sorted(sources, key=lambda item: -number(item, "count"))
    most = max((number(item, "count") for item in ordered), default=0)
    return tuple(_cause(item, most) for item in ordered)


def _cause(source: Json, most: int) -> Cause:
    ids = texts(source, "controllerIds")
    shown = ids[:_MOST_DEVICES_OF_A_CAUSE]
    total = number(source, "count", len(ids))
    code = text(source, "cause", "unknown")
    return Cause(
        code=code,
        title=states.words(code),
        text=text(source, "text"),
        advice=advice(code),
        count=total,
        width=round(100 * total / most, 2) if most else 0.0,
        devices=tuple(DeviceLink(one, device_path(one)) for one in shown),
        more=max(total - len(shown), 0),
    )


def _in_flight(source: Json) -> InFlight:
    controller_id = text(source, "controllerId")
    whole, offset = maybe_number(source, "size"), maybe_number(source, "offset")
    share = decimal(source, "percent")
    if share is None:
        share = 100 * (offset or 0) / whole if whole else 0.0
    return InFlight(
        device=DeviceLink(controller_id, device_path(controller_id)),
        phase=states.phase_name(text(source, "phase")),
        words=f"{size(offset)} of {size(whole)}" if whole else "",
        percent=percent(share),
        width=round(min(max(share, 0), 100), 2),
        rate=rate(decimal(source, "rateBytesPerSecond")) if source.get("rateBytesPerSecond") else "",
    )
