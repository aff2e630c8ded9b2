"""Lines of things that happened: who, when, what."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from frontend.view_models import states
from frontend.view_models.reading import Json, maybe_number, text


@dataclass(frozen=True, slots=True)
class EventLine:
    """`controller_id` and `href` are empty when the line is about no device."""

    at: int | None
    controller_id: str
    href: str
    kind: str
    text: str
    tone: str


def device_path(controller_id: str) -> str:
    """Where a device's page is."""
    return f"/devices/{quote(controller_id, safe='')}" if controller_id else ""


def event_lines(sources: Iterable[Json], limit: int = 50) -> tuple[EventLine, ...]:
    """From `events[{at,controllerId,kind,text}]`, newest first as they come."""
    return tuple(
        EventLine(
            at=maybe_number(source, "at"),
            controller_id=text(source, "controllerId"),
            href=device_path(text(source, "controllerId")),
            kind=states.words(text(source, "kind")),
            text=text(source, "text"),
            tone=states.event_tone(text(source, "kind")),
        )
        for source in list(sources)[:limit]
    )
