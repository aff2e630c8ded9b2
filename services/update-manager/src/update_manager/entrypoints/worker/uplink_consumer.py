"""Follows the uplink stream as one consumer of the group `update-manager`: read, write, commit, acknowledge.

Of all workers one leads and reads; the others stand by. Events of a device are only worth something in order, and a
leader that is killed leaves what it had taken to the next one, which begins with that: same consumer, same order.
"""

import asyncio
import logging
from typing import Any, Final

import redis.asyncio as redis
from redis.exceptions import ResponseError
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from update_manager.adapters.db.session import Database
from update_manager.application import uplink
from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)

STREAM: Final = "updraft:uplink"
GROUP: Final = "update-manager"
BATCH: Final = 200
BLOCK_MILLISECONDS: Final = 1000
RETRY_SECONDS: Final = 1.0
CONSUMER: Final = "leader"
# The advisory lock of the leader: "uplink" in ASCII, so that it means nothing else.
LOCK: Final = 0x75706C696E6B


class Consumer:
    """One of any number, of which one reads at a time."""

    def __init__(self, database: Database, client: "redis.Redis") -> None:
        self._database, self._redis = database, client

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
            except (redis.RedisError, SQLAlchemyError, OSError) as error:
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
        return handled

    async def _handle(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> int:
        if not entries:
            return 0
        events = []
        for identifier, fields in entries:
            try:
                events.append(uplink.parse((fields or {}).get(b"event", b"")))
            except uplink.Malformed as error:
                logger.warning("an uplink event was dropped: %s", error, extra={"entry": identifier.decode()})
        try:
            async with self._database.write() as session:
                await uplink.store(session, events)
        except IntegrityError:
            # One poisoned event must not hold up the others: write them one by one.
            await self._one_by_one(events)
        await self._redis.xack(STREAM, GROUP, *(identifier for identifier, _ in entries))
        return len(entries)

    async def _one_by_one(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            try:
                async with self._database.write() as session:
                    await uplink.store(session, [event])
            except IntegrityError as error:
                logger.warning("an uplink event was dropped: %s", type(error).__name__)


async def follow(settings: UpdateManagerSettings) -> None:
    """Build a consumer and run it."""
    database = Database(settings.database_url.get_secret_value(), 2)
    client = redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=10, socket_connect_timeout=3)
    try:
        await Consumer(database, client).run()
    finally:
        await database.close()
        await client.aclose()
