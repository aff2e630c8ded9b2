"""The consumer of the uplink stream: at least once, in order, one at a time, past poison, kills and absent servers."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio as redis
from sqlalchemy import text

from update_manager.adapters.db.session import Database
from update_manager.entrypoints.worker.uplink_consumer import CONSUMER, DEAD, GROUP, STREAM, Consumer
from update_manager.testing import TENANT, Cable, make_fleet

# A consumer that is caught in the middle: before its batch is written, or written and not yet acknowledged.
CAUGHT = """
import asyncio, sys
import redis.asyncio as redis
from update_manager.adapters.db.session import Database
from update_manager.entrypoints.worker.uplink_consumer import Consumer

class Caught(Consumer):
    async def _write(self, events):
        if sys.argv[3] == "written":
            await super()._write(events)
        if events:
            print("in the middle", flush=True)
            await asyncio.sleep(600)

asyncio.run(Caught(Database(sys.argv[1], 2), redis.Redis.from_url(sys.argv[2])).run())
"""


async def put(client: "redis.Redis", number: int, device: str = "d-000001", **more: Any) -> None:
    event = {"type": "trace", "tenant": TENANT, "controllerId": device, "at": int(time.time() * 1000) + number}
    body = json.dumps({**event, "id": f"event-{number}", "text": f"line {number}", **more})
    await client.xadd(STREAM, {"event": body})


async def written(database: Database) -> list[str]:
    """Lines of history in the order of the transactions that wrote them; within one, of their times."""
    query = text("SELECT text FROM target_event ORDER BY xmin::text::bigint, at")
    async with database.read() as session:
        return [row.text for row in await session.execute(query)]


async def until(database: Database, count: int, seconds: float = 15) -> list[str]:
    """Wait for so many lines."""
    async with asyncio.timeout(seconds):
        while len(lines := await written(database)) < count:
            await asyncio.sleep(0.02)
    return lines


async def pending(client: "redis.Redis") -> int:
    answer: Any = await client.xpending(STREAM, GROUP)
    return int(answer["pending"])


async def acknowledged(client: "redis.Redis") -> None:
    async with asyncio.timeout(10):
        while await pending(client):
            await asyncio.sleep(0.02)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel until it is heard: a driver may lose a cancellation that comes together with its answer."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)


@asynccontextmanager
async def running(database_url: str, redis_url: str) -> AsyncIterator[asyncio.Task[None]]:
    """A consumer at work in this process."""
    database, client = Database(database_url, 2), redis.Redis.from_url(redis_url, socket_timeout=5)
    task = asyncio.create_task(Consumer(database, client).run())
    try:
        yield task
    finally:
        await end(task)
        await client.aclose()
        await database.close()


@pytest.fixture
async def fleet(database: Database) -> None:
    await make_fleet(database, 3, "d")


async def test_events_are_written_in_order_and_acknowledged(
    fleet: None, database: Database, redis_client: "redis.Redis", migrated_url: str, redis_url: str
) -> None:
    for number in range(450):  # more than two batches, some of them there before the consumer is
        await put(redis_client, number, f"d-{number % 3 + 1:06d}")
    async with running(migrated_url, redis_url):
        assert await until(database, 450) == [f"line {number}" for number in range(450)]
        await put(redis_client, 450)
        await until(database, 451)
        await acknowledged(redis_client)


async def test_the_same_event_twice_is_written_once(
    fleet: None, database: Database, redis_client: "redis.Redis", migrated_url: str, redis_url: str
) -> None:
    for number in (1, 2, 1, 2, 3):
        await put(redis_client, number)
    async with running(migrated_url, redis_url):
        assert await until(database, 3) == ["line 1", "line 2", "line 3"]
        await acknowledged(redis_client)
        assert len(await written(database)) == 3


async def test_poison_is_buried_where_it_can_be_seen_and_holds_up_nobody(
    fleet: None,
    database: Database,
    redis_client: "redis.Redis",
    migrated_url: str,
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse = (
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.text = 'line 2' THEN RAISE EXCEPTION 'never'; END IF; RETURN NEW; END $$"
    )
    async with database.write() as session:
        await session.execute(text(refuse))
        await session.execute(
            text("CREATE TRIGGER refuse BEFORE INSERT ON target_event FOR EACH ROW EXECUTE FUNCTION refuse()")
        )
    try:
        await put(redis_client, 1)
        await put(redis_client, 2)  # PostgreSQL will never take it
        await redis_client.xadd(STREAM, {"event": b'{"type": "trace", '})
        await redis_client.xadd(STREAM, {"other": "field"})
        await put(redis_client, 3, type="rumour")
        await put(redis_client, 4)
        with caplog.at_level(logging.WARNING):
            async with running(migrated_url, redis_url):
                assert await until(database, 2) == ["line 1", "line 4"]
                await acknowledged(redis_client)
                await put(redis_client, 5)
                await until(database, 3)
    finally:
        async with database.write() as session:
            await session.execute(text("DROP TRIGGER refuse ON target_event"))
    dead: Any = await redis_client.xrange(DEAD)
    assert len(dead) == 4
    letters = {fields[b"error"].decode().split(":")[0]: fields[b"event"] for _, fields in dead}
    assert b"line 2" in letters["ProgrammingError"] and b"rumour" in letters["Malformed"]
    assert all(fields[b"entry"] for _, fields in dead)
    assert len([one for one in caplog.messages if "cannot be written" in one]) == 4


@pytest.mark.parametrize("cut", ["read", "written"])
async def test_a_consumer_killed_before_it_acknowledges_leaves_its_batch_to_the_next(
    fleet: None, database: Database, redis_client: "redis.Redis", migrated_url: str, redis_url: str, cut: str
) -> None:
    for number in range(5):
        await put(redis_client, number)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CAUGHT, migrated_url, redis_url, cut, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        assert await child.stdout.readline() == b"in the middle\n"
    assert await pending(redis_client) == 5
    assert len(await written(database)) == (5 if cut == "written" else 0)
    async with running(migrated_url, redis_url):
        await put(redis_client, 5)
        await asyncio.sleep(0.3)
        assert await pending(redis_client) == 5, "one reads, the other stands by"
        child.kill()
        await child.wait()
        assert await until(database, 6) == [f"line {number}" for number in range(6)], "what was left over comes first"
        await acknowledged(redis_client)


async def test_of_two_consumers_one_reads_and_the_other_takes_over(
    fleet: None, database: Database, redis_client: "redis.Redis", migrated_url: str, redis_url: str
) -> None:
    async with running(migrated_url, redis_url) as first:
        await put(redis_client, 0)
        await until(database, 1)
        async with running(migrated_url, redis_url):
            await end(first)
            await put(redis_client, 1)
            assert await until(database, 2) == ["line 0", "line 1"]


async def test_entries_trimmed_from_the_stream_before_they_were_written_are_passed_over(
    fleet: None, database: Database, redis_client: "redis.Redis", migrated_url: str, redis_url: str
) -> None:
    await redis_client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    for number in range(4):
        await put(redis_client, number)
    await redis_client.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=2)
    await redis_client.xtrim(STREAM, maxlen=1, approximate=False)
    async with running(migrated_url, redis_url):
        assert await until(database, 1) == ["line 3"]
        await acknowledged(redis_client)
    assert await redis_client.xlen(DEAD) == 0


async def test_redis_may_go_and_come_back_empty(
    fleet: None, database: Database, redis_client: "redis.Redis", migrated_url: str, redis_url: str
) -> None:
    cable = Cable(redis_url)
    await cable.plug()
    async with running(migrated_url, cable.through):
        await put(redis_client, 0)
        await until(database, 1)
        await cable.pull()
        await redis_client.delete(STREAM)  # it lost its memory: the group is gone with the stream
        await put(redis_client, 1)
        await asyncio.sleep(0.2)
        assert len(await written(database)) == 1
        await cable.plug()
        assert await until(database, 2) == ["line 0", "line 1"]
    await cable.pull()


async def test_postgresql_may_go_and_come_back_and_order_holds(
    fleet: None, database: Database, redis_client: "redis.Redis", migrated_url: str, redis_url: str
) -> None:
    cable = Cable(migrated_url)
    await cable.plug()
    async with running(cable.through, redis_url):
        await put(redis_client, 0)
        await until(database, 1)
        await cable.pull()
        for number in range(1, 6):
            await put(redis_client, number)
        await asyncio.sleep(1.5)
        assert len(await written(database)) == 1
        await cable.plug()
        await put(redis_client, 6)
        assert await until(database, 7) == [f"line {number}" for number in range(7)]
        await acknowledged(redis_client)
    assert await redis_client.xlen(DEAD) == 0, "an absent server is no reason to bury anything"
    await cable.pull()
