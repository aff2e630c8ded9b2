"""Object 5 decided without a device: which requests each client refuses, what it shows after a reset, when it defers.

    before the reset    the boot               keeps ALL             COUNTERS      RECORD                      NOTHING
    Updating            swapped in             Idle, 1               Idle, 1       Idle, 0; 1 when confirmed   Idle, 0
    Updating            old image, reverted    Idle, 8               Idle, 8       Idle, 8                     Idle, 0
    Downloaded          image still waiting    Downloaded, 0         Idle, 1 or 8  Idle, 0                     Idle, 0
    Downloading         -                      Downloading, goes on  Idle, 1 or 8  Idle, 0                     Idle, 0

dm-lwm2m's counters are two numbers in flash: `update` is set one above `current` at Execute, `current` follows when an
unconfirmed image has booted. Equal is success, and so a device that never had an update reports one at every boot, and
after one rollback reports 8 until the next success (dm-lwm2m, lwm2m.c). Updraft's application (firmware/core, update.c)
keeps its Result until the next download, and knows what has arrived by its hash.

Deferral is OMA object 5, 1.1: Severity (11), Maximum Defer Period (13), Result 11 with State Downloaded. The user may
put an update off for as long as the period says, not a critical one, and not at all when the period is 0. A battery
that could not carry a swap puts off every update. A client without those resources can only say Result 8.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from coap_wire import Code
from lwm2m.firmware import PUSH_ONLY, Result, State
from softdevice.profiles import Memory, Profile

LOW_BATTERY_PERCENT: Final = 20
CRITICAL: Final = 0
MAX_SEVERITY: Final = 2
_MAX_URI_BYTES: Final = 255
_DEFERRED_RESOURCE: Final = 13


@dataclass(frozen=True, slots=True)
class Kept:
    """What a client keeps of object 5 in flash: State and URI (Anjay), two counters (dm-lwm2m), Result and the SHA-256
    of the image that is being installed, in hexadecimal (Updraft)."""

    state: State = State.IDLE
    uri: str = ""
    current: int = 0
    update: int = 0
    result: Result = Result.INITIAL
    target: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The code a Write is answered with, and the Result it leaves behind, if any."""

    code: int
    result: Result | None = None


def uri_refusal(profile: Profile, state: State, value: object, *, on_trial: bool) -> Refusal | None:
    """How a Write to Package URI is refused, or None."""
    if profile.delivery == PUSH_ONLY:
        # Wakaama's example takes it and does nothing.
        return None
    if not isinstance(value, str) or len(value.encode()) > _MAX_URI_BYTES:
        return Refusal(Code.BAD_REQUEST)
    # On trial the old image in secondary is the way back: it is not given up for a download.
    if (state == State.UPDATING and profile.busy_uri is not None) or (value and on_trial):
        return Refusal(Code.METHOD_NOT_ALLOWED)
    if value and state != State.IDLE:
        return None if profile.busy_uri is None else Refusal(profile.busy_uri)
    if value and profile.bad_scheme is not None and not value.lower().startswith("coap://"):
        return Refusal(profile.bad_scheme, Result.UNSUPPORTED_PROTOCOL)
    return None


def cancel_refusal(state: State) -> int | None:
    """The code a Cancel (5/0/10) is refused with, or None: there must be a package, and it must not be installing."""
    return None if state in (State.DOWNLOADING, State.DOWNLOADED) else Code.METHOD_NOT_ALLOWED


def package_refusal(profile: Profile, state: State, payload: bytes, *, on_trial: bool) -> int | None:
    """The code a whole or first block of a pushed Package is refused with, or None; b"" and one NUL reset."""
    if state == State.UPDATING:
        return Code.METHOD_NOT_ALLOWED
    if payload in (b"", b"\0"):
        return None
    if profile.delivery == 0 or on_trial:
        return Code.METHOD_NOT_ALLOWED
    if state == State.DOWNLOADED:
        return profile.busy_uri or Code.METHOD_NOT_ALLOWED
    return None


def after_boot(
    profile: Profile, kept: Kept, *, on_trial: bool, waiting: bool, running: str
) -> tuple[State, Result, Kept]:
    """State, Result and what to keep, at the start of a boot.

    `on_trial`: the bootloader has just swapped a new image in. `waiting`: a whole image lies in secondary.
    `running`: SHA-256 of the running image, in hexadecimal.
    """
    match profile.memory:
        case Memory.NOTHING:
            return State.IDLE, Result.INITIAL, kept
        case Memory.RECORD if not kept.target or (kept.target == running and on_trial):
            return State.IDLE, kept.result, kept
        case Memory.RECORD:
            result = Result.SUCCESS if kept.target == running else Result.UPDATE_FAILED
            return State.IDLE, result, Kept(result=result)
        case Memory.COUNTERS:
            kept = Kept(current=kept.update if on_trial else kept.current, update=kept.update)
            return State.IDLE, Result.SUCCESS if kept.current == kept.update else Result.UPDATE_FAILED, kept
        case Memory.ALL if kept.state == State.UPDATING:
            return State.IDLE, Result.SUCCESS if on_trial else Result.UPDATE_FAILED, Kept()
        case Memory.ALL if kept.state == State.DOWNLOADED and waiting:
            return State.DOWNLOADED, Result.INITIAL, kept
        case Memory.ALL if kept.state == State.DOWNLOADING and kept.uri:
            return State.DOWNLOADING, Result.INITIAL, kept
        case Memory.ALL:
            return State.IDLE, Result.INITIAL, Kept()


class Verdict(Enum):
    """What becomes of an Execute."""

    INSTALL = auto()
    DEFER = auto()
    FAIL = auto()


def verdict(
    profile: Profile, *, battery: int, user_waits: bool, severity: int, max_defer_seconds: int, waited_seconds: float
) -> Verdict:
    """Whether to install now; `battery` in percent, `waited_seconds` since the Execute."""
    put_off = user_waits and severity != CRITICAL and waited_seconds < max_defer_seconds
    if battery >= LOW_BATTERY_PERCENT and not put_off:
        return Verdict.INSTALL
    return Verdict.DEFER if _DEFERRED_RESOURCE in profile.firmware_resources else Verdict.FAIL
