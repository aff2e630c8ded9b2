"""What happens to a journey (events) and what it asks for (effects): closed unions of plain values."""

from dataclasses import dataclass

# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """The device registered anew: it has booted, or its session was lost."""


@dataclass(frozen=True, slots=True)
class Contact:
    """The device sent an Update, or the gateway itself has restarted and looks around."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Values read or notified; None for what was not part of it. `version` is 3/0/3, `uri` 5/0/1."""

    state: int | None = None
    result: int | None = None
    version: str | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class UriWritten:
    """Answer to the write of Package URI: `code` is the CoAP code as `c.dd`."""

    accepted: bool
    code: str


@dataclass(frozen=True, slots=True)
class Executed:
    """Answer to Execute 5/0/2; None when none came, which is no failure: devices reboot at once."""

    accepted: bool | None
    code: str = ""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The update manager wants the action cancelled; `confirm` is False when it has already forgotten it."""

    confirm: bool = True


@dataclass(frozen=True, slots=True)
class Tick:
    """A time asked for by WakeAt has come."""


@dataclass(frozen=True, slots=True)
class FeedbackDelivered:
    """The update manager took the first waiting feedback (or has closed the action)."""


Event = Registered | Contact | Observed | UriWritten | Executed | CancelRequested | Tick | FeedbackDelivered

# --- effects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadFirmware:
    """Read 5/0/3, 5/0/5 and 3/0/3."""


@dataclass(frozen=True, slots=True)
class ObserveFirmware:
    """Observe 5/0/3 and 5/0/5, both anew."""


@dataclass(frozen=True, slots=True)
class OfferPackage:
    """Mint a ticket if there is none, then write its address to 5/0/1."""


@dataclass(frozen=True, slots=True)
class ResetFirmware:
    """Write an empty URI to 5/0/1."""


@dataclass(frozen=True, slots=True)
class ExecuteUpdate:
    """Execute 5/0/2."""


@dataclass(frozen=True, slots=True)
class RevokeTicket:
    """The ticket is no longer needed."""


@dataclass(frozen=True, slots=True)
class DeliverFeedback:
    """Send the journey's first waiting feedback over DDI."""


@dataclass(frozen=True, slots=True)
class ReportPhase:
    """Tell the update manager's timeline."""

    text: str
    cause: str | None = None


Effect = (
    ReadFirmware
    | ObserveFirmware
    | OfferPackage
    | ResetFirmware
    | ExecuteUpdate
    | RevokeTicket
    | DeliverFeedback
    | ReportPhase
)
