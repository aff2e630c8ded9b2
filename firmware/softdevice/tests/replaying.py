"""Plays recorded scenarios to their end and compares everything; counts what it compared."""

from dataclasses import dataclass
from typing import Any

from recorded_device import Replay, short, trace
from recordings import Scenario


class Difference(AssertionError):
    """A replay that did not do what was recorded."""


@dataclass
class Tally:
    """What was compared: scenarios, their steps, flash operations, power-cut runs and the boots that followed them."""

    scenarios: int = 0
    steps: int = 0
    operations: int = 0
    runs: int = 0
    boots: int = 0

    def __iadd__(self, other: "Tally") -> "Tally":
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def play(scenario: Scenario) -> Tally:
    """One scenario with all its steps and runs; raises Difference at the first thing that is not as recorded."""
    replay = Replay(scenario)
    tally = Tally(scenarios=1)
    for number, step in enumerate(scenario.content["steps"]):
        _step(replay, step, f"{scenario.name}, step {number}", tally)
    if "runs" in scenario.content:
        _runs(replay, scenario, tally)
    return tally


def _step(replay: Replay, step: dict[str, Any], place: str, tally: Tally) -> None:
    expect = step["expect"]
    found = replay.perform(step)
    recorded = [short(entry) for entry in expect.get("ops", [])]
    _same(replay.operations, recorded, place, "operations")
    for name, value in found.items():
        if name in expect or value is not None:
            _same(value, expect.get(name), place, name)
    _same(replay.crcs(), expect["crc"], place, "crc")
    if "trailers" in expect:
        _same(replay.trailers(), expect["trailers"], place, "trailers")
    if "counters" in expect:
        _same(replay.flash.counters, expect["counters"], place, "counters")
    tally.steps += 1
    tally.operations += len(recorded)


def _runs(replay: Replay, scenario: Scenario, tally: Tally) -> None:
    content, flash = scenario.content, replay.flash
    before, counters = flash.storage.read(0, flash.size), list(flash.counters)
    _step(replay, content["target"], f"{scenario.name}, uncut", tally)
    for run in content["runs"]:
        flash.storage.write(0, before)
        flash.counters[:] = counters
        place = f"{scenario.name}, cuts {run['cuts']}"
        first, *further = run["cuts"]
        replay.perform_cut(content["target"], first)
        for cut in further:
            replay.perform_cut({"do": "boot"}, cut)
        _same(_in_order(replay, content), _words(run["crc"]), place, "crc after the cut")
        for number, expected in enumerate(run["after"]):
            found = replay.boot_again()
            summary = [found.get("version", found["status"]), found.get("area")]
            _same(summary, [expected[0], expected[1] or None], place, f"boot {number}")
            if number == 0 and "ops" in run:
                _same(replay.operations, [short(entry) for entry in run["ops"]], place, "operations")
            _same([len(replay.operations), trace(replay.operations)], expected[2:4], place, f"boot {number}: trace")
            _same(_in_order(replay, content), _words(expected[4]), place, f"boot {number}: crc")
            if len(expected) > 5:
                _same(flash.counters, expected[5], place, f"boot {number}: counters")
            tally.boots += 1
            tally.operations += len(replay.operations)
        stuck = all(entry[0] in ("assert", "no-bootable-image") for entry in run["after"])
        _same(stuck, run.get("stuck", False), place, "stuck")
        tally.runs += 1


def _in_order(replay: Replay, content: dict[str, Any]) -> list[str]:
    found = replay.crcs()
    return [found[name] for name in content["area_order"]]


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else list(value)


def _same(found: Any, recorded: Any, place: str, what: str) -> None:
    if found != recorded:
        raise Difference(f"{place}: {what}\n  found    {found}\n  recorded {recorded}")
