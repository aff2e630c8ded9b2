"""Object 5, Firmware Update: the story, the numbers, and which move a device may make (OMA object 5, 1.0 to 1.2).

The server writes a Package URI (5/0/1). The device goes from Idle to Downloading, fetches, checks what it can check
(size, type, integrity), and stands at Downloaded, or falls back to Idle with a Result that says why. The server
executes Update (5/0/2); the device answers, goes to Updating and reboots. It comes back as Idle, Result 1, when the
new image runs, or with another Result when it does not.

Three things make real life different. Zephyr keeps State and Result in RAM: after the reboot it is Idle with Result
0, so only the firmware version (3/0/3) tells what runs. An MCUboot device that never confirms its image is reverted
at its next boot: success is not final before the device has confirmed. And writing an empty URI resets a device in
Idle and Downloaded everywhere, in Downloading only on some.

    Idle --URI--> Downloading --complete--> Downloaded --Execute--> Updating --reboot--> Idle
      ^               | error (Result 2..9)     | empty URI            | refused image (Result 5, 8)
      +---------------+-------------------------+----------------------+
"""

from enum import IntEnum
from typing import Final

from lwm2m.paths import Path

PACKAGE: Final = Path(5, 0, 0)
PACKAGE_URI: Final = Path(5, 0, 1)
UPDATE: Final = Path(5, 0, 2)
STATE: Final = Path(5, 0, 3)
RESULT: Final = Path(5, 0, 5)
PROTOCOLS: Final = Path(5, 0, 8)
DELIVERY: Final = Path(5, 0, 9)
# Values of DELIVERY: 0 pull, 1 push, 2 both.
PUSH_ONLY: Final = 1

# Zephyr's pull buffer is 128 bytes by default and reading past it was a bug until 2026 (zephyr#108963).
MAX_URI_BYTES: Final = 127


class State(IntEnum):
    """Resource 3."""

    IDLE = 0
    DOWNLOADING = 1
    DOWNLOADED = 2
    UPDATING = 3


class Result(IntEnum):
    """Resource 5; a device may send numbers that are not here, they are kept and shown."""

    INITIAL = 0
    SUCCESS = 1
    NOT_ENOUGH_FLASH = 2
    OUT_OF_RAM = 3
    CONNECTION_LOST = 4
    INTEGRITY_CHECK_FAILED = 5
    UNSUPPORTED_PACKAGE_TYPE = 6
    INVALID_URI = 7
    UPDATE_FAILED = 8
    UNSUPPORTED_PROTOCOL = 9
    CANCELLED = 10
    DEFERRED = 11


# Which states a device may show next; anything else is noted as out of order, never fatal.
TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.IDLE: frozenset({State.DOWNLOADING}),
    State.DOWNLOADING: frozenset({State.DOWNLOADED, State.IDLE}),
    State.DOWNLOADED: frozenset({State.UPDATING, State.IDLE}),
    State.UPDATING: frozenset({State.IDLE, State.DOWNLOADED}),
}

RESULT_TEXTS: Final[dict[int, str]] = {
    0: "no result yet",
    1: "updated",
    2: "not enough flash for the image",
    3: "out of RAM during the download",
    4: "connection lost during the download",
    5: "integrity check failed",
    6: "unsupported package type",
    7: "invalid package URI",
    8: "update failed",
    9: "unsupported protocol",
    10: "cancelled",
    11: "deferred by the device",
}


def result_text(result: int) -> str:
    """What a Result means; unknown numbers are shown as they came."""
    return RESULT_TEXTS.get(result, f"unknown result {result}")


def state_text(state: int) -> str:
    """Name of a State; unknown numbers are shown as they came."""
    return State(state).name.capitalize() if state in State._value2member_map_ else f"unknown state {state}"
