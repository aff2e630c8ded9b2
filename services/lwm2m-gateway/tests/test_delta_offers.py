"""Offers by delta: when there is one, when not, how each thing that goes wrong with it leads to the full image."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m_gateway.adapters.ddi_client import delta_of
from lwm2m_gateway.sessions import events, journey, records
from lwm2m_gateway.sessions.phases import FINAL, Phase
from lwm2m_gateway.sessions.records import Delta, Way
from lwm2m_gateway.testing import NEW, OLD, PACE, URL, Story

BASE = "cd" * 32
DELTA = Delta(f"{URL}/delta/{'ef' * 32}", "ef" * 32, 160)
BY_DELTA = events.Delivery("delta", 160, 1000, "ef" * 32, BASE)
IN_FULL = events.Delivery("full", 1000, 1000, "ab" * 32)


def able(formats: int | None = 3, image: str | None = BASE) -> Story:
    """A device that has just been read."""
    return Story().then(events.Observed(0, 0, OLD, None, image, formats, full=True))


def full(state: int, version: str, result: int = 0) -> events.Observed:
    """A full read of a device that says nothing of its image."""
    return events.Observed(state, result, version, full=True)


def in_full() -> Story:
    """Up to the accepted offer of the whole image."""
    return Story().offered()


def by_delta() -> Story:
    """Up to the accepted offer of a delta."""
    story = able().then(events.DeltaAnswered(DELTA))
    story.journey = replace(story.journey, token="tokentokento")
    return story.then(events.UriWritten(True, "2.04"))


def reports(story: Story) -> list[events.ReportPhase]:
    return [effect for effect in story.effects if isinstance(effect, events.ReportPhase)]


def deliveries(story: Story) -> list[events.Delivery]:
    return [report.delivery for report in reports(story) if report.delivery is not None]


def test_a_device_that_tells_its_image_is_offered_a_delta_first() -> None:
    story = able()
    assert story.journey.way == Way.ASKING and story.wants(events.AskDelta) and not story.wants(events.OfferPackage)
    assert (story.journey.base, story.journey.formats) == (BASE, 3)
    story.then(events.DeltaAnswered(DELTA))
    assert story.wants(events.OfferPackage) and story.journey.delta == DELTA
    story.then(events.UriWritten(True, "2.04"))
    assert deliveries(story) == [BY_DELTA]
    assert reports(story)[-1].text.startswith("address of a delta written, 160 bytes instead of 1000")


@pytest.mark.parametrize(
    ("formats", "image"), [(0, BASE), (None, BASE), (3, None), (None, None), (4, BASE), (-4, BASE), (1 << 40, BASE)]
)
def test_a_device_that_tells_too_little_is_offered_the_full_image_at_once(
    formats: int | None, image: str | None
) -> None:
    story = able(formats, image)
    assert story.wants(events.OfferPackage) and not story.wants(events.AskDelta)
    assert deliveries(story.then(events.UriWritten(True, "2.04"))) == [IN_FULL]


def test_only_formats_that_are_known_are_asked_for() -> None:
    assert able(4 | 2).journey.formats == 2


def test_a_notification_decides_nothing_about_deltas() -> None:
    story = Story().then(events.Observed(state=0))
    assert story.journey.way == Way.OPEN and not story.wants(events.OfferPackage)
    assert isinstance(story.effects[-1], events.ReadFirmware)


def test_deltas_are_switched_off_by_waiting_for_none() -> None:
    going, _ = journey.begin(7, NEW, URL, "ab" * 32, 1000, 0, replace(PACE, delta=0))
    seen = events.Observed(0, 0, OLD, None, BASE, 3, full=True)
    going, effects = journey.step(going, seen, 1, replace(PACE, delta=0))
    assert events.OfferPackage() in effects and going.way == Way.FULL


def test_a_delta_that_is_being_built_is_waited_for_and_asked_for_again() -> None:
    story = able().then(events.DeltaAnswered(retry_seconds=3))
    assert not story.wants(events.OfferPackage) and story.journey.wake_at == story.now + 3
    story.effects.clear()
    story.then(events.Tick(), 3)
    assert story.effects == [events.AskDelta()]
    assert story.then(events.DeltaAnswered(DELTA)).wants(events.OfferPackage)


def test_a_delta_that_is_not_ready_in_time_is_waited_for_no_longer() -> None:
    story = able()
    for _ in range(3):
        story.then(events.DeltaAnswered(retry_seconds=600), 0)
        assert story.journey.wake_at == 1001 + PACE.delta
    story.then(events.Tick(), PACE.delta)
    assert story.wants(events.OfferPackage) and story.journey.way == Way.FULL
    assert reports(story)[-1].text == "the delta was not ready in time, offering the full image"
    assert story.then(events.DeltaAnswered(DELTA)).journey.delta is None, "too late"


@pytest.mark.parametrize("reason", ["", "there is no delta for what the device runs"])
def test_without_a_delta_the_full_image_is_offered_and_why_is_told_if_anybody_said(reason: str) -> None:
    story = able().then(events.DeltaAnswered(reason=reason))
    assert story.wants(events.OfferPackage) and story.journey.way == Way.FULL
    assert [report.text for report in reports(story)[1:]] == ([f"{reason}, offering the full image"] if reason else [])


def downloading(story: Story) -> Story:
    return story.then(events.Observed(state=1))


def rebooting(story: Story) -> Story:
    return downloading(story).then(events.Observed(state=2)).then(events.Executed(True, "2.04"))


# What happens after the offer of a delta, and what the timeline says then.
Failure = tuple[str, list[tuple[events.Event, float]], str]
RESULTS: list[Failure] = [
    (
        f"result {result} while downloading",
        [(events.Observed(state=1), 1), (events.Observed(0, result), 1)],
        f"by delta the device reported result {result}: ",
    )
    for result in (2, 3, 4, 5, 6, 7, 8, 9, 17)
]
FAILURES: list[Failure] = [
    *RESULTS,
    ("refused before it began", [(events.Observed(0, 5), 1)], "by delta the device reported result 5: "),
    (
        "lost in two reboots",
        [
            (events.Observed(state=1), 1),
            (events.Registered(), 5),
            (events.Observed(0, 0, OLD, full=True), 1),
            (events.UriWritten(True, "2.04"), 1),
            (events.Observed(state=1), 1),
            (events.Registered(), 5),
            (events.Observed(0, 0, OLD, full=True), 1),
        ],
        "by delta the device lost its download, ",
    ),
    (
        "never begun",
        [(events.Observed(0, 0, OLD, full=True), 40)],
        "by delta the device took the address and did not begin, ",
    ),
    (
        "spoilt when it was complete",
        [(events.Observed(state=2), 1), (events.Observed(0, 5), 1)],
        "by delta the device reported result 5: ",
    ),
    (
        "the image was lost",
        [(events.Observed(state=2), 1), (events.Observed(0, 0, OLD, full=True), 1)],
        "by delta the device lost its image, ",
    ),
]


@pytest.mark.parametrize(("happening", "said"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_whatever_goes_wrong_with_a_delta_leads_to_the_full_image(
    happening: list[tuple[events.Event, float]], said: str
) -> None:
    story = by_delta()
    for event, seconds in happening:
        story.then(event, seconds)
    assert story.journey.phase == Phase.ASSIGNED and story.wants(events.OfferPackage)
    told = reports(story)[-1].text
    assert told.startswith(said) and told.endswith(", offering the full image")
    assert events.RevokeTicket("tokentokento") in story.effects, "the two downloads are never joined"
    assert story.journey.token == "" and not any(one.finished == "failure" for one in story.told)
    story.then(events.UriWritten(True, "2.04"))
    assert deliveries(story)[-2:] == [BY_DELTA, IN_FULL]
    rebooting(story).then(events.Registered(), 20).reads(0, NEW).then(events.Tick(), 10).reads(0, NEW)
    assert story.journey.phase == Phase.SUCCEEDED


def test_a_device_that_rebooted_in_mid_delta_is_offered_the_same_one_once_more() -> None:
    story = downloading(by_delta()).then(events.Registered(), 5).then(events.Observed(0, 0, OLD, full=True))
    assert story.journey.phase == Phase.ASSIGNED and story.wants(events.OfferPackage)
    assert (story.journey.way, story.journey.delta, story.journey.token) == (Way.DELTA, DELTA, "tokentokento")
    assert reports(story)[-1].text == "the device lost its download, offering again"
    assert deliveries(story.then(events.UriWritten(True, "2.04"))) == [BY_DELTA, BY_DELTA]


def test_a_refused_address_leads_to_the_full_image_too() -> None:
    story = able().then(events.DeltaAnswered(DELTA))
    story.journey = replace(story.journey, token="tokentokento")
    story.then(events.UriWritten(False, "4.15"))
    assert story.wants(events.ResetFirmware) and events.RevokeTicket("tokentokento") in story.effects
    assert "4.15" in reports(story)[-1].text and story.journey.way == Way.FULL
    assert deliveries(story.reads(0, OLD).then(events.UriWritten(True, "2.04"))) == [IN_FULL]


def test_a_failed_delta_costs_the_full_image_none_of_its_attempts() -> None:
    story = downloading(by_delta()).then(events.Observed(0, 5))
    for _ in range(2):
        assert story.journey.phase == Phase.ASSIGNED
        downloading(story.then(events.UriWritten(True, "2.04"))).then(events.Observed(0, 5))
    assert story.journey.phase == Phase.FAILED and story.told[-1].details[0] == "cause: integrity_check_failed"


@pytest.mark.parametrize(
    ("happening", "end", "cause"),
    [
        # Whether it tells of the revert (our own devices) or knows nothing of it (Zephyr's Result is in RAM).
        ([events.Registered(), full(0, NEW), events.Registered(), full(0, OLD)], Phase.ROLLED_BACK, "rolled_back"),
        ([events.Registered(), full(0, NEW), events.Registered(), full(0, OLD, 8)], Phase.ROLLED_BACK, "rolled_back"),
        ([events.Registered(), full(0, OLD, 8)], Phase.ROLLED_BACK, "rolled_back"),
        ([events.Registered(), full(2, OLD, 8)], Phase.FAILED, "update_failed"),
        ([events.Registered(), full(0, OLD, 5)], Phase.FAILED, "integrity_check_failed"),
        ([events.Observed(0, 8)], Phase.FAILED, "update_failed"),
        ([events.Observed(2, 8)], Phase.FAILED, "update_failed"),
        ([events.Registered(), full(0, "9.9.9")], Phase.FAILED, "wrong_version"),
        ([events.Registered(), full(0, "9.9.9", 8)], Phase.FAILED, "update_failed"),
    ],
)
@pytest.mark.parametrize("by", [by_delta, in_full])
def test_what_fails_after_execute_is_the_images_fault_and_is_not_downloaded_again(
    by: Callable[[], Story], happening: list[events.Event], end: Phase, cause: str
) -> None:
    story = rebooting(by())
    for event in happening:
        story.then(event)
    assert (story.journey.phase, story.told[-1].details[0]) == (end, f"cause: {cause}")


def test_an_execute_told_again_is_no_reason_for_another_download_either() -> None:
    story = rebooting(by_delta()).then(events.Contact(), PACE.ask_again).reads(2, OLD)
    assert story.journey.phase == Phase.DOWNLOADED
    assert story.then(full(0, OLD, 8)).journey.phase == Phase.ROLLED_BACK


@pytest.mark.parametrize("uri", ["coap://p/f/tokentokento/fw.bin", "coap://p/f/other/fw.bin"])
def test_a_gateway_killed_around_the_offer_knows_that_it_was_a_delta(uri: str) -> None:
    story = able().then(events.DeltaAnswered(DELTA))
    story.journey = records.decode(records.encode(replace(story.journey, token="tokentokento")))
    story.then(events.Contact()).then(events.Observed(1, 0, OLD, uri, full=True))
    mine = "tokentokento" in uri
    assert story.journey.phase == (Phase.DOWNLOADING if mine else Phase.ASSIGNED)
    assert deliveries(story) == ([BY_DELTA] if mine else [])
    assert mine or story.wants(events.ResetFirmware)


def test_a_gateway_killed_while_it_asked_asks_again() -> None:
    story = able()
    story.journey = records.decode(records.encode(story.journey))
    story.effects.clear()
    story.then(events.Contact()).then(events.Observed(0, 0, OLD, None, BASE, 3, full=True))
    assert story.wants(events.AskDelta) and story.journey.ask_until == 1001 + PACE.delta


def test_a_journey_written_before_there_were_deltas_is_read() -> None:
    going = Story().offered().journey
    before = {name: value for name, value in asdict(going).items() if name not in DELTA_FIELDS}
    assert records.decode(json.dumps(before)) == replace(going, way=Way.OPEN)
    story = Story()
    story.journey = records.decode(json.dumps(before))
    downloading(story).then(events.Registered()).then(events.Observed(0, 0, OLD, None, BASE, 3, full=True))
    assert story.wants(events.OfferPackage) and not story.wants(events.AskDelta), "it was offered in full already"
    refused = Story().reads(0, OLD).then(events.UriWritten(False, "4.00"))
    refused.journey = replace(refused.journey, way=Way.OPEN)
    refused.then(events.Observed(0, 0, OLD, None, BASE, 3, full=True))
    assert not refused.wants(events.AskDelta), "and so was this one, which refused"


DELTA_FIELDS = ("way", "base", "formats", "delta", "ask_until")


def test_the_largest_journey_with_a_delta_stays_under_1_kib() -> None:
    moment = 1764115200.123456
    going = by_delta().journey
    large = replace(
        going,
        action_id=10**9,
        version="255.255.65535+4294967295",
        old_version="255.255.65535+4294967294",
        size=2**31,
        delta=replace(DELTA, size=2**31),
        offered_at=moment,
        executed_at=moment,
        new_seen_at=moment,
        deadline=moment,
        wake_at=moment,
        executes=8,
        accepted=True,
        old_seen=True,
        unheard=1,
        feedback=(records.Feedback("proceeding", "none", ("package address written",)),),
    )
    assert len(records.encode(large)) < 1024 and records.decode(records.encode(large)) == large


def test_a_delta_whose_address_is_elsewhere_survives_the_trip() -> None:
    elsewhere = replace(by_delta().journey, delta=replace(DELTA, url="http://elsewhere/d"))
    assert records.decode(records.encode(elsewhere)) == elsewhere


GOOD: dict[str, Any] = {
    "from": BASE,
    "sha256": "ef" * 32,
    "size": 160,
    "format": 2,
    "fullSize": 1000,
    "_links": {"download-http": {"href": "http://x/d"}},
}


@pytest.mark.parametrize(
    "change",
    [{"sha256": "ef"}, {"sha256": None}, {"size": "160"}, {"size": 0}, {"size": True}, {"_links": {}}],
)
def test_an_answer_that_describes_no_delta_is_none(change: dict[str, Any]) -> None:
    assert delta_of(GOOD) == events.DeltaAnswered(Delta("http://x/d", "ef" * 32, 160))
    assert delta_of({**GOOD, **change}).delta is None


EVENTS = st.one_of(
    st.sampled_from([events.Registered(), events.Contact(), events.Tick(), events.FeedbackDelivered()]),
    st.builds(events.UriWritten, st.booleans(), st.just("4.00")),
    st.builds(events.Executed, st.sampled_from([True, False, None])),
    st.builds(
        events.DeltaAnswered, st.sampled_from([None, DELTA]), st.sampled_from([None, 0.0, 3.0]), st.just("none today")
    ),
    st.builds(
        events.Observed,
        st.sampled_from([None, 0, 1, 2, 3]),
        st.sampled_from([None, 0, 2, 5, 8]),
        st.sampled_from([None, OLD, NEW]),
        st.none(),
        st.sampled_from([None, BASE]),
        st.sampled_from([None, 0, 3, 7]),
        full=st.booleans(),
    ),
)
ORDER = list(Way)


@settings(max_examples=300)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 60)), max_size=40))
def test_a_journey_never_goes_back_to_a_delta_and_always_knows_what_it_offered(
    walk: list[tuple[events.Event, float]],
) -> None:
    going, _ = journey.begin(1, NEW, URL, "ab" * 32, 1000, 0, PACE)
    now = 0.0
    for event, seconds in walk:
        now += seconds
        before = going
        going, effects = journey.step(going, event, now, PACE)
        assert ORDER.index(going.way) >= ORDER.index(before.way)
        assert (going.delta is not None) == (going.way == Way.DELTA)
        assert going.phase == before.phase or before.phase not in FINAL
        for effect in effects:
            if isinstance(effect, events.OfferPackage):
                assert going.way in (Way.DELTA, Way.FULL)
            if isinstance(effect, events.ReportPhase) and effect.delivery is not None:
                assert effect.delivery.kind == ("delta" if before.way == Way.DELTA else "full")
