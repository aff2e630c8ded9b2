"""A device that puts its update off is waited for while it says so; one that takes no URI is told apart at once."""

import pytest

from lwm2m_gateway.sessions import causes, events
from lwm2m_gateway.sessions.phases import FINAL, Phase
from lwm2m_gateway.testing import NEW, OLD, PACE, Story

DEFERRED = 11


def test_an_update_put_off_is_waited_for_long_after_the_reboot_was_due() -> None:
    story = Story().rebooting()
    for _ in range(40):
        story.then(events.Tick(), PACE.ask_again).reads(2, OLD, DEFERRED)
    assert story.now > 1000 + 3 * PACE.reboot and story.journey.phase == Phase.REBOOTING
    said = [effect.text for effect in story.effects if isinstance(effect, events.ReportPhase) and "off" in effect.text]
    assert len(said) == 1, "once is enough"
    story.then(events.Observed(state=3, result=0)).then(events.Registered()).reads(0, NEW)
    assert story.then(events.Tick(), PACE.soak).reads(0, NEW).journey.phase == Phase.SUCCEEDED


def test_no_second_execute_goes_to_a_device_that_waits() -> None:
    story = Story().rebooting()
    before = sum(isinstance(effect, events.ExecuteUpdate) for effect in story.effects)
    story.reads(2, OLD, DEFERRED).then(events.Contact()).reads(2, OLD, DEFERRED)
    assert sum(isinstance(effect, events.ExecuteUpdate) for effect in story.effects) == before


def test_a_device_that_puts_off_and_falls_silent_is_given_up_at_last() -> None:
    story = Story().rebooting().reads(2, OLD, DEFERRED)
    story.then(events.Tick(), PACE.silence + 1)
    assert story.journey.phase == Phase.FAILED and story.told[-1].details[0] == f"cause: {causes.DEVICE_SILENT}"


def test_any_other_result_in_downloaded_still_ends_it() -> None:
    assert Story().rebooting().reads(2, OLD, 8).journey.phase == Phase.FAILED


@pytest.mark.parametrize("delivery", [None, 0, 2, 7])
def test_a_device_that_may_pull_is_offered_an_address(delivery: int | None) -> None:
    story = Story().then(events.Observed(0, 0, OLD, delivery=delivery, full=True))
    assert story.wants(events.OfferPackage) and story.journey.phase not in FINAL


def test_a_device_that_takes_packages_by_push_only_is_said_to_be_that() -> None:
    story = Story().then(events.Observed(0, 0, OLD, delivery=1, full=True))
    assert not story.wants(events.OfferPackage)
    assert story.told[-1].details == (
        f"cause: {causes.DEVICE_REFUSED}",
        "the device takes packages by push only (5/0/9 is 1)",
    )
