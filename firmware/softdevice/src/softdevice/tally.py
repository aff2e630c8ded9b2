"""What a fleet counts about itself: events by kind, and how long things took, in a bounded histogram (pure)."""

import math
from collections import Counter
from typing import Final

# Seven per cent from one bucket to the next, from a tenth of a millisecond on: percentiles are that exact, whatever
# the number of samples.
_GROWTH: Final = math.log(1.07)
_SMALLEST_SECONDS: Final = 1e-4
_BUCKETS: Final = 300


class Durations:
    """How long something took, in seconds, however often."""

    __slots__ = ("_buckets", "count", "longest")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        place = int(math.log(max(seconds, _SMALLEST_SECONDS) / _SMALLEST_SECONDS) / _GROWTH)
        self._buckets[min(place, _BUCKETS - 1)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def percentile(self, share: float) -> float:
        """An upper bound of what `share` (0 to 1) of them took, at most 7 % too high; 0.0 when there are none."""
        wanted, seen = math.ceil(share * self.count), 0
        for place, number in enumerate(self._buckets):
            seen += number
            if seen and seen >= wanted:
                return min(self.longest, _SMALLEST_SECONDS * math.exp((place + 1) * _GROWTH))
        return 0.0

    def summary(self) -> dict[str, float]:
        """Count, and milliseconds at 50, 90, 99 and 100 %."""
        points = {f"p{share}": self.percentile(share / 100) for share in (50, 90, 99)} | {"max": self.longest}
        return {"count": self.count} | {name: round(seconds * 1000, 2) for name, seconds in points.items()}


class Tally:
    """Counts of a whole fleet; `took` also keeps durations by kind."""

    __slots__ = ("counts", "durations")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.durations: dict[str, Durations] = {}

    def count(self, kind: str, number: int = 1) -> None:
        """Something happened."""
        self.counts[kind] += number

    def took(self, kind: str, seconds: float) -> None:
        """Something happened, and took this long."""
        self.counts[kind] += 1
        self.durations.setdefault(kind, Durations()).add(seconds)
