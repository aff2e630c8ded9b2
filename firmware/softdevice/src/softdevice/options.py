"""Everything about a device that can be set: its server, its timers in seconds, its vices."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from softdevice.board import SLOT_SECTORS
from softdevice.coap_endpoint import Transmission


class Misbehaviour(StrEnum):
    """What a device can be told to do wrong, or differently."""

    NEVER_CONFIRMS = "never_confirms"
    LOSES_FIFTH = "loses_fifth"
    REBOOTS_MID_DOWNLOAD = "reboots_mid_download"
    QUEUE_MODE = "queue_mode"


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Settings of one device.

    `server` is host and port. Times are in seconds: `lifetime_seconds` of the registration; `patience_seconds` is how
    long one block is asked for before Result 4; `confirm_deadline_seconds` how long a new image may run unconfirmed
    before the device reboots; `reboot_seconds` from Execute to the reset (Zephyr: about 1); `boot_seconds` what the
    bootloader takes; `self_test_seconds` from registration to confirmation; a queue mode device listens for
    `awake_seconds` after each message of its own and wakes every `wake_seconds`; telemetry changes every
    `report_seconds`; what the device sends is under way for `link_delay_seconds`. `block_size` and slot sizes are bytes
    and sectors of 4096 bytes.
    """

    server: tuple[str, int]
    lifetime_seconds: int = 300
    transmission: Transmission = field(default_factory=Transmission)
    block_size: int = 512
    patience_seconds: float = 60.0
    confirm_deadline_seconds: float = 120.0
    reboot_seconds: float = 1.0
    boot_seconds: float = 1.0
    self_test_seconds: float = 1.0
    awake_seconds: float = 20.0
    wake_seconds: float = 60.0
    report_seconds: float = 60.0
    retry_seconds: float = 4.0
    link_delay_seconds: float = 0.0
    confirmable_notifications: bool = True
    deregisters: bool = True
    resumes: bool = True
    slot_sectors: int = SLOT_SECTORS
    model: str = "softdevice"
    misbehaviours: frozenset[Misbehaviour] = frozenset()

    @property
    def queue_mode(self) -> bool:
        """Whether the device sleeps between its own messages."""
        return Misbehaviour.QUEUE_MODE in self.misbehaviours

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


class Radio:
    """The link of a device: deaf when it sleeps, and losing what its vices lose."""

    def __init__(self, options: DeviceOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._sent = 0
        self._received = 0
        self._awake_until = clock()

    def lets_out(self) -> bool:
        """Sending wakes the receiver for a while, whether or not the datagram survives."""
        self._awake_until = self._clock() + self._options.awake_seconds
        self._sent += 1
        return self._survives(self._sent)

    def lets_in(self) -> bool:
        """A sleeping device hears nothing."""
        if self._options.queue_mode and self._clock() > self._awake_until:
            return False
        self._received += 1
        return self._survives(self._received)

    def _survives(self, count: int) -> bool:
        # Each direction counts for itself: counted together, question and answer fall into step, and soon only
        # questions are lost.
        return Misbehaviour.LOSES_FIFTH not in self._options.misbehaviours or count % 5 != 0
