"""Overwrite only: secondary is copied over primary, and there is no way back.

No status is kept and none is needed: as long as secondary asks, the copy begins anew. Only when primary is complete is
secondary spent, its header first and then its last sector, with the trailer in it. The fast variant copies what the
image needs and writes a magic into primary's trailer. (MCUboot `boot_copy_image`.)
"""

from typing import ClassVar

from softdevice.bootloader.outcome import BootAssertion
from softdevice.bootloader.pair import SECONDARY, Pair, erase, first_trailer_sector
from softdevice.validation import is_older


class OverwritePair(Pair):
    """An image pair whose primary is overwritten, the whole slot."""

    swaps: ClassVar[bool] = False

    def fits(self) -> bool:
        """Sectors that are multiples of each other, as many as the status area would allow."""
        primary, secondary = self.primary.area, self.secondary.area
        sizes = sorted((primary.sector_size, secondary.sector_size))
        return (
            primary.size == secondary.size
            and sizes[1] % sizes[0] == 0
            and max(primary.sectors, secondary.sectors) <= self.config.max_sectors
        )

    def max_image(self, slot: int) -> int:
        """Everything before swap_info."""
        return self.config.layout.swap_info(self.slots[slot].area.size)

    def clear_leftovers(self) -> None:
        """An erased secondary keeps its trailer in this mode."""

    def refused_before_validation(self) -> bool:
        """An older version is refused by its header alone, signed or not."""
        running, candidate = (slot.header for slot in self.slots)
        if self.config.downgrade_prevention is None or running.is_erased:
            return False
        if not is_older(candidate.version, running.version, self.config):
            return False
        self.scramble_secondary()
        return True

    def upgrade(self) -> None:
        """Copy; an interrupted copy begins anew."""
        self.install()

    def install(self) -> None:
        """Copy the whole slot, then spend secondary."""
        copy_slot(self)
        spend_header(self)
        spend_trailer(self)

    def exchange(self) -> None:
        """Nothing is ever resumed."""
        raise BootAssertion("overwrite keeps no status")


class OverwriteFastPair(OverwritePair):
    """An image pair of which only the sectors are overwritten that the image needs."""

    def install(self) -> None:
        """Copy what the image needs, then spend secondary."""
        copy_image(self)
        spend_header(self)
        spend_trailer(self)


def copy_slot(pair: Pair) -> None:
    """Secondary over primary, all of it, its trailer included."""
    primary = pair.primary.area
    erase(primary, 0, primary.size)
    pair.copy(pair.secondary.area, 0, primary, 0, primary.size)


def copy_image(pair: Pair) -> None:
    """The image of secondary over primary, its sectors only; a magic ends the copy."""
    primary, start = pair.primary.area, pair.update_offset()
    size = pair.size_of(SECONDARY, start)[0]
    unit = pair.flash.write_align
    erase(primary, 0, -(-size // primary.sector_size) * primary.sector_size)
    trailer = first_trailer_sector(pair.primary) * primary.sector_size
    erase(primary, trailer, primary.size - trailer)
    # A whole unit more when the size is a multiple of it: bootutil does the same.
    pair.copy(pair.secondary.area, start, primary, 0, size + unit - size % unit)
    pair.primary.trailer.write_magic()


def spend_header(pair: Pair) -> None:
    """The new image runs for good: its counter counts, and secondary holds it no more."""
    if pair.config.hw_rollback_counter and not pair.raise_counter():
        raise BootAssertion("the installed image has no security counter")
    area = pair.secondary.area
    area.erase(0, area.sector_size)


def spend_trailer(pair: Pair) -> None:
    """The last sector of secondary goes, and with it the magic that asks."""
    area = pair.secondary.area
    area.erase(area.size - area.sector_size, area.sector_size)
