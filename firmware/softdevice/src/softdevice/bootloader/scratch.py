"""Swap using scratch: the images change places chunk by chunk through a third area.

Chunks are as large as scratch and are swapped from the end of the image to its beginning, each in three steps, each
with its record:

    record 3i       the chunk of secondary is in scratch
    record 3i + 1   the chunk of primary is in secondary
    record 3i + 2   the chunk in scratch is in primary

The trailer of primary holds the records. When the first chunk (the last of the slot) reaches into the sectors of the
trailer, that trailer must be erased with it; scratch then carries a small trailer of its own until primary has one
again, and is erased from its end, so that its magic goes first. Where the status is comes from an ordered table.
(MCUboot `swap_scratch.c`.)
"""

from typing import Final, NamedTuple

from softdevice.boot_config import BootConfig
from softdevice.bootloader.outcome import BootAssertion
from softdevice.bootloader.overwrite import copy_slot, spend_header, spend_trailer
from softdevice.bootloader.pair import Pair, Source, erase, first_trailer_sector
from softdevice.flash import Area, Flash
from softdevice.trailer import Flag, Magic, Trailer, TrailerState

STATES: Final = 3


class SourceRule(NamedTuple):
    """What primary's trailer and scratch's magic must say for the status to be in `source`; None is anything."""

    source: Source
    primary_magic: Magic | None = None
    primary_copy_done: Flag | None = None
    scratch_good: bool | None = None


# The first rule that fits wins. The last one finds nothing in a primary that was never swapped, and does no harm.
SOURCES: Final = (
    SourceRule("none", primary_magic="good", primary_copy_done="set", scratch_good=False),
    SourceRule("primary", primary_magic="good", primary_copy_done="unset", scratch_good=False),
    SourceRule("scratch", scratch_good=True),
    SourceRule("primary", primary_magic="unset", primary_copy_done="unset"),
)


def status_source(primary: TrailerState, scratch: TrailerState, image: int) -> Source:
    """Where the status of image pair `image` is; a status in scratch may be another pair's."""
    found = (primary.magic, primary.copy_done, scratch.magic == "good")
    for rule in SOURCES:
        if all(wanted in (None, value) for wanted, value in zip(rule[1:], found, strict=True)):
            return "none" if rule.source == "scratch" and scratch.image_number != image else rule.source
    return "none"


class ScratchPair(Pair):
    """An image pair that is swapped through scratch."""

    def __init__(self, flash: Flash, config: BootConfig, number: int) -> None:
        super().__init__(flash, config, number)
        self.scratch = flash["scratch"]
        self.scratch_trailer = Trailer(self.scratch, config.layout, sectors=1)

    def fits(self) -> bool:
        """Slots of the same size whose sectors are multiples of each other and fit into scratch."""
        primary, secondary = self.primary.area, self.secondary.area
        larger = max(primary.sector_size, secondary.sector_size)
        return (
            primary.size == secondary.size
            and larger % min(primary.sector_size, secondary.sector_size) == 0
            and primary.size % larger == 0
            and larger <= self.scratch.size
            and max(primary.sectors, secondary.sectors) <= self.config.max_sectors
        )

    def max_image(self, slot: int) -> int:
        """Before the trailer, with room to copy what shares a sector with it through scratch beside its trailer."""
        ends = [(first_trailer_sector(place) + 1) * place.area.sector_size for place in self.slots]
        place = self.slots[slot]
        shared = max(ends) - place.trailer.offset
        return place.trailer.offset - max(0, self.scratch_trailer.bytes - shared)

    def read_status(self) -> None:
        """Find the area with the status, and the last record in it."""
        primary, scratch = self.primary.trailer.read(), self.scratch_trailer.read()
        status = self.status
        status.source = status_source(primary, scratch, self.number)
        if status.source == "none":
            return
        trailer, state = (
            (self.scratch_trailer, scratch) if status.source == "scratch" else (self.primary.trailer, primary)
        )
        records = trailer.records()
        if True in records:
            done = _first_gap(records)
            if not self.config.validate_primary and True in records[done:]:
                raise BootAssertion("status records have a gap, and nothing would validate primary")
            status.index, status.state = divmod(done, STATES)
            status.swap_size = trailer.swap_size()
        status.swap_type = state.named

    def install(self) -> None:
        """Copy the whole slot, as overwrite does."""
        copy_slot(self)
        spend_header(self)
        spend_trailer(self)

    def exchange(self) -> None:
        """Swap chunk after chunk, from the end."""
        sector = self.primary.area.sector_size
        larger = max(sector, self.secondary.area.sector_size)
        end = max(1, -(-self.status.swap_size // larger)) * larger
        chunk = self.scratch.size // sector * sector
        index = 0
        while end > 0:
            start = max(0, end - chunk)
            if index >= self.status.index:
                self._swap_chunk(start, end - start)
            end, index = start, index + 1

    def _swap_chunk(self, start: int, length: int) -> None:
        status, scratch = self.status, self.scratch
        primary, secondary = self.primary, self.secondary
        copied, borrowed = self._share(start, length)
        records = self.scratch_trailer if borrowed else primary.trailer
        record = status.index * STATES
        if status.state == 0:
            erase(scratch, 0, scratch.size)
            if status.index == 0:
                self.write_status(self.scratch_trailer)
                if not borrowed:
                    primary.trailer.erase()
                    self.write_status(primary.trailer)
                    erase(scratch, 0, scratch.size)
            self.copy(secondary.area, start, scratch, 0, copied)
            records.write_record(record, 1)
            status.state = 1
        if status.state == 1:
            if status.index == 0:
                # Only primary may have a trailer, also where the trailer begins below this chunk.
                secondary.trailer.erase()
            self._erase_chunk(secondary.area, start, length, first_trailer_sector(secondary) if borrowed else None)
            self.copy(primary.area, start, secondary.area, start, copied)
            records.write_record(record + 1, 2)
            status.state = 2
        if borrowed:
            primary.trailer.erase()
        self._erase_chunk(primary.area, start, length, first_trailer_sector(primary) if borrowed else None)
        self.copy(scratch, 0, primary.area, start, copied)
        if borrowed:
            self._return_status()
        primary.trailer.write_record(record + 2, 3)
        status.index, status.state = status.index + 1, 0
        if borrowed:
            # Backwards: the magic goes first, so that a half-erased status is none.
            for at in range(scratch.size - scratch.sector_size, -1, -scratch.sector_size):
                scratch.erase(at, scratch.sector_size)

    def _share(self, start: int, length: int) -> tuple[int, bool]:
        """Bytes of a chunk to copy, and whether scratch must hold the status meanwhile."""
        primary = self.primary
        copied = length
        if start + length > first_trailer_sector(primary) * primary.area.sector_size:
            copied = min(primary.trailer.offset - start, self.scratch_trailer.offset)
        return copied, self.status.index == 0 and copied != length

    def _erase_chunk(self, area: Area, start: int, length: int, erased_from: int | None) -> None:
        """Erase a chunk, but for the sectors that went with a trailer."""
        end = start + length if erased_from is None else erased_from * area.sector_size
        erase(area, start, end - start)

    def _return_status(self) -> None:
        """Give primary the trailer that scratch has kept, with the two records written so far."""
        primary, state = self.primary.trailer, self.scratch_trailer.read()
        kept = (STATES - 1) * primary.unit
        self.copy(self.scratch, self.scratch_trailer.offset, self.primary.area, primary.offset, kept)
        if state.image_ok == "set":
            primary.write_image_ok()
        if state.swap_type is not None:
            primary.write_swap_info(state.swap_type, self.number)
        primary.write_swap_size(self.status.swap_size)
        primary.write_magic()


def _first_gap(records: list[bool]) -> int:
    """Where the first run of written records ends."""
    begun = records.index(True)
    return records.index(False, begun) if False in records[begun:] else len(records)
