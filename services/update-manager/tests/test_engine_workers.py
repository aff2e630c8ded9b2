"""Many workers, as tasks and as real processes, some of them killed: no step is done twice, none is lost."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import select, text, update

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.application.rollout_engine import step_one
from update_manager.testing import make_fleet, make_plain_set, make_rollout, ok, step_all

# Steps for ever and says whom it would ring.
STEPPER = """
import asyncio, json, sys
from update_manager.adapters.db.session import Database
from update_manager.application.rollout_engine import step_one

async def main():
    database = Database(sys.argv[1], 2)
    print("ready", flush=True)
    while True:
        stepped = await step_one(database, int(sys.argv[2]))
        if stepped is None:
            await asyncio.sleep(0.02)
        elif stepped.ring:
            print(json.dumps(stepped.ring), flush=True)

asyncio.run(main())
"""
# Does a whole step with the engine's own functions, and never comes to its commit.
HANGING = """
import asyncio, sys
from update_manager.adapters.db.session import Database
from update_manager.application import rollout_engine as engine

async def main():
    database = Database(sys.argv[1], 2)
    async with database.write() as session:
        rollout = await engine._take_due(session)
        await engine._step(session, rollout, int(sys.argv[2]), engine.Stepped(rollout.id))
        await session.flush()
        print("in the middle", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@asynccontextmanager
async def process(code: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process of its own; killed at the end, whatever it does."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def line_of(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(30):
        return (await child.stdout.readline()).decode().strip()


async def ready(operator: httpx.AsyncClient, database: Database, devices: int, groups: int, name: str = "one") -> int:
    rollout = await make_rollout(
        operator, await make_plain_set(operator, name=name), name=name, amountGroups=groups, query="name==device*"
    )
    await step_all(database)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    return rollout


async def close_what_runs(database: Database) -> None:
    """All devices of all started groups report success at once, as feedback does: one transaction each group."""
    async with database.write() as session:
        await session.execute(
            update(t.Action).where(t.Action.active).values(status="finished", active=False, ended_at=text("now()"))
        )


async def status_of(database: Database, rollout: int) -> str:
    async with database.read() as session:
        return str(await session.scalar(select(t.Rollout.status).where(t.Rollout.id == rollout)))


async def require_each_started_once(database: Database, rollout: int, devices: int) -> None:
    async with database.read() as session:
        actions = await session.execute(
            text("SELECT count(*), count(DISTINCT target_id) FROM action WHERE rollout_id = :rollout"),
            {"rollout": rollout},
        )
        assert actions.one() == (devices, devices)
        lines = text(
            "SELECT count(*) FROM action_status s JOIN action a ON a.id = s.action_id "
            "WHERE a.rollout_id = :rollout AND s.messages->>0 LIKE 'started by%'"
        )
        assert await session.scalar(lines, {"rollout": rollout}) == devices


async def test_tasks_that_step_at_once_do_every_step_once(
    operator: httpx.AsyncClient, database: Database, migrated_url: str
) -> None:
    await make_fleet(database, 120)
    rollout = await ready(operator, database, 120, 4)
    rung: list[str] = []

    async def worker() -> None:
        own = Database(migrated_url, 1)
        while await status_of(own, rollout) != "finished":
            if (stepped := await step_one(own, 7)) is not None:
                rung.extend(stepped.ring)
            await asyncio.sleep(0.005)
        await own.close()

    async def devices() -> None:
        while await status_of(database, rollout) != "finished":
            await close_what_runs(database)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(60):
        await asyncio.gather(devices(), *(worker() for _ in range(6)))
    assert set(Counter(rung).values()) == {1} and len(rung) == 120
    await require_each_started_once(database, rollout, 120)


async def test_processes_that_step_at_once_and_are_killed_lose_nothing_and_repeat_nothing(
    operator: httpx.AsyncClient, database: Database, migrated_url: str
) -> None:
    await make_fleet(database, 300)
    rollout = await ready(operator, database, 300, 6)
    heard: Counter[str] = Counter()

    async def listen(child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        async for line in child.stdout:
            heard.update(json.loads(line))

    async with asyncio.timeout(90):
        async with process(STEPPER, migrated_url, "9") as one, process(STEPPER, migrated_url, "9") as two:
            for child in (one, two):
                assert await line_of(child) == "ready"
            listeners = [asyncio.create_task(listen(child)) for child in (one, two)]
            while await status_of(database, rollout) != "finished":
                await close_what_runs(database)
                if one.returncode is None and sum(heard.values()) > 100:
                    one.send_signal(signal.SIGKILL)  # in the middle of whatever it does
                    await one.wait()
                await asyncio.sleep(0.02)
        await asyncio.gather(*listeners)
    assert one.returncode == -signal.SIGKILL
    assert set(heard.values()) == {1}, "nobody is rung twice; a ring lost with its process is the sweep's business"
    await require_each_started_once(database, rollout, 300)


@pytest.mark.parametrize("cut", range(7))
async def test_a_worker_killed_in_the_middle_of_any_step_leaves_that_step_to_the_next(
    operator: httpx.AsyncClient, database: Database, migrated_url: str, cut: int
) -> None:
    """The steps of this campaign: collect 3, collect 1 and deal out, start, first group 2, its fold, ... , finish."""
    await make_fleet(database, 4)
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=2)
    rung: list[str] = []
    steps = 0

    async def step() -> bool:
        nonlocal steps
        stepped = await step_one(database, 3)
        if stepped is not None:
            rung.extend(stepped.ring)
            steps += 1
        return stepped is not None

    async def go_on(until: int) -> None:
        while steps < until:
            if await step():
                continue
            match await status_of(database, rollout):
                case "ready":
                    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
                case "finished":
                    return
                case _:
                    await close_what_runs(database)

    await go_on(cut)
    while await status_of(database, rollout) == "ready" or not await is_due(database):
        if await status_of(database, rollout) == "ready":
            ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
        else:
            await close_what_runs(database)
    before = await picture(database)
    async with process(HANGING, migrated_url, "3") as victim:
        assert await line_of(victim) == "in the middle"
        assert await picture(database) == before, "nothing is seen of a step that is not committed"
        assert await step_one(database, 3) is None, "somebody is at it"
        victim.kill()
        await victim.wait()
    async with asyncio.timeout(10):
        while not await step():  # PostgreSQL needs a moment to notice
            await asyncio.sleep(0.02)
    await go_on(100)
    assert await status_of(database, rollout) == "finished"
    assert sorted(rung) == [f"device-{number:06d}" for number in range(1, 5)], "each device once"
    await require_each_started_once(database, rollout, 4)


async def is_due(database: Database) -> bool:
    async with database.read() as session:
        due = text(
            "SELECT EXISTS (SELECT 1 FROM rollout WHERE next_step_at <= now()) OR EXISTS (SELECT 1 FROM rollout_tally)"
        )
        return bool(await session.scalar(due))


async def picture(database: Database) -> list[tuple[object, ...]]:
    """Everything a step writes, as others see it."""
    async with database.read() as session:
        found: list[tuple[object, ...]] = []
        for table in ("rollout", "rollout_group", "rollout_target", "rollout_tally", "action", "action_status"):
            rows = await session.execute(text(f"SELECT '{table}', x.*::text FROM {table} x ORDER BY 2"))
            found += [tuple(row) for row in rows]
        return found
