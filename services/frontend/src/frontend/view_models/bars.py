"""Stacked bars as plain numbers: what a page draws as SVG, with no style attribute."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from frontend.view_models.formatting import count
from frontend.view_models.reading import Json, number

THINNEST: Final = 0.7  # of 100: one failed device among thousands must still be seen
GAP: Final = 0.25


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar; `x` and `width` in hundredths of its length."""

    tone: str
    label: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Devices of a rollout or group by how far they are; each is counted once."""

    finished: int
    running: int
    error: int
    cancelled: int
    scheduled: int
    not_started: int
    already_installed: int

    @property
    def all(self) -> int:
        """Every device counted."""
        return self.ended + self.running + self.waiting

    @property
    def confirmed(self) -> int:
        """Devices that run the release."""
        return self.finished + self.already_installed

    @property
    def ended(self) -> int:
        """Devices about which nothing more is expected."""
        return self.confirmed + self.error + self.cancelled

    def share(self, whole: int) -> float:
        """Percentage of `whole` that has ended."""
        return 100 * self.ended / whole if whole else 0.0

    @property
    def waiting(self) -> int:
        """Devices whose turn has not come."""
        return self.scheduled + self.not_started


def totals(source: Json) -> Totals:
    """From `totals` of progress, a group of it, or hawkBit's `totalTargetsPerStatus`.

    The update manager counts a device that had the release already as finished too; here it is taken out again.
    """
    finished = max(number(source, "finished"), 0)
    already = min(max(number(source, "alreadyInstalled"), 0), finished)
    return Totals(
        finished=finished - already,
        running=number(source, "running"),
        error=number(source, "error"),
        cancelled=number(source, "cancelled"),
        scheduled=number(source, "scheduled"),
        not_started=number(source, "notStarted", number(source, "notstarted")),
        already_installed=already,
    )


def stacked(parts: Iterable[tuple[str, str, int]], whole: int) -> tuple[Segment, ...]:
    """(tone, label, count)s of `whole` side by side; what is not zero is never invisible."""
    given = [(tone, label, value) for tone, label, value in parts if value > 0]
    whole = max(whole, sum(value for _, _, value in given))
    if not whole:
        return ()
    widths = [max(THINNEST, 100 * value / whole) for _, _, value in given]
    scale = min(1.0, 100 / sum(widths)) if widths else 1.0
    segments, x = [], 0.0
    for (tone, label, value), width in zip(given, widths, strict=True):
        drawn = width * scale
        segments.append(Segment(tone, label, value, round(x, 2), round(max(drawn - GAP, THINNEST / 2), 2)))
        x += drawn
    return tuple(segments)


def rollout_bar(of: Totals, whole: int = 0) -> tuple[Segment, ...]:
    """Confirmed and failed are kept apart by the running ones, for eyes that do not tell green from red."""
    return stacked(
        (
            ("ok", "confirmed", of.finished),
            ("same", "already installed", of.already_installed),
            ("run", "in flight", of.running),
            ("bad", "failed", of.error),
            ("hold", "cancelled", of.cancelled),
        ),
        whole or of.all,
    )


def summary(segments: tuple[Segment, ...], whole: int) -> str:
    """The bar in words, for those who do not see it."""
    parts = [f"{count(segment.count)} {segment.label}" for segment in segments]
    return f"{', '.join(parts) or 'none yet'}, of {count(whole)}"
