"""What every session needs of the world around it."""

from dataclasses import dataclass

from lwm2m.paths import Path
from lwm2m_gateway.adapters.ddi_client import DdiClient
from lwm2m_gateway.adapters.queues import Uplink
from lwm2m_gateway.adapters.store import Store
from lwm2m_gateway.sessions.records import Pace


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Built once by bootstrap."""

    ddi: DdiClient
    store: Store
    uplink: Uplink
    pace: Pace
    proxy_uri: str
    tenant: str
    awake_seconds: float
    settle_seconds: float
    sweep_seconds: float
    ticket_seconds: int
    observe: tuple[Path, ...]
