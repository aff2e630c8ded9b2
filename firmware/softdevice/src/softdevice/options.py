"""Everything about a device that can be set: its server, its timers in seconds, its vices."""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from softdevice.board import SLOT_SECTORS
from softdevice.coap_endpoint import SYSTEM_DICE, Transmission
from softdevice.link import GOOD, Link, LinkProfile
from softdevice.profiles import UPDRAFT, Profile


class Misbehaviour(StrEnum):
    """What a device can be told to do wrong, or differently."""

    NEVER_CONFIRMS = "never_confirms"
    LOSES_FIFTH = "loses_fifth"
    REBOOTS_MID_DOWNLOAD = "reboots_mid_download"
    QUEUE_MODE = "queue_mode"
    USER_DEFERS = "user_defers"
    TAKES_NO_DELTAS = "takes_no_deltas"
    CORRUPTS_DELTAS = "corrupts_deltas"


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Settings of one device.

    `server` and `pull_proxy` (the CoAP proxy a build asks for firmware, instead of the host in the URI) are host and
    port. Times are in seconds: `lifetime_seconds` of the registration; `patience_seconds` is how long one block is
    asked for before Result 4; `confirm_deadline_seconds` how long a new image may run unconfirmed before the device
    reboots; `reboot_seconds` from Execute to the reset (Zephyr: about 1); `boot_seconds` what the bootloader takes;
    `self_test_seconds` from registration to confirmation; a queue mode device listens for `awake_seconds` after each
    message of its own and wakes every `wake_seconds`; telemetry changes every `report_seconds`. `block_size` is in
    bytes; it and `awake_seconds` are the profile's when None. Slot sizes are sectors of 4096 bytes. `wall_clock` gives
    seconds since 1970 for resource 3/0/13. With a `seed` all that is drawn follows from it, the device's name and the
    number of its boot; without one a fresh one is taken.
    """

    server: tuple[str, int]
    profile: Profile = UPDRAFT
    lifetime_seconds: int = 300
    transmission: Transmission = field(default_factory=Transmission)
    block_size: int | None = None
    patience_seconds: float = 60.0
    confirm_deadline_seconds: float = 120.0
    reboot_seconds: float = 1.0
    boot_seconds: float = 1.0
    self_test_seconds: float = 1.0
    awake_seconds: float | None = None
    wake_seconds: float = 60.0
    report_seconds: float = 60.0
    retry_seconds: float = 4.0
    pull_proxy: tuple[str, int] | None = None
    link: LinkProfile = GOOD
    seed: int | None = None
    wall_clock: Callable[[], float] = time.time
    deregisters: bool = True
    resumes: bool = True
    slot_sectors: int = SLOT_SECTORS
    model: str = "softdevice"
    misbehaviours: frozenset[Misbehaviour] = frozenset()

    @property
    def queue_mode(self) -> bool:
        """Whether the device sleeps between its own messages."""
        return self.profile.queue_mode or Misbehaviour.QUEUE_MODE in self.misbehaviours

    @property
    def delta_formats(self) -> int:
        """The deltas it takes, a bit mask: 1 crle, 2 heatshrink."""
        return 0 if Misbehaviour.TAKES_NO_DELTAS in self.misbehaviours else 3

    def link_of(self, name: str, boot: int) -> Link:
        """The link of a device's boot: as lossy as its vices, deaf while it sleeps."""
        loses_fifth = Misbehaviour.LOSES_FIFTH in self.misbehaviours
        profile = replace(self.link, loses_every=5) if loses_fifth else self.link
        seed = secrets.randbits(64) if self.seed is None else self.seed
        awake = self.profile.awake_seconds if self.awake_seconds is None else self.awake_seconds
        return Link(profile, f"{seed} {name} {boot}", awake=awake if self.queue_mode else None)

    def dice_of(self, name: str, boot: int) -> random.Random:
        """Where ids, tokens and pauses of a device's boot come from: the system, or the seed."""
        return SYSTEM_DICE if self.seed is None else random.Random(f"{self.seed} {name} {boot}")

    def hurried(self) -> "DeviceOptions":
        """The same device with short timers, for demos and tests."""
        return replace(
            self,
            confirm_deadline_seconds=8.0,
            reboot_seconds=0.2,
            boot_seconds=0.1,
            self_test_seconds=0.3,
            awake_seconds=3.0,
            wake_seconds=5.0,
            report_seconds=5.0,
            retry_seconds=1.0,
        )
