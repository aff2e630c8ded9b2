"""How a boot can end."""

from dataclasses import dataclass

from mcuboot_image import Version
from softdevice.trailer import SwapType


class BootAssertion(Exception):
    """An internal assertion of the bootloader failed: a real device stops here."""


@dataclass(frozen=True, slots=True)
class BootOutcome:
    """What was started, and from which area; `version` is None when no image was bootable.

    `swapped` names the swap of the first image that was completed in this boot.
    """

    version: Version | None
    swapped: SwapType = SwapType.NONE
    area: str = "primary"
