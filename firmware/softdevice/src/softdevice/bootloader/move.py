"""Swap using move: primary steps one sector aside, then the two images change places through the gap.

Phase 0 moves the image of primary up by one sector, from its last sector down to its first. Phase 1 fills the gap:
sector i of secondary goes to sector i of primary, sector i+1 of primary (the old sector i) to sector i of secondary.
A revert is the same swap again. Records in the primary trailer, n being the most sectors a slot may have:

    record i            sector counted i from the top has moved up
    record n + 2i       sector i of primary has its new content
    record n + 2i + 1   sector i of secondary has its new content

Before a revert, image_ok and magic are put into the secondary trailer: should the power go while the primary trailer
is made anew, the revert then looks like a permanent upgrade. (MCUboot `swap_move.c`.)
"""

from softdevice.bootloader.overwrite import copy_image, spend_trailer
from softdevice.bootloader.pair import PRIMARY, SECONDARY, Pair, first_trailer_sector
from softdevice.trailer import SwapType
from softdevice.validation import read_header

MOVING, SWAPPING = 0, 1


class MovePair(Pair):
    """An image pair that is swapped by moving primary up by one sector."""

    @property
    def sector(self) -> int:
        """Bytes of a sector, the same in both slots."""
        return self.primary.area.sector_size

    def fits(self) -> bool:
        """Slots of the same sectors, or primary one longer."""
        primary, secondary = self.primary.area, self.secondary.area
        return (
            primary.sectors - secondary.sectors in (0, 1)
            and primary.sector_size == secondary.sector_size
            and primary.sectors <= self.config.max_sectors
        )

    def max_image(self, slot: int) -> int:
        """Before the first trailer sector, and in primary with one sector free to move into."""
        primary, secondary = (first_trailer_sector(place) * self.sector for place in self.slots)
        return min(primary - self.sector, secondary)

    def clear_leftovers(self) -> None:
        """As in other modes; and a revert that has lost its image is given up."""
        self.secondary.trailer.erase()
        if SwapType.REVERT in (self.status.swap_type, self.asked()):
            self.primary.trailer.erase()

    def read_status(self) -> None:
        """Records count when primary's trailer was begun, not finished, and secondary asks for nothing."""
        primary, secondary = (slot.trailer.read() for slot in self.slots)
        if primary.magic != "good" or primary.copy_done != "unset" or secondary.magic == "good":
            return
        status = self.status
        status.source = "primary"
        done = self.primary.trailer.last_record()
        if done < self.config.max_sectors:
            status.phase, status.index = MOVING, done
        else:
            status.phase = SWAPPING
            status.index, status.state = divmod(done - self.config.max_sectors, 2)
        if status.begun:
            status.swap_size = self.primary.trailer.swap_size()
        status.swap_type = primary.named

    def find_headers(self) -> bool:
        """Read both headers where the records say they are; False without a usable one in primary."""
        for number, slot in enumerate(self.slots):
            home, offset = self._header_place(number)
            slot.header = read_header(self.slots[home].area, offset)
            if not slot.header.is_image:
                return number == SECONDARY and not self.status.begun
        return True

    def _header_place(self, slot: int) -> tuple[int, int]:
        """Slot and offset where the header of `slot`'s image is now."""
        status = self.status
        if not status.begun:
            return slot, 0
        count = self._sectors_used()
        if status.phase == MOVING:
            return slot, self.sector if slot == PRIMARY and status.index >= count else 0
        if 0 < status.index < count:
            return 1 - slot, 0
        if status.index == 0:
            if slot == PRIMARY:
                return slot, self.sector
            return (PRIMARY if status.state == 1 else SECONDARY), 0
        return slot, 0

    def _sectors_used(self) -> int:
        return max(1, -(-self.status.swap_size // self.sector))

    def install(self) -> None:
        """Copy what the image needs; the image in secondary stays."""
        copy_image(self)
        spend_trailer(self)

    def exchange(self) -> None:
        """Move up, then swap through the gap."""
        status = self.status
        count = self._sectors_used()
        if status.swap_type == SwapType.REVERT and not status.phase and not status.index:
            self._announce_revert()
        if status.phase == MOVING:
            for sector in range(count - status.index, 0, -1):
                self._move_up(sector)
            status.index, status.phase = 0, SWAPPING
        for sector in range(status.index, count):
            self._swap_sector(sector)

    def _move_up(self, sector: int) -> None:
        """Sector below `sector` of primary goes to `sector`; one record."""
        status, size, primary = self.status, self.sector, self.primary
        if status.index == 0:
            if status.source != "primary":
                primary.trailer.erase()
                self.write_status(primary.trailer)
            self.secondary.trailer.erase()
        primary.area.erase(sector * size, size)
        self.copy(primary.area, (sector - 1) * size, primary.area, sector * size, size)
        primary.trailer.write_record(status.index, 1)
        status.index += 1

    def _swap_sector(self, sector: int) -> None:
        """Sector of secondary goes to primary, its moved counterpart to secondary; two records."""
        status, size = self.status, self.sector
        primary, secondary, records = self.primary.area, self.secondary.area, self.primary.trailer
        first = self.config.max_sectors + 2 * status.index
        at = sector * size
        if status.state == 0:
            primary.erase(at, size)
            self.copy(secondary, at, primary, at, size)
            records.write_record(first, 1)
        secondary.erase(at, size)
        self.copy(primary, at + size, secondary, at, size)
        records.write_record(first + 1, 2)
        status.index, status.state = status.index + 1, 0

    def _announce_revert(self) -> None:
        """Make the revert look like a permanent upgrade until its first record (`fixup_revert`)."""
        trailer = self.secondary.trailer
        if trailer.read().magic == "unset":
            trailer.erase()
            trailer.write_image_ok()
            trailer.write_swap_size(self.status.swap_size)
            trailer.write_magic()
