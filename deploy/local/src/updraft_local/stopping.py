"""Ctrl-C, SIGTERM and a terminal that closes, as one request: first in order, then in a hurry."""

import signal
import threading
import time
from types import FrameType

# make passes SIGTERM on to a child that has got it as well: that is no second request.
SAME_REQUEST_SECONDS = 0.5


class Stopped(BaseException):
    """Somebody asked to stop; raised where the main thread happens to be."""


class StopRequest:
    """Ctrl-C, SIGTERM or a closed terminal. The first one ends what is being done, the second one is in a hurry."""

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self.hurry = threading.Event()
        self._armed = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked_at is None:
            self.asked_at = now
            if self._armed:
                self._armed = False
                raise Stopped
        elif now - self.asked_at > SAME_REQUEST_SECONDS:
            self.hurry.set()

    def disarm(self) -> None:
        """Stopping has begun; a request changes its pace, not its course."""
        self._armed = False
