"""What a journey offers: a delta first, where the device says what it runs and one is ready in time, else all of it.

open -> asking -> delta -> full        what went wrong with the delta is told; the full image follows by itself
open -> full, asking -> full           the device takes none, there is none, or it was not ready in time
"""

from dataclasses import replace
from typing import Final

from lwm2m.firmware import State
from lwm2m_gateway.sessions.events import (
    AskDelta,
    Delivery,
    DeltaAnswered,
    Observed,
    ObserveFirmware,
    OfferPackage,
    ReportPhase,
    ResetFirmware,
    RevokeTicket,
    Step,
)
from lwm2m_gateway.sessions.phases import TEXTS, Phase
from lwm2m_gateway.sessions.records import Journey, Pace, Way

# Deltas whose container we know, as bits of 26250/0/3: packed with crle, with heatshrink.
DELTA_FORMATS: Final = 1 | 2
# How often a device is told to leave another package: old Zephyr and Wakaama say 2.04 to that and stay where they are,
# and would do the same with an address. One that downloads ends that by itself, after minutes of asking at the worst.
MAX_RESETS: Final = {State.DOWNLOADED: 8, State.DOWNLOADING: 40}


def report(journey: Journey) -> ReportPhase:
    """What an offer says of itself."""
    if journey.delta is None:
        full = Delivery("full", journey.size, journey.size, journey.sha256)
        return ReportPhase(TEXTS[Phase.OFFERED], delivery=full)
    delta = Delivery("delta", journey.delta.size, journey.size, journey.delta.sha256, journey.base)
    text = f"address of a delta written, {delta.size} bytes instead of {delta.full_size}; the device has not begun"
    return ReportPhase(text, delivery=delta)


def choose(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    """Idle, ready for an offer: by delta on the first attempt, if the device tells what it needs, else in full."""
    if journey.way == Way.OPEN:
        takes = (seen.formats or 0) & DELTA_FORMATS
        if seen.image and takes and pace.delta and not journey.offers:
            until = now + pace.delta
            journey = replace(journey, way=Way.ASKING, base=seen.image, formats=takes, ask_until=until)
        else:
            journey = replace(journey, way=Way.FULL)
    if journey.way == Way.ASKING:
        return ask(journey, now)
    return journey, (ObserveFirmware(), OfferPackage())


def ask(journey: Journey, now: float) -> Step:
    """Ask for the delta as long as it is waited for; then the full image is offered."""
    if now < journey.ask_until:
        return replace(journey, wake_at=journey.ask_until), (AskDelta(),)
    late = ReportPhase("the delta was not ready in time, offering the full image")
    return replace(journey, way=Way.FULL, formats=0, ask_until=0.0), (late, ObserveFirmware(), OfferPackage())


def delta_answered(journey: Journey, answer: DeltaAnswered, now: float, pace: Pace) -> Step:
    """Offer the delta, ask again later, or offer the full image; an answer nobody waits for any more is nothing."""
    if journey.phase != Phase.ASSIGNED or journey.way != Way.ASKING:
        return journey, ()
    if answer.delta is None and answer.retry_seconds is not None:
        return replace(journey, wake_at=min(now + max(1.0, answer.retry_seconds), journey.ask_until)), ()
    way = Way.FULL if answer.delta is None else Way.DELTA
    chosen = replace(journey, way=way, delta=answer.delta, formats=0, ask_until=0.0, wake_at=now + pace.ask_again)
    why = (ReportPhase(f"{answer.reason}, offering the full image"),) if answer.reason else ()
    return chosen, (*why, ObserveFirmware(), OfferPackage())


def without_delta(journey: Journey) -> Journey:
    """In full from now on; under another token, so that nobody joins the two downloads."""
    return replace(journey, way=Way.FULL, delta=None, token="")


def reset(journey: Journey, now: float, pace: Pace) -> Step:
    """The device holds another package: an empty URI leads to Idle, and whether it did is looked at later and later."""
    wake_at = now + min(pace.ask_again, 2.0**journey.resets)
    told = replace(journey, resets=journey.resets + 1, reset_at=wake_at, wake_at=wake_at)
    return told, (ResetFirmware(),)


def address_refused(journey: Journey, code: str, now: float, pace: Pace) -> Step:
    """Anjay answers 4.00 in any state but Idle: reset it and look again; whatever the reason, no delta any more."""
    refused = replace(journey, offers=journey.offers + 1, wake_at=now + pace.ask_again)
    said = f"the device refused the address with {code}, resetting"
    if journey.delta is None:
        return refused, (ReportPhase(said), ResetFirmware())
    said = f"by delta {said}, then offering the full image"
    return without_delta(refused), (ReportPhase(said), RevokeTicket(journey.token), ResetFirmware())
