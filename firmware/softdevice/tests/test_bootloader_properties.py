"""The power goes anywhere, any number of times, on flashes of many shapes: the old or the new image always boots.

What the real bootutil is known to do worse stays out: swap using offset within one sector, two cuts around the last
sector of its revert, and a cut in the last sector when the image shrinks (firmware/vectors/mcuboot has all recorded).
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from device_images import KEY, signed
from hypothesis import given
from hypothesis import strategies as st

from softdevice.boot_config import BootConfig, Mode
from softdevice.bootloader import BootAssertion, BootOutcome, boot, swap_type
from softdevice.flash import Cut, Flash, PowerCut
from softdevice.trailer import SwapType, Trailer, request_upgrade

OLD, NEW = "1.0.0", "2.0.0"
SIZES = tuple(range(1300, 6000, 400))
SWAPS = (Mode.OFFSET, Mode.MOVE, Mode.SCRATCH)
COPIES = (Mode.OVERWRITE, Mode.OVERWRITE_FAST)


@dataclass(frozen=True)
class Device:
    """A shape of flash, a mode, and what is asked for."""

    mode: Mode
    sector: int
    sectors: int
    unit: int
    erased: int
    scratch: int
    sizes: tuple[int, int]
    permanent: bool


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """Flashes of 8 to 20 KB whose images take two sectors at least."""
    sector = draw(st.sampled_from([512, 1024]))
    sectors = draw(st.integers(8 * 1024 // sector, 20 * 1024 // sector))
    # Two sectors for the trailer and one for the swap are more than any mode needs.
    room = (sectors - 3) * sector
    fitting = [size for size in SIZES if sector < size - 200 and size + 200 <= room]
    return Device(
        mode=draw(st.sampled_from([*SWAPS, *COPIES])),
        sector=sector,
        sectors=sectors,
        unit=draw(st.sampled_from([1, 4, 8])),
        erased=draw(st.sampled_from([0xFF, 0x00])),
        scratch=draw(st.integers(1, 3)),
        sizes=(draw(st.sampled_from(fitting)), draw(st.sampled_from(fitting))),
        permanent=draw(st.booleans()),
    )


def prepare(device: Device) -> tuple[Flash, BootConfig]:
    """The old image running, the new one downloaded and requested."""
    areas = [("primary", device.sector, device.sectors), ("secondary", device.sector, device.sectors)]
    if device.mode is Mode.SCRATCH:
        areas.append(("scratch", device.sector, device.scratch))
    flash = Flash(tuple(areas), write_align=device.unit, erased_value=device.erased)
    config = BootConfig((KEY.public,), device.mode, max_sectors=device.sectors)
    start = device.sector if device.mode is Mode.OFFSET else 0
    for area, at, image in (
        ("primary", 0, signed(OLD, device.sizes[0])),
        ("secondary", start, signed(NEW, device.sizes[1])),
    ):
        flash.storage.write(flash[area].base + at, image)
    request_upgrade(Trailer(flash["secondary"], config.layout), permanent=device.permanent)
    return flash, config


def boot_with_cuts(flash: Flash, config: BootConfig, cuts: list[tuple[int, int]]) -> BootOutcome:
    """Boot; the power goes at each (operation, units) of `cuts` in turn, when its boot comes so far."""
    for operation, units in cuts:
        flash.cut = Cut(flash.operations + operation, units * flash.write_align)
        try:
            boot(flash, config)
        except PowerCut:
            continue
        finally:
            flash.cut = None
    return boot(flash, config)


def may_lose_the_old_image(device: Device) -> bool:
    """Offset, shrinking by two sectors or more: resumed at its last sector, the swap does not keep that sector.

    The header of the old image is looked for where the new one is by then, so the old one counts as that short
    (recorded in sweep-offset and one-sector, `sweep-shrink-test`). The new image stays then, confirmed or not.
    """
    old, new = (-(-size // device.sector) for size in device.sizes)
    return device.mode is Mode.OFFSET and old - new >= 2


CUTS = st.lists(st.tuples(st.integers(1, 70), st.sampled_from([0, 1, 16])), max_size=3)


@given(device=devices(), cuts=CUTS)
def test_upgrade_ends_with_an_image_however_often_the_power_goes(device: Device, cuts: list[tuple[int, int]]) -> None:
    flash, config = prepare(device)
    if device.mode is Mode.OFFSET and not device.permanent:
        # A cut after copy_done makes the next boot a revert, and further cuts would be in that.
        cuts = cuts[:1]
    versions = {str(boot_with_cuts(flash, config, cuts).version)}
    for _ in range(3):
        versions.add(str(boot(flash, config).version))
    assert versions <= {OLD, NEW}
    # In the end everybody agrees: what was permanent stays, what nobody confirmed is gone.
    stays = NEW if device.permanent or device.mode in COPIES else OLD
    if str(boot(flash, config).version) != stays:
        assert cuts and may_lose_the_old_image(device)
        return
    # An overwrite cut between header and trailer of secondary leaves a request for nothing, as in bootutil.
    assert device.mode in COPIES or swap_type(flash, config) == SwapType.NONE


@given(device=devices(), cuts=CUTS)
def test_revert_ends_with_the_old_image_however_often_the_power_goes(
    device: Device, cuts: list[tuple[int, int]]
) -> None:
    if device.mode in COPIES or device.permanent:
        return
    flash, config = prepare(device)
    assert str(boot(flash, config).version) == NEW
    if device.mode is Mode.OFFSET:
        cuts = cuts[:1]
    assert str(boot_with_cuts(flash, config, cuts).version) == OLD
    assert str(boot(flash, config).version) == OLD


# Bytes of the header, and bytes counted from the end of the slot: trailer fields and the first records.
POKES = st.lists(
    st.tuples(
        st.sampled_from(["primary", "secondary"]),
        st.one_of(st.integers(0, 31), st.integers(-260, -1)),
        st.sampled_from([0x00, 0x01, 0x02, 0x04, 0x10, 0x7F, 0xFF]),
    ),
    max_size=12,
)


@given(
    device=devices(),
    mode=st.sampled_from(list(Mode)),
    pokes=POKES,
    records=st.integers(0, 12),
    swap_size=st.sampled_from([0, 2000, 2**32 - 1]),
    options=st.sets(st.sampled_from(["bootstrap", "hw_rollback_counter", "minimal_scramble"])),
)
def test_whatever_is_in_flash_a_boot_ends(
    device: Device,
    mode: Mode,
    pokes: list[tuple[str, int, int]],
    records: int,
    swap_size: int,
    options: set[str],
) -> None:
    flash, config = prepare(replace(device, mode=mode))
    flash.counters[:] = [0]
    settings: dict[str, Any] = dict.fromkeys(options, True)
    config = replace(config, **settings)
    if records:
        # As if a swap was under way.
        Trailer(flash["secondary"], config.layout).erase()
        trailer = Trailer(flash["primary"], config.layout)
        trailer.write_magic()
        trailer.write_swap_size(swap_size)
        for number in range(records):
            trailer.write_record(number, 1)
    for name, offset, value in pokes:
        area = flash[name]
        flash.storage.write(area.base + offset % area.size, bytes([value]))
    for _ in range(3):
        flash.operations = 0
        with suppress(BootAssertion):
            assert str(boot(flash, config).version) in (OLD, NEW, "None")
        assert flash.operations < 40 * device.sectors
