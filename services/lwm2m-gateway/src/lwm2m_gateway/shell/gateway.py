"""All devices of this gateway: takes registrations, keeps sessions, lets hints and expiry through."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from lwm2m import registration as wire
from lwm2m_gateway.coap.devices import Devices
from lwm2m_gateway.sessions import events, records, registrations
from lwm2m_gateway.sessions.records import Journey
from lwm2m_gateway.sessions.registrations import HouseFull, Registration
from lwm2m_gateway.shell.session import Session
from lwm2m_gateway.shell.surroundings import Surroundings

logger = logging.getLogger(__name__)

EXPIRY_SECONDS: Final = 5.0
MAX_SESSIONS: Final = 100_000


class Gateway:
    """The desk devices register at (coap.registration_interface.Desk)."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._devices: Devices | None = None
        self.sessions: dict[str, Session] = {}
        self._by_id: dict[str, str] = {}

    @property
    def registered(self) -> int:
        """How many devices are registered; sessions may be more, for journeys whose device has gone."""
        return len(self._by_id)

    def open(self, devices: Devices) -> None:
        """Begin to take registrations; before that nobody may call the rest."""
        self._devices = devices

    def register(self, register: wire.Register, address: str) -> str:
        """Take a device in; the same endpoint again replaces its registration and keeps its journey.

        Raises HouseFull.
        """
        if register.endpoint not in self.sessions and len(self.sessions) >= MAX_SESSIONS:
            raise HouseFull
        now = time.time()
        registration = registrations.registered(register, address, registrations.new_id(), now)
        session = self._session(registration)
        session.ring("greet")
        session.ring(events.Registered())
        logger.info("registered", extra={"endpoint": register.endpoint, "address": address})
        return registration.id

    def _session(self, registration: Registration) -> Session:
        session = self.sessions.get(registration.endpoint)
        if session is None:
            session = self._begin(registration, None)
        else:
            self._by_id.pop(session.device.registration.id, None)
            session.device.registration, session.device.registered = registration, True
        self._by_id[registration.id] = registration.endpoint
        self._around.store.keep_registration(registration, time.time())
        return session

    def _begin(self, registration: Registration, going: Journey | None) -> Session:
        assert self._devices is not None
        session = Session(registration, self._devices, self._around, going=going, left=self._left)
        self.sessions[registration.endpoint] = session
        session.start()
        return session

    def update(self, identifier: str, update: wire.Update, address: str) -> bool:
        """Note an Update; False when the id is unknown, which makes the client register anew."""
        session = self._known(identifier)
        if session is None:
            return False
        now = time.time()
        session.device.registration = registrations.updated(session.device.registration, update, address, now)
        self._around.store.keep_registration(session.device.registration, now)
        session.tell_presence("online")
        session.ring("poll")
        session.ring(events.Contact())
        return True

    def deregister(self, identifier: str) -> bool:
        """Let a device go; a journey stays, because a device may de-register before it reboots."""
        session = self._known(identifier)
        if session is None:
            return False
        self._forget(session, "the device said good-bye")
        return True

    def hinted(self, endpoint: str) -> None:
        """The update manager says there is something to fetch."""
        if session := self.sessions.get(endpoint):
            session.ring("poll")

    def restore(self, found: list[Registration], going: dict[str, Journey]) -> None:
        """Go on where an earlier process was: every device is looked at once.

        A journey goes on without its device too: that may be rebooting just now, or never be heard of again.
        """
        now = time.time()
        for endpoint, journey in going.items():
            gone = self._begin(registrations.departed(endpoint), records.resumed(journey, now, self._around.pace))
            gone.device.registered = False
        for registration in found:
            session = self._session(registration)
            if registration.expires_at < now:
                self._forget(session, "the registration ran out while no gateway was there")
                continue
            session.ring("greet")
            session.ring(events.Contact())
        logger.info("restored", extra={"registrations": self.registered, "journeys": len(going)})

    def remember(self) -> None:
        """Redis lost everything: write it what this process knows."""
        for session in self.sessions.values():
            session.remember()
        logger.warning("Redis came back empty; written again", extra={"registrations": self.registered})

    async def expire_for_ever(self, clock: Callable[[], float] = time.time) -> None:
        """Drop registrations that ran out; run as a task."""
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            now = clock()
            for session in [one for one in self.sessions.values() if one.device.registration.expires_at < now]:
                if session.device.registration.id in self._by_id:
                    self._forget(session, "the registration ran out")

    def _known(self, identifier: str) -> Session | None:
        endpoint = self._by_id.get(identifier)
        return None if endpoint is None else self.sessions.get(endpoint)

    def _forget(self, session: Session, why: str) -> None:
        registration = session.device.registration
        self._by_id.pop(registration.id, None)
        self._around.store.drop_registration(registration.endpoint)
        session.tell_presence("offline")
        session.gone()
        logger.info(why, extra={"endpoint": registration.endpoint})
        if session.journey is None:
            self._left(session)

    def _left(self, session: Session) -> None:
        """Nothing is left to do for a device that has gone."""
        session.stop()
        if self.sessions.get(session.device.registration.endpoint) is session:
            del self.sessions[session.device.registration.endpoint]

    async def close(self) -> None:
        """End all sessions and wait for it; nothing is told to devices, another gateway may take over."""
        stopped = [task for session in self.sessions.values() for task in session.stop()]
        await asyncio.gather(*stopped, return_exceptions=True)
