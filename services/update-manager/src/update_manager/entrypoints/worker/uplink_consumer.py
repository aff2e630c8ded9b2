"""Follows the uplink stream as one consumer of the group `update-manager`: read, write, commit, acknowledge.

Of all workers one leads and reads; the others stand by. Events of a device are only worth something in order, and a
leader that is killed leaves what it had taken to the next one, which begins with that: same consumer, same order. What
can never be written goes to the dead letters (`updraft:uplink:dead`), where an operator finds it, and holds up nobody.
"""

import asyncio
import logging
import time
from typing import Any, Final

import redis.asyncio as redis
from redis.exceptions import ResponseError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from update_manager.adapters.db.session import Database
from update_manager.application import uplink
from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)

STREAM: Final = "updraft:uplink"
GROUP: Final = "update-manager"
DEAD: Final = "updraft:uplink:dead"
DEAD_KEPT: Final = 1000
DEAD_BYTES: Final = 4096
BATCH: Final = 200
BLOCK_MILLISECONDS: Final = 1000
RETRY_SECONDS: Final = 1.0
TRIM_SECONDS: Final = 60.0
TRIM_BATCH: Final = 1000
CONSUMER: Final = "leader"
# The advisory lock of the leader: "uplink" in ASCII, so that it means nothing else.
LOCK: Final = 0x75706C696E6B

AWAY: Final = (redis.RedisError, OperationalError, InterfaceError, PoolTimeout, OSError, TimeoutError)

Entries = list[tuple[bytes, dict[bytes, bytes] | None]]
# An event with the entry it came in.
Taken = tuple[dict[str, Any], bytes, bytes]


class Consumer:
    """One of any number, of which one reads at a time."""

    def __init__(self, database: Database, client: "redis.Redis") -> None:
        self._database, self._redis = database, client
        self._grown: set[int] = set()
        self._trim_at = time.monotonic() + TRIM_SECONDS

    async def run(self) -> None:
        """For ever; an absent Redis or PostgreSQL is waited for, nothing is acknowledged unwritten."""
        while True:
            try:
                async with self._database.lead(LOCK) as leadership:
                    await self._ensure_group()
                    await self.take_over()
                    while True:
                        await leadership.require()
                        await self.once()
            except AWAY as error:
                # What was read and not acknowledged is taken up again first, so that the order holds.
                logger.warning("uplink waits: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _ensure_group(self) -> None:
        try:
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def take_over(self) -> int:
        """Handle what an earlier leader took and did not acknowledge; returns how many."""
        handled, more = 0, True
        while more:
            answer: Any = await self._redis.xreadgroup(GROUP, CONSUMER, {STREAM: "0"}, count=BATCH)
            entries = [entry for _, part in answer or () for entry in part]
            more = bool(entries)
            handled += await self._handle(entries)
        return handled

    async def once(self) -> int:
        """One round: read what is new; returns how many were handled."""
        answer: Any = await self._redis.xreadgroup(
            GROUP, CONSUMER, {STREAM: ">"}, count=BATCH, block=BLOCK_MILLISECONDS
        )
        handled = 0
        for _, entries in answer or ():
            handled += await self._handle(entries)
        await self._trim()
        return handled

    async def _handle(self, entries: Entries) -> int:
        if not entries:
            return 0
        taken: list[Taken] = []
        for identifier, fields in entries:
            if not fields:
                logger.warning("an uplink event was trimmed from the stream before it was written")
                continue
            raw = fields.get(b"event", b"")
            try:
                taken.append((uplink.parse(raw), identifier, raw))
            except uplink.Malformed as error:
                await self._bury(identifier, raw, error)
        try:
            await self._write([event for event, _, _ in taken])
        except Exception as error:
            if is_away(error):
                raise
            # One poisoned event must not hold up the others: write them one by one.
            await self._one_by_one(taken)
        await self._redis.xack(STREAM, GROUP, *(identifier for identifier, _ in entries))
        return len(entries)

    async def _write(self, events: list[dict[str, Any]]) -> None:
        async with self._database.write() as session:
            grown = await uplink.store(session, events)
        self._grown |= grown

    async def _one_by_one(self, taken: list[Taken]) -> None:
        for event, identifier, raw in taken:
            try:
                await self._write([event])
            except Exception as error:
                if is_away(error):
                    raise
                await self._bury(identifier, raw, error)

    async def _bury(self, identifier: bytes, raw: bytes, error: Exception) -> None:
        entry: dict[Any, Any] = {
            "entry": identifier,
            "event": raw[:DEAD_BYTES],
            "error": f"{type(error).__name__}: {error}"[:500],
        }
        logger.warning("an uplink event cannot be written: %s", type(error).__name__, extra={"entry": str(identifier)})
        await self._redis.xadd(DEAD, entry, maxlen=DEAD_KEPT, approximate=True)

    async def _trim(self) -> None:
        if time.monotonic() < self._trim_at:
            return
        self._trim_at = time.monotonic() + TRIM_SECONDS
        grown = sorted(self._grown)
        for at in range(0, len(grown), TRIM_BATCH):
            async with self._database.write() as session:
                await uplink.trim(session, set(grown[at : at + TRIM_BATCH]))
        self._grown.clear()


def is_away(error: Exception) -> bool:
    """Whether a server is gone or asks to try again, so that the event itself is not to blame."""
    return isinstance(error, AWAY) or (isinstance(error, DBAPIError) and error.connection_invalidated)


async def follow(settings: UpdateManagerSettings) -> None:
    """Build a consumer and run it."""
    database = Database(settings.database_url.get_secret_value(), 2)
    client = redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=10, socket_connect_timeout=3)
    try:
        await Consumer(database, client).run()
    finally:
        await database.close()
        await client.aclose()
