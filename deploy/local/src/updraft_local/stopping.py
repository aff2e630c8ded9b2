"""Ctrl-C, SIGTERM and a terminal that closes, as one request: first in order, after a second Ctrl-C in a hurry."""

import signal
import threading
from types import FrameType


class Stopped(BaseException):
    """Somebody asked to stop; raised where the main thread happens to be."""


class StopRequest:
    """Ctrl-C, SIGTERM or a closed terminal ends what is being done; a Ctrl-C after that is in a hurry.

    Only Ctrl-C can be: make passes SIGTERM on to a child that has got it as well, however much later.
    """

    def __init__(self) -> None:
        self.asked = False
        self.hurry = threading.Event()
        self._armed = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if number == signal.SIGINT:
                self.hurry.set()
            return
        self.asked = True
        if self._armed:
            self._armed = False
            raise Stopped

    def disarm(self) -> None:
        """Stopping has begun; a request changes its pace, not its course."""
        self._armed = False
