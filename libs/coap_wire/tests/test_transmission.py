"""The transmission parameters and the times that follow from them."""

import itertools
import random

import pytest

from coap_wire import DEFAULT_TRANSMISSION, Transmission


@pytest.mark.rfc("7252-4.8.1-b")
def test_the_defaults_give_the_times_of_the_rfcs_table() -> None:
    default = DEFAULT_TRANSMISSION
    assert (default.max_transmit_span, default.max_transmit_wait) == (45, 93)
    assert (default.non_lifetime, default.exchange_lifetime) == (145, 247)


@pytest.mark.rfc("7252-4.2-g")
@pytest.mark.parametrize("seed", range(20))
def test_each_timeout_is_twice_the_one_before_and_the_first_is_drawn(seed: int) -> None:
    drawn = DEFAULT_TRANSMISSION.timeouts(random.Random(seed))
    assert len(drawn) == 5  # the message and four retransmissions
    assert 2 <= drawn[0] <= 3
    assert all(later == 2 * earlier for earlier, later in itertools.pairwise(drawn))
    assert sum(drawn) <= DEFAULT_TRANSMISSION.max_transmit_wait


def test_two_messages_wait_differently() -> None:
    dice = random.Random(1)
    assert len({DEFAULT_TRANSMISSION.timeouts(dice) for _ in range(10)}) == 10


def test_slower_parameters_stretch_all_that_follows() -> None:
    slow = Transmission(ack_timeout=10)
    assert (slow.max_transmit_span, slow.exchange_lifetime) == (225, 427)
