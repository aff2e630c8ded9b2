"""How a bootloader was built: its mode, the keys it trusts, and the options that change what it does to the flash."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal

from mcuboot_image import PublicKey, Version
from softdevice.trailer import OFFSET_RULES, RULES, Rules, TrailerLayout

Downgrade = Literal["version", "version+build", "security-counter"]


class Mode(StrEnum):
    """What MCUboot does with a new image; one module of `softdevice.bootloader` per mode."""

    OFFSET = "offset"
    MOVE = "move"
    SCRATCH = "scratch"
    OVERWRITE = "overwrite"
    OVERWRITE_FAST = "overwrite-fast"
    DIRECT_XIP = "direct-xip"
    DIRECT_XIP_REVERT = "direct-xip-revert"


@dataclass(frozen=True)
class BootConfig:
    """Keys the bootloader trusts and the options of `mcuboot_config.h` that change behaviour.

    `images` is the number of image pairs; `max_align` and `max_sectors` size the trailer; `copy_chunk` is the largest
    piece of one copy write in bytes. `bootstrap`: a broken primary is installed from secondary without a request.
    `hw_rollback_counter`: security counters are held against a counter outside of the flash. `minimal_scramble`: a
    refused slot loses its header and its trailer only.
    """

    keys: tuple[PublicKey, ...]
    mode: Mode = Mode.OFFSET
    images: int = 1
    max_align: int = 8
    max_sectors: int = 128
    copy_chunk: int = 1024
    validate_primary: bool = True
    downgrade_prevention: Downgrade | None = None
    bootstrap: bool = False
    hw_rollback_counter: bool = False
    minimal_scramble: bool = False

    @cached_property
    def layout(self) -> TrailerLayout:
        """Where the fields of a slot's trailer are: swap using offset has two states per sector and one field more."""
        if self.mode is Mode.OFFSET:
            return TrailerLayout(self.max_align, self.max_sectors)
        return TrailerLayout(self.max_align, self.max_sectors, states=3, keeps_tlv_sizes=False)

    @property
    def rules(self) -> Rules:
        """The ordered rules by which two trailers ask for a swap."""
        return OFFSET_RULES if self.mode is Mode.OFFSET else RULES

    def version_key(self, version: Version) -> tuple[int, ...]:
        """What counts when versions are compared: the build number only where the bootloader was built so."""
        key = (version.major, version.minor, version.revision)
        return (*key, version.build) if self.downgrade_prevention == "version+build" else key
