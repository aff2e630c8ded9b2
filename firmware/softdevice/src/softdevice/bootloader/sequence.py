"""The order of a boot for all modes with a primary slot to run from (`context_boot_go`).

With two images, everything is decided for all before anything is moved: a swap that would leave an image without a
version it depends on holds back *all* swaps. When the power went between the swaps of two images, the first one looks
like a test that nobody confirmed; a look at the other image, which is still to be upgraded, shows that it is not.
"""

from collections.abc import Sequence

from softdevice.boot_config import BootConfig
from softdevice.bootloader.outcome import BootAssertion, BootOutcome
from softdevice.bootloader.pair import PRIMARY, SECONDARY, UPGRADES, Pair, Status
from softdevice.flash import Flash
from softdevice.trailer import SwapType
from softdevice.validation import dependencies_of, is_counter_downgrade, is_older


def boot(kind: type[Pair], flash: Flash, config: BootConfig) -> BootOutcome:
    """Resume, decide, validate, exchange, start; `kind` is the mode."""
    pairs = [kind(flash, config, number) for number in range(config.images)]
    swapped = SwapType.NONE
    upgrading = False
    for pair in pairs:
        resumed = _prepare(pair, pairs[: pair.number])
        if pair.number == 0 and resumed in UPGRADES:
            swapped = resumed
        upgrading |= pair.due in UPGRADES
    if upgrading and len(pairs) > 1 and not all(_has_dependencies(pair, pairs) for pair in pairs):
        for pair in pairs:
            pair.due = SwapType.NONE
    for pair in pairs:
        _perform(pair, keep_status=len(pairs) == 1)
    if pairs[0].due in UPGRADES:
        swapped = pairs[0].due
    started = all(_can_start(pair) for pair in pairs)
    return BootOutcome(pairs[0].primary.header.version if started else None, swapped)


def _prepare(pair: Pair, earlier: Sequence[Pair]) -> SwapType:
    """Finish an interrupted swap, or decide what is due; returns the swap that was finished."""
    pair.read_headers()
    if not pair.fits():
        return SwapType.NONE
    pair.read_status()
    if not pair.find_headers() and not (pair.config.bootstrap and pair.primary.header.is_erased):
        return SwapType.NONE
    if pair.status.begun:
        _forget_false_reverts(earlier)
        pair.exchange()
        resumed = pair.status.swap_type
        _finish(pair, resumed)
        pair.read_headers()
        return resumed
    pair.due = _decide(pair)
    if pair.due not in (SwapType.NONE, SwapType.REVERT):
        _forget_false_reverts(earlier)
    if pair.config.bootstrap and pair.due == SwapType.NONE and _can_bootstrap(pair):
        # As a revert, the swap ends with image_ok set.
        pair.due = SwapType.REVERT
    return SwapType.NONE


def _forget_false_reverts(earlier: Sequence[Pair]) -> None:
    for pair in earlier:
        if pair.due == SwapType.REVERT:
            pair.due = SwapType.NONE


def _decide(pair: Pair) -> SwapType:
    """What the trailers ask for, when the image in secondary deserves it."""
    named = pair.status.swap_type
    if named != SwapType.NONE:
        # The power went between the first words of the status area and the first record.
        return named if pair.validate_secondary(SwapType.NONE) else SwapType.FAIL
    due = pair.asked()
    return due if due in UPGRADES and pair.validate_secondary(due) else SwapType.NONE


def _can_bootstrap(pair: Pair) -> bool:
    """A primary that cannot boot, and an image in secondary that can."""
    if pair.primary.header.bootable and pair.is_valid(PRIMARY):
        return False
    present = pair.secondary.header.is_image
    return pair.validate_secondary(SwapType.NONE) and present


def _has_dependencies(pair: Pair, pairs: Sequence[Pair]) -> bool:
    """Whether the image that would run in this pair finds the versions it needs (`boot_verify_slot_dependencies`)."""
    image = pair.image_in(SECONDARY if pair.due in UPGRADES else PRIMARY)
    needed = dependencies_of(image) if image is not None else None
    if needed is None:
        return False
    for number, least in needed:
        if number >= len(pairs):
            return False
        other = pairs[number]
        found = (other.secondary if other.due in UPGRADES else other.primary).header.version
        if is_older(found, least, pair.config):
            return False
    return True


def _perform(pair: Pair, *, keep_status: bool) -> None:
    if not keep_status:
        pair.status = Status()
    pair.status.swap_type = pair.due
    if pair.due == SwapType.NONE:
        return
    if pair.due == SwapType.FAIL:
        if pair.swaps:
            _confirm(pair)
        return
    if pair.due not in UPGRADES:
        raise BootAssertion("swap_info names a swap that nobody knows")
    if pair.swaps and pair.due != SwapType.REVERT and _is_downgrade(pair):
        pair.scramble_secondary()
        pair.due = SwapType.NONE
        return
    pair.upgrade()
    if pair.swaps:
        # A permanent upgrade cannot be reverted any more, so its counter counts at once.
        _finish(pair, pair.due, raise_counter=pair.config.hw_rollback_counter and pair.due == SwapType.PERMANENT)


def _is_downgrade(pair: Pair) -> bool:
    rule = pair.config.downgrade_prevention
    if rule is None:
        return False
    if rule == "security-counter":
        images = (pair.image_in(PRIMARY), pair.image_in(SECONDARY))
        running, candidate = (image.security_counter if image else None for image in images)
        return is_counter_downgrade(running, candidate)
    return is_older(pair.secondary.header.version, pair.primary.header.version, pair.config)


def _finish(pair: Pair, done: SwapType, *, raise_counter: bool = False) -> None:
    """Mark a swap as done; a permanent one and a revert are confirmed as well."""
    if done in (SwapType.REVERT, SwapType.PERMANENT):
        _confirm(pair)
    if raise_counter and not pair.raise_counter():
        raise BootAssertion("the upgraded image has no security counter")
    if done in UPGRADES:
        pair.primary.trailer.write_copy_done()


def _confirm(pair: Pair) -> None:
    if pair.primary.trailer.read().image_ok == "unset":
        pair.primary.trailer.write_image_ok()


def _can_start(pair: Pair) -> bool:
    """The last look at primary, and the counter raised to what the confirmed image says."""
    if pair.due != SwapType.NONE:
        pair.read_headers()
    header = pair.primary.header
    if pair.config.validate_primary:
        if not header.bootable or not pair.is_valid(PRIMARY):
            return False
    elif not header.is_image:
        return False
    if not pair.config.hw_rollback_counter:
        return True
    state = pair.primary.trailer.read()
    confirmed = state.magic != "good" or state.image_ok == "set"
    return pair.raise_counter() if confirmed else True
