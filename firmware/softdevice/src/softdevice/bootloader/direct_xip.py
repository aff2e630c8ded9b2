"""Direct XIP: nothing is copied; the highest valid version of the one image runs where it lies.

Each slot's images are linked for that slot. Candidates are tried from the highest version down (the first slot at equal
versions); what does not validate is erased. With revert, a slot needs a trailer: a magic makes it a candidate,
copy_done is written when it is tried, and at the next reset an image that was tried and never confirmed is erased,
which leaves the older one. (MCUboot `boot_load_and_validate_images`, `boot_select_or_erase`.)
"""

from mcuboot_image import Image
from softdevice.boot_config import BootConfig
from softdevice.bootloader.outcome import BootOutcome
from softdevice.bootloader.pair import Slot, erase
from softdevice.flash import Flash
from softdevice.trailer import Trailer
from softdevice.validation import counter_allows, header_is_valid, is_built_for, is_trusted, read_image


def boot(flash: Flash, config: BootConfig) -> BootOutcome:
    """Start the highest valid version of one image."""
    return _boot(flash, config, revert=False)


def boot_with_revert(flash: Flash, config: BootConfig) -> BootOutcome:
    """Start the highest version that was confirmed or never tried."""
    return _boot(flash, config, revert=True)


def _boot(flash: Flash, config: BootConfig, *, revert: bool) -> BootOutcome:
    slots = [Slot(flash[name], Trailer(flash[name], config.layout)) for name in ("primary", "secondary")]
    candidates = [slot for slot in slots if header_is_valid(slot.area, slot.header)]
    # A stable sort: at equal versions primary comes first.
    candidates.sort(key=lambda slot: config.version_key(slot.header.version), reverse=True)
    for slot in candidates:
        if not is_built_for(slot.area, slot.header):
            continue
        confirmed = slot.trailer.read().image_ok == "set"
        if revert and not _select(slot):
            erase(slot.area, 0, slot.area.size)
            continue
        if not slot.header.bootable:
            continue
        image = _acceptable(slot, flash, config)
        if image is None:
            erase(slot.area, 0, slot.area.size)
            continue
        if config.hw_rollback_counter and (confirmed or not revert):
            flash.set_counter(0, image.security_counter or 0)
        return BootOutcome(image.header.version, area=slot.area.name)
    return BootOutcome(None)


def _acceptable(slot: Slot, flash: Flash, config: BootConfig) -> Image | None:
    """The slot's image, when it is well formed, trusted, and not below the hardware counter."""
    image = read_image(slot.area, 0, config.layout.swap_info(slot.area.size))
    if image is None or not is_trusted(image, config.keys):
        return None
    if config.hw_rollback_counter and not counter_allows(image, flash.counters[0]):
        return None
    return image


def _select(slot: Slot) -> bool:
    """Mark a candidate as tried; False when it has no trailer or was tried before and not confirmed."""
    state = slot.trailer.read()
    if state.magic != "good" or (state.copy_done == "set" and state.image_ok != "set"):
        return False
    if state.copy_done != "set":
        slot.trailer.write_copy_done()
    return True
