"""Packages fed byte by byte: what is refused before anything is erased, and how one goes on after a power cut."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.firmware import Result
from softdevice.board import AlreadyProgrammed, Board
from softdevice.flash import Cut, Operation, PowerCut
from softdevice.images import new_key, small_image
from softdevice.package import Package, PackageRefused

KEY = new_key()
OLD, NEW = small_image(KEY, "1.0.0", 6000), small_image(KEY, "2.0.0", 9000)
SECTORS = 8
BLOCK = 512
FORMATS = 3


def board_with(image: bytes) -> Board:
    board = Board((KEY.public,), sectors=SECTORS)
    board.provision(image)
    return board


def watched(board: Board) -> list[Operation]:
    """What is done to the flash from now on."""
    done: list[Operation] = []
    board.flash.observer = done.append
    return done


def fill(package: Package, content: bytes, block: int = BLOCK) -> None:
    """Bring all that is missing."""
    for at in range(package.offset, len(content), block):
        package.feed(content[at : at + block])


def refusal(board: Board, content: bytes, block: int = BLOCK) -> Result:
    try:
        package = Package(board, FORMATS)
        fill(package, content, block)
        package.finish()
    except PackageRefused as refused:
        return refused.result
    raise AssertionError("the package was taken")


@given(st.lists(st.integers(1, 3000), max_size=30))
@settings(deadline=None, max_examples=30)
def test_image_arrives_whole_however_it_is_cut_into_pieces(lengths: list[int]) -> None:
    board, at = board_with(OLD), 0
    package = Package(board, FORMATS)
    for length in (*lengths, len(NEW)):
        package.feed(NEW[at : at + length])
        at = min(at + length, len(NEW))
    assert package.finish() == len(NEW)
    assert board.read_secondary(len(NEW)) == NEW


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b"no image" * 100, Result.UNSUPPORTED_PACKAGE_TYPE),
        (NEW[:8] + b"\x10\x00" + NEW[10:], Result.INTEGRITY_CHECK_FAILED),
        (NEW[:12] + (40_000).to_bytes(4, "little") + NEW[16:], Result.NOT_ENOUGH_FLASH),
        (NEW[:20], Result.INTEGRITY_CHECK_FAILED),
        (b"", Result.INTEGRITY_CHECK_FAILED),
    ],
    ids=["no image", "header within the header", "larger than the slot", "ends in its header", "empty"],
)
@pytest.mark.parametrize("block", [1, 16, BLOCK])
def test_what_can_be_refused_by_its_first_bytes_costs_no_erase(content: bytes, result: Result, block: int) -> None:
    board = board_with(OLD)
    done = watched(board)
    assert refusal(board, content, block) == result
    assert done == []


@pytest.mark.parametrize("behind", [b"\xff", b"\xff" * 64, b"\0" * 16, b"x" * 5000])
def test_bytes_behind_the_image_are_refused_with_what_mends_it(behind: bytes) -> None:
    package = Package(board_with(OLD), FORMATS)
    fill(package, NEW + behind)
    with pytest.raises(PackageRefused, match="sign it without --pad") as refused:
        package.finish()
    assert refused.value.result == Result.INTEGRITY_CHECK_FAILED


def test_end_of_an_image_that_came_before_does_not_make_one_that_is_cut_short_whole() -> None:
    board = board_with(OLD)
    whole = Package(board, FORMATS)
    fill(whole, NEW)
    whole.finish()
    assert refusal(board, NEW[:8192]) == Result.INTEGRITY_CHECK_FAILED
    assert board.secondary_image() is not None, "for what lies there is the whole image"


def test_package_that_grows_beyond_the_slot_is_stopped_there() -> None:
    board = board_with(OLD)
    assert refusal(board, NEW + b"\xff" * 40_000) == Result.NOT_ENOUGH_FLASH
    trailer = board.secondary.read(board.secondary.size - 4096, 4096)
    assert board.secondary.is_erased(trailer)


def test_sector_is_erased_when_its_first_byte_arrives_unless_it_is_blank() -> None:
    board = board_with(OLD)
    done = watched(board)
    fill(Package(board, FORMATS), NEW)
    assert {one.offset // 4096 for one in done if one.kind == "E"} == {0, 7}, "the old header and the trailer"
    done.clear()
    fill(Package(board, FORMATS), OLD)
    order = [(one.kind, one.offset // 4096) for one in done if one.offset < 7 * 4096]
    assert order[:2] == [("E", 0), ("E", 1)] and order.count(("E", 2)) == 1
    assert order.index(("E", 2)) > order.index(("W", 1))
    assert ("E", 3) not in order, "what no byte of the new image needs is left alone"


@pytest.mark.parametrize("applied", [0, 4, 256, 4096], ids=["before", "torn", "torn later", "done, not recorded"])
def test_power_cut_at_each_operation_costs_one_block(applied: int) -> None:
    number, last = 0, len(NEW) // BLOCK * BLOCK
    while True:
        number += 1
        board = board_with(OLD)
        fill(Package(board, FORMATS), small_image(KEY, "1.9.0", 9000))  # what lies there is somebody else's
        board.flash.cut = Cut(board.flash.operations + number, applied)
        kept, fetched = None, 0
        package = Package(board, FORMATS)
        try:
            for at in range(0, len(NEW), BLOCK):
                package.feed(NEW[at : at + BLOCK])
                if at < last:
                    kept, fetched = package.checkpoint, at + BLOCK
            package.finish()
            break
        except PowerCut:
            board.flash.cut = None
        again = Package(board, FORMATS, kept)
        assert again.offset == fetched, number
        fill(again, NEW)
        assert again.finish() == len(NEW), number
        assert str(board.power_on().version) == "1.0.0"
        board.request_test()
        assert str(board.power_on().version) == "2.0.0"
    assert number > len(NEW) // BLOCK + 3


def test_another_image_after_a_cut_is_noticed_and_begun_anew() -> None:
    board = board_with(OLD)
    package = Package(board, FORMATS)
    package.feed(NEW[:1024])
    kept = package.checkpoint
    package.feed(NEW[1024:1536])
    other = NEW[:1200] + b"?" + NEW[1201:]
    again = Package(board, FORMATS, kept)
    with pytest.raises(AlreadyProgrammed):
        again.feed(other[1024:1536])
    anew = Package(board, FORMATS)
    fill(anew, NEW)
    assert anew.finish() == len(NEW)


def test_request_that_was_cut_short_does_not_stand_in_the_way() -> None:
    board = board_with(OLD)
    package = Package(board, FORMATS)
    fill(package, NEW[: len(NEW) // BLOCK * BLOCK])
    kept = package.checkpoint
    package.feed(NEW[len(NEW) // BLOCK * BLOCK :])
    package.finish()
    board.flash.cut = Cut(board.flash.operations + 1, 4)
    with pytest.raises(PowerCut):
        board.request_test()
    board.flash.cut = None
    assert str(board.power_on().version) == "1.0.0"
    again = Package(board, FORMATS, kept)
    fill(again, NEW)
    again.finish()
    board.request_test()
    assert str(board.power_on().version) == "2.0.0"


def test_checkpoint_nobody_can_read_is_as_good_as_none() -> None:
    board = board_with(OLD)
    package = Package(board, FORMATS)
    package.feed(NEW[:1024])
    kept = package.checkpoint
    assert kept is not None
    assert Package(board, FORMATS, replace(kept, tail="no hex")).offset == 0
