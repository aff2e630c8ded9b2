"""The rules of deltas over plain values: who makes a pair, what is worth it, what a fleet saves, what was sent."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from update_manager.domain import deliveries
from update_manager.domain.deltas import (
    REFUSAL_TEXTS,
    Forecast,
    Image,
    Limits,
    Refusal,
    Share,
    due_again,
    forecast,
    refusal,
)

LIMITS = Limits(threshold_percent=50, max_per_release=20, max_image_bytes=1000)
BASE = Image("aa", 900, "key", 0, frozenset({1}))
WANTED = Image("bb", 1000, "key", 0, frozenset({1, 2}))


@pytest.mark.parametrize(
    ("base", "wanted", "why"),
    [
        (BASE, WANTED, None),
        (replace(BASE, products=frozenset()), WANTED, None),
        (BASE, replace(WANTED, products=frozenset()), None),
        (replace(BASE, flags=0x10), WANTED, None),
        (None, WANTED, Refusal.UNKNOWN_BASE),
        (BASE, replace(WANTED, image_sha256="aa"), Refusal.SAME_IMAGE),
        (replace(BASE, key_hash="other"), WANTED, Refusal.OTHER_KEY),
        (replace(BASE, products=frozenset({3})), WANTED, Refusal.OTHER_PRODUCT),
        (replace(BASE, flags=0x4), WANTED, Refusal.ENCRYPTED),
        (BASE, replace(WANTED, flags=0x8), Refusal.ENCRYPTED),
        (replace(BASE, size=1001), WANTED, Refusal.TOO_LARGE),
        (BASE, replace(WANTED, size=1001), Refusal.TOO_LARGE),
    ],
)
def test_which_images_make_a_pair(base: Image | None, wanted: Image, why: Refusal | None) -> None:
    assert refusal(base, wanted, LIMITS) == why


def test_every_refusal_is_said_in_words() -> None:
    assert set(REFUSAL_TEXTS) == set(Refusal)


@pytest.mark.parametrize(("size", "percent", "worth"), [(500, 50, True), (501, 50, False), (0, 0, True), (1, 0, False)])
def test_a_delta_is_worth_it_up_to_the_threshold(size: int, percent: int, worth: bool) -> None:
    assert Limits(threshold_percent=percent).worth(size, 1000) == worth


@pytest.mark.parametrize(
    ("status", "size", "rested", "again"),
    [
        ("wanted", None, True, False),
        ("ready", 400, True, False),
        ("failed", None, False, False),
        ("failed", None, True, True),
        ("refused", None, False, False),
        ("refused", None, True, True),
        ("refused", 501, True, False),  # too large then, and as large today
        ("refused", 500, False, True),  # the threshold was raised
    ],
)
def test_what_came_to_nothing_is_made_anew_when_that_may_help(
    status: str, size: int | None, rested: bool, again: bool
) -> None:
    assert due_again(status, size, 1000, rested, LIMITS) == again


def test_a_forecast_plans_what_is_ready_and_the_full_image_for_the_rest() -> None:
    population = [
        Share("old", 3, 10),  # ready
        Share("old", 2, 4),  # being built
        Share("old", 0, 3),  # takes none
        Share("odd", 3, 2),  # no delta
        Share(None, 3, 5),  # says nothing
        Share("new", 3, 7),  # runs it
    ]
    planned = forecast(population, {("old", 3): 100, ("old", 2): None}, 1000, "new")
    assert planned == Forecast(10, 5, 9, 24_000, 10 * 100 + 14 * 1000)


DELTA = {"kind": "delta", "size": 160, "fullSize": 1000, "sha256": "ef" * 32, "from": "cd" * 32}
FULL = {"kind": "full", "size": 1000, "fullSize": 1000, "sha256": "ab" * 32}


def report(of: dict[str, Any], offset: int, on_air: int) -> dict[str, Any]:
    return {"sha256": of["sha256"], "offset": offset, "size": of["size"], "bytesOnAir": on_air}


def test_the_full_image_after_a_delta_keeps_what_was_tried() -> None:
    delivery = deliveries.offered(deliveries.offered(None, DELTA), FULL)
    told = {"from": "cd" * 32, "deltaSize": 160, "deltaSha256": "ef" * 32}
    assert delivery == {"kind": "full", "size": 1000, "fullSize": 1000, **told}


@pytest.mark.parametrize(
    "told", [None, 7, "delta", [], {}, {"kind": "delta"}, {**DELTA, "size": -1}, {**DELTA, "kind": "torrent"}]
)
def test_an_offer_that_makes_no_sense_changes_nothing(told: Any) -> None:
    before = deliveries.offered(None, DELTA)
    assert deliveries.offered(before, told) == before and deliveries.offered(None, told) is None


def test_bytes_on_air_are_kept_apart_and_added_up() -> None:
    delivery = deliveries.offered(None, DELTA)
    first = deliveries.sent(None, delivery, report(DELTA, 80, 90))
    assert (first["bytesOnAir"], first["deltaBytesOnAir"], first["percent"]) == (90, 90, 50)
    delivery = deliveries.offered(delivery, FULL)
    second = deliveries.sent(first, delivery, report(FULL, 500, 520))
    assert (second["bytesOnAir"], second["deltaBytesOnAir"], second["percent"]) == (610, 90, 50)
    late = deliveries.sent(second, delivery, report(DELTA, 160, 170))
    assert (late["bytesOnAir"], late["deltaBytesOnAir"], late["offset"], late["size"]) == (690, 170, 500, 1000)


def test_a_download_noted_before_there_were_deltas_goes_on() -> None:
    before = {"offset": 10, "size": 1000, "bytesOnAir": 30, "repeatedBytes": 0, "restarts": 0, "percent": 1}
    after = deliveries.sent(before, None, report(FULL, 20, 25))
    assert (after["bytesOnAir"], after["offset"]) == (30, 20) and "deltaBytesOnAir" not in after


@given(
    st.permutations([report(DELTA, 80, 90), report(DELTA, 160, 180), report(FULL, 500, 520), report(FULL, 1000, 1040)])
)
def test_reports_in_any_order_add_up_to_the_same(order: list[dict[str, Any]]) -> None:
    delivery = deliveries.offered(deliveries.offered(None, DELTA), FULL)
    download: dict[str, Any] | None = None
    for told in order:
        download = deliveries.sent(download, delivery, told)
    assert download is not None
    assert (download["bytesOnAir"], download["deltaBytesOnAir"], download["percent"]) == (1220, 180, 100)


# A few texts, not all of Unicode: making that list takes seconds on a busy machine, and only digits could matter.
ODD_TEXTS = st.text("7-. x\N{ARABIC-INDIC DIGIT SEVEN}", max_size=5)


@given(
    st.dictionaries(st.sampled_from([*deliveries.NUMBERS, "sha256"]), st.one_of(st.none(), st.integers(), ODD_TEXTS))
)
def test_any_report_is_taken_without_falling(told: dict[str, Any]) -> None:
    delivery = deliveries.offered(None, DELTA)
    download = deliveries.sent(deliveries.sent(None, delivery, told), delivery, told)
    assert 0 <= download["percent"] <= 100 and download["bytesOnAir"] >= 0
