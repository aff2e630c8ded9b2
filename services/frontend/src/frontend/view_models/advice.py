"""What each cause of a failed update means for the device, and what an operator may try; by the gateway's codes."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Advice:
    """`meaning` says in which state the device is now, `action` what to try."""

    meaning: str
    action: str


_NETWORK: Final = (
    "Check the radio signal and the power of the device, then roll out again to the devices that failed; "
    "the download goes on by blocks, and a smaller group puts less load on the network."
)
_WRONG_PACKAGE: Final = (
    "Check that the release was built for this product and board, and upload it again if it was not."
)
_ADVICE: Final = {
    "rolled_back": Advice(
        "The new image started, but did not confirm itself before the next restart, so the bootloader put the old one "
        "back. The device is safe and runs what it ran before.",
        "Look at what the new image does between start and confirmation (self-test, network, registration) on this "
        "device, mend it and roll out a new version. The same image will most likely go back again.",
    ),
    "confirm_timeout": Advice(
        "The device started the new image but did not report that it is well in time.",
        "See whether it is online. If it runs the new version, its self-test is slower than the soak time of the "
        "gateway; if not, wait for its next contact and roll out again.",
    ),
    "download_failed": Advice("The image did not reach the device whole. It runs what it ran before.", _NETWORK),
    "connection_lost": Advice("The device lost its connection during the download.", _NETWORK),
    "not_enough_flash": Advice(
        "The image does not fit into the free slot of the device. Nothing was written over the running firmware.",
        "Compare the image size with the slot size of the board; build smaller, or check the partition layout.",
    ),
    "out_of_ram": Advice(
        "The device ran out of memory during the download. It runs what it ran before.",
        "Restart the device and try it alone; if it fails again, its firmware needs larger buffers or smaller blocks.",
    ),
    "integrity_check_failed": Advice(
        "What arrived was not the image that was sent, or its signature is not one the device accepts. It was not "
        "installed.",
        "Check that the device holds the key the release is signed with, then try this device again.",
    ),
    "unsupported_package_type": Advice("The device does not take this kind of package.", _WRONG_PACKAGE),
    "invalid_uri": Advice(
        "The device could not use the address of the image.",
        "Check that the device reaches the block proxy under the address the gateway gives out.",
    ),
    "unsupported_protocol": Advice(
        "The device does not speak the protocol of the download address.",
        "Look at 5/0/8 of the device: it lists the protocols it pulls with. The suite serves CoAP.",
    ),
    "update_failed": Advice(
        "The device took the image but could not install it. It runs what it ran before.", _WRONG_PACKAGE
    ),
    "device_silent": Advice(
        "The device has not been heard of for too long, so this attempt was given up.",
        "Check its power and network. When it is online again, include it in the next rollout.",
    ),
    "wrong_version": Advice(
        "The device came back with a version that is neither the old nor the new one.",
        "Somebody or something else updates this device too. Find out who, then roll out again.",
    ),
    "device_refused": Advice(
        "The device answered a request of the update with an error.",
        "The protocol trace on the page of the device shows the refused request and its code.",
    ),
}
_OTHER: Final = Advice("", "The log of the attempt and the protocol trace show the last steps of the device.")


def advice(cause: str) -> Advice:
    """For a cause; an unknown one leads to the log."""
    return _ADVICE.get(cause.lower(), _OTHER)
