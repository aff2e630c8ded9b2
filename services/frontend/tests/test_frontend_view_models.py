"""The pure part: what JSON means to an operator, including JSON with holes in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.view_models import (
    advice,
    bars,
    control_room,
    devices,
    feed,
    filters,
    formatting,
    overview,
    products,
    releases,
    rollouts,
    states,
    timeline,
)
from frontend.view_models.formatting import THIN

MINUTE = 60_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0 B"), (512, "512 B"), (1536, "1.5 KiB"), (238_412, "232.8 KiB"), (64 << 20, "64 MiB")],
)
def test_sizes_are_in_the_unit_engineers_use(value: int | None, text: str) -> None:
    assert formatting.size(value).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 %"), (0.02, "0.1 %"), (53.4, "53 %"), (99.96, "99.9 %"), (100, "100 %"), (None, "–")]
)
def test_percentages_reach_their_ends_only_at_the_ends(value: float | None, text: str) -> None:
    assert formatting.percent(value).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (45, "45 s ago"), (720, "12 min ago"), (-840, "in 14 min"), (3 * 86_400, "3 d ago")],
)
def test_ages(seconds: int, text: str) -> None:
    now = 1_800_000_000_000
    assert formatting.age(now - seconds * 1000, now).replace(THIN, " ") == text


def test_counts_are_grouped_with_a_thin_space() -> None:
    assert formatting.count(1_204_100) == f"1{THIN}204{THIN}100"


@given(st.text(max_size=60))
def test_visible_text_holds_no_control_character(raw: str) -> None:
    shown = formatting.visible(raw)
    assert not any(ord(c) < 0x20 and c != "\n" for c in shown)
    assert not set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200b\x7f") & set(shown)


def test_one_failure_among_thousands_is_still_seen() -> None:
    segments = bars.stacked((("ok", "confirmed", 99_999), ("bad", "failed", 1)), 100_000)
    assert segments[-1].width >= 0.3
    assert segments[-1].x + segments[-1].width <= 100.01


@given(st.lists(st.integers(0, 10**7), max_size=6), st.integers(0, 10**7))
def test_bars_never_leave_their_frame(counts: list[int], whole: int) -> None:
    segments = bars.stacked((("ok", "x", value) for value in counts), whole)
    assert all(0 <= one.x <= 100 and one.width > 0 and one.x + one.width <= 100.1 for one in segments)
    assert [one.count for one in segments] == [value for value in counts if value]


def test_unknown_states_are_kept_and_shown() -> None:
    assert states.rollout_status("hibernating").word == "hibernating"
    assert states.update_status("").word == "unknown"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ({"status": "error", "cause": "rolled_back"}, "rolled back"),
        ({"status": "running", "phase": "rolled_back"}, "rolled back"),
        ({"status": "error", "cause": "not_enough_flash"}, "failed"),
        ({"status": "finished", "phase": "succeeded", "active": False}, "succeeded"),
        ({"status": "running", "phase": "downloading", "active": True}, "downloading"),
        ({"status": "canceled", "active": False}, "cancelled"),
        ({"status": "canceling", "active": True, "phase": "offered"}, "cancelling"),
        ({}, "waiting"),
    ],
)
def test_attempts_are_named_by_how_they_ended(source: dict[str, Any], word: str) -> None:
    assert states.attempt(source).word == word


def test_attempt_on_its_way_shows_what_is_ahead_and_a_resumed_download_once() -> None:
    passed = ("assigned", "downloading", "offered", "downloading")
    phases = [{"phase": name, "at": at} for at, name in enumerate(passed)]
    made = timeline.timeline({"attempts": [{"active": True, "phase": "downloading", "phases": phases}]})
    steps = [(step.name, step.state) for step in made.attempts[0].steps]
    assert steps[:3] == [("Assigned", "past"), ("Offered", "past"), ("Downloading", "now")]
    assert steps[3:] == [(name, "ahead") for name in ("Downloaded", "Executing", "Rebooting", "Verifying", "Succeeded")]


def test_trouble_is_only_that_of_the_newest_attempt() -> None:
    failed = {"startedAt": 1, "status": "error", "cause": "device_silent", "active": False}
    good = {"startedAt": 2, "status": "finished", "active": False}
    assert timeline.timeline({"attempts": [failed]}).trouble is not None
    assert timeline.timeline({"attempts": [failed, good]}).trouble is None


def test_device_that_had_the_release_already_is_counted_once() -> None:
    of = bars.totals({"finished": 10, "alreadyInstalled": 4, "error": 1, "running": 2, "notStarted": 3})
    assert (of.finished, of.confirmed, of.ended, of.all) == (6, 10, 11, 16)


def test_preview_counts_what_goes_over_the_air() -> None:
    source = {"targets": 30, "alreadyInstalled": 4, "incompatible": 6, "groups": [{"name": "one", "targets": 30}]}
    made = rollouts.preview(source)
    assert (made.matched, made.downloading) == (36, 26)
    assert made.sentence.startswith("26 devices download it, in 1 group")


FORECAST = {"byDelta": 4, "byFull": 1, "unknown": 2, "bytesFull": 7 << 20, "bytesPlanned": 3 << 20}


def test_preview_says_who_gets_a_delta_and_what_that_saves() -> None:
    said = rollouts.preview({"targets": 7, "forecast": FORECAST}).by_delta.replace(THIN, " ")
    assert said == "4 devices by delta, 1 device in full, 2 devices not known yet: 3 MiB instead of 7 MiB"
    assert rollouts.preview({"targets": 7, "forecast": {**FORECAST, "byDelta": 0}}).by_delta == ""


def test_rollout_shows_what_deltas_saved_and_what_is_to_come_until_it_ends() -> None:
    sent = {"arrivedByDelta": 1, "bytesSaved": 105 << 10, "fellBackToFull": 2}
    source: dict[str, Any] = {"bytesOnAir": 1 << 20, "delivery": sent, "forecast": FORECAST}
    note = control_room.control_room(source, 0).figures[-1].note.replace(THIN, " ")
    saved = "1 device by delta, 105 KiB saved, 2 fell back to the full image"
    assert note.startswith(f"{saved}; to come 4 devices by delta, ")
    assert control_room.control_room({**source, "endedAt": 5}, 9).figures[-1].note.replace(THIN, " ") == saved
    assert control_room.control_room({"bytesOnAir": 1}, 0).figures[-1].note == ""


@pytest.mark.parametrize(
    ("delivery", "said"),
    [
        ({"kind": "delta", "deltaSize": 16 << 10, "fullSize": 121 << 10}, "by delta, 16 KiB instead of 121 KiB"),
        ({"kind": "full", "deltaSize": 16 << 10, "fullSize": 1}, "in full, after a delta of 16 KiB failed"),
        ({"kind": "full", "size": 1, "fullSize": 1}, ""),
        (None, ""),
    ],
)
def test_attempt_says_how_the_image_came(delivery: Any, said: str) -> None:
    made = timeline.timeline({"attempts": [{"download": {"size": 1}, "delivery": delivery}]})
    download = made.attempts[0].download
    assert download is not None and download.delivered.replace(THIN, " ") == said


def test_both_spellings_of_totals_are_read() -> None:
    assert bars.totals({"notstarted": 4, "running": 1}).waiting == bars.totals({"notStarted": 4}).waiting == 4


def test_judgement_of_a_paused_rollout_and_its_buttons() -> None:
    source = {"status": "paused", "rollout": {"id": 2}, "totals": {"running": 3}, "judgement": "Paused itself."}
    room = control_room.control_room(source, now=10 * MINUTE)
    assert [action.verb for action in room.actions] == ["resume", "stop"]
    assert room.actions[1].confirm == "Stop for good, cancel 3 in flight"
    assert room.judgement == "Paused itself."


def test_finish_is_no_sooner_than_the_slowest_download() -> None:
    flying = [{"size": 121_964, "offset": 21_964, "rateBytesPerSecond": 1_000}, {"size": 9, "offset": 9}]
    room = control_room.control_room({"etaSeconds": 3, "inFlight": flying, "startedAt": 1}, now=MINUTE)
    assert room.figures[4].value.replace(THIN, " ") == "1 min"
    alone = control_room.control_room({"etaSeconds": 3, "startedAt": 1}, now=MINUTE)
    assert alone.figures[4].value.replace(THIN, " ") == "3 s"


def test_causes_are_ordered_by_how_many_they_hit() -> None:
    source = {
        "causes": [
            {"cause": "rolled_back", "count": 1, "controllerIds": ["a/b"]},
            {"cause": "connection_lost", "count": 60, "controllerIds": [f"d{n}" for n in range(60)]},
        ]
    }
    first, second = control_room.control_room(source, 0).causes
    assert (first.title, first.count, len(first.devices), first.more) == ("Connection lost", 60, 50, 10)
    assert second.devices[0].href == "/devices/a%2Fb"


def event(at: int, who: str, kind: str, text: str) -> dict[str, Any]:
    return {"at": at, "controllerId": who, "kind": kind, "text": text}


def test_what_happens_to_many_devices_at_once_is_one_line() -> None:
    told = [event(20_000, f"d{n}", "offered", "address written") for n in range(4)]
    told += [event(19_000, "d0", "offered", "address written"), event(500, "d9", "offered", "address written")]
    lines = feed.event_lines(told)
    assert [(line.controller_id, line.others) for line in lines] == [("d0", 3), ("d9", 0)]


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("downloading", "downloading", ("Downloading", "")),
        ("firmware", "firmware changed from 1.0 to 1.1", ("Firmware", "changed from 1.0 to 1.1")),
        ("presence", "came online", ("Came online", "")),
        ("offered", "offeredness is no echo", ("Offered", "offeredness is no echo")),
        ("rolled_back", "1.1 was never confirmed", ("Rolled back", "1.1 was never confirmed")),
    ],
)
def test_feed_says_a_thing_once(kind: str, text: str, shown: tuple[str, str]) -> None:
    [line] = feed.event_lines([event(1, "d", kind, text)])
    assert (line.kind, line.text) == shown


@pytest.mark.parametrize(
    "cause",
    ["rolled_back", "confirm_timeout", "download_failed", "not_enough_flash", "out_of_ram", "connection_lost",
     "integrity_check_failed", "unsupported_package_type", "invalid_uri", "update_failed", "unsupported_protocol",
     "device_silent", "wrong_version", "device_refused"],
)  # fmt: skip
def test_every_cause_of_the_contract_has_its_own_advice(cause: str) -> None:
    assert advice.advice(cause).meaning
    assert advice.advice("unheard_of").action


def test_release_names_the_key_that_verified_it() -> None:
    source = {"facts": {"signature": "ECDSA", "keyHash": "ab"}}
    assert releases.release(source, [{"name": "line 2", "fingerprint": "ab"}]).verdict == "Accepted: signed with line 2"
    assert (
        releases.release(source, [{"name": "other", "fingerprint": "cd"}]).verdict == "Accepted: the signature is valid"
    )
    assert releases.release({"facts": {"signature": "none"}}).verdict == "Kept; signature none"


def test_telemetry_is_named_with_its_instance_and_its_clock_is_readable() -> None:
    made = devices.device({"telemetry": {"/3/0/11/0": "0", "/3/0/13": "1795627610", "/9/9/9": "?"}}, None)
    assert [(fact.label, fact.detail) for fact in made.telemetry] == [
        ("Error code", "/3/0/11/0"), ("Current time", "/3/0/13"), ("/9/9/9", "")
    ]  # fmt: skip
    assert made.telemetry[1].value == "25 Nov 2026 17:26:50 UTC"


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (142, "2 min 22 s"), (180, "3 min"), (4000, "1 h")])
def test_lengths_of_a_few_minutes_keep_their_seconds(seconds: int, text: str) -> None:
    assert formatting.duration(1000, 1000 + seconds * 1000).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("typed", "made"),
    [
        ("0017", "controllerId==*0017*,name==*0017*"),
        ('north "field"', 'controllerId=="*north \\"field\\"*",name=="*north \\"field\\"*"'),
        ("updatestatus==error", "updatestatus==error"),
        ("updatestatus=error", "updatestatus=error"),
        ("  ", ""),
    ],
)
def test_words_become_a_filter_and_filters_stay(typed: str, made: str) -> None:
    assert filters.looks_for(typed) == made


@pytest.mark.parametrize(("column", "caret"), [(1, "^"), (4, "   ^"), (99, "    ^"), (None, ""), ("x", "")])
def test_caret_stands_under_the_wrong_column(column: Any, caret: str) -> None:
    assert filters.filter_error("a==b", "no", {"column": column}).caret == caret


def test_private_keys_are_recognised_before_they_travel() -> None:
    assert "private" in products.key_errors("-----BEGIN RSA PRIVATE KEY-----")["public_key"]
    assert products.key_errors("-----BEGIN PUBLIC KEY-----") == {}


HOLES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["content", "total", "targets", "presence", "attempts", "phases", "phase", "download", "size", "groups",
         "totals", "causes", "count", "controllerIds", "at", "facts", "tlvs", "type", "versions", "targetType",
         "rollout", "distributionSet", "id", "events", "status", "telemetry", "startedAt", "percent", "etaSeconds",
         "delivery", "byDelta", "deltaSize"]),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(
    ["content", "total", "attempts", "trace", "groups", "totals", "causes", "rollout", "distributionSet", "facts",
     "tlvs", "presence", "telemetry", "versions", "rollouts", "attention", "events", "inFlight", "etaSeconds",
     "delivery", "forecast"]),
    HOLES, max_size=8))  # fmt: skip
def test_json_with_holes_never_breaks_a_page(source: dict[str, Any]) -> None:
    overview.overview(source)
    devices.device_list(source, "", 0, 50)
    devices.device(source, source.get("facts"))
    timeline.timeline(source)
    releases.release(source)
    releases.release_list(source, 0, 50)
    products.product(source, source.get("content"))
    rollouts.rollout_list(source, 0, 50)
    rollouts.preview(source)
    control_room.control_room(source, 0)
