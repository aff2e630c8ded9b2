"""An action's states and what feedback does to it: hawkBit's rules as one table (device API, section feedback).

    scheduled -> running -> finished | error
                   |  ^
                   v  | (cancel rejected)
                canceling -> canceled

`download` and `downloaded` are steps of a running action; everything else a device says is only a line in the log.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """hawkBit's action status, in lower case."""

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


ENDED: Final = frozenset({Status.FINISHED, Status.ERROR, Status.CANCELED})
UNDER_WAY: Final = frozenset({Status.RUNNING, Status.RETRIEVED, Status.DOWNLOAD, Status.DOWNLOADED, Status.WARNING})

TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    Status.SCHEDULED: frozenset({Status.RUNNING, Status.FINISHED, Status.CANCELED}),
    **{
        status: (UNDER_WAY - {status}) | {Status.FINISHED, Status.ERROR, Status.CANCELING, Status.CANCELED}
        for status in sorted(UNDER_WAY)
    },
    Status.CANCELING: frozenset({Status.CANCELED, Status.RUNNING, Status.FINISHED, Status.ERROR}),
    Status.CANCELED: frozenset(),
    Status.CANCEL_REJECTED: frozenset(),
    Status.FINISHED: frozenset(),
    Status.ERROR: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a feedback means: the action's next status (None: unchanged) and the status of the log line."""

    status: Status | None
    logged: Status


_EXECUTIONS: Final[dict[str, Outcome]] = {
    "proceeding": Outcome(None, Status.RUNNING),
    "scheduled": Outcome(None, Status.RUNNING),
    "resumed": Outcome(None, Status.RUNNING),
    "download": Outcome(Status.DOWNLOAD, Status.DOWNLOAD),
    "downloaded": Outcome(Status.DOWNLOADED, Status.DOWNLOADED),
    "rejected": Outcome(None, Status.WARNING),
    # hawkBit only notes it; devices that cannot say "closed" stayed stuck for ever (hawkBit issue 952).
    "canceled": Outcome(None, Status.CANCELED),
}
EXECUTIONS: Final = frozenset({*_EXECUTIONS, "closed"})
FINISHED_WORDS: Final = frozenset({"success", "failure", "none"})


def of_deployment(current: str, execution: str, finished: str) -> Outcome:
    """What feedback to deploymentBase does; a step backwards (late `download`) is only logged."""
    if execution == "closed":
        end = Status.ERROR if finished == "failure" else Status.FINISHED
        return Outcome(end, end)
    outcome = _EXECUTIONS[execution]
    if outcome.status is None or Status(current) == Status.CANCELING:
        return Outcome(None, outcome.logged)
    if current == Status.DOWNLOADED and outcome.status == Status.DOWNLOAD:
        return Outcome(None, outcome.logged)
    return outcome


def of_cancel(execution: str, finished: str) -> Outcome:
    """What feedback to cancelAction does."""
    if execution == "closed" and finished != "failure":
        return Outcome(Status.CANCELED, Status.CANCELED)
    if execution == "canceled" and finished == "success":
        return Outcome(Status.CANCELED, Status.CANCELED)
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
