"""MCUboot's image trailer: where each field is, what it says, which swap it asks for, and how it is written.

From the end of a slot downwards, A being the maximum alignment (8 on most boards):

    magic 16 bytes | image_ok | copy_done | swap_info | both unprotected TLV sizes | swap_size | status records

Each field has A bytes of its own; a status record is one write unit, two for each sector (swap using offset). A field
is written once: unset is erased flash, 0x01 is set, anything else counts as bad. (MCUboot `bootutil_public.c` and
docs/design.md, "Image trailer".)
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from softdevice.flash import Area, FlashError

MAGIC: Final = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
# With a maximum alignment above 8 the first two bytes carry it.
MAGIC_TAIL: Final = bytes.fromhex("2de15d29410b8d77679c110f1f8a")
MAGIC_BYTES: Final = 16
SET: Final = 1

Magic = Literal["good", "unset", "bad"]
Flag = Literal["set", "unset", "bad"]


class SwapType(IntEnum):
    """What the bootloader does next; the numbers are those of `swap_info`."""

    NONE = 1
    TEST = 2
    PERMANENT = 3
    REVERT = 4
    # Never in flash: an image that failed after its swap was named, and a swap_info nobody understands.
    FAIL = 5
    PANIC = 255


class TrailerError(Exception):
    """The application asked for something its trailer does not allow; `code` is bootutil's return value."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class TrailerLayout:
    """Sizes that decide where the fields are.

    Maximum alignment in bytes, sectors the status area is made for, states per sector (2 with swap using offset, 3
    with move and scratch), and whether there is a field for the sizes of the TLV areas (offset only).
    """

    max_align: int = 8
    max_sectors: int = 128
    states: int = 2
    keeps_tlv_sizes: bool = True

    def image_ok(self, size: int) -> int:
        """Offset in a slot of `size` bytes."""
        return (size - MAGIC_BYTES - self.max_align) // self.max_align * self.max_align

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
        return self.image_ok(size) - (4 if self.keeps_tlv_sizes else 3) * self.max_align

    def trailer_bytes(self, unit: int, sectors: int | None = None) -> int:
        """Size of the whole trailer in bytes; `unit` is the write unit, `sectors` how many have status records."""
        fields = -self.swap_size(0)
        return fields + (self.max_sectors if sectors is None else sectors) * self.states * unit


@dataclass(frozen=True, slots=True)
class TrailerState:
    """A trailer as read; `swap_info` is the raw byte, None when it is erased."""

    magic: Magic
    image_ok: Flag
    copy_done: Flag
    swap_info: int | None

    @property
    def named(self) -> SwapType:
        """The swap that is under way by swap_info: NONE when it is erased, PANIC when nobody knows the number."""
        if self.swap_info is None:
            return SwapType.NONE
        number = self.swap_info & 15
        return SwapType(number) if SwapType.NONE <= number <= SwapType.REVERT else SwapType.PANIC

    @property
    def swap_type(self) -> SwapType | None:
        """The swap in swap_info; None when it is erased or names none (`boot_read_swap_state`)."""
        return self.named if self.swap_info is not None and self.named is not SwapType.PANIC else None

    @property
    def image_number(self) -> int:
        """Which image pair the swap is for."""
        return 0 if self.swap_info is None or self.named is SwapType.PANIC else self.swap_info >> 4


class Trailer:
    """The trailer of one area; `sectors` when it has records for fewer sectors than the layout says (scratch)."""

    def __init__(self, area: Area, layout: TrailerLayout, sectors: int | None = None) -> None:
        self.area = area
        self.layout = layout
        self.unit = area.flash.write_align
        self.bytes = layout.trailer_bytes(self.unit, sectors)
        self.offset = area.size - self.bytes
        self.record_count = (layout.max_sectors if sectors is None else sectors) * layout.states

    def read(self) -> TrailerState:
        """All fields the boot decision needs."""
        layout, size = self.layout, self.area.size
        start = layout.swap_info(size)
        raw = self.area.read(start, size - start)
        erased = self.area.flash.erased_value
        info = raw[0]
        return TrailerState(
            self._magic(raw[-MAGIC_BYTES:]),
            _flag(raw[layout.image_ok(size) - start], erased),
            _flag(raw[layout.copy_done(size) - start], erased),
            None if info == erased else info,
        )

    def swap_size(self) -> int:
        """Size in bytes of the larger image of the swap under way."""
        return int.from_bytes(self.area.read(self.layout.swap_size(self.area.size), 4), "little")

    def tlv_sizes(self) -> tuple[int, int]:
        """Sizes in bytes of the unprotected TLV areas, primary and secondary, of the swap under way."""
        raw = self.area.read(self.layout.tlv_sizes(self.area.size), 4)
        return int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:], "little")

    def records(self) -> list[bool]:
        """For each status record whether it is written."""
        raw = self.area.read(self.offset, self.record_count * self.unit)
        erased = self.area.flash.erased_value
        return [value != erased for value in raw[:: self.unit]]

    def last_record(self) -> int:
        """Number of the last status record that is written, counted from 1; 0 without any."""
        raw = self.area.read(self.offset, self.record_count * self.unit)[:: self.unit]
        return len(raw.rstrip(bytes([self.area.flash.erased_value])))

    def write_record(self, index: int, state: int) -> None:
        """Write status record `index` (from 0)."""
        self._write(self.offset + index * self.unit, bytes([state]))

    def write_magic(self) -> None:
        """Write the magic; with padding when fields are further apart than the magic is long."""
        align = self.layout.max_align
        at = self.area.size - MAGIC_BYTES
        start = at // align * align
        self.area.write(start, bytes([self.area.flash.erased_value]) * (at - start) + self._good_magic())

    def write_image_ok(self) -> None:
        """Confirm."""
        self._write(self.layout.image_ok(self.area.size), bytes([SET]))

    def write_copy_done(self) -> None:
        """Mark the swap as finished."""
        self._write(self.layout.copy_done(self.area.size), bytes([SET]))

    def write_swap_info(self, swap_type: int, image: int = 0) -> None:
        """Name the swap and its image pair, so that it is resumed as what it was."""
        self._write(self.layout.swap_info(self.area.size), bytes([image << 4 | swap_type]))

    def write_swap_size(self, size: int) -> None:
        """Write how many bytes the larger image has."""
        self._write(self.layout.swap_size(self.area.size), size.to_bytes(4, "little"))

    def write_tlv_sizes(self, tlv_sizes: tuple[int, int]) -> None:
        """Write the sizes of both unprotected TLV areas."""
        both = b"".join(size.to_bytes(2, "little") for size in tlv_sizes)
        self._write(self.layout.tlv_sizes(self.area.size), both)

    def erase(self) -> None:
        """Erase the sectors the trailer lies in, from the last one towards the beginning."""
        at = self.area.size
        while at > self.offset:
            at -= self.area.sector_size
            self.area.erase(at, self.area.sector_size)

    def _good_magic(self) -> bytes:
        align = self.layout.max_align
        return MAGIC if align == 8 else align.to_bytes(2, "little") + MAGIC_TAIL

    def _magic(self, raw: bytes) -> Magic:
        if self.area.is_erased(raw):
            return "unset"
        return "good" if raw == self._good_magic() else "bad"

    def _write(self, offset: int, value: bytes) -> None:
        padding = -len(value) % self.unit
        self.area.write(offset, value + bytes([self.area.flash.erased_value]) * padding)


def _flag(value: int, erased: int) -> Flag:
    if value == erased:
        return "unset"
    return "set" if value == SET else "bad"


class Rule(NamedTuple):
    """What two trailers must say for `due` to be due; None is anything."""

    due: SwapType
    secondary_magic: Magic | None = None
    secondary_image_ok: Flag | None = None
    secondary_copy_done: Flag | None = None
    primary_magic: Magic | None = None
    primary_image_ok: Flag | None = None
    primary_copy_done: Flag | None = None


Rules = tuple[Rule, ...]
# The first rule that fits wins (MCUboot `boot_swap_tables`).
RULES: Final[Rules] = (
    Rule(SwapType.TEST, secondary_magic="good", secondary_image_ok="unset"),
    Rule(SwapType.PERMANENT, secondary_magic="good", secondary_image_ok="set"),
    Rule(SwapType.REVERT, primary_magic="good", primary_image_ok="unset", primary_copy_done="set"),
)
# Swap using offset announces a revert in the secondary trailer before it starts, so that it can be resumed.
OFFSET_RULES: Final[Rules] = (
    Rule(SwapType.REVERT, secondary_magic="good", secondary_image_ok="unset", secondary_copy_done="set"),
    *RULES,
)


def swap_type_due(primary: TrailerState, secondary: TrailerState, rules: Rules = OFFSET_RULES) -> SwapType:
    """Which swap the two trailers ask for."""
    found = (
        secondary.magic,
        secondary.image_ok,
        secondary.copy_done,
        primary.magic,
        primary.image_ok,
        primary.copy_done,
    )
    for rule in rules:
        if all(wanted in (None, value) for wanted, value in zip(rule[1:], found, strict=True)):
            return rule.due
    return SwapType.NONE


def request_upgrade(secondary: Trailer, *, permanent: bool = False, image: int = 0) -> None:
    """What an application does to have the secondary slot tried at the next boot (`boot_set_pending`).

    A request on top of a pending one changes nothing; raises TrailerError(3) when the magic is damaged, (1) when a
    field cannot be written.
    """
    magic = secondary.read().magic
    if magic == "good":
        return
    if magic == "bad":
        raise TrailerError(3, "the secondary slot's trailer is damaged: erase the slot first")
    try:
        secondary.write_magic()
        if permanent:
            secondary.write_image_ok()
        secondary.write_swap_info(SwapType.PERMANENT if permanent else SwapType.TEST, image)
    except FlashError as error:
        raise TrailerError(1, f"the secondary slot's trailer cannot be written: {error}") from error


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
