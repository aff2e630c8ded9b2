"""The power goes at every step of an update and of a revert: the old or the new version boots, never neither."""

import pytest

from softdevice.board import Board
from softdevice.flash import Cut, PowerCut
from softdevice.images import new_key, small_image
from softdevice.trailer import SwapType

KEY = new_key()
OLD, NEW = small_image(KEY, "1.0.0", 6000), small_image(KEY, "2.0.0", 9000)
SECTORS = 8


def write_new(board: Board, start: int = 0) -> None:
    for at in range(start, len(NEW), 512):
        board.write_secondary(at, NEW[at : at + 512])


def downloaded() -> Board:
    """A board with the old image running and the new one downloaded and requested."""
    board = Board((KEY.public,), sectors=SECTORS)
    board.provision(OLD)
    board.prepare_secondary()
    write_new(board)
    assert board.secondary_image() is not None
    board.request_test()
    return board


def on_trial() -> Board:
    board = downloaded()
    assert board.power_on().swapped == SwapType.TEST
    return board


def operations_of(board: Board) -> int:
    before = board.flash.operations
    board.power_on()
    return board.flash.operations - before


def boot_until_it_stays(board: Board) -> str:
    for _ in range(4):
        outcome = board.power_on()
        assert outcome.version is not None
        if outcome.swapped == SwapType.NONE:
            break
    return str(outcome.version)


@pytest.mark.parametrize("applied", [0, 4])
@pytest.mark.parametrize("kind", ["upgrade", "revert"])
def test_a_version_boots_after_a_cut_at_each_operation(kind: str, applied: int) -> None:
    make = downloaded if kind == "upgrade" else on_trial
    total = operations_of(make())
    assert total > 30
    for number in range(1, total + 1):
        board = make()
        board.flash.cut = Cut(board.flash.operations + number, applied)
        with pytest.raises(PowerCut):
            board.power_on()
        board.flash.cut = None
        outcome = board.power_on()
        versions = {"1.0.0", "2.0.0"} if kind == "upgrade" else {"1.0.0"}
        assert str(outcome.version) in versions, number
        # Nobody confirms here: in the end the old image is back, however the power went.
        assert boot_until_it_stays(board) == "1.0.0", number


def test_a_version_boots_after_two_cuts_in_a_row() -> None:
    first_total = operations_of(downloaded())
    for first in range(2, first_total, 5):
        for second in range(1, 30, 7):
            board = downloaded()
            for number in (first, second):
                board.flash.cut = Cut(board.flash.operations + number, 0)
                try:
                    board.power_on()
                except PowerCut:
                    pass
            board.flash.cut = None
            assert str(board.power_on().version) in {"1.0.0", "2.0.0"}, (first, second)


def test_confirmed_image_stays() -> None:
    board = on_trial()
    assert not board.confirmed
    board.confirm()
    assert boot_until_it_stays(board) == "2.0.0"


def test_unconfirmed_image_goes_back_at_the_next_boot() -> None:
    board = on_trial()
    assert board.power_on().swapped == SwapType.REVERT
    assert str(board.contents().running) == "1.0.0" and board.confirmed


def test_power_cut_after_each_write_of_a_download_leaves_the_old_image() -> None:
    for at in range(0, len(NEW), 512):
        board = Board((KEY.public,), sectors=SECTORS)
        board.provision(OLD)
        board.prepare_secondary()
        board.flash.cut = Cut(board.flash.operations + at // 512 + 1, 256)
        with pytest.raises(PowerCut):
            write_new(board)
        board.flash.cut = None
        assert str(board.power_on().version) == "1.0.0"


def test_image_signed_by_a_stranger_is_refused_and_erased() -> None:
    board = Board((KEY.public,), sectors=SECTORS)
    board.provision(OLD)
    board.prepare_secondary()
    foreign = small_image(new_key(), "3.0.0")
    board.write_secondary(0, foreign)
    assert board.secondary_image() is None
    board.request_test()
    assert str(board.power_on().version) == "1.0.0"
    assert board.contents().secondary is None
