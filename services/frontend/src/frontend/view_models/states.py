"""States of targets, rollouts, groups and attempts as a word, a tone and a shape; unknown ones are kept and shown."""

from dataclasses import dataclass
from typing import Final

from frontend.view_models.reading import Json, text


@dataclass(frozen=True, slots=True)
class Badge:
    """`tone` colours it: ok, run, wait, warn, bad, hold; `glyph` shapes it: dot, ring, half, diamond, square, bars."""

    word: str
    tone: str
    glyph: str


IN_SYNC: Final = Badge("in sync", "ok", "dot")
UPDATING: Final = Badge("updating", "run", "half")
FAILED: Final = Badge("failed", "bad", "diamond")
ROLLED_BACK: Final = Badge("rolled back", "bad", "diamond")
SUCCEEDED: Final = Badge("succeeded", "ok", "dot")

_UPDATE_STATUS: Final = {
    "in_sync": IN_SYNC,
    "pending": UPDATING,
    "error": FAILED,
    "registered": Badge("registered", "wait", "ring"),
    "unknown": Badge("unknown", "wait", "ring"),
}
_PRESENCE: Final = {
    "online": Badge("online", "ok", "dot"),
    "late": Badge("late", "warn", "half"),
    "offline": Badge("offline", "bad", "square"),
    "never": Badge("never seen", "wait", "ring"),
}
_ROLLOUT: Final = {
    "creating": Badge("preparing", "wait", "ring"),
    "ready": Badge("ready", "wait", "ring"),
    "waiting_for_approval": Badge("waiting for approval", "hold", "ring"),
    "approval_denied": Badge("approval denied", "bad", "square"),
    "starting": Badge("starting", "run", "half"),
    "running": Badge("running", "run", "half"),
    "paused": Badge("paused", "hold", "bars"),
    "stopping": Badge("stopping", "hold", "square"),
    "stopped": Badge("stopped", "wait", "square"),
    "finished": Badge("finished", "ok", "dot"),
    "deleting": Badge("being deleted", "wait", "square"),
    "deleted": Badge("deleted", "wait", "square"),
    "error_creating": Badge("could not be prepared", "bad", "diamond"),
    "error_starting": Badge("could not be started", "bad", "diamond"),
    "error": FAILED,
    "scheduled": Badge("waiting", "wait", "ring"),
}
_PHASES: Final = {
    "assigned": "Assigned",
    "offered": "Offered",
    "downloading": "Downloading",
    "downloaded": "Downloaded",
    "executing": "Executing",
    "rebooting": "Rebooting",
    "verifying": "Verifying",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "rolled_back": "Rolled back",
    "cancelled": "Cancelled",
}
BAD_PHASES: Final = frozenset({"failed", "rolled_back"})
# What an attempt passes through when all goes well, in the order of object 5's story.
GOOD_WAY: Final = (
    "assigned", "offered", "downloading", "downloaded", "executing", "rebooting", "verifying", "succeeded",
)  # fmt: skip


def update_status(value: str) -> Badge:
    """hawkBit's `updateStatus` of a target."""
    return _UPDATE_STATUS.get(value.lower()) or _unknown(value)


def presence(value: str) -> Badge:
    """Whether the device reports as it promised."""
    return _PRESENCE.get(value.lower()) or _unknown(value)


def rollout_status(value: str) -> Badge:
    """hawkBit's status of a rollout or a rollout group."""
    return _ROLLOUT.get(value.lower()) or _unknown(value)


def phase_name(value: str) -> str:
    """The phase in the operator's word."""
    return _PHASES.get(value.lower(), words(value))


def attempt(source: Json) -> Badge:
    """How an attempt stands, from its phase, cause and status."""
    phase, cause, status = (text(source, key).lower() for key in ("phase", "cause", "status"))
    if "rolled_back" in (phase, cause):
        return ROLLED_BACK
    if cause or phase == "failed" or status in ("error", "failed"):
        return FAILED
    if status in ("canceled", "cancelled") or phase == "cancelled":
        return Badge("cancelled", "wait", "square")
    if status in ("canceling", "cancelling"):
        return Badge("cancelling", "hold", "square")
    if phase == "succeeded" or status in ("finished", "success", "succeeded"):
        return SUCCEEDED
    if source.get("active", True):
        return Badge(phase_name(phase).lower() if phase else "waiting", "run" if phase else "wait", "half")
    return _unknown(status or phase)


def event_tone(kind: str) -> str:
    """The tone of a line in a feed, from the name of its kind."""
    name = kind.lower()
    if any(word in name for word in ("fail", "error", "rolled", "refus", "lost")):
        return "bad"
    if any(word in name for word in ("succe", "finish", "confirm", "in_sync")):
        return "ok"
    if any(word in name for word in ("late", "offline", "pause", "stop", "cancel", "warn")):
        return "warn"
    if any(word in name for word in ("phase", "load", "progress", "start", "executing", "reboot", "verif", "offer")):
        return "run"
    return "wait"


def words(code: str) -> str:
    """`not_enough_flash` -> `Not enough flash`."""
    plain = code.replace("_", " ").strip()
    return plain[:1].upper() + plain[1:]


def _unknown(value: str) -> Badge:
    return Badge(words(value).lower() or "unknown", "wait", "ring")
