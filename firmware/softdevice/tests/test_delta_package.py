"""Deltas through the device's package: the right image, or a refusal with the old one safe; never a third thing."""

import hashlib
from dataclasses import replace
from typing import Final

import pytest

from firmware_delta import HEADER_BYTES, MAX_DUMP_BYTES, Compression, decode_header, encode_header
from firmware_delta.creation import create
from lwm2m.firmware import Result
from softdevice.board import Board
from softdevice.flash import Cut, Operation, PowerCut
from softdevice.images import new_key, real_images, sign
from softdevice.package import Checkpoint, Package, PackageRefused
from softdevice.trailer import SwapType

KEY = new_key()
SECTORS: Final = 8
BLOCK: Final = 64
BOTH: Final = 3
UNKNOWN, DAMAGED, TOO_LARGE = Result.UNSUPPORTED_PACKAGE_TYPE, Result.INTEGRITY_CHECK_FAILED, Result.NOT_ENOUGH_FLASH


def firmware(line: int, changed: int = 0) -> bytes:
    """Code of one line of firmware; each change is some new bytes in the middle, and pointers behind it that move."""
    words = [hashlib.sha256(f"{line} {index}".encode()).digest() for index in range(240)]
    for number in range(changed):
        words.insert(60 + 40 * number, f"change {number:03} of this release".encode()[:24])
        words[150 + number] = words[150 + number][:28] + bytes([number, 1, 0, 0])
    return b"".join(words)


OLD, NEW = sign(firmware(1), "1.0.0", KEY), sign(firmware(1, 3), "2.0.0", KEY)
OTHER = sign(firmware(2), "1.0.0", KEY)
DELTA = create(OLD, NEW, (Compression.HEATSHRINK,)).data
PATCH = DELTA[HEADER_BYTES:]
HEADER = decode_header(DELTA)


def running(image: bytes = OLD) -> Board:
    board = Board((KEY.public,), sectors=SECTORS)
    board.provision(image)
    return board


def watched(board: Board) -> list[Operation]:
    """What is done to the flash from now on."""
    done: list[Operation] = []
    board.flash.observer = done.append
    return done


def outcome(board: Board, content: bytes, formats: int = BOTH, block: int = BLOCK) -> Result | None:
    """What object 5 shows of it in the end; None when the image is downloaded and good."""
    try:
        package = Package(board, formats)
        for at in range(0, len(content), block):
            package.feed(content[at : at + block])
        package.finish()
    except PackageRefused as refused:
        return refused.result
    return None


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("block", [1, 16, 1024])
def test_delta_becomes_the_new_image(compression: Compression, block: int) -> None:
    board, delta = running(), create(OLD, NEW, (compression,)).data
    assert len(delta) < len(NEW) / 2
    assert outcome(board, delta, block=block) is None
    assert board.read_secondary(len(NEW)) == NEW
    board.request_test()
    assert str(board.power_on().version) == "2.0.0"
    assert board.running is not None and board.running.sha256 == HEADER.to_sha256


@pytest.mark.parametrize(
    ("head", "formats", "result"),
    [
        (encode_header(HEADER), 0, UNKNOWN),
        (encode_header(HEADER), 1, UNKNOWN),
        (DELTA[:21] + b"\x09" + DELTA[22:HEADER_BYTES], BOTH, UNKNOWN),
        (encode_header(replace(HEADER, from_sha256=bytes(32))), BOTH, DAMAGED),
        (encode_header(replace(HEADER, from_size=HEADER.from_size - 1)), BOTH, DAMAGED),
        (encode_header(replace(HEADER, to_size=40_000)), BOTH, TOO_LARGE),
    ],
    ids=["no deltas taken", "crle only", "another window", "another base", "another size", "larger than the slot"],
)
def test_delta_that_cannot_be_applied_costs_no_erase(head: bytes, formats: int, result: Result) -> None:
    board = running()
    done = watched(board)
    assert outcome(board, head + PATCH, formats) == result
    assert done == []


def test_delta_for_another_image_leaves_the_slot_as_it_was() -> None:
    board = running(OTHER)
    done = watched(board)
    assert outcome(board, DELTA) == DAMAGED
    assert done == []


def test_no_single_byte_of_a_delta_can_be_wrong_unnoticed() -> None:
    """Each bit alone and each byte inverted: refused, or the very image, where a patch can say the same in two ways."""
    board, same = running(), 0
    flips = [1 << bit for bit in range(8)] + [0xFF]
    for at in range(len(DELTA)):
        for flip in flips:
            if outcome(board, DELTA[:at] + bytes([DELTA[at] ^ flip]) + DELTA[at + 1 :], block=512) is None:
                same += 1
                assert at >= HEADER_BYTES and board.read_secondary(len(NEW)) == NEW, (at, flip)
    assert same < len(DELTA) * len(flips) / 4


def test_flips_all_over_a_delta_of_real_firmware_never_make_a_wrong_image() -> None:
    old, new = real_images(KEY)
    delta = create(old, new, (Compression.HEATSHRINK,)).data
    board = Board((KEY.public,))
    board.provision(old)
    refused = 0
    for at in range(7, len(delta), len(delta) // 64):
        spoilt = delta[:at] + bytes([delta[at] ^ 1 << at % 8]) + delta[at + 1 :]
        if outcome(board, spoilt, block=4096) is None:
            assert board.read_secondary(len(new)) == new, at
        else:
            refused += 1
    assert refused > 32
    assert outcome(board, delta, block=4096) is None and board.read_secondary(len(new)) == new


@pytest.mark.parametrize("end", [4, 40, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, -40, -2, -1])
def test_delta_cut_short_is_refused(end: int) -> None:
    assert outcome(running(), DELTA[:end]) == DAMAGED


@pytest.mark.parametrize(
    "content",
    [
        DELTA + b"\0",
        DELTA + DELTA,
        encode_header(replace(HEADER, patch_size=HEADER.patch_size + 1)) + PATCH + b"\0",
        encode_header(replace(HEADER, patch_size=HEADER.patch_size - 1)) + PATCH,
        encode_header(replace(HEADER, to_size=HEADER.to_size - 4)) + PATCH,
        encode_header(replace(HEADER, to_size=HEADER.to_size + 4)) + PATCH,
        encode_header(replace(HEADER, to_sha256=bytes(32))) + PATCH,
        create(OLD, NEW[:-4] + b"\0\0\0\0").data,
        create(OLD, sign(firmware(1, 3), "2.0.0", new_key())).data,
        create(OLD, NEW[:4000]).data,
    ],
    ids=[
        "a byte too many",
        "twice",
        "longer patch",
        "shorter patch",
        "smaller result",
        "larger result",
        "another result",
        "makes a damaged image",
        "makes a stranger's image",
        "makes half an image",
    ],
)
def test_delta_that_lies_is_refused_and_the_old_image_boots(content: bytes) -> None:
    board = running()
    assert outcome(board, content) == DAMAGED
    assert str(board.power_on().version) == "1.0.0"


def live(board: Board) -> int:
    """Fetch the delta, try it, never confirm, be reverted, as the firmware does it in its order and with its records.

    At every power-on a version boots. Returns how many bytes were fetched.
    """
    kept: Checkpoint | None = None
    fetched = 0
    while board.last_swap != SwapType.REVERT:
        try:
            started = board.power_on()
            assert str(started.version) in ("1.0.0", "2.0.0")
            if started.swapped != SwapType.NONE:
                kept = None
                continue
            package = Package(board, BOTH, kept)
            for at in range(package.offset, len(DELTA), BLOCK):
                fetched += len(DELTA[at : at + BLOCK])
                package.feed(DELTA[at : at + BLOCK])
                if at + BLOCK < len(DELTA):
                    kept = package.checkpoint
            package.finish()
            board.request_test()
        except PowerCut:
            board.flash.cut = None
    return fetched


def used() -> Board:
    """A board that has an old image in secondary, as after any update."""
    board = running()
    assert outcome(board, NEW) is None
    return board


@pytest.mark.parametrize("applied", [0, 4, 4096], ids=["clean", "torn", "done, not recorded"])
def test_power_cut_at_every_operation_of_a_delta_update_and_its_revert(applied: int) -> None:
    board = used()
    before = board.flash.operations
    assert live(board) == len(DELTA)
    operations = board.flash.operations - before
    assert operations > 100
    # Until the header is whole, in the second block, there is nothing to go on with.
    for number in range(1, operations + 1):
        board = used()
        board.flash.cut = Cut(board.flash.operations + number, applied)
        fetched = live(board)
        assert board.flash.cut is None, "the power did go"
        assert fetched <= len(DELTA) + 2 * BLOCK, (number, "the download went on, it was not begun anew")
        rested = board.power_on()
        assert (str(rested.version), rested.swapped) == ("1.0.0", SwapType.NONE), number
        assert board.confirmed and board.running is not None and board.running.sha256 == HEADER.from_sha256


def test_checkpoint_stays_small_and_belongs_to_its_base() -> None:
    board = running()
    package = Package(board, BOTH)
    package.feed(DELTA[: len(DELTA) // 2])
    kept = package.checkpoint
    assert kept is not None and len(kept.decoder) <= -(-MAX_DUMP_BYTES // 3) * 4
    assert Package(board, BOTH, kept).offset == len(DELTA) // 2
    for spoilt in (
        replace(kept, decoder=kept.decoder[:-8]),
        replace(kept, decoder="no base64"),
        replace(kept, header="zz"),
        replace(kept, header=kept.header[:40]),
        replace(kept, tail="z"),
    ):
        assert Package(board, BOTH, spoilt).offset == 0
    assert Package(board, 0, kept).offset == 0
    assert Package(running(OTHER), BOTH, kept).offset == 0
