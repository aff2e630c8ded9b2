"""Counts kept on write equal a recount from the rows, whatever happens in whatever order."""

import asyncio
import random
from typing import Any

import httpx
import pytest
from alembic import command
from sqlalchemy import text

from update_manager.adapters.db.migrate import configuration
from update_manager.adapters.db.session import Database
from update_manager.application.rollout_engine import COUNTS, counts_by_group, step_one
from update_manager.testing import Device, make_fleet, make_plain_set, make_rollout, ok, step_all

RECOUNT = text(
    """
    SELECT g.id, (SELECT count(*) FROM rollout_target m WHERE m.group_id = g.id),
      count(a.id), count(*) FILTER (WHERE a.status = 'finished' OR (a.status = 'downloaded' AND NOT a.active)),
      count(*) FILTER (WHERE a.status = 'error'), count(*) FILTER (WHERE a.status = 'canceled'),
      count(*) FILTER (WHERE a.already_installed)
    FROM rollout_group g LEFT JOIN action a ON a.rollout_group_id = g.id
    WHERE g.rollout_id = :rollout GROUP BY g.id
    """
)


async def require_true_counts(database: Database, rollout: int) -> dict[str, int]:
    """Fail when what is kept differs from what is there; the totals."""
    async with database.read() as session:
        kept = {
            group.id: tuple(number[one] for one in COUNTS) for group, number in await counts_by_group(session, rollout)
        }
        recounted = {row[0]: tuple(row[1:]) for row in await session.execute(RECOUNT, {"rollout": rollout})}
    assert kept == recounted
    return dict(zip(COUNTS, (sum(column) for column in zip(*kept.values(), strict=True)), strict=True))


@pytest.mark.parametrize("seed", range(3))
async def test_counts_are_true_after_every_event(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database, seed: int
) -> None:
    dice = random.Random(seed)
    await make_fleet(database, 24, "d")
    names = [f"d-{number:06d}" for number in range(1, 25)]
    sets = [await make_plain_set(operator, version=f"{number}.0") for number in range(3)]
    action_type = dice.choice(["forced", "downloadonly"])
    for name in dice.sample(names, 3):  # some have the set already
        ok(await operator.post(f"/rest/v1/targets/{name}/assignedDS", json={"id": sets[0]}))
        await Device(gateway, name).finish()
    plan: dict[str, Any] = {"amountGroups": 4, "type": action_type, "successCondition": {"expression": "30"}}
    rollout = await make_rollout(operator, sets[0], **plan)
    await step_all(database, batch=7)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    for _ in range(90):
        name = dice.choice(names)
        device = Device(gateway, name)
        match dice.randrange(10):
            case 0 if len(names) > 5:
                names.remove(name)
                ok(await operator.delete(f"/rest/v1/targets/{name}"), 204)
            case 1:
                ok(await operator.post(f"/rest/v1/targets/{name}/assignedDS", json={"id": dice.choice(sets)}))
            case 2:
                if (action := await device.assigned()) is not None:
                    ok(await operator.delete(f"/rest/v1/targets/{name}/actions/{action}"), 204)
                    if dice.random() < 0.5:
                        ok(await operator.delete(f"/rest/v1/targets/{name}/actions/{action}?force=true"), 204)
            case 3:
                if (action := await device.canceling()) is not None:
                    ok(await device.feedback(action, "closed", dice.choice(["success", "failure"]), cancel=True))
            case 4 if dice.random() < 0.2:
                await operator.post(f"/rest/v1/rollouts/{rollout}/{dice.choice(['pause', 'resume', 'stop'])}")
            case _:
                if (action := await device.assigned()) is not None:
                    execution = dice.choice(["closed", "closed", "download", "downloaded", "proceeding"])
                    ok(await device.feedback(action, execution, dice.choice(["success", "failure", "none"])))
        if dice.random() < 0.4:
            await step_one(database, 5)
        await require_true_counts(database, rollout)
    await step_all(database)
    totals = await require_true_counts(database, rollout)
    shown = ok(await operator.get(f"/rest/v1/rollouts/{rollout}/progress"))
    for word in ("finished", "error", "cancelled"):
        assert shown["totals"][word] == totals[word]
    assert shown["rollout"]["totalTargets"] == totals["total_targets"]
    async with database.read() as session:
        left = await session.scalar(text("SELECT count(*) FROM rollout_tally WHERE rollout_id = :r"), {"r": rollout})
    assert left == 0, "steps fold slips in and throw them away"


async def test_one_statement_leaves_one_slip_however_many_rows(operator: httpx.AsyncClient, database: Database) -> None:
    await make_fleet(database, 500)
    rollout = await make_rollout(operator, await make_plain_set(operator))
    await step_all(database)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    await step_all(database)
    async with database.write() as session:
        await session.execute(text("UPDATE action SET status = 'finished', active = false"))
        slips = (await session.execute(text("SELECT started, finished, error FROM rollout_tally"))).all()
        assert slips == [(0, 500, 0)]
        await session.execute(text("UPDATE action SET phase = 'verifying'"))
        assert await session.scalar(text("SELECT count(*) FROM rollout_tally")) == 1, "nothing counted has changed"
        await session.execute(text("DELETE FROM target"))
        assert await session.scalar(text("SELECT sum(total_targets) FROM rollout_tally")) == -500
        assert await session.scalar(text("SELECT sum(finished) FROM rollout_tally")) == 0


@pytest.mark.parametrize(("kind", "last_word"), [("forced", "closed"), ("downloadonly", "downloaded")])
async def test_a_rollout_under_way_is_counted_anew_when_the_counts_come_with_an_upgrade(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    migrated_url: str,
    kind: str,
    last_word: str,
) -> None:
    async def finish(name: str) -> None:
        device = Device(gateway, name)
        ok(await device.feedback(await device.assigned() or 0, last_word, "success"), 200)

    await make_fleet(database, 9, "d")
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=3, type=kind)
    await step_all(database)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    await step_all(database)
    await finish("d-000001")
    await Device(gateway, "d-000002").finish("failure")
    before = await require_true_counts(database, rollout)
    await database.close()
    for walk, revision in ((command.downgrade, "0001"), (command.upgrade, "head")):
        await asyncio.to_thread(walk, configuration(migrated_url), revision)
    assert await require_true_counts(database, rollout) == before
    assert before["started"] == 3 and before["finished"] == 1 and before["error"] == 1
    await finish("d-000003")
    assert await step_all(database) == ["d-000004", "d-000005", "d-000006"], "and it goes on where it was"
