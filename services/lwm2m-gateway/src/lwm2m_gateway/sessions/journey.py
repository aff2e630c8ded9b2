"""One device on its way to one image: `step(journey, event, now) -> (journey, effects)`, and nothing else.

The story is object 5's (lwm2m.firmware). What the device says is never trusted to be complete: State and Result come
in any order, twice, late, or not at all; a Zephyr device forgets both at a reboot. So each phase looks at whatever
pair of values came last and moves forward only. Two answers decide the end: the firmware version after the reboot,
and a Result that is an error. A new version is believed after a soak time: MCUboot reverts what is never confirmed.

A device that says which image it runs is offered a delta first, if the update manager has one in time. Whatever goes
wrong with that (any error, a refusal) leads to the full image, and why stays in the timeline. Only to a device that
lost its power in mid-download the same delta is offered once more, for it may go on where it was. What goes wrong
after Execute is the image's fault: the device had checked it, and the full one would be the same.

Effects that need the device may be dropped by the shell when it sleeps or does not answer: the next contact asks
again for what the phase needs. Feedback waits inside the journey until it is delivered, so a killed gateway loses none.
"""

from dataclasses import replace
from typing import Final

from lwm2m.firmware import PUSH_ONLY, Result, State
from lwm2m_gateway.sessions import causes, deferral, offers
from lwm2m_gateway.sessions.events import (
    CancelRequested,
    Contact,
    DeliverFeedback,
    DeltaAnswered,
    Effect,
    Event,
    Executed,
    ExecuteUpdate,
    FeedbackDelivered,
    Observed,
    ObserveFirmware,
    OfferPackage,
    ReadFirmware,
    Registered,
    ReportPhase,
    ResetFirmware,
    RevokeTicket,
    Step,
    Tick,
    UriWritten,
)
from lwm2m_gateway.sessions.phases import FINAL, TEXTS, TRANSITIONS, IllegalMove, Phase
from lwm2m_gateway.sessions.records import Feedback, Journey, Pace, Way
from lwm2m_gateway.sessions.versions import same_version

MAX_OFFERS: Final = 8
MAX_EXECUTES: Final = 8
# How often a device may come back old after an Execute it never answered before that counts as a rollback.
MAX_UNHEARD: Final = 1
# Who waits for a reboot waits no longer because the device talks: it may talk without ever having heard the Execute.
_TIMED: Final = frozenset({Phase.REBOOTING, Phase.VERIFYING})


def begin(action_id: int, version: str, url: str, sha256: str, size: int, now: float, pace: Pace) -> Step:
    """A new journey: ask the device where it stands."""
    journey = Journey(action_id, version, url, sha256, size, deadline=now + pace.silence, wake_at=now + pace.ask_again)
    return journey, (ReportPhase(TEXTS[Phase.ASSIGNED]), ReadFirmware())


def step(journey: Journey, event: Event, now: float, pace: Pace) -> Step:
    """What follows from one event. Raises IllegalMove only if this module has a bug."""
    if isinstance(event, FeedbackDelivered):
        journey = replace(journey, feedback=journey.feedback[1:])
        return journey, (DeliverFeedback(),) if journey.feedback else ()
    if journey.phase in FINAL:
        return journey, (DeliverFeedback(),) if journey.feedback else ()
    match event:
        case Registered() | Contact():
            return _contact(journey, isinstance(event, Registered), now, pace)
        case Observed():
            return _observed(journey, event, now, pace)
        case DeltaAnswered():
            return offers.delta_answered(journey, event, now, pace)
        case UriWritten():
            return _uri_written(journey, event, now, pace)
        case Executed():
            return _executed(journey, event, now, pace)
        case CancelRequested():
            return _cancel(journey, event, now)
        case Tick():
            return _tick(journey, now, pace)


def _move(journey: Journey, phase: Phase, now: float, wait: float, text: str = "") -> Step:
    """Enter `phase` and wait at most `wait` seconds for what comes next."""
    if phase not in TRANSITIONS[journey.phase]:
        raise IllegalMove(f"{journey.phase} to {phase}")
    report = offers.report(journey) if phase == Phase.OFFERED else ReportPhase(text or TEXTS[phase])
    return replace(journey, phase=phase, deadline=now + wait), (report,)


def _alive(journey: Journey, now: float, pace: Pace) -> float:
    """The deadline of a device that has just been heard."""
    return journey.deadline if journey.phase in _TIMED else max(journey.deadline, now + pace.silence)


def _then(outcome: Step, *more: Effect) -> Step:
    return outcome[0], outcome[1] + more


def _tell(outcome: Step, feedback: Feedback) -> Step:
    journey, effects = outcome
    waiting = (*journey.feedback, feedback)
    # Only the first one starts the delivery; each delivered one starts the next.
    start = () if journey.feedback else (DeliverFeedback(),)
    return replace(journey, feedback=waiting), effects + start


def _contact(journey: Journey, booted: bool, now: float, pace: Pace) -> Step:
    journey = replace(journey, deadline=_alive(journey, now, pace), wake_at=now + pace.ask_again)
    resend: tuple[Effect, ...] = (DeliverFeedback(),) if journey.feedback else ()
    if booted and journey.phase in (Phase.EXECUTING, Phase.REBOOTING):
        if journey.phase == Phase.EXECUTING:
            journey, _ = _move(journey, Phase.REBOOTING, now, pace.reboot)
        # It is back, and may sleep before it is read.
        patience = max(pace.reboot, pace.silence)
        return _then(_move(journey, Phase.VERIFYING, now, patience), *resend, ReadFirmware())
    watching = journey.phase not in (Phase.ASSIGNED, Phase.VERIFYING)
    return journey, resend + ((ObserveFirmware(), ReadFirmware()) if watching else (ReadFirmware(),))


def _observed(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    known = journey.result
    journey = replace(
        journey,
        state=journey.state if seen.state is None else seen.state,
        result=journey.result if seen.result is None else seen.result,
        accepted=journey.accepted or (seen.state == State.UPDATING and journey.phase != Phase.ASSIGNED),
        deadline=_alive(journey, now, pace),
    )
    if (patient := deferral.put_off(journey, known, now, pace)) is not None:
        return patient
    match journey.phase:
        case Phase.ASSIGNED:
            return _assigned(journey, seen, now, pace)
        case Phase.OFFERED | Phase.DOWNLOADING:
            return _transferring(journey, seen, now, pace)
        case Phase.DOWNLOADED | Phase.EXECUTING:
            return _complete(journey, seen, now, pace)
        case Phase.REBOOTING:
            return _rebooting(journey, seen, now, pace)
        case _:
            return _verifying(journey, seen, now, pace)


def _assigned(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    if seen.state is None:
        return journey, ()
    if not seen.full:  # a notification says too little to decide on
        return replace(journey, wake_at=now + pace.ask_again), (ReadFirmware(),)
    if seen.version and same_version(seen.version, journey.version) and seen.state == State.IDLE:
        return _succeed(journey, f"already runs {journey.version}", now)
    if seen.delivery == PUSH_ONLY:
        return _fail(journey, causes.DEVICE_REFUSED, "the device takes packages by push only (5/0/9 is 1)", now)
    if seen.version:
        journey = replace(journey, old_version=seen.version)
    if seen.state == State.UPDATING:
        return replace(journey, wake_at=now + pace.ask_again), ()
    if seen.state in (State.DOWNLOADING, State.DOWNLOADED):
        if journey.token and f"/{journey.token}/" in (seen.uri or ""):
            # Offered by a gateway that was killed before it had noted the answer.
            offered = replace(journey, offers=max(1, journey.offers), offered_at=now)
            taken, effects = _move(offered, Phase.OFFERED, now, pace.silence)
            outcome = _transferring(taken, seen, now, pace)
            return outcome[0], (*effects, ObserveFirmware(), *outcome[1])
        if now < journey.reset_at:
            return replace(journey, wake_at=journey.reset_at), ()
        if journey.resets >= offers.MAX_RESETS[State(seen.state)]:
            text = f"the device stays in state {seen.state} with another package, {journey.resets} times reset"
            return _fail(journey, causes.DEVICE_REFUSED, text, now)
        return offers.reset(journey, now, pace)
    return offers.choose(replace(journey, wake_at=now + pace.ask_again), seen, now, pace)


def _transferring(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    state, result = journey.state, journey.result or 0
    if seen.state == State.DOWNLOADED:
        outcome = _tell(_move(journey, Phase.DOWNLOADED, now, pace.silence), Feedback("downloaded", "none"))
        return _then(outcome, ExecuteUpdate())
    if seen.state == State.UPDATING:
        return _move(journey, Phase.REBOOTING, now, pace.reboot)
    if seen.state == State.DOWNLOADING:
        if journey.phase == Phase.DOWNLOADING:
            return journey, ()
        return _tell(_move(journey, Phase.DOWNLOADING, now, pace.silence), Feedback("download", "none"))
    # A Result of an earlier attempt may still stand beside a State that has moved on.
    if state == State.IDLE and result >= 2:
        return _failed_download(journey, result, now, pace)
    if seen.state == State.IDLE and journey.phase == Phase.DOWNLOADING and seen.full:
        # Idle, no error, in a full read: it rebooted in mid-download and forgot (Zephyr keeps State in RAM).
        return _offer_again(journey, "the device lost its download", now, pace, may_go_on=journey.offers == 1)
    if seen.state == State.IDLE and seen.full and now >= journey.offered_at + pace.ask_again:
        return _offer_again(journey, "the device took the address and did not begin", now, pace)
    return journey, ()


def _failed_download(journey: Journey, result: int, now: float, pace: Pace) -> Step:
    if journey.delta is not None:
        return _offer_again(journey, causes.text_of(result), now, pace)
    if causes.worth_another(result, journey.attempt):
        return _offer_again(replace(journey, attempt=journey.attempt + 1), causes.text_of(result), now, pace)
    return _fail(journey, causes.cause_of(result), causes.text_of(result), now)


def _offer_again(journey: Journey, text: str, now: float, pace: Pace, *, may_go_on: bool = False) -> Step:
    if journey.offers >= MAX_OFFERS:
        return _fail(journey, causes.DOWNLOAD_FAILED, f"{journey.offers} offers led to no download", now)
    again = replace(journey, state=None, result=None, executes=0, executed_at=0.0, accepted=False, old_seen=False)
    if journey.delta is None or may_go_on:
        way = Way.FULL if journey.delta is None else Way.DELTA
        moved = _move(replace(again, way=way), Phase.ASSIGNED, now, pace.silence, f"{text}, offering again")
        return _then(moved, ObserveFirmware(), OfferPackage())
    said = f"by delta {text}, offering the full image"
    moved = _move(offers.without_delta(again), Phase.ASSIGNED, now, pace.silence, said)
    return _then(moved, RevokeTicket(journey.token), ObserveFirmware(), OfferPackage())


def _uri_written(journey: Journey, answer: UriWritten, now: float, pace: Pace) -> Step:
    if journey.phase != Phase.ASSIGNED:
        return journey, ()
    if not answer.accepted:
        if journey.offers + 1 >= MAX_OFFERS:
            return _fail(journey, causes.DEVICE_REFUSED, f"the device refused the address with {answer.code}", now)
        return offers.address_refused(journey, answer.code, now, pace)
    offered = replace(journey, offers=journey.offers + 1, offered_at=now, wake_at=now + pace.ask_again)
    outcome = _move(replace(offered, state=None, result=None), Phase.OFFERED, now, pace.silence)
    if journey.offers == 0:
        outcome = _tell(outcome, Feedback("proceeding", "none", ("package address written",)))
    return _then(outcome, ReadFirmware())


def _complete(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    if seen.state == State.UPDATING:
        if journey.phase == Phase.DOWNLOADED:
            journey, _ = _move(journey, Phase.EXECUTING, now, pace.reboot)
        return _move(journey, Phase.REBOOTING, now, pace.reboot)
    result = journey.result or 0
    if seen.state == State.DOWNLOADED:
        if journey.phase == Phase.EXECUTING and result >= 2:
            return _fail(journey, causes.cause_of(result), causes.text_of(result), now)
        return journey, (ExecuteUpdate(),) if journey.phase == Phase.DOWNLOADED else ()
    back = seen.state == State.IDLE and seen.version is not None
    reverted = journey.executes > 0 and result == Result.UPDATE_FAILED
    if back and (same_version(seen.version or "", journey.version) or journey.phase == Phase.EXECUTING or reverted):
        # It rebooted before its answer to Execute came through.
        moving = journey if journey.phase == Phase.EXECUTING else _move(journey, Phase.EXECUTING, now, 0)[0]
        return _back(_move(moving, Phase.REBOOTING, now, pace.reboot)[0], seen, now, pace)
    if journey.state == State.IDLE and result >= 2:
        if journey.delta is not None and not journey.executes and journey.phase == Phase.DOWNLOADED:
            return _offer_again(journey, causes.text_of(result), now, pace)
        return _fail(journey, causes.cause_of(result), causes.text_of(result), now)
    if back:
        return _offer_again(journey, "the device lost its image", now, pace)
    return journey, ()


def _executed(journey: Journey, answer: Executed, now: float, pace: Pace) -> Step:
    if journey.phase != Phase.DOWNLOADED:
        return journey, ()
    executing, effects = _move(journey, Phase.EXECUTING, now, pace.reboot)
    if answer.accepted is False:
        refused = replace(executing, phase=Phase.DOWNLOADED, offers=executing.offers + 1, wake_at=now + pace.ask_again)
        if refused.offers >= MAX_OFFERS:
            return _fail(executing, causes.DEVICE_REFUSED, f"the device refused Update with {answer.code}", now)
        return refused, (ReportPhase(f"the device refused Update with {answer.code}, asking again"), ReadFirmware())
    # Unheard, or rebooted before it could answer: which of the two, a read tells, if the device hears that one.
    wait = pace.reboot if answer.accepted else max(pace.reboot, pace.silence)
    moved = _move(executing, Phase.REBOOTING, now, wait)
    # One that has heard its Execute is asked when it speaks, and not in the middle of its reboot.
    wake_at = moved[0].deadline if answer.accepted else now + pace.ask_again
    accepted = bool(answer.accepted)
    ordered = replace(moved[0], executes=journey.executes + 1, executed_at=now, accepted=accepted, wake_at=wake_at)
    outcome = (ordered, effects + moved[1])
    if journey.executes:
        return outcome
    return _tell(outcome, Feedback("proceeding", "none", ("update ordered, the device reboots",)))


def _rebooting(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    result = journey.result or 0
    if seen.version is not None and (same_version(seen.version, journey.version) or seen.state == State.IDLE):
        # Before the reset it shows Downloaded or Updating; Idle means its Register was heard by a gateway now dead.
        return _back(journey, seen, now, pace)
    if journey.state in (State.IDLE, State.DOWNLOADED) and result >= 2:
        return _fail(journey, causes.cause_of(result), causes.text_of(result), now)
    if seen.version is not None and seen.state == State.DOWNLOADED:
        return _execute_again(journey, seen.version, now, pace)
    return journey, ()


def _execute_again(journey: Journey, version: str, now: float, pace: Pace) -> Step:
    """The image waits and the device runs `version`: Execute was lost, or it rebooted for a reason of its own."""
    journey = replace(journey, executed_at=journey.executed_at or now)
    patient_until = journey.executed_at + pace.ask_again
    if now < patient_until:  # the reset may still come
        return replace(journey, wake_at=patient_until), ()
    if journey.phase == Phase.VERIFYING and journey.accepted and journey.executes > 1:
        # It took the Execute and came back twice: a client that keeps its State over a swap MCUboot did not do.
        return _rolled_back(journey, version, now)
    if journey.executes >= MAX_EXECUTES:
        text = f"the device keeps the image and does not install it, {journey.executes} times told to"
        return _fail(journey, causes.DEVICE_REFUSED, text, now)
    again = replace(journey, old_seen=False, wake_at=now + pace.ask_again)
    said = "the device has not installed its image, telling it again"
    moved = _move(again, Phase.DOWNLOADED, now, pace.silence, said)
    return _then(moved, ObserveFirmware(), ExecuteUpdate())


def _back(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    verifying, effects = _move(journey, Phase.VERIFYING, now, pace.reboot)
    outcome = _verifying(verifying, seen, now, pace)
    return outcome[0], effects + outcome[1]


def _verifying(journey: Journey, seen: Observed, now: float, pace: Pace) -> Step:
    if seen.version is None:
        return journey, ()
    result = journey.result or 0
    if same_version(seen.version, journey.version):
        if not journey.new_seen_at:
            until = now + pace.soak
            soaking = replace(journey, new_seen_at=now, wake_at=until, deadline=until + pace.silence)
            text = f"the device runs {seen.version} on trial; it counts as updated after {pace.soak:.0f} s"
            return soaking, (ReportPhase(text),)
        if now < journey.new_seen_at + pace.soak:
            return replace(journey, wake_at=journey.new_seen_at + pace.soak), ()
        return _succeed(journey, f"runs {seen.version}", now)
    old = same_version(seen.version, journey.old_version or seen.version)
    if result >= 2 and seen.state is None:
        # A Result counts beside the State of the same read, and that was lost in the reboot.
        return replace(journey, wake_at=now + pace.ask_again), ()
    if result == Result.UPDATE_FAILED and seen.state == State.IDLE and old:
        # What a client that keeps its Result over the reboot says of a revert; no need to ask it twice.
        return _rolled_back(journey, seen.version, now)
    if result >= 2:
        return _fail(journey, causes.cause_of(result), causes.text_of(result), now)
    if seen.state == State.DOWNLOADED and not journey.new_seen_at:
        return _execute_again(journey, seen.version, now, pace)
    if not old:
        text = f"the device runs {seen.version}, expected {journey.version}"
        return _fail(journey, causes.WRONG_VERSION, text, now)
    if not journey.new_seen_at and not journey.old_seen:
        # Once is no proof: the Update or late notification of a device that is about to reboot looks the same.
        patient = max(journey.deadline, now + pace.silence)
        return replace(journey, old_seen=True, wake_at=now + pace.ask_again, deadline=patient), ()
    if not journey.new_seen_at and not journey.accepted and journey.unheard < MAX_UNHEARD:
        # Rolled back, or its power went before Execute reached it. It cannot say (State is in RAM); a second try can.
        unheard = replace(journey, unheard=journey.unheard + 1)
        return _offer_again(unheard, "the device came back as it was and may never have heard Update", now, pace)
    return _rolled_back(journey, seen.version, now)


def _succeed(journey: Journey, said: str, now: float) -> Step:
    moved = _move(journey, Phase.SUCCEEDED, now, 0, f"the device {said}")
    return _tell(_then(moved, RevokeTicket(journey.token)), Feedback("closed", "success", (said,)))


def _rolled_back(journey: Journey, version: str, now: float) -> Step:
    if journey.new_seen_at:
        text = f"{journey.version} booted but was never confirmed: MCUboot reverted the device to {version}"
    else:
        text = f"it came back with {version}: MCUboot refused or reverted {journey.version} before it registered"
    moved, _ = _move(journey, Phase.ROLLED_BACK, now, 0)
    told = Feedback("closed", "failure", (f"cause: {causes.ROLLED_BACK}", text))
    report = ReportPhase(text, causes.ROLLED_BACK)
    return _tell((moved, (report, RevokeTicket(journey.token))), told)


def _fail(journey: Journey, cause: str, text: str, now: float) -> Step:
    moved, _ = _move(journey, Phase.FAILED, now, 0)
    told = Feedback("closed", "failure", (f"cause: {cause}", text))
    return _tell((moved, (ReportPhase(text, cause), RevokeTicket(journey.token), ResetFirmware())), told)


def _cancel(journey: Journey, event: CancelRequested, now: float) -> Step:
    if Phase.CANCELLED not in TRANSITIONS[journey.phase]:
        if not event.confirm:
            return journey, ()
        text = f"too late to cancel: {TEXTS[journey.phase]}"
        return _tell((journey, ()), Feedback("rejected", "failure", (text,), cancel=True))
    moved = _then(_move(journey, Phase.CANCELLED, now, 0), RevokeTicket(journey.token), ResetFirmware())
    if not event.confirm:
        return replace(moved[0], feedback=()), moved[1]
    return _tell(moved, Feedback("closed", "success", ("cancelled",), cancel=True))


def _tick(journey: Journey, now: float, pace: Pace) -> Step:
    if now >= journey.deadline:
        waited = TEXTS[journey.phase]
        text = f"the device was not heard to get any further in time; last known: {waited}"
        return _fail(journey, causes.DEVICE_SILENT, text, now)
    resend: tuple[Effect, ...] = (DeliverFeedback(),) if journey.feedback else ()
    if now < journey.wake_at:
        return journey, resend
    if journey.phase == Phase.ASSIGNED and journey.way == Way.ASKING:
        asked, effects = offers.ask(journey, now)
        return asked, resend + effects
    return replace(journey, wake_at=now + pace.ask_again), (*resend, ReadFirmware())
