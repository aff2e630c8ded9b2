"""What happens to a journey (events) and what it asks for (effects): closed unions of plain values."""

from dataclasses import dataclass

from lwm2m_gateway.sessions.records import Delta, Journey

# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """The device registered anew: it has booted, or its session was lost."""


@dataclass(frozen=True, slots=True)
class Contact:
    """The device sent an Update, or the gateway itself has restarted and looks around."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Values read or notified; None for what was not part of it. `version` is 3/0/3, `uri` 5/0/1.

    `full` is a read of all there is: what is missing the device does not tell, and reading again would not help.
    `image` is the hash of the running image in hex (26250/0/0), `formats` the mask of deltas it takes (26250/0/3),
    `delivery` how it takes packages (5/0/9).
    """

    state: int | None = None
    result: int | None = None
    version: str | None = None
    uri: str | None = None
    image: str | None = None
    formats: int | None = None
    delivery: int | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class DeltaAnswered:
    """The update manager's answer to AskDelta: a delta, or seconds after which to ask again, or neither and why not."""

    delta: Delta | None = None
    retry_seconds: float | None = None
    reason: str = ""


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


Event = (
    Registered | Contact | Observed | DeltaAnswered | UriWritten | Executed | CancelRequested | Tick | FeedbackDelivered
)

# --- effects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadFirmware:
    """Read 5/0/3, 5/0/5 and 3/0/3, and what deltas need to know as long as nobody has decided about them."""


@dataclass(frozen=True, slots=True)
class ObserveFirmware:
    """Observe 5/0/3 and 5/0/5, both anew."""


@dataclass(frozen=True, slots=True)
class AskDelta:
    """Ask the update manager for a delta from the image the device runs."""


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
    """The ticket with this token is no longer needed."""

    token: str


@dataclass(frozen=True, slots=True)
class DeliverFeedback:
    """Send the journey's first waiting feedback over DDI."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was offered: `kind` is `full`, or `delta` from the image with hash `base`; sizes in bytes, hashes in hex."""

    kind: str
    size: int
    full_size: int
    sha256: str
    base: str = ""


@dataclass(frozen=True, slots=True)
class ReportPhase:
    """Tell the update manager's timeline; an offer says what was offered."""

    text: str
    cause: str | None = None
    delivery: Delivery | None = None


Effect = (
    ReadFirmware
    | ObserveFirmware
    | AskDelta
    | OfferPackage
    | ResetFirmware
    | ExecuteUpdate
    | RevokeTicket
    | DeliverFeedback
    | ReportPhase
)

# What follows from an event: the journey after it, and what it asks for, in order.
Step = tuple[Journey, tuple[Effect, ...]]
