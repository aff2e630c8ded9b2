"""MCUboot's boot, swap using offset, as a function of the flash: resume, decide, validate, swap, start.

The new image lies one sector into the secondary slot. An upgrade walks up: sector i of primary goes to sector i of
secondary, sector i+1 of secondary to sector i of primary; so the old image ends at sector 0 of secondary. A revert
walks down the same way back. Each half of a sector's swap ends with one status record in the primary trailer, never
rewritten; after a power cut the last record says where to go on. Before a revert, copy_done and magic are put into
the secondary trailer, so that a cut before the first record still leads to a revert.

Recorded traces of the real bootutil (tests/vectors) hold this file to the same flash operations in the same order,
its two known bricks included: images of one sector, and two cuts around the last sector of a revert.
"""

from dataclasses import dataclass

from mcuboot_image import Header, Version
from softdevice.flash import Area, Flash
from softdevice.trailer import SwapType, Trailer, swap_type_due
from softdevice.validation import (
    NON_BOOTABLE,
    BootConfig,
    header_at,
    image_bytes,
    is_downgrade,
    is_trusted,
    max_image_bytes,
    read_image,
    tlv_sizes_at,
)


class BootAssertion(Exception):
    """An internal assertion of the bootloader failed: a real device stops here."""


@dataclass(frozen=True, slots=True)
class BootOutcome:
    """What was started; `version` is None when no image was bootable. `swapped` names the swap that was completed."""

    version: Version | None
    swapped: SwapType = SwapType.NONE


@dataclass(slots=True)
class _Status:
    """Where a swap stands: sector from 0, state 0 or 1; `resumed` when records say that it had begun."""

    swap_type: SwapType = SwapType.NONE
    from_primary: bool = False
    sector: int = 0
    state: int = 0
    resumed: bool = False
    swap_size: int = 0
    tlv_sizes: tuple[int, int] = (0, 0)


def boot(flash: Flash, config: BootConfig) -> BootOutcome:
    """Run the bootloader on areas `primary` and `secondary` until it starts an image or gives up.

    Raises PowerCut when the flash loses power, BootAssertion where the real one asserts.
    """
    return _Boot(flash, config).run()


def swap_type(flash: Flash, config: BootConfig) -> SwapType:
    """The swap due at the next boot, as an application computes it (`mcuboot_swap_type`)."""
    primary, secondary = Trailer(flash["primary"], config.layout), Trailer(flash["secondary"], config.layout)
    return swap_type_due(primary.read(), secondary.read())


class _Boot:
    def __init__(self, flash: Flash, config: BootConfig) -> None:
        self.config = config
        self.primary, self.secondary = flash["primary"], flash["secondary"]
        self.primary_trailer = Trailer(self.primary, config.layout)
        self.secondary_trailer = Trailer(self.secondary, config.layout)
        self.sector = self.primary.sector_size
        self.headers: list[Header | None] = [None, None]
        self.secondary_offset = 0
        self.status = _Status()

    def run(self) -> BootOutcome:
        swapped = SwapType.NONE
        if self._compatible():
            self._read_status()
            if self._read_headers(required=self.status.resumed):
                if self.status.resumed:
                    swapped = self.status.swap_type
                    self._swap()
                    self._finish(swapped)
                else:
                    swapped = self._decide()
                    if swapped != SwapType.NONE:
                        self.status.swap_type = swapped
                        self._swap()
                        self._finish(swapped)
        return BootOutcome(self._bootable(), swapped)

    def _bootable(self) -> Version | None:
        header = header_at(self.primary, 0)
        if header is None:
            return None
        if self.config.validate_primary:
            limit = max_image_bytes(self.primary, self.config.layout, 0)
            image = read_image(self.primary, 0, limit)
            if image is None or header.flags & NON_BOOTABLE or not is_trusted(image, self.config.keys):
                return None
        return header.version

    def _compatible(self) -> bool:
        """Slots of the same sectors, or secondary one longer (`boot_slots_compatible`)."""
        extra = self.secondary.sectors - self.primary.sectors
        return (
            extra in (0, 1)
            and self.primary.sector_size == self.secondary.sector_size
            and self.primary.sectors <= self.config.layout.max_sectors
        )

    def _read_status(self) -> None:
        primary, secondary = self.primary_trailer.read(), self.secondary_trailer.read()
        if primary.magic != "good" or primary.copy_done != "unset" or secondary.magic == "good":
            return
        status = self.status
        status.from_primary = True
        record = self.primary_trailer.last_record()
        if record:
            status.sector, status.state = divmod(record, 2)
            status.resumed = True
            status.swap_size = self.primary_trailer.swap_size()
        if primary.swap_type is not None and primary.swap_type in SwapType._value2member_map_:
            status.swap_type = SwapType(primary.swap_type)

    def _due(self) -> SwapType:
        return swap_type_due(self.primary_trailer.read(), self.secondary_trailer.read())

    def _reverting(self) -> bool:
        return self.status.swap_type == SwapType.REVERT or self._due() == SwapType.REVERT

    def _read_headers(self, *, required: bool) -> bool:
        """Read both headers from where the swap has moved them; False when no boot decision can be made."""
        for slot in (0, 1):
            area, offset = self._header_place(slot)
            header = header_at(area, offset)
            if header is None and slot == 1 and not self.status.resumed:
                offset = 0 if self._due() != SwapType.REVERT else self.sector
                header = header_at(area, offset)
            self.headers[slot] = header
            if slot == 1 and header is not None and area is self.secondary:
                self.secondary_offset = offset
            if header is None:
                return slot == 1 and not required
        return True

    def _header_place(self, slot: int) -> tuple[Area, int]:
        status = self.status
        home = (self.primary, self.secondary)[slot]
        if not status.resumed:
            return home, self.sector if slot == 1 and not self._reverting() else 0
        last = self._last_sector(status.swap_size)
        if self._reverting():
            if slot == 0:
                gone = status.sector > last or (status.sector == last and status.state == 1)
                return (self.secondary, self.sector) if gone else (self.primary, 0)
            back = status.sector > last
            return (self.primary, 0) if back else (self.secondary, 0)
        if slot == 0:
            moved = (status.sector > 0 or status.state == 1) and status.sector < last
            return (self.secondary, 0) if moved else (self.primary, 0)
        return (self.primary, 0) if status.sector > 0 else (self.secondary, self.sector)

    def _last_sector(self, size: int) -> int:
        return max(0, -(-size // self.sector) - 1)

    def _decide(self) -> SwapType:
        """The swap to do now: what the trailers ask for, when the image in secondary deserves it."""
        due = self.status.swap_type if self.status.swap_type != SwapType.NONE else self._due()
        if due == SwapType.NONE:
            return due
        return due if self._secondary_is_good() else SwapType.NONE

    def _secondary_is_good(self) -> bool:
        header = self.headers[1]
        if header is None or header.flags & NON_BOOTABLE:
            # An erased image may have left its trailer behind, and that would block the next download.
            self.secondary_trailer.erase()
            return False
        reverting = self._due() == SwapType.REVERT
        # Once the swap has begun, sector 0 may hold the first copy of the old image.
        begun = self.status.swap_type != SwapType.NONE
        misplaced = not begun and not reverting and header_at(self.secondary, 0) is not None
        limit = min(
            max_image_bytes(self.primary, self.config.layout, 0),
            max_image_bytes(self.secondary, self.config.layout, self.sector),
        )
        image = None if misplaced else read_image(self.secondary, self.secondary_offset, limit)
        if image is None or not is_trusted(image, self.config.keys):
            self._erase_slot()
            return False
        rule = self.config.downgrade_prevention
        if rule is not None and not reverting and is_downgrade(read_image(self.primary, 0, limit), image, rule):
            self._erase_slot()
            return False
        return True

    def _erase_slot(self) -> None:
        for sector in range(self.secondary.sectors):
            self.secondary.erase(sector * self.sector, self.sector)

    def _measure(self) -> None:
        """Size of the larger image and both TLV sizes, from the headers."""
        sizes, tlvs = [0, 0], [0, 0]
        for slot, (area, offset) in enumerate(((self.primary, 0), (self.secondary, self.secondary_offset))):
            header = self.headers[slot]
            if header is None:
                continue
            unprotected = tlv_sizes_at(area, offset, header)
            if unprotected is None:
                raise BootAssertion(f"the TLVs of the image in {area.name} cannot be read")
            sizes[slot], tlvs[slot] = image_bytes(header, unprotected), unprotected
        self.status.swap_size = max(sizes)
        self.status.tlv_sizes = (tlvs[0], tlvs[1])

    def _swap(self) -> None:
        status = self.status
        if not status.resumed:
            self._measure()
        last = self._last_sector(status.swap_size)
        if status.swap_type == SwapType.REVERT and status.sector == 0:
            self._announce_revert()
        if status.sector == 0:
            if not status.from_primary:
                self.primary_trailer.erase()
                self._write_status(self.primary_trailer)
            self.secondary_trailer.erase()
        # A resumed swap writes zeros for the TLV sizes into a trailer (as bootutil does) and reads them here.
        tlvs = self.primary_trailer.tlv_sizes() if status.resumed else status.tlv_sizes
        used = [
            -(-(image_bytes(header, tlv)) // self.sector) if header else 0
            for header, tlv in zip(self.headers, tlvs, strict=True)
        ]
        down = self._reverting()
        for index in range(status.sector, last + 1):
            place = last - index if down else index
            old = place + 1 if down else place
            new = place if down else place + 1
            self._swap_sector(place, old, new, keep_old=place <= used[0], keep_new=place <= used[1])
        if down:
            self.secondary.erase(0, self.sector)
            self.secondary_trailer.erase()

    def _swap_sector(self, place: int, old: int, new: int, *, keep_old: bool, keep_new: bool) -> None:
        """Primary sector `place` goes to secondary sector `old`, secondary sector `new` to primary; two records."""
        status, size = self.status, self.sector
        if status.state == 0:
            if keep_old:
                self.secondary.erase(old * size, size)
                self._copy(0, place, old)
            self.primary_trailer.write_record(status.sector * 2, 1)
            status.state = 1
        if keep_new:
            self.primary.erase(place * size, size)
            self._copy(1, new, place)
        self.primary_trailer.write_record(status.sector * 2 + 1, 2)
        status.sector, status.state = status.sector + 1, 0

    def _copy(self, source: int, from_sector: int, to_sector: int) -> None:
        areas = (self.primary, self.secondary)
        reader, writer = areas[source], areas[1 - source]
        for at in range(0, self.sector, self.config.copy_chunk):
            length = min(self.config.copy_chunk, self.sector - at)
            writer.write(to_sector * self.sector + at, reader.read(from_sector * self.sector + at, length))

    def _announce_revert(self) -> None:
        """Make a revert resumable before its first record (`fixup_revert`)."""
        if self.secondary_trailer.read().magic == "unset":
            self.secondary_trailer.erase()
            self.secondary_trailer.write_copy_done()
            self._write_status(self.secondary_trailer)

    def _write_status(self, trailer: Trailer) -> None:
        status = self.status
        image_ok = self.secondary_trailer.read().image_ok
        if status.swap_type != SwapType.NONE:
            trailer.write_swap_info(status.swap_type)
        if image_ok == "set":
            trailer.write_image_ok()
        trailer.write_sizes(status.swap_size, status.tlv_sizes)
        trailer.write_magic()

    def _finish(self, done: SwapType) -> None:
        if done in (SwapType.REVERT, SwapType.PERMANENT) and self.primary_trailer.read().image_ok == "unset":
            self.primary_trailer.write_image_ok()
        if done != SwapType.NONE:
            self.primary_trailer.write_copy_done()
