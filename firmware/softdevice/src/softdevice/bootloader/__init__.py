"""MCUboot's boot as a function of the flash: resume, decide, validate, swap, validate again, start.

A device has two slots per image. *Primary* is where the program runs from, *secondary* is where a new image is put.
At the end of each slot is a *trailer*, and the trailers are all the memory the bootloader has: the application asks
for an upgrade by writing into the secondary trailer, and confirms the image it runs in by writing into the primary
one. At each reset the bootloader

1. resumes a swap that the power interrupted, by the *status records* in the primary trailer;
2. else looks up in a table what the two trailers ask for: a *test*, a *permanent* upgrade, a *revert*, or nothing;
3. validates the image in secondary before it touches primary, and erases what it refuses;
4. moves the images, each mode in its own way, with one record per step that is never rewritten;
5. marks the swap as done (copy_done), validates primary, raises the hardware counter, starts.

So a test upgrade that nobody confirms is reverted at the next reset, and a power cut at any point leaves either the
old or the new image to boot. Each mode has its module, which begins with its theory: `offset` (Zephyr's default),
`move`, `scratch`, `overwrite`, `direct_xip`; `sequence` is the order of the five steps, `pair` what all modes share.

Recorded traces of the real bootutil (firmware/vectors/mcuboot) hold all of this to the same flash operations in the
same order, with the power cut at each of them, MCUboot's two known bricks included.
"""

from softdevice.bootloader.modes import boot, largest_image, swap_type
from softdevice.bootloader.outcome import BootAssertion, BootOutcome

__all__ = ["BootAssertion", "BootOutcome", "boot", "largest_image", "swap_type"]
