"""An action's states and what feedback does to it: hawkBit's rules as one table (device API, section feedback).

    scheduled -> running -> retrieved -> download -> downloaded -> finished | error
                   |  ^     (each may be skipped)
                   v  | (cancel rejected)
                canceling -> canceled

Everything else a device says is only a line in the log. A download-only action has done its work at `downloaded`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """hawkBit's action status, in lower case; `warning` and `cancel_rejected` are seen on lines of the log only."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRIEVED = "retrieved"
    DOWNLOAD = "download"
    DOWNLOADED = "downloaded"
    WARNING = "warning"
    CANCELING = "canceling"
    CANCELED = "canceled"
    CANCEL_REJECTED = "cancel_rejected"
    FINISHED = "finished"
    ERROR = "error"


class IllegalMove(ValueError):
    """A move the table does not have: a mistake of ours, never of a device."""


ENDED: Final = frozenset({Status.FINISHED, Status.ERROR, Status.CANCELED})
UNDER_WAY: Final = frozenset({Status.RUNNING, Status.RETRIEVED, Status.DOWNLOAD, Status.DOWNLOADED})
_ANY_TIME: Final = frozenset({Status.FINISHED, Status.ERROR, Status.CANCELING, Status.CANCELED})

TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    Status.SCHEDULED: frozenset({Status.RUNNING, Status.FINISHED, Status.CANCELED}),
    Status.RUNNING: _ANY_TIME | {Status.RETRIEVED, Status.DOWNLOAD, Status.DOWNLOADED},
    Status.RETRIEVED: _ANY_TIME | {Status.DOWNLOAD, Status.DOWNLOADED},
    Status.DOWNLOAD: _ANY_TIME | {Status.DOWNLOADED},
    Status.DOWNLOADED: _ANY_TIME,
    Status.CANCELING: frozenset({Status.CANCELED, Status.RUNNING, Status.FINISHED, Status.ERROR}),
    Status.CANCELED: frozenset(),
    Status.FINISHED: frozenset(),
    Status.ERROR: frozenset(),
}


def move(current: str, to: Status) -> Status:
    """`to`, when the table allows it; raises IllegalMove."""
    if to not in TRANSITIONS.get(Status(current), frozenset()):
        raise IllegalMove(f"an action cannot go from {current} to {to}")
    return to


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a feedback means: the next status (None: unchanged), the status of the log line, and whether it is over."""

    status: Status | None
    logged: Status
    closes: bool = False


_EXECUTIONS: Final[dict[str, Outcome]] = {
    "proceeding": Outcome(None, Status.RUNNING),
    "scheduled": Outcome(None, Status.RUNNING),
    "resumed": Outcome(None, Status.RUNNING),
    "download": Outcome(Status.DOWNLOAD, Status.DOWNLOAD),
    "downloaded": Outcome(Status.DOWNLOADED, Status.DOWNLOADED),
    "rejected": Outcome(None, Status.WARNING),
    # Only noted: a device that cancels by itself says `closed` (hawkBit issue 952).
    "canceled": Outcome(None, Status.CANCELED),
}
EXECUTIONS: Final = frozenset({*_EXECUTIONS, "closed"})
FINISHED_WORDS: Final = frozenset({"success", "failure", "none"})


def takes_deployment_feedback(status: str, action_type: str, execution: str, *, active: bool) -> bool:
    """Whether feedback still counts; a download-only action may be told later how the installation went."""
    return active or (status == Status.DOWNLOADED and action_type == "downloadonly" and execution == "closed")


def of_deployment(current: str, execution: str, finished: str, action_type: str = "forced") -> Outcome:
    """What feedback to deploymentBase does; a step that would lead back is only logged."""
    if execution == "closed":
        end = Status.ERROR if finished == "failure" else Status.FINISHED
        return Outcome(end, end, closes=True)
    outcome = _EXECUTIONS[execution]
    if outcome.status is None or outcome.status not in TRANSITIONS[Status(current)]:
        return Outcome(None, outcome.logged)
    if outcome.status == Status.DOWNLOADED and action_type == "downloadonly":
        return Outcome(outcome.status, outcome.logged, closes=True)
    return outcome


def of_cancel(execution: str, finished: str) -> Outcome:
    """What feedback to cancelAction does."""
    if execution == "closed" and finished != "failure":
        return Outcome(Status.CANCELED, Status.CANCELED, closes=True)
    # hawkBit only logs this, and devices that cannot say `closed` stay stuck (its issue 952).
    if execution == "canceled" and finished == "success":
        return Outcome(Status.CANCELED, Status.CANCELED, closes=True)
    if execution in ("closed", "rejected"):
        return Outcome(Status.RUNNING, Status.CANCEL_REJECTED)
    return Outcome(None, Status.WARNING)


CAUSE_TEXTS: Final[dict[str, str]] = {
    "rolled_back": "The device booted back into its old image.",
    "confirm_timeout": "The new image was not confirmed in time.",
    "download_failed": "The download could not be completed.",
    "not_enough_flash": "The image does not fit into the device's flash.",
    "out_of_ram": "The device ran out of memory during the download.",
    "connection_lost": "The connection was lost during the download.",
    "integrity_check_failed": "The device found the image damaged or not properly signed.",
    "unsupported_package_type": "The device does not take this kind of image.",
    "invalid_uri": "The device could not use the download address.",
    "update_failed": "The device could not apply the update.",
    "unsupported_protocol": "The device cannot download over the protocol offered.",
    "device_silent": "The device was not heard of any more.",
    "wrong_version": "The device runs another version than the one sent.",
    "device_refused": "The device refused the update.",
}


def cause_of(details: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Stable cause code and sentence from the details of a failure.

    The gateway's first detail is `cause: <code>`, the second the story; other devices' words are kept as they came.
    """
    if not details:
        return None, None
    word, colon, code = details[0].partition(":")
    if colon and word.strip().lower() == "cause" and (code := code.strip()[:64]):
        return code, details[1] if len(details) > 1 else CAUSE_TEXTS.get(code, code)
    return "device_reported", details[-1]


def cause_text(cause: str) -> str:
    """What a cause means, for lists; unknown codes are shown as they came."""
    known = {"device_reported": "The device reported a failure in its own words."}
    return (CAUSE_TEXTS | known).get(cause, cause)
