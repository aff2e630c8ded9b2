"""Phases of a firmware journey and which may follow which; docs/state-machines.md is drawn from this table."""

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where one device is on the way to one image."""

    ASSIGNED = "assigned"
    OFFERED = "offered"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    EXECUTING = "executing"
    REBOOTING = "rebooting"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"


FINAL: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ROLLED_BACK, Phase.CANCELLED})

_GIVE_UP: Final = frozenset({Phase.FAILED, Phase.CANCELLED})

TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.ASSIGNED: frozenset({Phase.OFFERED, Phase.SUCCEEDED}) | _GIVE_UP,
    # Back to ASSIGNED is a new attempt: the device lost its state or the transfer failed in a way worth repeating.
    Phase.OFFERED: frozenset({Phase.DOWNLOADING, Phase.DOWNLOADED, Phase.REBOOTING, Phase.ASSIGNED}) | _GIVE_UP,
    Phase.DOWNLOADING: frozenset({Phase.DOWNLOADED, Phase.REBOOTING, Phase.ASSIGNED}) | _GIVE_UP,
    Phase.DOWNLOADED: frozenset({Phase.EXECUTING, Phase.REBOOTING, Phase.ASSIGNED}) | _GIVE_UP,
    Phase.EXECUTING: frozenset({Phase.REBOOTING, Phase.DOWNLOADED, Phase.FAILED}),
    # Back to DOWNLOADED is a new Execute: the last one was not heard.
    Phase.REBOOTING: frozenset({Phase.VERIFYING, Phase.DOWNLOADED, Phase.FAILED}),
    # Back to ASSIGNED: Execute was perhaps never heard, and the device forgot its download over a reboot of its own.
    Phase.VERIFYING: frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ROLLED_BACK, Phase.DOWNLOADED, Phase.ASSIGNED}),
    Phase.SUCCEEDED: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.ROLLED_BACK: frozenset(),
    Phase.CANCELLED: frozenset(),
}

TEXTS: Final[dict[Phase, str]] = {
    Phase.ASSIGNED: "waiting for the device",
    Phase.OFFERED: "package address written, the device has not begun",
    Phase.DOWNLOADING: "downloading",
    Phase.DOWNLOADED: "image complete on the device",
    Phase.EXECUTING: "update ordered",
    Phase.REBOOTING: "rebooting into the bootloader",
    Phase.VERIFYING: "new image runs on trial",
    Phase.SUCCEEDED: "new image runs and is confirmed",
    Phase.FAILED: "failed",
    Phase.ROLLED_BACK: "the device went back to its old image",
    Phase.CANCELLED: "cancelled",
}


class IllegalMove(ValueError):
    """A step tried a move the table does not have: a bug of ours, never the device's fault."""
