"""What an image does once it runs: a personality, named by the image itself in a protected TLV of the vendor range.

A campaign with a bad release is shown with an image that is bad, not with a device that was told to be. What becomes of
each is MCUboot's and the watchdog's business: an image that never confirms itself is reverted at the next reset.
"""

from enum import StrEnum
from typing import Final

from mcuboot_image import Image

# MCUboot leaves type numbers whose low byte is 0xA0 or more to vendors (bootutil/image.h).
PERSONALITY_TLV: Final = 0x00A0
WRONG_VERSION_TEXT: Final = "0.0.0+13"
CUSTOMER_CODE_TEXT: Final = "customer code running"
MAX_NAME_BYTES: Final = 32


class Personality(StrEnum):
    """How an image behaves; the texts are what `--personality` takes."""

    NORMAL = "normal"
    HANGS = "hangs_before_network"
    NEVER_CONFIRMS = "never_confirms"
    CONFIRMS_EARLY = "confirms_too_early"
    CRASHES = "crashes_in_self_test"
    WRONG_VERSION = "wrong_version"
    DRAINS_BATTERY = "drains_battery"
    CUSTOMER_CODE = "customer_code"


# One line for each, for `--help` and the docs.
MEANINGS: Final[dict[Personality, str]] = {
    Personality.NORMAL: "registers, tests itself, confirms itself",
    Personality.HANGS: "stops before it has a network; the watchdog resets it, MCUboot takes the old image back",
    Personality.NEVER_CONFIRMS: "runs, never confirms itself; the deadline resets it, MCUboot takes the old image back",
    Personality.CONFIRMS_EARLY: "confirms itself before it has reached a server, and gives the way back up",
    Personality.CRASHES: "registers and resets in its self-test; MCUboot takes the old image back, unless the client "
    "confirms at boot: then this starts over and over",
    Personality.WRONG_VERSION: f"runs well and calls itself {WRONG_VERSION_TEXT} in 3/0/3",
    Personality.DRAINS_BATTERY: "the battery level (3/0/9) falls by 20 with every report, down to 5",
    Personality.CUSTOMER_CODE: f"says `{CUSTOMER_CODE_TEXT}` in 26250/0/5 and 3303/0/5750",
}


def personality_of(image: Image | None) -> Personality:
    """The personality an image names; one nobody knows, or none, is a normal image."""
    tlv = image.tlv(PERSONALITY_TLV) if image is not None else None
    if tlv is None or not tlv.protected or len(tlv.value) > MAX_NAME_BYTES:
        return Personality.NORMAL
    name = tlv.value.decode("ascii", "replace")
    return Personality(name) if name in Personality._value2member_map_ else Personality.NORMAL
