"""The bootloader against recorded traces of the real bootutil: same operations, same flash, same image started."""

import pytest
from recordings import families, load, scenarios
from replaying import Tally, play

# What firmware/vectors/mcuboot holds: nothing of it may silently be left out.
EVERYTHING = Tally(scenarios=858, steps=2630, operations=616_750, runs=10_624, boots=21_248)


def recorded(family: str) -> Tally:
    """What there is to compare in one file, counted without playing it."""
    tally = Tally()
    for scenario in load(family)["scenarios"]:
        steps = [*scenario["steps"], *([scenario["target"]] if "target" in scenario else [])]
        runs = scenario.get("runs", [])
        boots = [boot for run in runs for boot in run["after"]]
        operations = sum(len(step["expect"].get("ops", [])) for step in steps) + sum(boot[2] for boot in boots)
        tally += Tally(1, len(steps), operations, len(runs), len(boots))
    return tally


@pytest.mark.parametrize("family", families())
def test_bootloader_does_what_bootutil_was_recorded_doing(family: str) -> None:
    played = Tally()
    for scenario in scenarios(family):
        played += play(scenario)
    assert played == recorded(family)


def test_every_recorded_scenario_and_power_cut_is_replayed() -> None:
    total = Tally()
    for family in families():
        total += recorded(family)
    assert total == EVERYTHING
