"""Worker and beat as real processes over real Redis: jobs are done, killed workers replaced, lost rings rung again."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio as redis
from sqlalchemy import text

from firmware_delta import apply
from softdevice.images import SigningKey, sign
from update_manager.adapters.db.session import Database
from update_manager.application.hints import STREAM as HINTS
from update_manager.entrypoints.worker.celery_app import BUILD_DELTAS, QUEUE, STEP_ROLLOUTS, SWEEP, create_celery
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import (
    GATEWAY_TOKEN,
    Cable,
    Device,
    make_plain_set,
    make_product,
    make_rollout,
    make_targets,
    ok,
    publish,
)
from updraft_local.processes import Process, python

NAMES = [f"w{number}" for number in range(6)]
Starter = Callable[..., Process]


@pytest.fixture
async def redis_client(redis_client: "redis.Redis") -> "redis.Redis":
    """Redis without jobs of earlier tests."""
    await redis_client.delete(QUEUE, "unacked", "unacked_index")
    return redis_client


@pytest.fixture
def start(settings: UpdateManagerSettings, tmp_path: Path) -> Iterator[Starter]:
    """Starts `worker` or `beat` as `make run` does; all are stopped at the end."""
    started: list[Process] = []

    def begin(role: str, database_url: str | None = None, redis_url: str | None = None) -> Process:
        environment = {
            "DATABASE_URL": database_url or settings.database_url.get_secret_value(),
            "REDIS_URL": redis_url or settings.redis_url.get_secret_value(),
            "UPDATE_MANAGER_GATEWAY_TOKEN": GATEWAY_TOKEN,
            "UPDATE_MANAGER_ARTIFACT_DIRECTORY": str(settings.artifact_directory),
            "UPDATE_MANAGER_ENGINE_TICK_SECONDS": "0.2",
        }
        log = tmp_path / f"{role}-{len(started)}.log"
        process = Process(role, python("-m", "update_manager", role), environment, log)
        process.start()
        started.append(process)
        return process

    yield begin
    for process in reversed(started):
        process.kill()


@contextmanager
def doorbell(settings: UpdateManagerSettings) -> Iterator[Callable[[str], Any]]:
    """Rings for a task by its name, as beat does."""
    app = create_celery(settings)
    yield app.send_task
    app.close()


async def until(what: str, condition: Callable[[], Any], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def rollout_status(database: Database) -> str:
    async with database.read() as session:
        return str(await session.scalar(text("SELECT status FROM rollout")))


async def work_until_finished(gateway: httpx.AsyncClient, database: Database, names: list[str]) -> None:
    """All devices install whatever they are told to until the rollout has ended."""

    async def one(name: str) -> None:
        device = Device(gateway, name)
        while await rollout_status(database) != "finished":
            if (action := await device.assigned()) is not None:
                ok(await device.feedback(action, "closed", "success"), 200)
            await asyncio.sleep(0.1)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one(name) for name in names))


async def test_a_job_that_is_rung_is_done_and_what_it_rings_for_is_rung_again_by_the_sweep(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    redis_client: "redis.Redis",
    settings: UpdateManagerSettings,
    start: Starter,
) -> None:
    """No beat here: nothing happens but what this test rings for."""
    worker = start("worker")
    await make_targets(operator, *NAMES[:2])
    rollout = await make_rollout(operator, await make_plain_set(operator))
    with doorbell(settings) as ring:

        async def rolled(status: str) -> None:
            ring(STEP_ROLLOUTS)
            await until(status, lambda: is_status(database, status))

        await rolled("ready")
        ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
        await rolled("running")
        await until("hints", lambda: redis_client.xlen(HINTS))
        hints: Any = await redis_client.xrange(HINTS)
        assert [fields[b"controllerId"].decode() for _, fields in hints] == NAMES[:2]
        assert {fields[b"reason"] for _, fields in hints} == {b"rollout"}

        await redis_client.delete(HINTS)  # every ring is lost
        assert await Device(gateway, NAMES[0]).finish()
        ring(SWEEP)
        await until("hints", lambda: redis_client.xlen(HINTS))
        hints = await redis_client.xrange(HINTS)
        assert [fields[b"controllerId"].decode() for _, fields in hints] == NAMES[1:2], "who is done is left alone"
    assert len(await redis_client.keys("updraft:worker:*")) == 1, "its heartbeat"
    worker.require_alive()


async def is_status(database: Database, status: str) -> bool:
    return await rollout_status(database) == status


async def test_a_campaign_survives_two_beats_and_a_worker_killed_in_the_middle_of_a_step(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    redis_client: "redis.Redis",
    migrated_url: str,
    start: Starter,
) -> None:
    workers = [start("worker")]
    beats = [start("beat"), start("beat")]
    await make_targets(operator, *NAMES)
    blocker = Database(migrated_url, 1)
    async with blocker.write() as session:
        # Whoever steps gets as far as taking targets in, and hangs there with its rollout locked.
        await session.execute(text("LOCK TABLE rollout_target IN SHARE MODE"))
        rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=3)
        await until("a step that hangs", lambda: is_stuck(database))
        workers[0].kill()
        workers.append(start("worker"))
        workers.append(start("worker"))
    await blocker.close()
    await until("ready", lambda: is_status(database, "ready"))
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    await work_until_finished(gateway, database, NAMES)
    async with database.read() as session:
        counts = text(
            "SELECT count(*), count(DISTINCT target_id), count(*) FILTER (WHERE status = 'finished') FROM action"
        )
        assert tuple((await session.execute(counts)).one()) == (6, 6, 6)
        once = text(
            "SELECT max(n) FROM (SELECT count(*) n FROM action_status WHERE status = 'finished' GROUP BY action_id) s"
        )
        assert await session.scalar(once) == 1
    for process in (*workers[1:], *beats):
        process.require_alive()
    # In-order end: each says good-bye when it is asked to.
    for process in (beats[0], workers[1]):
        assert process.child is not None
        process.child.terminate()
        assert await asyncio.to_thread(process.child.wait, 15) == 0


async def is_stuck(database: Database) -> bool:
    waiting = text(
        "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO rollout_target%')"
    )
    async with database.read() as session:
        return bool(await session.scalar(waiting))


async def test_worker_and_beat_outlive_servers_that_are_away(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    redis_client: "redis.Redis",
    migrated_url: str,
    redis_url: str,
    start: Starter,
) -> None:
    postgres, broker = Cable(migrated_url), Cable(redis_url)
    await postgres.plug()
    await broker.plug()
    processes = [start(role, postgres.through, broker.through) for role in ("worker", "beat")]
    await make_targets(operator, *NAMES)
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=2)
    await until("ready", lambda: is_status(database, "ready"))
    for cable in (broker, postgres):
        await cable.pull()
        await asyncio.sleep(1.5)
        await cable.plug()
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    await work_until_finished(gateway, database, NAMES)
    for process in processes:
        process.require_alive()
    for cable in (broker, postgres):
        await cable.pull()


async def test_a_delta_is_made_by_a_worker_while_a_device_waits_for_it(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    start: Starter,
    settings: UpdateManagerSettings,
    signing_key: SigningKey,
) -> None:
    old, new = (sign(bytes(4000) + bytes(range(200)), version, signing_key) for version in ("1.0.0", "1.1.0"))
    await make_product(operator, signing_key.public_pem)
    await publish(operator, old)
    release = (await publish(operator, new))["distributionSetId"]
    await make_targets(operator, "probe")
    ok(await operator.post("/rest/v1/targets/probe/assignedDS", json={"id": release}))
    device = Device(gateway, "probe")
    answer = ok(await gateway.get(f"{device.base}/deploymentBase/{await device.assigned()}"))
    href = answer["deployment"]["chunks"][0]["artifacts"][0]["_links"]["delta"]["href"]
    question = {"from": hashlib.sha256(old).hexdigest()}
    assert (await gateway.get(href, params=question)).status_code == 202
    start("worker")
    with doorbell(settings) as ring:
        ring(BUILD_DELTAS)
        async with asyncio.timeout(60):
            while (found := await gateway.get(href, params=question)).status_code == 202:
                await asyncio.sleep(0.1)
    fetched = await gateway.get(ok(found, 200)["_links"]["download-http"]["href"])
    assert apply(fetched.content, old) == new
