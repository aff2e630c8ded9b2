"""What a journey makes of a device that comes back old and says so: a revert, whatever was heard of the reboot."""

from lwm2m_gateway.sessions import events
from lwm2m_gateway.sessions.phases import Phase
from lwm2m_gateway.testing import OLD, PACE, Story


def test_a_revert_is_one_whatever_was_heard_of_the_reboot() -> None:
    seen = events.Observed(0, 8, OLD, full=True)
    told_again = Story().offered().then(events.Observed(state=1)).then(events.Observed(state=2))
    told_again.then(events.Executed(None)).then(events.Contact(), 31).reads(2, OLD)
    assert (told_again.journey.phase, told_again.journey.executes) == (Phase.DOWNLOADED, 1)
    for story in (
        Story().rebooting(),
        Story().rebooting().then(events.Contact()),
        Story().rebooting().then(events.Registered()),
        told_again,
    ):
        assert story.then(seen).journey.phase == Phase.ROLLED_BACK


def test_a_read_that_lost_its_state_in_the_reboot_is_asked_for_again() -> None:
    story = Story().rebooting().then(events.Observed(state=3)).then(events.Registered())
    assert story.then(events.Observed(None, 8, OLD, full=True)).journey.phase == Phase.VERIFYING
    assert story.then(events.Tick(), PACE.ask_again).reads(0, OLD, 8).journey.phase == Phase.ROLLED_BACK
