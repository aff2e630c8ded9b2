"""What `make demo DELTA=1` calls a success: every device updated the way it should be, and bytes saved."""

from typing import Any

import pytest

from updraft_local.delta_demo import WORTH, summary

FULL = 1000
BY_DELTA = {"kind": "delta", "size": 130, "fullSize": FULL, "deltaSize": 130}
FELL_BACK = {"kind": "full", "size": FULL, "fullSize": FULL, "deltaSize": 130}
IN_FULL = {"kind": "full", "size": FULL, "fullSize": FULL}
NAMES = [f"bridge-{number:04d}" for number in range(1, 21)]
MISBEHAVING = {NAMES[8]: "takes_no_deltas"}


def found() -> dict[str, dict[str, Any]]:
    """Records of twenty devices, one of which takes no deltas."""
    fate = {"status": "finished", "cause": None, "text": None, "version": "1.1.0", "fullSize": FULL}
    records = {name: {**fate, "delivery": BY_DELTA, "bytesOnAir": 130} for name in NAMES}
    records[NAMES[8]] |= {"delivery": IN_FULL, "bytesOnAir": FULL}
    return records


def flashes() -> dict[str, dict[str, Any]]:
    return {name: {"runningVersion": "1.1.0", "confirmed": True} for name in NAMES}


def test_fleet_updated_by_deltas_is_a_success_with_its_figures() -> None:
    told = summary(found(), flashes(), MISBEHAVING, 19 * 130 + FULL, 1.0)
    assert told["ok"] and (told["devices"], told["updated"], told["by_delta"]) == (20, 20, 19)
    assert (told["bytes_on_air"], told["bytes_on_air_full"], told["ratio"]) == (3470, 20000, 0.1735)
    assert told["deliveries"][NAMES[8]]["delivery"] == "full"


@pytest.mark.parametrize(
    ("change", "flash"),
    [
        ({"status": "error", "text": "no"}, {}),
        ({"delivery": IN_FULL, "bytesOnAir": FULL}, {}),
        ({"delivery": FELL_BACK}, {}),
        ({"delivery": {}}, {}),
        ({}, {"runningVersion": "1.0.0"}),
        ({}, {"confirmed": False}),
    ],
    ids=["failed", "in full", "fell back", "nobody knows", "runs the old one", "on trial"],
)
def test_one_device_that_is_otherwise_is_no_success(change: dict[str, Any], flash: dict[str, Any]) -> None:
    records, contents = found(), flashes()
    records[NAMES[0]] |= change
    contents[NAMES[0]] |= flash
    assert not summary(records, contents, MISBEHAVING, 3470, 1.0)["ok"]


def test_more_bytes_than_promised_are_no_success() -> None:
    limit = int(20 * FULL * WORTH)
    assert summary(found(), flashes(), MISBEHAVING, limit, 1.0)["ok"]
    assert not summary(found(), flashes(), MISBEHAVING, limit + 10, 1.0)["ok"]


def test_whole_image_that_took_more_than_its_size_is_no_success() -> None:
    records = found()
    records[NAMES[8]]["bytesOnAir"] = FULL * 2
    assert not summary(records, flashes(), MISBEHAVING, 3470, 1.0)["ok"]
