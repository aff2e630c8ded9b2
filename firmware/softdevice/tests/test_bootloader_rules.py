"""The bootloader's tables row by row, and what no recorded vector shows."""

import pytest
from device_images import KEY, signed

from mcuboot_image import Header, Version
from softdevice.boot_config import BootConfig, Mode
from softdevice.bootloader import BootAssertion, BootOutcome, boot
from softdevice.bootloader.scratch import status_source
from softdevice.flash import Flash
from softdevice.trailer import (
    OFFSET_RULES,
    RULES,
    Flag,
    Magic,
    Rules,
    SwapType,
    Trailer,
    TrailerState,
    request_upgrade,
    swap_type_due,
)
from softdevice.validation import SlotHeader, is_built_for

TEST, PERMANENT, REVERT, NONE = SwapType.TEST, SwapType.PERMANENT, SwapType.REVERT, SwapType.NONE


def state(magic: Magic = "unset", image_ok: Flag = "unset", copy_done: Flag = "unset") -> TrailerState:
    return TrailerState(magic, image_ok, copy_done, None)


@pytest.mark.parametrize(
    ("primary", "secondary", "rules", "due"),
    [
        (state(), state(), RULES, NONE),
        (state(), state("good"), RULES, TEST),
        (state(), state("good", "set"), RULES, PERMANENT),
        (state(), state("good", "bad"), RULES, NONE),
        (state(), state("bad"), RULES, NONE),
        (state("good", "unset", "set"), state(), RULES, REVERT),
        (state("good", "unset", "set"), state("bad"), RULES, REVERT),
        (state("good", "unset", "set"), state("good"), RULES, TEST),
        (state("good", "set", "set"), state(), RULES, NONE),
        (state("good", "unset", "unset"), state(), RULES, NONE),
        (state("bad", "unset", "set"), state(), RULES, NONE),
        (state("unset", "unset", "set"), state(), RULES, NONE),
        (state(), state("good", "unset", "set"), RULES, TEST),
        (state(), state("good", "unset", "set"), OFFSET_RULES, REVERT),
        (state(), state("good", "set", "set"), OFFSET_RULES, PERMANENT),
    ],
)
def test_two_trailers_ask_for_one_swap(
    primary: TrailerState, secondary: TrailerState, rules: Rules, due: SwapType
) -> None:
    assert swap_type_due(primary, secondary, rules) == due


@pytest.mark.parametrize(
    ("primary", "scratch", "image", "source"),
    [
        (state("good", copy_done="set"), state(), 0, "none"),
        (state("good"), state(), 0, "primary"),
        (state(), state(), 0, "primary"),
        (state("bad"), state(), 0, "none"),
        (state("bad"), state("good"), 0, "scratch"),
        (state("good", copy_done="set"), state("good"), 0, "scratch"),
        (state(), TrailerState("good", "unset", "unset", 0x12), 1, "scratch"),
        (state(), TrailerState("good", "unset", "unset", 0x12), 0, "none"),
    ],
)
def test_status_of_a_scratch_swap_is_in_one_place(
    primary: TrailerState, scratch: TrailerState, image: int, source: str
) -> None:
    assert status_source(primary, scratch, image) == source


@pytest.mark.parametrize(
    ("flags", "address", "fits"), [(0, 0, True), (0x100, 8192, True), (0x100, 0, False), (0x100, 8196, False)]
)
def test_image_linked_to_an_address_runs_from_the_slot_that_has_it(flags: int, address: int, fits: bool) -> None:
    secondary = Flash((("primary", 1024, 8), ("secondary", 1024, 8)))["secondary"]
    header = Header(address, 32, 0, 1000, flags, Version(1, 0, 0))
    assert is_built_for(secondary, SlotHeader(True, False, header)) == fits


def test_image_linked_for_the_other_slot_is_passed_over_and_left_alone() -> None:
    flash = Flash((("primary", 1024, 8), ("secondary", 1024, 8)))
    flash.storage.write(0, signed("1.0.0", 1500))
    newer = bytearray(signed("2.0.0", 1500))
    newer[16:20] = (0x100).to_bytes(4, "little")  # ROM fixed, and the load address is 0: that is primary's
    flash.storage.write(flash["secondary"].base, bytes(newer))
    assert str(boot(flash, BootConfig((KEY.public,), Mode.DIRECT_XIP)).version) == "1.0.0"
    assert flash.operations == 0


def start(flash: Flash, config: BootConfig, old: bytes, new: bytes) -> BootOutcome:
    """Boot a device with these images after a permanent request."""
    for name, image in (("primary", old), ("secondary", new)):
        flash.storage.write(flash[name].base, image)
    request_upgrade(Trailer(flash["secondary"], config.layout), permanent=True)
    return boot(flash, config)


def interrupted(swap_info: int, new: bytes) -> tuple[Flash, BootConfig]:
    """A device that lost power when the first words of its status were written, and no record yet."""
    flash = Flash((("primary", 1024, 12), ("secondary", 1024, 12)))
    config = BootConfig((KEY.public,), Mode.MOVE, max_sectors=12)
    for name, image in (("primary", signed("1.0.0", 1500)), ("secondary", new)):
        flash.storage.write(flash[name].base, image)
    trailer = Trailer(flash["primary"], config.layout)
    trailer.write_swap_info(swap_info)
    trailer.write_magic()
    return flash, config


def test_named_swap_begins_anew_when_its_image_is_good() -> None:
    assert str(boot(*interrupted(TEST, signed("2.0.0", 1500))).version) == "2.0.0"


def test_named_swap_whose_image_is_gone_is_given_up_and_the_old_image_kept() -> None:
    flash, config = interrupted(TEST, b"no image" * 100)
    assert str(boot(flash, config).version) == "1.0.0"
    assert Trailer(flash["primary"], config.layout).read().image_ok == "set"


def test_swap_info_that_nobody_understands_stops_the_device() -> None:
    with pytest.raises(BootAssertion, match="nobody knows"):
        boot(*interrupted(7, signed("2.0.0", 1500)))


def test_gap_in_the_records_stops_a_device_that_does_not_validate_primary() -> None:
    flash = Flash((("primary", 1024, 8), ("secondary", 1024, 8), ("scratch", 1024, 2)))
    config = BootConfig((KEY.public,), Mode.SCRATCH, max_sectors=8, validate_primary=False)
    flash.storage.write(0, signed("1.0.0", 1500))
    trailer = Trailer(flash["primary"], config.layout)
    trailer.write_record(0, 1)
    trailer.write_record(2, 3)
    with pytest.raises(BootAssertion, match="gap"):
        boot(flash, config)


def test_empty_primary_is_older_than_any_image_that_would_overwrite_it() -> None:
    flash = Flash((("primary", 1024, 8), ("secondary", 1024, 8)))
    config = BootConfig((KEY.public,), Mode.OVERWRITE, max_sectors=8, downgrade_prevention="version")
    assert str(start(flash, config, b"", signed("1.0.0", 1500)).version) == "1.0.0"


def test_image_that_shares_its_last_sector_with_the_trailer_leaves_room_for_the_status_in_scratch() -> None:
    # The trailer takes one sector and a bit of the next; scratch must hold what is before that bit, and a status.
    areas = (("primary", 512, 12), ("secondary", 512, 12), ("scratch", 512, 1))
    config = BootConfig((KEY.public,), Mode.SCRATCH, max_sectors=42)
    trailer = config.layout.trailer_bytes(4)
    assert 512 < trailer < 512 + 52, "no room for a status beside the trailer's first bytes"
    room = 12 * 512 - trailer
    outcomes = []
    for size in (room, room - 100):
        new = signed("2.0.0", size, exactly=True)
        outcomes.append(str(start(Flash(areas), config, signed("1.0.0", 1500), new).version))
    assert outcomes == ["1.0.0", "2.0.0"]
