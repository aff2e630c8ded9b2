"""What a fleet counts: percentiles from a histogram are right within its step, whatever is thrown in."""

import math

from hypothesis import given
from hypothesis import strategies as st

from softdevice.tally import Durations, Tally


@given(st.lists(st.floats(0.0002, 100.0), min_size=1, max_size=200), st.sampled_from((0.5, 0.9, 0.99, 1.0)))
def test_percentile_is_the_value_of_that_rank_or_at_most_seven_per_cent_more(
    seconds: list[float], share: float
) -> None:
    taken = Durations()
    for value in seconds:
        taken.add(value)
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    assert exact * 0.999 <= taken.percentile(share) <= exact * 1.071
    assert (taken.count, taken.longest) == (len(seconds), max(seconds))


def test_nothing_and_extremes_are_summed_up_too() -> None:
    assert Durations().summary() == {"count": 0, "p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}
    taken = Durations()
    for value in (0.0, 1e9):
        taken.add(value)
    assert taken.summary()["max"] == 1e12 and taken.percentile(0.5) <= 1e-3


def test_what_took_time_is_counted_too() -> None:
    tally = Tally()
    tally.count("resets")
    tally.took("updates", 0.1)
    tally.took("updates", 0.3)
    assert tally.counts == {"resets": 1, "updates": 2} and tally.durations["updates"].count == 2
