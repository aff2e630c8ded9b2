"""When a confirmable message is sent again and how long its message id stays taken (RFC 7252 section 4.8), as data."""

import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Transmission:
    """The transmission parameters (section 4.8) and what follows from them (section 4.8.2). Times in seconds."""

    ack_timeout: float = 2.0
    ack_random_factor: float = 1.5
    max_retransmit: int = 4
    nstart: int = 1
    max_latency: float = 100.0
    processing_delay: float = 2.0

    @property
    def max_transmit_span(self) -> float:
        """From the first to the last transmission of a confirmable message, at most."""
        return float(self.ack_timeout * (2**self.max_retransmit - 1) * self.ack_random_factor)

    @property
    def max_transmit_wait(self) -> float:
        """From the first transmission to giving up, at most."""
        return float(self.ack_timeout * (2 ** (self.max_retransmit + 1) - 1) * self.ack_random_factor)

    @property
    def exchange_lifetime(self) -> float:
        """How long the id of a confirmable message stays taken: a duplicate may arrive until then."""
        return self.max_transmit_span + 2 * self.max_latency + self.processing_delay

    @property
    def non_lifetime(self) -> float:
        """The same for a non-confirmable message."""
        return self.max_transmit_span + self.max_latency

    def timeouts(self, dice: random.Random) -> tuple[float, ...]:
        """How long to wait after each transmission; the first is random, each further one twice as long (4.2)."""
        first = self.ack_timeout * dice.uniform(1, self.ack_random_factor)
        return tuple(first * 2**number for number in range(self.max_retransmit + 1))


DEFAULT_TRANSMISSION: Final = Transmission()
