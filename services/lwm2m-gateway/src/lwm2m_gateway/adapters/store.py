"""Registrations, journeys and tickets in Redis; what a gateway that starts anew goes on from.

Writes must not hold up devices while Redis is away: they wait in order in memory, the newest value of a key only, and
go out when Redis is back.
"""

import asyncio
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import redis.asyncio as redis

from lwm2m_gateway.sessions import records, registrations
from lwm2m_gateway.sessions.records import Journey
from lwm2m_gateway.sessions.registrations import Registration

logger = logging.getLogger(__name__)

JOURNEY_SECONDS: Final = 30 * 86400
GONE_SECONDS: Final = 7 * 86400
RETRY_SECONDS: Final = 1.0
WATCH_SECONDS: Final = 1.0
# Longer than any absence that leaves the process alive: the mark must go only with everything else.
WATCH_LIFETIME_SECONDS: Final = 30 * 86400
_REGISTRATION: Final = "updraft:gateway:registration:"
_JOURNEY: Final = "updraft:gateway:journey:"
_TICKET: Final = "updraft:ticket:"


class Store:
    """Keeps and restores; reads fail loudly (RedisError), writes are never lost to a short absence."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._waiting: OrderedDict[str, tuple[str, int] | None] = OrderedDict()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    def keep_registration(self, registration: Registration, now: float) -> None:
        """Store until it expires and longer: who starts after that still has to say that the device has gone."""
        seconds = max(60, int(registration.expires_at - now)) + GONE_SECONDS
        self._put(_REGISTRATION + registration.endpoint, (registrations.encode(registration), seconds))

    def drop_registration(self, endpoint: str) -> None:
        """Forget a device."""
        self._put(_REGISTRATION + endpoint, None)

    def keep_journey(self, endpoint: str, journey: Journey) -> None:
        """Store where a device is on its way; an ended journey is forgotten."""
        self._put(_JOURNEY + endpoint, None if journey.over else (records.encode(journey), JOURNEY_SECONDS))

    def drop_journey(self, endpoint: str) -> None:
        """Forget a journey."""
        self._put(_JOURNEY + endpoint, None)

    def _put(self, key: str, value: tuple[str, int] | None) -> None:
        self._waiting[key] = value
        self._waiting.move_to_end(key)
        self._wake.set()

    async def write_for_ever(self) -> None:
        """Write what waits; run as a task."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except (redis.RedisError, OSError) as error:
                logger.warning("state waits in memory: Redis is away (%s)", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def flush(self) -> None:
        """Write everything that waits now; one at a time, or an older value could overtake a newer one."""
        async with self._writing:
            while self._waiting:
                batch = list(self._waiting.items())[:500]
                pipe = self._redis.pipeline(transaction=False)
                for key, value in batch:
                    if value is None:
                        pipe.delete(key)
                    else:
                        pipe.set(key, value[0], ex=value[1])
                await pipe.execute()
                for key, value in batch:
                    if self._waiting.get(key, ...) is value:
                        del self._waiting[key]

    async def load(self) -> tuple[list[Registration], dict[str, Journey]]:
        """All registrations and journeys of an earlier life; what cannot be read is left out with a log line."""
        found: list[Registration] = []
        going: dict[str, Journey] = {}
        async for key in self._redis.scan_iter(match="updraft:gateway:*", count=500):
            name = key.decode()
            text = await self._redis.get(key)
            if text is None:
                continue
            try:
                if name.startswith(_REGISTRATION):
                    found.append(registrations.decode(text))
                elif name.startswith(_JOURNEY):
                    going[name.removeprefix(_JOURNEY)] = records.decode(text)
            except (ValueError, KeyError, TypeError):
                logger.warning("stored state cannot be read, it is left out", extra={"key": name})
        return found, going

    async def watch_for_ever(self, emptied: Callable[[], None]) -> None:
        """Call `emptied` when Redis has lost what it held; run as a task."""
        key, known = f"updraft:gateway:process:{secrets.token_urlsafe(9)}", False
        while True:
            try:
                there = await self._redis.set(key, "here", ex=WATCH_LIFETIME_SECONDS, get=True)
                if known and there is None:
                    emptied()
                known = True
            except (redis.RedisError, OSError) as error:
                logger.debug("Redis is away: %s", type(error).__name__)
            await asyncio.sleep(WATCH_SECONDS)

    async def mint_ticket(self, token: str, record: dict[str, Any], seconds: int) -> str:
        """Store a ticket (a new token when `token` is empty) and return its token; raises RedisError."""
        token = token or secrets.token_urlsafe(9)
        await self._redis.set(_TICKET + token, json.dumps(record), ex=seconds)
        return token

    def keep_ticket(self, token: str, record: dict[str, Any], seconds: int) -> None:
        """Write a ticket again."""
        self._put(_TICKET + token, (json.dumps(record), seconds))

    def revoke_ticket(self, token: str) -> None:
        """End a ticket."""
        if token:
            self._put(_TICKET + token, None)
