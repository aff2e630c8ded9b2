"""One image pair while the bootloader runs: its areas, headers, status, and what all modes do with them alike."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mcuboot_image import Image
from softdevice.boot_config import BootConfig
from softdevice.bootloader.outcome import BootAssertion
from softdevice.flash import Area, Flash
from softdevice.trailer import SwapType, Trailer, swap_type_due
from softdevice.validation import (
    SlotHeader,
    counter_allows,
    header_is_valid,
    image_bytes,
    is_trusted,
    read_header,
    read_image,
    tlv_sizes_at,
)

PRIMARY, SECONDARY = 0, 1
UPGRADES = (SwapType.TEST, SwapType.PERMANENT, SwapType.REVERT)
Source = Literal["none", "primary", "scratch"]


@dataclass(slots=True)
class Status:
    """Where a swap stands: `phase` 0 or 1 (move has two), `index` of the step and `state` within it, all from 0.

    `source` is the area its records are in, `swap_size` the bytes of the larger image.
    """

    source: Source = "none"
    swap_type: SwapType = SwapType.NONE
    phase: int = 0
    index: int = 0
    state: int = 0
    swap_size: int = 0
    tlv_sizes: tuple[int, int] = (0, 0)

    @property
    def begun(self) -> bool:
        """Whether records say that the swap was under way."""
        return bool(self.phase or self.index or self.state)


@dataclass(slots=True)
class Slot:
    """One slot: `header` as last read, which during a swap may be in the other area."""

    area: Area
    trailer: Trailer
    header: SlotHeader = field(init=False)

    def __post_init__(self) -> None:
        self.header = read_header(self.area, 0)


class Pair(ABC):
    """Primary and secondary of one image; a subclass per mode knows how they are exchanged."""

    # Modes that copy one way keep no status, and nothing can be reverted.
    swaps: ClassVar[bool] = True

    def __init__(self, flash: Flash, config: BootConfig, number: int) -> None:
        self.flash = flash
        self.config = config
        self.number = number
        suffix = str(number) if number else ""
        self.primary, self.secondary = (
            Slot(flash[name], Trailer(flash[name], config.layout))
            for name in (f"primary{suffix}", f"secondary{suffix}")
        )
        self.slots = (self.primary, self.secondary)
        self.status = Status()
        self.due = SwapType.NONE
        # Where in secondary the image starts that was found there.
        self.secondary_offset = 0

    @abstractmethod
    def fits(self) -> bool:
        """Whether the slots have the geometry the mode needs (`boot_slots_compatible`)."""

    @abstractmethod
    def max_image(self, slot: int) -> int:
        """Largest image in bytes (`bootutil_max_image_size`)."""

    @abstractmethod
    def exchange(self) -> None:
        """Bring the image of secondary into primary, from where `status` stands."""

    def upgrade(self) -> None:
        """Begin an exchange; nothing was under way."""
        if self.config.bootstrap and not (self.primary.header.bootable and self.is_valid(PRIMARY)):
            self.install()
        else:
            self.measure()
            self.exchange()

    @abstractmethod
    def install(self) -> None:
        """Copy secondary over primary one way, and keep secondary from asking again."""

    def read_status(self) -> None:
        """Find out whether a swap was interrupted, and where (`swap_read_status`); without records none was."""
        self.status = Status()

    def read_headers(self) -> None:
        """Read the headers from where they are outside of a swap."""
        for slot in self.slots:
            slot.header = read_header(slot.area, 0)

    def find_headers(self) -> bool:
        """Read the headers from where the swap has moved them; False when there can be no boot decision."""
        self.read_headers()
        return True

    def misplaced(self, expected: SwapType) -> bool:
        """Whether the new image lies where the mode does not look for one."""
        return False

    def asked(self) -> SwapType:
        """What the two trailers ask for."""
        return swap_type_due(self.primary.trailer.read(), self.secondary.trailer.read(), self.config.rules)

    def start_of(self, slot: int) -> int:
        """Offset of the image in the slot."""
        return self.secondary_offset if slot == SECONDARY else 0

    def image_in(self, slot: int) -> Image | None:
        """The image in the slot, when its header is still the one that was read and it is well formed."""
        place = self.slots[slot]
        image = read_image(place.area, self.start_of(slot), self.max_image(slot))
        return image if image is not None and image.header == place.header.fields else None

    def is_valid(self, slot: int) -> bool:
        """Header, size, hash, signature and hardware counter of the slot."""
        place = self.slots[slot]
        if not header_is_valid(place.area, place.header):
            return False
        image = self.image_in(slot)
        if image is None or not is_trusted(image, self.config.keys):
            return False
        return not self.config.hw_rollback_counter or counter_allows(image, self.flash.counters[self.number])

    def validate_secondary(self, expected: SwapType) -> bool:
        """Decide about the image in secondary and erase what is refused (`boot_validate_slot`)."""
        if not self.secondary.header.bootable:
            self.clear_leftovers()
            return False
        if self.refused_before_validation():
            return False
        if self.misplaced(expected) or not self.is_valid(SECONDARY):
            self.scramble_secondary()
            return False
        return True

    def clear_leftovers(self) -> None:
        """An erased image may have left its trailer behind, which would block the next download."""
        self.secondary.trailer.erase()

    def refused_before_validation(self) -> bool:
        """Whether the mode refuses the image in secondary for its version alone; it is erased then."""
        return False

    def scramble_secondary(self) -> None:
        """Erase a refused image: everything, or with minimal_scramble its header and its trailer."""
        area = self.secondary.area
        if self.config.minimal_scramble:
            area.erase(self.update_offset(), area.sector_size)
            self.secondary.trailer.erase()
        else:
            erase(area, 0, area.size)

    def update_offset(self) -> int:
        """Where in secondary the mode expects a new image."""
        return 0

    def measure(self) -> None:
        """Size of the larger image and both unprotected TLV sizes, from the headers."""
        old, new = (
            self.size_of(number, self.start_of(number)) if slot.header.is_image else (0, 0)
            for number, slot in enumerate(self.slots)
        )
        self.status.swap_size = max(old[0], new[0])
        self.status.tlv_sizes = (old[1], new[1])

    def size_of(self, slot: int, start: int) -> tuple[int, int]:
        """Bytes of the image, and of its unprotected TLV area; raises BootAssertion when its TLVs make no sense."""
        place = self.slots[slot]
        unprotected = tlv_sizes_at(place.area, start, place.header.fields)
        if unprotected is None:
            raise BootAssertion(f"the TLVs of the image in {place.area.name} cannot be read")
        return image_bytes(place.header.fields, unprotected), unprotected

    def write_status(self, trailer: Trailer) -> None:
        """Begin a status area: what is swapped, how much, and last the magic that makes it count."""
        status = self.status
        image_ok = self.secondary.trailer.read().image_ok
        if status.swap_type != SwapType.NONE:
            trailer.write_swap_info(status.swap_type, self.number)
        if image_ok == "set":
            trailer.write_image_ok()
        trailer.write_swap_size(status.swap_size)
        if self.config.layout.keeps_tlv_sizes:
            trailer.write_tlv_sizes(status.tlv_sizes)
        trailer.write_magic()

    def copy(self, source: Area, start: int, target: Area, to: int, length: int) -> None:
        """Copy `length` bytes into erased flash, a chunk at a time."""
        for at in range(0, length, self.config.copy_chunk):
            chunk = source.read(start + at, min(self.config.copy_chunk, length - at))
            target.write(to + at, chunk)

    def raise_counter(self) -> bool:
        """Set the hardware counter to what the image in primary says; False when it says nothing."""
        image = read_image(self.primary.area, 0, self.primary.area.size)
        if image is None or image.security_counter is None:
            return False
        self.flash.set_counter(self.number, image.security_counter)
        return True


def erase(area: Area, start: int, length: int) -> None:
    """Erase sector by sector, upwards."""
    for at in range(start, start + length, area.sector_size):
        area.erase(at, area.sector_size)


def first_trailer_sector(slot: Slot) -> int:
    """Number of the sector in which the trailer begins."""
    return slot.trailer.offset // slot.area.sector_size
