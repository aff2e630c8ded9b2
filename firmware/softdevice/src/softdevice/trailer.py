"""MCUboot's image trailer: where each field is, what it says, which swap it asks for, and how it is written.

From the end of a slot downwards, A being the maximum alignment (8 on most boards):

    magic 16 bytes | image_ok | copy_done | swap_info | both unprotected TLV sizes | swap_size | status records

Each field has A bytes of its own; a status record is one write unit, two for each sector (swap using offset). A field
is written once: unset is erased flash, 0x01 is set, anything else counts as bad. (MCUboot `bootutil_public.c` and
docs/design.md, "Image trailer".)
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from softdevice.flash import Area

MAGIC: Final = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
# With a maximum alignment above 8 the first two bytes carry it.
MAGIC_TAIL: Final = bytes.fromhex("2de15d29410b8d77679c110f1f8a")
SET: Final = 1
STATES_PER_SECTOR: Final = 2

Magic = Literal["good", "unset", "bad"]
Flag = Literal["set", "unset", "bad"]


class SwapType(IntEnum):
    """What the bootloader does next; the numbers are those of `swap_info`."""

    NONE = 1
    TEST = 2
    PERMANENT = 3
    REVERT = 4


class TrailerError(Exception):
    """The application asked for something its trailer does not allow; `code` is bootutil's return value."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class TrailerLayout:
    """Sizes that decide where the fields are: maximum alignment in bytes and sectors the status area is made for."""

    max_align: int = 8
    max_sectors: int = 128

    def image_ok(self, size: int) -> int:
        """Offset in a slot of `size` bytes."""
        return (size - 16 - self.max_align) // self.max_align * self.max_align

    def copy_done(self, size: int) -> int:
        """Offset in a slot of `size` bytes."""
        return self.image_ok(size) - self.max_align

    def swap_info(self, size: int) -> int:
        """Offset in a slot of `size` bytes."""
        return self.image_ok(size) - 2 * self.max_align

    def tlv_sizes(self, size: int) -> int:
        """Offset in a slot of `size` bytes."""
        return self.image_ok(size) - 3 * self.max_align

    def swap_size(self, size: int) -> int:
        """Offset in a slot of `size` bytes."""
        return self.image_ok(size) - 4 * self.max_align

    def status(self, size: int, unit: int) -> int:
        """Offset of the first status record; `unit` is the write unit in bytes."""
        return self.swap_size(size) - self.max_sectors * STATES_PER_SECTOR * unit

    def trailer_bytes(self, unit: int) -> int:
        """Size of the whole trailer in bytes."""
        size = 1 << 24
        return size - self.status(size, unit)


@dataclass(frozen=True, slots=True)
class TrailerState:
    """A trailer as read; `swap_type` and `image_number` come from swap_info, None when it is erased."""

    magic: Magic
    image_ok: Flag
    copy_done: Flag
    swap_type: int | None
    image_number: int | None


class Trailer:
    """The trailer of one slot."""

    def __init__(self, area: Area, layout: TrailerLayout) -> None:
        self.area = area
        self.layout = layout
        self.unit = area.flash.write_align

    def read(self) -> TrailerState:
        """All fields the boot decision needs."""
        layout, size = self.layout, self.area.size
        info = self.area.read(layout.swap_info(size), 1)
        erased = self.area.is_erased(info)
        return TrailerState(
            self._magic(),
            self._flag(layout.image_ok(size)),
            self._flag(layout.copy_done(size)),
            None if erased else info[0] & 15,
            None if erased else info[0] >> 4,
        )

    def swap_size(self) -> int:
        """Size in bytes of the larger image of the swap under way."""
        return int.from_bytes(self.area.read(self.layout.swap_size(self.area.size), 4), "little")

    def tlv_sizes(self) -> tuple[int, int]:
        """Sizes in bytes of the unprotected TLV areas, primary and secondary, of the swap under way."""
        raw = self.area.read(self.layout.tlv_sizes(self.area.size), 4)
        return int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:], "little")

    def last_record(self) -> int:
        """Number of the last status record that is written, counted from 1; 0 without any."""
        count = self.layout.max_sectors * STATES_PER_SECTOR
        raw = self.area.read(self.layout.status(self.area.size, self.unit), count * self.unit)
        erased = self.area.flash.erased_value
        return next((index for index in range(count, 0, -1) if raw[(index - 1) * self.unit] != erased), 0)

    def write_record(self, index: int, state: int) -> None:
        """Write status record `index` (from 0)."""
        self._write(self.layout.status(self.area.size, self.unit) + index * self.unit, bytes([state]))

    def write_magic(self) -> None:
        """Write the magic; with padding when fields are further apart than the magic is long."""
        align = self.layout.max_align
        magic = MAGIC if align == 8 else align.to_bytes(2, "little") + MAGIC_TAIL
        at = self.area.size - 16
        start = at // align * align
        self.area.write(start, bytes([self.area.flash.erased_value]) * (at - start) + magic)

    def write_image_ok(self) -> None:
        """Confirm."""
        self._write(self.layout.image_ok(self.area.size), bytes([SET]))

    def write_copy_done(self) -> None:
        """Mark the swap as finished."""
        self._write(self.layout.copy_done(self.area.size), bytes([SET]))

    def write_swap_info(self, swap_type: int) -> None:
        """Name the swap, so that it is resumed as what it was."""
        self._write(self.layout.swap_info(self.area.size), bytes([swap_type]))

    def write_sizes(self, swap_size: int, tlv_sizes: tuple[int, int]) -> None:
        """Write swap_size and the sizes of both unprotected TLV areas."""
        self._write(self.layout.swap_size(self.area.size), swap_size.to_bytes(4, "little"))
        both = b"".join(size.to_bytes(2, "little") for size in tlv_sizes)
        self._write(self.layout.tlv_sizes(self.area.size), both)

    def erase(self) -> None:
        """Erase the sectors the trailer lies in, from the last one towards the beginning."""
        first = self.area.size - self.layout.trailer_bytes(self.unit)
        at = self.area.size
        while at > first:
            at -= self.area.sector_size
            self.area.erase(at, self.area.sector_size)

    def _magic(self) -> Magic:
        raw = self.area.read(self.area.size - 16, 16)
        if self.area.is_erased(raw):
            return "unset"
        align = self.layout.max_align
        good = MAGIC if align == 8 else align.to_bytes(2, "little") + MAGIC_TAIL
        return "good" if raw == good else "bad"

    def _flag(self, offset: int) -> Flag:
        raw = self.area.read(offset, 1)
        if self.area.is_erased(raw):
            return "unset"
        return "set" if raw[0] == SET else "bad"

    def _write(self, offset: int, value: bytes) -> None:
        padding = -len(value) % self.unit
        self.area.write(offset, value + bytes([self.area.flash.erased_value]) * padding)


def swap_type_due(primary: TrailerState, secondary: TrailerState) -> SwapType:
    """Which swap the two trailers ask for; the first rule that fits wins (swap using offset)."""
    if secondary.magic == "good" and secondary.image_ok == "unset" and secondary.copy_done == "set":
        # The revert writes this before it starts, so that it can be resumed.
        return SwapType.REVERT
    if secondary.magic == "good" and secondary.image_ok == "unset":
        return SwapType.TEST
    if secondary.magic == "good" and secondary.image_ok == "set":
        return SwapType.PERMANENT
    # A magic cut short while the revert was announced is bad, not good: the revert is still due.
    if primary.magic == "good" and primary.image_ok == "unset" and primary.copy_done == "set":
        return SwapType.REVERT
    return SwapType.NONE


def request_upgrade(secondary: Trailer, *, permanent: bool = False) -> None:
    """What an application does to have the secondary slot tried at the next boot (`boot_set_pending`).

    A request on top of a pending one changes nothing; raises TrailerError(3) when the magic is damaged.
    """
    magic = secondary.read().magic
    if magic == "good":
        return
    if magic == "bad":
        raise TrailerError(3, "the secondary slot's trailer is damaged: erase the slot first")
    secondary.write_magic()
    if permanent:
        secondary.write_image_ok()
    secondary.write_swap_info(SwapType.PERMANENT if permanent else SwapType.TEST)


def confirm(primary: Trailer) -> None:
    """What an application does to keep the running image (`boot_set_confirmed`).

    A factory image (magic unset) counts as confirmed; raises TrailerError(4) when the magic is damaged.
    """
    state = primary.read()
    if state.magic == "bad":
        raise TrailerError(4, "the primary slot's trailer is damaged")
    if state.magic == "good" and state.image_ok == "unset":
        primary.write_image_ok()


def is_confirmed(primary: TrailerState) -> bool:
    """Whether the running image stays at the next reset (Zephyr's `boot_is_img_confirmed`)."""
    return primary.magic == "unset" or primary.image_ok == "set"
