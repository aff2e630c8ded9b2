"""Which module serves which mode."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from softdevice.boot_config import BootConfig, Mode
from softdevice.bootloader import direct_xip, sequence
from softdevice.bootloader.move import MovePair
from softdevice.bootloader.offset import OffsetPair
from softdevice.bootloader.outcome import BootAssertion, BootOutcome
from softdevice.bootloader.overwrite import OverwriteFastPair, OverwritePair
from softdevice.bootloader.pair import PRIMARY, SECONDARY, Pair
from softdevice.bootloader.scratch import ScratchPair
from softdevice.flash import Flash, FlashError
from softdevice.trailer import SwapType, Trailer, swap_type_due

_PAIRS: Final[Mapping[Mode, type[Pair]]] = {
    Mode.OFFSET: OffsetPair,
    Mode.MOVE: MovePair,
    Mode.SCRATCH: ScratchPair,
    Mode.OVERWRITE: OverwritePair,
    Mode.OVERWRITE_FAST: OverwriteFastPair,
}
_BOOTS: Final[Mapping[Mode, Callable[[Flash, BootConfig], BootOutcome]]] = {
    **{mode: partial(sequence.boot, kind) for mode, kind in _PAIRS.items()},
    Mode.DIRECT_XIP: direct_xip.boot,
    Mode.DIRECT_XIP_REVERT: direct_xip.boot_with_revert,
}


def boot(flash: Flash, config: BootConfig) -> BootOutcome:
    """Run the bootloader until it starts an image or gives up.

    The flash has the areas `primary` and `secondary`, with a second image `primary1` and `secondary1`, and `scratch`
    where the mode needs it. Raises PowerCut when the power goes, BootAssertion where the real one asserts.
    """
    try:
        return _BOOTS[config.mode](flash, config)
    except FlashError as error:
        raise BootAssertion(f"the flash refused an operation: {error}") from error


def swap_type(flash: Flash, config: BootConfig, image: int = 0) -> SwapType:
    """The swap due at the next boot, as an application computes it (`mcuboot_swap_type`)."""
    suffix = str(image) if image else ""
    primary, secondary = (Trailer(flash[name + suffix], config.layout) for name in ("primary", "secondary"))
    return swap_type_due(primary.read(), secondary.read(), config.rules)


def largest_image(flash: Flash, config: BootConfig) -> int:
    """Bytes of the largest image that both slots take, header and TLVs included."""
    kind = _PAIRS.get(config.mode)
    if kind is None:
        return min(config.layout.swap_info(flash[name].size) for name in ("primary", "secondary"))
    pair = kind(flash, config, 0)
    return min(pair.max_image(PRIMARY), pair.max_image(SECONDARY))
