"""The journey as stories over plain values, and random walks that never leave the table."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m_gateway.sessions import causes, events, journey, offers, records
from lwm2m_gateway.sessions.phases import FINAL, Phase
from lwm2m_gateway.sessions.records import Journey
from lwm2m_gateway.testing import NEW, OLD, PACE, Story


def test_a_good_update_ends_after_its_soak() -> None:
    story = Story().rebooting()
    assert story.journey.phase == Phase.REBOOTING
    story.then(events.Registered(), 20).reads(0, NEW)
    assert story.journey.phase == Phase.VERIFYING
    story.reads(0, NEW, seconds=5)
    assert story.journey.phase == Phase.VERIFYING
    story.then(events.Tick(), 10).reads(0, NEW)
    assert story.journey.phase == Phase.SUCCEEDED
    assert [told.execution for told in story.told] == ["proceeding", "download", "downloaded", "proceeding", "closed"]
    assert story.told[-1].finished == "success"
    assert story.journey.over


def test_an_image_that_is_never_confirmed_is_a_rollback() -> None:
    story = Story().rebooting().then(events.Registered()).reads(0, NEW).then(events.Registered(), 3).reads(0, OLD)
    assert story.journey.phase == Phase.ROLLED_BACK
    assert story.told[-1].details[0] == "cause: rolled_back"
    assert "never confirmed" in story.told[-1].details[1]


def test_a_device_that_comes_back_old_is_asked_twice_before_it_counts() -> None:
    story = Story().rebooting().then(events.Registered()).reads(0, OLD)
    assert story.journey.phase == Phase.VERIFYING
    assert story.then(events.Tick(), 40).reads(0, OLD).journey.phase == Phase.ROLLED_BACK


def test_a_third_version_is_said_to_be_wrong() -> None:
    story = Story().rebooting().then(events.Registered()).reads(0, "9.9.9")
    assert story.journey.phase == Phase.FAILED
    assert story.told[-1].details[0] == f"cause: {causes.WRONG_VERSION}"


def test_a_device_that_already_runs_it_downloads_nothing() -> None:
    story = Story().reads(0, NEW)
    assert story.journey.phase == Phase.SUCCEEDED
    assert not story.wants(events.OfferPackage)


def test_a_device_in_the_middle_of_something_else_is_reset_first() -> None:
    story = Story().reads(2, OLD)
    assert story.wants(events.ResetFirmware)
    assert not story.wants(events.OfferPackage)
    assert story.offered().journey.phase == Phase.OFFERED


@pytest.mark.parametrize(("state", "resets"), list(offers.MAX_RESETS.items()))
def test_a_device_that_will_not_leave_anothers_package_is_reset_later_and_later_and_given_up_at_last(
    state: int, resets: int
) -> None:
    story = Story().reads(state, OLD)
    pauses: list[float] = []
    while story.journey.phase == Phase.ASSIGNED and len(pauses) <= resets:
        pauses.append(story.journey.wake_at - story.now)
        story.effects.clear()
        # What it notifies, and what is read whenever it speaks, costs it nothing.
        story.then(events.Observed(state=state), 0).then(events.Contact(), 0).reads(state, OLD, seconds=0)
        assert not story.wants(events.ResetFirmware)
        story.then(events.Tick(), PACE.ask_again).reads(state, OLD, seconds=0)
    assert [int(pause) for pause in pauses[:8]] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert story.told[-1].details == (
        f"cause: {causes.DEVICE_REFUSED}",
        f"the device stays in state {state} with another package, {resets} times reset",
    )


def test_a_download_of_somebody_elses_that_ends_by_itself_after_minutes_is_waited_for() -> None:
    story = Story()
    while story.now < 1000 + 300:
        story.then(events.Tick(), PACE.ask_again).reads(1, OLD, seconds=0)
    assert story.reads(0, OLD).wants(events.OfferPackage)


def test_a_reboot_in_mid_download_offers_again() -> None:
    story = Story().offered().then(events.Observed(state=1)).then(events.Registered()).reads(0, OLD)
    assert story.journey.phase == Phase.ASSIGNED
    assert story.then(events.UriWritten(True, "2.04")).journey.phase == Phase.OFFERED


def test_an_offer_without_effect_is_repeated_and_given_up_at_last() -> None:
    story = Story().offered()
    for _ in range(journey.MAX_OFFERS * 2):
        story.then(events.Tick(), 40).reads(0, OLD)
        if story.journey.phase in FINAL:
            break
        story.then(events.UriWritten(True, "2.04"))
    assert story.told[-1].details[0] == f"cause: {causes.DOWNLOAD_FAILED}"


@pytest.mark.parametrize(
    ("result", "attempts", "cause"),
    [
        (2, 1, "not_enough_flash"),
        (3, 2, "out_of_ram"),
        (4, 5, "connection_lost"),
        (5, 2, "integrity_check_failed"),
        (6, 1, "unsupported_package_type"),
        (7, 1, "invalid_uri"),
        (8, 1, "update_failed"),
        (9, 1, "unsupported_protocol"),
        (17, 1, "update_failed"),
    ],
)
def test_each_result_is_tried_as_often_as_it_makes_sense(result: int, attempts: int, cause: str) -> None:
    story = Story()
    for attempt in range(attempts):
        assert story.journey.phase == Phase.ASSIGNED, attempt
        story.offered().then(events.Observed(state=1)).then(events.Observed(state=0)).then(
            events.Observed(result=result)
        )
    assert story.journey.phase == Phase.FAILED
    assert story.told[-1].details[0] == f"cause: {cause}"
    assert str(result) in story.told[-1].details[1]


def test_result_before_state_is_the_same_story() -> None:
    story = (
        Story().offered().then(events.Observed(state=1)).then(events.Observed(result=6)).then(events.Observed(state=0))
    )
    assert story.journey.phase == Phase.FAILED


def test_no_answer_to_execute_is_no_failure() -> None:
    story = Story().offered().then(events.Observed(state=2)).then(events.Executed(None))
    assert story.journey.phase == Phase.REBOOTING


def test_a_refused_execute_is_asked_again() -> None:
    story = Story().offered().then(events.Observed(state=2)).then(events.Executed(False, "5.03"))
    assert story.journey.phase == Phase.DOWNLOADED
    story.reads(2, OLD)
    assert story.wants(events.ExecuteUpdate)


def test_the_bootloaders_refusal_is_told_with_its_result() -> None:
    story = Story().rebooting().then(events.Observed(0, 5))
    assert story.told[-1].details[0] == "cause: integrity_check_failed"


def test_silence_ends_every_phase() -> None:
    for story in (Story(), Story().offered(), Story().rebooting()):
        story.then(events.Tick(), 5000)
        assert story.journey.phase == Phase.FAILED
        assert story.told[-1].details[0] == f"cause: {causes.DEVICE_SILENT}"


def test_cancel_in_time_and_too_late() -> None:
    story = Story().offered().then(events.CancelRequested())
    assert story.journey.phase == Phase.CANCELLED
    assert story.told[-1].cancel
    assert story.wants(events.ResetFirmware)
    late = Story().rebooting().then(events.CancelRequested())
    assert late.journey.phase == Phase.REBOOTING
    assert late.told[-1].execution == "rejected"
    forgotten = Story().offered().then(events.CancelRequested(confirm=False))
    assert forgotten.journey.over


def test_a_restarted_gateway_looks_again_and_goes_on() -> None:
    story = Story().offered().then(events.Observed(state=1))
    story.effects.clear()
    story.then(events.Contact())
    assert story.wants(events.ObserveFirmware)
    assert story.wants(events.ReadFirmware)
    assert story.reads(2, OLD).journey.phase == Phase.DOWNLOADED


def test_feedback_waits_until_it_is_delivered() -> None:
    going, _ = journey.begin(1, NEW, "u", "ab", 1, 0, PACE)
    going, _ = journey.step(going, events.Observed(0, 0, OLD, full=True), 1, PACE)
    going, effects = journey.step(going, events.UriWritten(True, "2.04"), 2, PACE)
    assert events.DeliverFeedback() in effects
    going, effects = journey.step(going, events.Observed(state=1), 3, PACE)
    assert events.DeliverFeedback() not in effects  # the first is still on its way
    assert len(going.feedback) == 2
    going, effects = journey.step(going, events.FeedbackDelivered(), 4, PACE)
    assert effects == (events.DeliverFeedback(),)


EVENTS = st.one_of(
    st.just(events.Registered()),
    st.just(events.Contact()),
    st.just(events.Tick()),
    st.just(events.FeedbackDelivered()),
    st.builds(events.CancelRequested, st.booleans()),
    st.builds(events.UriWritten, st.booleans(), st.just("4.00")),
    st.builds(events.Executed, st.sampled_from([True, False, None])),
    st.builds(
        events.Observed,
        st.sampled_from([None, 0, 1, 2, 3, 9]),
        st.sampled_from([None, 0, 1, 2, 4, 5, 8, 200]),
        st.sampled_from([None, OLD, NEW, "<script>", ""]),
        full=st.booleans(),
    ),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 400)), max_size=40))
def test_a_full_read_never_asks_for_another(walk: list[tuple[events.Event, float]]) -> None:
    going, _ = journey.begin(1, NEW, "http://x", "ab" * 32, 10, 0, PACE)
    now = 0.0
    for event, seconds in walk:
        now += seconds
        going, effects = journey.step(going, event, now, PACE)
        if isinstance(event, events.Observed) and event.full:
            assert events.ReadFirmware() not in effects


@settings(max_examples=300)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 400)), max_size=40))
def test_random_walks_never_leave_the_table(walk: list[tuple[events.Event, float]]) -> None:
    going, _ = journey.begin(1, NEW, "http://x", "ab" * 32, 10, 0, PACE)
    now, closed = 0.0, 0
    for event, seconds in walk:
        now += seconds
        before = going
        going, _ = journey.step(going, event, now, PACE)
        added = going.feedback[len(before.feedback) :] if len(going.feedback) > len(before.feedback) else ()
        closed += sum(told.execution == "closed" for told in added)
        assert isinstance(going, Journey)
    assert closed <= 1


def test_a_download_of_its_own_is_adopted_and_one_of_somebody_else_reset() -> None:
    # The gateway was killed between its write of the address and its note of the answer.
    for uri, wanted in (("coap://x/f/tokentokento/fw.bin", Phase.DOWNLOADING), ("coap://x/f/other/a", Phase.ASSIGNED)):
        story = Story()
        story.journey = replace(story.journey, token="tokentokento")
        story.then(events.Observed(state=1, result=0, version=OLD, uri=uri, full=True))
        assert story.journey.phase == wanted
        assert story.wants(events.ResetFirmware) == (wanted == Phase.ASSIGNED)
        assert not story.wants(events.OfferPackage)


def test_a_rollback_is_seen_although_the_gateway_died_with_the_register() -> None:
    story = Story().rebooting()
    # The next gateway knows the registration and not that it was new.
    story.then(events.Contact(), 20).reads(0, OLD)
    assert story.journey.phase == Phase.VERIFYING
    story.reads(0, OLD, seconds=PACE.ask_again)
    assert story.journey.phase == Phase.ROLLED_BACK
    # One that has not yet reset is left alone.
    story = Story().rebooting().then(events.Contact(), 1).reads(3, OLD)
    assert story.journey.phase == Phase.REBOOTING


def executes(story: Story) -> int:
    return sum(isinstance(effect, events.ExecuteUpdate) for effect in story.effects)


@pytest.mark.parametrize("answered", [True, None])
def test_a_device_that_never_heard_execute_is_told_again(answered: bool | None) -> None:
    story = Story().offered().then(events.Observed(state=2)).then(events.Executed(answered))
    # At once proves nothing: the reset may still come.
    story.then(events.Contact(), 1).reads(2, OLD)
    assert (story.journey.phase, executes(story)) == (Phase.REBOOTING, 1)
    story.then(events.Contact(), PACE.ask_again).reads(2, OLD)
    assert (story.journey.phase, executes(story)) == (Phase.DOWNLOADED, 2)
    story.then(events.Executed(True, "2.04")).then(events.Registered(), 20).reads(0, NEW)
    story.then(events.Tick(), PACE.soak).reads(0, NEW)
    assert story.journey.phase == Phase.SUCCEEDED
    assert [told.execution for told in story.told] == ["proceeding", "downloaded", "proceeding", "closed"]


def test_an_unanswered_execute_is_looked_after_without_waiting_for_an_update() -> None:
    for answered, asks in ((None, True), (True, False)):
        story = Story().offered().then(events.Observed(state=2)).then(events.Executed(answered))
        story.effects.clear()
        story.then(events.Tick(), PACE.ask_again)
        # One that has heard it is busy with its reboot, and is left alone until it speaks.
        assert story.wants(events.ReadFirmware) == asks
        assert story.then(events.Contact()).wants(events.ReadFirmware)
        story.effects.clear()
        story.then(events.Tick(), PACE.ask_again)
        assert story.wants(events.ReadFirmware), "that answer may have been lost"


def test_a_device_that_rebooted_before_it_heard_execute_is_told_again() -> None:
    story = Story().rebooting().then(events.Registered(), 2).reads(2, OLD)
    assert (story.journey.phase, executes(story)) == (Phase.VERIFYING, 1)
    story.then(events.Tick(), PACE.ask_again).reads(2, OLD)
    assert (story.journey.phase, executes(story)) == (Phase.DOWNLOADED, 2)
    # The next time it does reboot, and what it showed before is no longer held against it.
    story.then(events.Executed(True, "2.04")).then(events.Registered(), 20).reads(0, OLD)
    assert story.journey.phase == Phase.VERIFYING
    assert story.then(events.Tick(), PACE.ask_again).reads(0, OLD).journey.phase == Phase.ROLLED_BACK


def test_a_power_cut_before_execute_arrived_is_no_rollback_until_it_happens_again() -> None:
    story = Story()
    for expected in (Phase.ASSIGNED, Phase.ROLLED_BACK):
        if story.journey.offers:
            story.then(events.UriWritten(True, "2.04"))
        else:
            story.offered()
        story.then(events.Observed(state=2)).then(events.Executed(None))
        story.then(events.Registered(), 20).reads(0, OLD).then(events.Tick(), PACE.ask_again)
        assert story.journey.phase == Phase.VERIFYING
        assert story.reads(0, OLD).journey.phase == expected
    assert story.told[-1].details[0] == "cause: rolled_back"
    # One that was seen to update, or to run the new image, did hear it.
    for proof in (events.Observed(state=3), events.Observed(0, 0, NEW, full=True)):
        story = Story().offered().then(events.Observed(state=2)).then(events.Executed(None)).then(proof)
        story.then(events.Registered(), 20).reads(0, OLD).then(events.Tick(), PACE.ask_again).reads(0, OLD)
        assert story.journey.phase == Phase.ROLLED_BACK


@pytest.mark.parametrize("came_back", [events.Contact(), events.Registered()])
def test_a_device_that_never_installs_its_image_is_given_up(came_back: events.Event) -> None:
    story = Story().offered().then(events.Observed(state=2))
    for _ in range(journey.MAX_OFFERS * 2):
        story.then(events.Executed(None)).then(came_back, PACE.ask_again).reads(2, OLD)
        if story.journey.phase in FINAL:
            break
    assert story.journey.phase == Phase.FAILED
    assert story.told[-1].details[0] == f"cause: {causes.DEVICE_REFUSED}"
    assert executes(story) == journey.MAX_EXECUTES


@pytest.mark.parametrize("answered", [True, None])
@pytest.mark.parametrize("first", [events.Contact(), events.Registered()])
def test_a_device_that_only_says_it_lives_does_not_keep_its_reboot_waiting_for_ever(
    answered: bool | None, first: events.Event
) -> None:
    story = Story().offered().then(events.Observed(state=2)).then(events.Executed(answered)).then(first)
    for _ in range(20):
        # It answers half of what it is asked, and never which version it runs.
        story.then(events.Contact(), 100).then(events.Observed(result=0)).then(events.Tick())
        if story.journey.phase in FINAL:
            break
    assert story.told[-1].details[0] == f"cause: {causes.DEVICE_SILENT}"


def test_a_trial_may_last_longer_than_a_reboot() -> None:
    patient = replace(PACE, soak=PACE.reboot * 3)
    going = Story().rebooting().then(events.Registered()).journey
    going, _ = journey.step(going, events.Observed(0, 0, NEW, full=True), 2000, patient)
    going, _ = journey.step(going, events.Tick(), 2000 + PACE.reboot * 2, patient)
    assert going.phase == Phase.VERIFYING
    going, _ = journey.step(going, events.Observed(0, 0, NEW, full=True), 2000 + patient.soak, patient)
    assert going.phase == Phase.SUCCEEDED


def test_time_in_which_no_gateway_listened_is_not_held_against_the_device() -> None:
    going = records.resumed(Story().rebooting().journey, 9000, PACE)
    assert journey.step(going, events.Tick(), 9001, PACE)[0].phase == Phase.REBOOTING
    assert journey.step(going, events.Tick(), 9000 + PACE.reboot, PACE)[0].phase == Phase.FAILED


def test_a_sleeper_that_came_back_and_could_not_be_read_keeps_its_time() -> None:
    story = Story().rebooting().then(events.Registered(), 20)
    assert story.then(events.Tick(), PACE.reboot * 2).journey.phase == Phase.VERIFYING
    assert story.reads(0, NEW).then(events.Tick(), PACE.soak).reads(0, NEW).journey.phase == Phase.SUCCEEDED


def test_a_device_that_took_execute_and_comes_back_with_its_image_unused_is_told_once_more_only() -> None:
    story = Story().rebooting()
    for _ in range(2):
        story.then(events.Registered(), PACE.ask_again).reads(2, OLD).then(events.Executed(True, "2.04"))
    assert (story.journey.phase, executes(story)) == (Phase.ROLLED_BACK, 2)
    assert "before it registered" in story.told[-1].details[1]


def test_a_device_seen_updating_by_another_gateway_is_given_time_before_it_is_told_again() -> None:
    story = Story().offered().then(events.Observed(state=3)).then(events.Contact(), 1).reads(2, OLD)
    assert (story.journey.phase, executes(story)) == (Phase.REBOOTING, 0)
    assert story.reads(2, OLD, seconds=PACE.ask_again).journey.phase == Phase.DOWNLOADED


def test_lost_offers_leave_the_execute_its_own_tries() -> None:
    story = Story().offered()
    story.journey = replace(story.journey, offers=journey.MAX_OFFERS)
    story.then(events.Observed(state=2)).then(events.Executed(None)).then(events.Contact(), PACE.ask_again)
    assert (story.reads(2, OLD).journey.phase, executes(story)) == (Phase.DOWNLOADED, 2)
