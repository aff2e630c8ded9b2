"""The bootloader's tables row by row, and what no recorded vector shows."""

import pytest
from device_images import KEY, signed

from softdevice.boot_config import BootConfig, Mode
from softdevice.bootloader import BootOutcome, boot
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


def start(flash: Flash, config: BootConfig, old: bytes, new: bytes) -> BootOutcome:
    """Boot a device with these images after a permanent request."""
    for name, image in (("primary", old), ("secondary", new)):
        flash.storage.write(flash[name].base, image)
    request_upgrade(Trailer(flash["secondary"], config.layout), permanent=True)
    return boot(flash, config)


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
