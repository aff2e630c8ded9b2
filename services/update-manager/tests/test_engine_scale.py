"""Twenty thousand devices: a step costs the same statements as for twenty, and no query reads a table through."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text

from update_manager.adapters.db.session import Database
from update_manager.application import actions, hints
from update_manager.application.rollout_engine import _take_due, step_one
from update_manager.testing import Device, make_fleet, make_plain_set, make_rollout, ok

DEVICES = 20_000
BATCH = 5_000
# The dearest step (starting a batch of a group) and some air.
MOST_STATEMENTS = 24


@pytest.fixture
async def database(database: Database) -> AsyncIterator[Database]:
    """The usual database; a fleet this large is thrown away at once, or the next test would wait for it."""
    yield database
    tables = "rollout_tally, action_status, action, rollout_target, target_event, target_attribute, target"
    async with database.write() as session:
        await session.execute(text(f"TRUNCATE {tables} CASCADE"))


@contextmanager
def counted(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Statements sent while inside, with their parameters; a batch of parameters counts as many statements."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        sent.extend([(statement, parameters)] * (len(parameters) if many else 1))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def campaign(operator: httpx.AsyncClient, database: Database, devices: int, batch: int) -> list[int]:
    """Statements of each step of a rollout in two groups, from nothing until all of its devices are at work."""
    await make_fleet(database, devices, f"fleet{devices}")
    release = await make_plain_set(operator, name=f"set{devices}")
    plan: dict[str, Any] = {"query": f"name==fleet{devices}-*", "name": f"for {devices}", "amountGroups": 2}
    plan["successCondition"] = {"condition": "THRESHOLD", "expression": "0"}
    rollout = await make_rollout(operator, release, **plan)
    costs = []
    for _ in range(100):
        with counted(database) as sent:
            stepped = await step_one(database, batch)
        if stepped is not None:
            costs.append(len(sent))
        elif ok(await operator.get(f"/rest/v1/rollouts/{rollout}"))["status"] == "ready":
            ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
        else:
            break
    totals = ok(await operator.get(f"/rest/v1/rollouts/{rollout}/progress"))["totals"]
    assert totals["running"] == devices
    return costs


async def explain(database: Database, sent: list[tuple[str, Any]]) -> str:
    """Plans of statements that were sent, as PostgreSQL makes them now."""
    plans = []
    async with database.engine.connect() as connection:
        for statement, parameters in sent:
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
                answer = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
                plans.append(json.dumps(answer.scalar()))
        await connection.rollback()
    return "\n".join(plans)


def read_through(plans: str) -> set[str]:
    """Tables a plan reads from end to end."""
    found: set[str] = set()

    def walk(node: dict[str, Any]) -> None:
        if node["Node Type"] == "Seq Scan":
            found.add(node["Relation Name"])
        for child in node.get("Plans", ()):
            walk(child)

    for line in plans.splitlines():
        walk(json.loads(line)[0]["Plan"])
    return found


async def test_a_step_over_twenty_thousand_devices_sends_no_more_statements_than_one_over_twenty(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    small = await campaign(operator, database, 20, BATCH)
    # Statistics as they are when a fleet grows suddenly: PostgreSQL believes that no rollout has many targets.
    async with database.write() as session:
        await session.execute(text("ANALYZE rollout_target"))
    async with asyncio.timeout(60):
        large = await campaign(operator, database, DEVICES, BATCH)
    assert max(large) <= max(small) <= MOST_STATEMENTS
    steps = DEVICES // BATCH
    # Collect, deal out, start; per group its batches, and one look that folds what was counted.
    assert len(large) <= (steps + 1) + 1 + (steps + 2) + 4

    async with database.write() as session:
        await session.execute(text("ANALYZE"))
    device = Device(gateway, f"fleet{DEVICES}-010000")
    target = ok(await operator.get(f"/rest/v1/targets/{device.name}"))
    assert target["updateStatus"] == "pending"

    assert read_through(await explain(database, [("SELECT * FROM target WHERE name || '' = 'x'", ())])) == {"target"}
    # What runs all the time reads no table of the fleet's size through.
    large_tables = {"target", "action", "action_status", "rollout_target", "target_attribute"}
    parts = operator._transport.app.state.parts  # type: ignore[attr-defined]
    with counted(parts.database) as sent:
        await device.links()
    assert 3 <= len(sent) <= 6, "a poll is a handful of statements"
    assert not read_through(await explain(database, sent)) & large_tables
    with counted(parts.database) as sent:
        action = await device.assigned()
        assert action is not None
        ok(await device.client.get(f"{device.base}/deploymentBase/{action}"))
        ok(await device.feedback(action, "closed", "success"), 200)
    assert not read_through(await explain(database, sent)) & large_tables

    with counted(database) as sent:
        async with database.write() as session:
            assert await _take_due(session) is not None, "the feedback has woken its rollout"
        assert await step_one(database, BATCH) is not None
    assert not read_through(await explain(database, sent)) & large_tables

    with counted(database) as sent:
        async with database.read() as session:
            names, after = await hints.waiting(session, 0, 100)
    assert len(names) == 100 and after > 0
    assert not read_through(await explain(database, sent)) & large_tables


async def test_assigning_five_thousand_devices_by_hand_is_a_handful_of_statements(
    operator: httpx.AsyncClient, database: Database
) -> None:
    await make_fleet(database, 5_000)
    release = await make_plain_set(operator)
    names = [f"device-{number:06d}" for number in range(1, 5_001)]
    with counted(database) as sent:
        async with database.write() as session:
            ids, already, ring = await actions.assign(session, 1, release, names, "forced", "operator")
    assert len(ids) == 5_000 and already == 0 and ring == names
    assert len(sent) <= 12


async def test_polls_of_one_device_write_its_last_contact_at_most_every_ten_seconds(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_fleet(database, 1)
    device = Device(gateway, "device-000001")
    parts = operator._transport.app.state.parts  # type: ignore[attr-defined]
    with counted(parts.database) as sent:
        for _ in range(10):
            await device.links()
    assert len([statement for statement, _ in sent if not statement.startswith("SELECT")]) == 1
    before = ok(await operator.get("/rest/v1/targets/device-000001"))
    assert before["lastModifiedBy"] == "test" and before["lastModifiedAt"] == before["createdAt"]
