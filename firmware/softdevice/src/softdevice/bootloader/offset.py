"""Swap using offset: the new image lies one sector into secondary, and the images walk past each other.

An upgrade walks up: sector i of primary goes to sector i of secondary, sector i+1 of secondary to sector i of primary;
so the old image ends at sector 0 of secondary. A revert walks down the same way back. Each half of a sector's swap
ends with one status record in the primary trailer; after a power cut the last record says where to go on:

    record 2i     sector i of primary is in secondary        upgrade: up      revert: down, counted from the top
    record 2i+1   sector i of primary has its new content

Sectors beyond an image's own end are skipped and recorded all the same. Before a revert, copy_done and magic are put
into the secondary trailer, so that a cut before the first record still leads to a revert. (MCUboot `swap_offset.c`.)
"""

from softdevice.bootloader.overwrite import copy_image, spend_trailer
from softdevice.bootloader.pair import PRIMARY, SECONDARY, Pair, erase, first_trailer_sector
from softdevice.trailer import SwapType
from softdevice.validation import SlotHeader, image_bytes, read_header


class OffsetPair(Pair):
    """An image pair that is swapped with an offset of one sector."""

    @property
    def sector(self) -> int:
        """Bytes of a sector, the same in both slots."""
        return self.primary.area.sector_size

    def fits(self) -> bool:
        """Slots of the same sectors, or secondary one longer."""
        primary, secondary = self.primary.area, self.secondary.area
        return (
            secondary.sectors - primary.sectors in (0, 1)
            and primary.sector_size == secondary.sector_size
            and primary.sectors <= self.config.max_sectors
        )

    def max_image(self, slot: int) -> int:
        """Before the first trailer sector of primary, and one sector less in secondary."""
        primary, secondary = (first_trailer_sector(place) * self.sector for place in self.slots)
        return min(primary, secondary - self.sector)

    def update_offset(self) -> int:
        """One sector in."""
        return self.sector

    def misplaced(self, expected: SwapType) -> bool:
        """Any header in sector 0, unless it may be the first copy of the old image."""
        if expected not in (SwapType.TEST, SwapType.PERMANENT):
            return False
        return read_header(self.secondary.area, 0).is_image

    def read_status(self) -> None:
        """Records count when primary's trailer was begun, not finished, and secondary asks for nothing."""
        primary, secondary = (slot.trailer.read() for slot in self.slots)
        if primary.magic != "good" or primary.copy_done != "unset" or secondary.magic == "good":
            return
        status = self.status
        status.source = "primary"
        status.index, status.state = divmod(self.primary.trailer.last_record(), 2)
        if status.begun:
            status.swap_size = self.primary.trailer.swap_size()
        status.swap_type = primary.named

    def reverting(self) -> bool:
        """Whether the swap under way, or the one the trailers ask for, is a revert."""
        return SwapType.REVERT in (self.status.swap_type, self.asked())

    def read_headers(self) -> None:
        """Primary at its start; secondary one sector in, at its start for a revert, and else at the other place."""
        self.primary.header = read_header(self.primary.area, 0)
        first = 0 if self.asked() == SwapType.REVERT else self.sector
        self.secondary.header, offset = self._secondary_header(first)
        if self.config.bootstrap and self.secondary.header.is_image and not self.secondary_offset:
            # Without an image in primary, `find_headers` does not come as far as secondary.
            self.secondary_offset = offset

    def find_headers(self) -> bool:
        """Read both headers where the records say they are; False without a usable one in primary."""
        for number, slot in enumerate(self.slots):
            home, offset = self._header_place(number)
            if number == SECONDARY and not self.status.begun:
                slot.header, offset = self._secondary_header(offset)
            else:
                slot.header = read_header(self.slots[home].area, offset)
            if slot.header.is_image and home == SECONDARY:
                self.secondary_offset = offset
            if not slot.header.is_image:
                return number == SECONDARY and not self.status.begun
        return True

    def _secondary_header(self, first: int) -> tuple[SlotHeader, int]:
        header = read_header(self.secondary.area, first)
        if not header.is_image:
            first = self.sector if self.asked() == SwapType.REVERT else 0
            header = read_header(self.secondary.area, first)
        return header, first

    def _header_place(self, slot: int) -> tuple[int, int]:
        """Slot and offset where the header of `slot`'s image is now."""
        status = self.status
        if not status.begun:
            return slot, self.sector if slot == SECONDARY and not self.reverting() else 0
        last = self._last_sector()
        if self.reverting():
            if slot == PRIMARY:
                gone = status.index > last or (status.index == last and status.state == 1)
                return (SECONDARY, self.sector) if gone else (PRIMARY, 0)
            return (PRIMARY, 0) if status.index > last else (SECONDARY, 0)
        if slot == PRIMARY:
            moved = (status.index > 0 or status.state == 1) and status.index < last
            return (SECONDARY, 0) if moved else (PRIMARY, 0)
        return (PRIMARY, 0) if status.index > 0 else (SECONDARY, self.sector)

    def _last_sector(self) -> int:
        return max(0, -(-self.status.swap_size // self.sector) - 1)

    def install(self) -> None:
        """Copy what the image needs; the image in secondary stays."""
        copy_image(self)
        spend_trailer(self)

    def exchange(self) -> None:
        """Walk up for an upgrade, down for a revert."""
        status = self.status
        resumed = status.begun
        last = self._last_sector()
        if status.swap_type == SwapType.REVERT and status.index == 0:
            self._announce_revert()
        if status.index == 0:
            if status.source != "primary":
                self.primary.trailer.erase()
                self.write_status(self.primary.trailer)
            self.secondary.trailer.erase()
        # A resumed swap writes zeros for the TLV sizes into a trailer (as bootutil does) and reads them here.
        tlvs = self.primary.trailer.tlv_sizes() if resumed else status.tlv_sizes
        used = [
            -(-image_bytes(slot.header.fields, tlv) // self.sector) if slot.header.is_image else 0
            for slot, tlv in zip(self.slots, tlvs, strict=True)
        ]
        down = self.reverting()
        for index in range(status.index, last + 1):
            place = last - index if down else index
            old, new = (place + 1, place) if down else (place, place + 1)
            self._swap_sector(place, old, new, keep_old=place <= used[PRIMARY], keep_new=place <= used[SECONDARY])
        if down:
            erase(self.secondary.area, 0, self.sector)
            self.secondary.trailer.erase()

    def _swap_sector(self, place: int, old: int, new: int, *, keep_old: bool, keep_new: bool) -> None:
        """Primary sector `place` goes to secondary sector `old`, secondary sector `new` to primary; two records."""
        status, size = self.status, self.sector
        primary, secondary, records = self.primary.area, self.secondary.area, self.primary.trailer
        if status.state == 0:
            if keep_old:
                secondary.erase(old * size, size)
                self.copy(primary, place * size, secondary, old * size, size)
            records.write_record(status.index * 2, 1)
            status.state = 1
        if keep_new:
            primary.erase(place * size, size)
            self.copy(secondary, new * size, primary, place * size, size)
        records.write_record(status.index * 2 + 1, 2)
        status.index, status.state = status.index + 1, 0

    def _announce_revert(self) -> None:
        """Make a revert resumable before its first record (`fixup_revert`)."""
        trailer = self.secondary.trailer
        if trailer.read().magic == "unset":
            trailer.erase()
            trailer.write_copy_done()
            self.write_status(trailer)
