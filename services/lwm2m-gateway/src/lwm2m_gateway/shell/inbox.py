"""What a session has still to take: events and doorbells, in order, at most so many."""

import asyncio
import contextlib

from lwm2m_gateway.sessions import events

Doorbell = events.Event | str  # "poll": ask the update manager; "greet": read the device after a Register
MAX_WAITING = 256


class Inbox:
    """A bounded queue; a device that floods loses its own events only."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Doorbell] = asyncio.Queue(maxsize=MAX_WAITING)

    def __len__(self) -> int:
        return self._queue.qsize()

    def put(self, what: Doorbell) -> None:
        """Add, or drop when it is full."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(what)

    async def take(self, seconds: float) -> Doorbell:
        """The next one; a Tick when none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._queue.get()
        except TimeoutError:
            return events.Tick()

    def drop_older(self, waiting: int) -> None:
        """Drop notifications after a read; `waiting` is how many events waited when it was sent.

        Those are older than the answer. Of notifications that came during the read nobody knows: they go too, and the
        device is looked at once more.
        """
        taken = [self._queue.get_nowait() for _ in range(len(self))]
        for what in taken:
            if not isinstance(what, events.Observed):
                self._queue.put_nowait(what)
        if any(isinstance(what, events.Observed) for what in taken[waiting:]):
            self.put(events.Contact())
