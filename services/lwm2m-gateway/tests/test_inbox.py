"""What waits for a session: bounded, in order, and notifications do not overrule what was read after them."""

from lwm2m_gateway.sessions import events
from lwm2m_gateway.shell.inbox import MAX_WAITING, Inbox

OLD, NEW = events.Observed(state=1), events.Observed(state=2)


async def test_a_flood_is_cut_off_and_an_empty_inbox_ticks() -> None:
    inbox = Inbox()
    assert isinstance(await inbox.take(0.01), events.Tick)
    for _ in range(MAX_WAITING + 10):
        inbox.put("poll")
    assert len(inbox) == MAX_WAITING and await inbox.take(1) == "poll"


async def test_notifications_older_than_a_read_are_dropped_and_nothing_else() -> None:
    inbox = Inbox()
    for what in (OLD, "poll", OLD):
        inbox.put(what)
    inbox.drop_older(len(inbox))
    assert len(inbox) == 1 and await inbox.take(1) == "poll"


async def test_a_notification_that_came_during_a_read_has_the_device_read_again() -> None:
    inbox = Inbox()
    inbox.put(OLD)
    waiting = len(inbox)
    inbox.put(NEW)
    inbox.drop_older(waiting)
    assert len(inbox) == 1 and isinstance(await inbox.take(1), events.Contact)
