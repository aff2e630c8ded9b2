"""Lines of things that happened: who, when, what. What happened to many devices at once is one line."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from frontend.view_models import states
from frontend.view_models.reading import Json, maybe_number, text

TOGETHER_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class EventLine:
    """`controller_id` and `href` are empty when the line is about no device; `others` had the same within seconds."""

    at: int | None
    controller_id: str
    href: str
    kind: str
    text: str
    tone: str
    others: int = 0


def device_path(controller_id: str) -> str:
    """Where a device's page is."""
    return f"/devices/{quote(controller_id, safe='')}" if controller_id else ""


def event_lines(sources: Iterable[Json], limit: int = 50) -> tuple[EventLine, ...]:
    """From `events[{at,controllerId,kind,text}]`, newest first as they come."""
    lines: list[EventLine] = []
    places: dict[tuple[str, str], int] = {}
    seen: set[tuple[int, str]] = set()
    for source in sources:
        line = _line(source)
        place = places.get((line.kind, line.text))
        if place is not None and _together(lines[place], line):
            if (place, line.controller_id) not in seen:
                lines[place] = replace(lines[place], others=lines[place].others + 1)
        else:
            place = places[line.kind, line.text] = len(lines)
            lines.append(line)
        seen.add((place, line.controller_id))
    return tuple(lines[:limit])


def _line(source: Json) -> EventLine:
    kind, told = text(source, "kind"), text(source, "text")
    title, rest = _without_echo(states.words(kind), told)
    controller_id = text(source, "controllerId")
    return EventLine(
        at=maybe_number(source, "at"),
        controller_id=controller_id,
        href=device_path(controller_id),
        kind=title,
        text=rest,
        tone=states.event_tone(f"{kind} {told}" if kind == "presence" else kind),
    )


def _without_echo(title: str, told: str) -> tuple[str, str]:
    """`Downloading` and `downloading` say one thing once; presence is told by its text alone."""
    if title == "Presence" and told:
        return told[:1].upper() + told[1:], ""
    if told.lower().startswith(title.lower()) and not told[len(title) :][:1].isalnum():
        return title, told[len(title) :].lstrip(" :,")
    return title, told


def _together(one: EventLine, other: EventLine) -> bool:
    return bool(one.controller_id and other.controller_id) and abs((one.at or 0) - (other.at or 0)) <= TOGETHER_MS
