"""The first page: is the fleet well, what needs a person, what is moving."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from frontend.view_models import bars, states
from frontend.view_models.feed import EventLine, device_path, event_lines
from frontend.view_models.filters import by_presence, by_status, by_version
from frontend.view_models.formatting import percent, plural, size
from frontend.view_models.reading import Json, child, children, decimal, maybe_number, number, text
from frontend.view_models.states import Badge

STATUSES: Final = ("in_sync", "pending", "error", "registered", "unknown")
PRESENCES: Final = ("online", "late", "offline", "never")
_SEVERITY: Final = {
    "error": Badge("error", "bad", "diamond"),
    "warning": Badge("warning", "warn", "half"),
    "info": Badge("note", "run", "dot"),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """A counted state that leads to the devices in it."""

    badge: Badge
    count: int
    share: str
    href: str


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that waits for a person."""

    badge: Badge
    text: str
    subject: str
    href: str
    at: int | None


@dataclass(frozen=True, slots=True)
class RolloutLine:
    """A rollout as a row with its bar."""

    id: int
    name: str
    href: str
    badge: Badge
    release: str
    percent: str
    segments: tuple[bars.Segment, ...]
    in_words: str
    totals: bars.Totals
    whole: int
    judgement: str
    created_at: int | None


@dataclass(frozen=True, slots=True)
class VersionBar:
    """Devices of a product that run a version; `width` of 100."""

    version: str
    count: int
    share: str
    width: float
    href: str


@dataclass(frozen=True, slots=True)
class ProductVersions:
    """A product's versions, most used first."""

    product: str
    total: int
    versions: tuple[VersionBar, ...]


@dataclass(frozen=True, slots=True)
class FirstStep:
    """Something to do before the first rollout. `state`: `done`, `next` or `later`."""

    state: str
    title: str
    href: str
    note: str


@dataclass(frozen=True, slots=True)
class Overview:
    """All of the first page."""

    targets: int
    sentence: str
    statuses: tuple[Tally, ...]
    status_bar: tuple[bars.Segment, ...]
    presences: tuple[Tally, ...]
    presence_bar: tuple[bars.Segment, ...]
    attention: tuple[Attention, ...]
    rollouts: tuple[RolloutLine, ...]
    products: tuple[ProductVersions, ...]
    events: tuple[EventLine, ...]
    bytes_on_air: str
    first_steps: tuple[FirstStep, ...]


def overview(source: Json, products: int | None = None, releases: int | None = None) -> Overview:
    """From `GET /overview`; with the numbers of products and releases when there has been no rollout yet."""
    targets = number(source, "targets")
    statuses = tuple(
        _tally(states.update_status(key), number(child(source, "updateStatus"), key), targets, by_status(key))
        for key in STATUSES
    )
    presences = tuple(
        _tally(states.presence(key), number(child(source, "presence"), key), targets, by_presence(key))
        for key in PRESENCES
    )
    attention = tuple(_attention(item) for item in children(source, "attention"))
    rollouts = tuple(rollout_line(item) for item in children(source, "rollouts"))
    return Overview(
        targets=targets,
        sentence=_sentence(targets, attention, rollouts, statuses),
        statuses=statuses,
        status_bar=_tally_bar(statuses, targets),
        presences=presences,
        presence_bar=_tally_bar(presences, targets),
        attention=attention,
        rollouts=rollouts,
        products=_products(children(source, "versions")),
        events=event_lines(children(source, "events"), 8),
        bytes_on_air=size(maybe_number(source, "bytesOnAir")),
        first_steps=()
        if products is None or releases is None or rollouts
        else _first_steps(targets, products, releases),
    )


def _first_steps(targets: int, products: int, releases: int) -> tuple[FirstStep, ...]:
    registered = f"{plural(targets, 'device has', 'devices have')} registered."
    steps = (
        (targets > 0, "Connect devices", "/devices",
         registered if targets else "They appear as soon as they register over LwM2M."),
        (products > 0, "Add a product", "/products",
         "What the devices are, and the key their images are signed with."),
        (releases > 0, "Upload a release", "/releases",
         "A signed MCUboot image; it is inspected before it is kept."),
        (False, "Roll it out", "/rollouts/new",
         "To the devices you choose, in groups; it pauses itself when too many fail."),
    )  # fmt: skip
    following = next(place for place, step in enumerate(steps) if not step[0])
    return tuple(
        FirstStep("done" if done else "next" if place == following else "later", title, href, note)
        for place, (done, title, href, note) in enumerate(steps)
    )


def rollout_line(source: Json) -> RolloutLine:
    """From a member of `overview.rollouts`, or hawkBit's rollout in full representation."""
    given = child(source, "totals") or child(source, "totalTargetsPerStatus")
    of = bars.totals(given)
    whole = number(source, "totalTargets", of.all)
    segments = bars.rollout_bar(of, whole)
    done = decimal(source, "percent")
    return RolloutLine(
        id=number(source, "id"),
        name=text(source, "name", "unnamed"),
        href=f"/rollouts/{number(source, 'id')}",
        badge=states.rollout_status(text(source, "status")),
        release=release_name(child(source, "distributionSet")),
        percent=percent(of.share(whole) if done is None else done),
        segments=segments,
        in_words=bars.summary(segments, whole),
        totals=of,
        whole=whole,
        judgement=text(source, "judgement"),
        created_at=maybe_number(source, "createdAt"),
    )


def release_name(source: Json) -> str:
    """`soil-sensor 2.4.0`; empty for no distribution set."""
    return f"{text(source, 'name')} {text(source, 'version')}".strip()


def _tally(badge: Badge, value: int, whole: int, href: str) -> Tally:
    return Tally(badge, value, percent(100 * value / whole) if whole else "", href)


def _tally_bar(tallies: tuple[Tally, ...], whole: int) -> tuple[bars.Segment, ...]:
    return bars.stacked(((tally.badge.tone, tally.badge.word, tally.count) for tally in tallies), whole)


def _attention(source: Json) -> Attention:
    rollout = text(source, "type") == "rollout"
    subject, told = text(source, "id"), text(source, "text")
    return Attention(
        badge=_SEVERITY.get(text(source, "severity"), _SEVERITY["warning"]),
        text=told if rollout else told.removeprefix(f"{subject}: "),
        subject="" if rollout else subject,
        href=f"/rollouts/{subject}" if rollout else device_path(subject),
        at=maybe_number(source, "at"),
    )


def _products(sources: Iterable[Json]) -> tuple[ProductVersions, ...]:
    grouped: dict[str, list[tuple[str, int, str]]] = {}
    for source in sources:
        product = child(source, "targetType")
        key = text(product, "key")
        version = text(source, "version")
        row = (version or "not known", number(source, "count"), by_version(key, version))
        grouped.setdefault(text(product, "name") or key or "No product", []).append(row)
    return tuple(_product(name, sorted(rows, key=lambda row: -row[1])) for name, rows in sorted(grouped.items()))


def _product(name: str, rows: list[tuple[str, int, str]]) -> ProductVersions:
    total = sum(value for _, value, _ in rows)
    return ProductVersions(
        name,
        total,
        tuple(
            VersionBar(
                version,
                value,
                percent(100 * value / total if total else 0),
                round(max(100 * value / total, bars.THINNEST), 2) if total and value else 0.0,
                href,
            )
            for version, value, href in rows
        ),
    )


def _sentence(
    targets: int, attention: tuple[Attention, ...], rollouts: tuple[RolloutLine, ...], statuses: tuple[Tally, ...]
) -> str:
    if not targets:
        return "No device has registered yet."
    urgent = sum(1 for item in attention if item.badge.tone == "bad")
    if urgent:
        first = f"{plural(urgent, 'thing needs', 'things need')} you"
    elif attention:
        first = f"Nothing is broken; {plural(len(attention), 'thing is', 'things are')} worth a look"
    else:
        first = "Nothing needs you"
    moving = sum(1 for line in rollouts if line.badge.tone == "run")
    synced, known = statuses[0], statuses[3].count + statuses[4].count
    if known == targets:
        return f"{first}; {plural(targets, 'device is', 'devices are')} there, none has been updated yet."
    second = f"{plural(moving, 'rollout is', 'rollouts are')} moving" if moving else "no rollout is moving"
    return f"{first}; {second}; {synced.share} of {plural(targets, 'device is', 'devices are')} in sync."
