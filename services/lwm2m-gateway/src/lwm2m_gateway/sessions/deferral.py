"""A device that has its image and its order may put the update off: State 2 with Result 11 (OMA object 5, 1.1).

It installs by itself when its battery, its user or the Maximum Defer Period (5/0/13) allows it; telling it again would
change nothing. So the journey waits, for as long as the device goes on to say so.
"""

from dataclasses import replace
from typing import Final

from lwm2m.firmware import Result, State
from lwm2m_gateway.sessions.events import ReportPhase, Step
from lwm2m_gateway.sessions.phases import Phase
from lwm2m_gateway.sessions.records import Journey, Pace

_ORDERED: Final = frozenset({Phase.DOWNLOADED, Phase.EXECUTING, Phase.REBOOTING})


def put_off(journey: Journey, known: int | None, now: float, pace: Pace) -> Step | None:
    """Patience, if the device says that it waits; `known` is the Result before, so that it is told once."""
    waits = journey.state == State.DOWNLOADED and journey.result == Result.DEFERRED
    if not waits or journey.phase not in _ORDERED:
        return None
    patient = replace(journey, deadline=max(journey.deadline, now + pace.silence), wake_at=now + pace.ask_again)
    told = () if known == Result.DEFERRED else (ReportPhase("the device has the image and puts the update off"),)
    return patient, told
