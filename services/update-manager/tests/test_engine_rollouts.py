"""Rollouts on a real PostgreSQL, stepped by hand: order, thresholds, pause, resume, stop, what happens on the way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.application.rollout_engine import step_one
from update_manager.testing import Device, make_fleet, make_plain_set, make_rollout, make_targets, ok, step_all

NAMES = [f"d{number}" for number in range(9)]
THRESHOLDS = {
    "successCondition": {"condition": "THRESHOLD", "expression": "100"},
    "errorCondition": {"condition": "THRESHOLD", "expression": "50"},
}


async def steer(operator: httpx.AsyncClient, rollout: int, verb: str, status: int = 204) -> Any:
    return ok(await operator.post(f"/rest/v1/rollouts/{rollout}/{verb}"), status)


async def shown(operator: httpx.AsyncClient, rollout: int) -> Any:
    return ok(await operator.get(f"/rest/v1/rollouts/{rollout}/progress"))


async def groups_of(operator: httpx.AsyncClient, rollout: int) -> list[str]:
    return [group["status"] for group in (await shown(operator, rollout))["groups"]]


async def started(operator: httpx.AsyncClient, database: Database, names: list[str] = NAMES, **plan: Any) -> int:
    """A rollout (of three groups unless the plan says else), its first group started."""
    await make_targets(operator, *names)
    rollout = await make_rollout(operator, await make_plain_set(operator), **{"amountGroups": 3, **THRESHOLDS, **plan})
    await step_all(database)
    await steer(operator, rollout, "start")
    assert await step_all(database) == names[: len(names) // plan.get("amountGroups", 3)]
    return rollout


async def test_a_rollout_runs_group_after_group_to_its_end(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    rollout = await started(operator, database)
    assert await groups_of(operator, rollout) == ["running", "scheduled", "scheduled"]
    for first in (0, 3, 6):
        for name in NAMES[first : first + 3]:
            await Device(gateway, name).finish()
            rung = await step_all(database)
            last = name == NAMES[first + 2]
            assert rung == (NAMES[first + 3 : first + 6] if last else []), "the next group, when all of this are done"
    end = await shown(operator, rollout)
    assert end["status"] == "finished" and end["percent"] == 100
    assert end["judgement"] == "Finished: all 9 devices run the new version."
    assert [group["status"] for group in end["groups"]] == ["finished"] * 3
    assert end["endedAt"] >= end["startedAt"]


async def test_the_success_threshold_starts_the_next_group(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    half: dict[str, Any] = {"successCondition": {"condition": "THRESHOLD", "expression": "60"}}
    rollout = await started(operator, database, **half)
    await Device(gateway, "d0").finish()
    assert await step_all(database) == []
    await Device(gateway, "d1").finish()
    assert await step_all(database) == NAMES[3:6]
    assert await groups_of(operator, rollout) == ["running", "running", "scheduled"]


async def test_the_error_threshold_pauses_and_resume_goes_on_with_the_next_group(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    rollout = await started(operator, database)
    await Device(gateway, "d0").finish("failure", "cause: update_failed", "flash is worn")
    await step_all(database)
    assert (await shown(operator, rollout))["status"] == "running", "33 % are allowed"
    await Device(gateway, "d1").finish("failure", "cause: update_failed", "flash is worn")
    assert await step_all(database) == []
    paused = await shown(operator, rollout)
    assert paused["status"] == "paused"
    assert paused["judgement"] == "Paused: 2 of 3 devices failed (66 %), 50 % are allowed."
    assert paused["groups"][0]["status"] == "error"
    assert paused["causes"][0]["cause"] == "update_failed" and paused["causes"][0]["count"] == 2
    await steer(operator, rollout, "resume")
    assert await step_all(database) == NAMES[3:6]
    for name in NAMES[2:6]:
        await Device(gateway, name).finish()
        await step_all(database)
    for name in NAMES[6:]:
        await Device(gateway, name).finish()
        await step_all(database)
    end = await shown(operator, rollout)
    assert end["status"] == "finished" and end["totals"]["error"] == 2 and end["totals"]["finished"] == 7


async def test_the_success_action_pause_stops_after_the_canary_until_somebody_resumes(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    rollout = await started(operator, database, successAction={"action": "PAUSE"})
    for name in NAMES[:3]:
        await Device(gateway, name).finish()
    assert await step_all(database) == []
    assert (await shown(operator, rollout))["status"] == "paused"
    await steer(operator, rollout, "resume")
    assert await step_all(database) == NAMES[3:6]
    assert (await shown(operator, rollout))["status"] == "running"


@pytest.mark.parametrize(("allowed", "failures"), [(None, 3), ("0", 1), ("100", None)])
async def test_a_rollout_pauses_above_what_it_allows_half_if_it_does_not_say(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    allowed: str | None,
    failures: int | None,
) -> None:
    await make_targets(operator, *NAMES[:5])
    plan: dict[str, Any] = (
        {} if allowed is None else {"errorCondition": {"condition": "THRESHOLD", "expression": allowed}}
    )
    rollout = await make_rollout(operator, await make_plain_set(operator), **plan)
    await step_all(database)
    await steer(operator, rollout, "start")
    await step_all(database)
    for number, name in enumerate(NAMES[:5], 1):
        await Device(gateway, name).finish("failure")
        await step_all(database)
        if (await shown(operator, rollout))["status"] == "paused":
            assert number == failures
            return
    assert failures is None and (await shown(operator, rollout))["status"] == "finished"


async def test_a_group_without_an_error_threshold_keeps_none(operator: httpx.AsyncClient, database: Database) -> None:
    await make_targets(operator, *NAMES)
    await make_rollout(operator, await make_plain_set(operator))
    async with database.write() as session:
        group = await session.scalar(select(t.RolloutGroup))
        assert group is not None
        session.add(t.RolloutGroup(
            tenant_id=group.tenant_id, rollout_id=group.rollout_id, position=7, name="x", status="ready",
            error_threshold=None,
        ))  # fmt: skip
    async with database.read() as session:
        kept = await session.scalar(select(t.RolloutGroup.error_threshold).where(t.RolloutGroup.position == 7))
    assert kept is None


async def test_a_paused_rollout_starts_nothing_and_takes_feedback(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    rollout = await started(operator, database)
    await steer(operator, rollout, "pause")
    for name in NAMES[:3]:
        await Device(gateway, name).finish()
    assert await step_all(database) == []
    now = await shown(operator, rollout)
    assert now["status"] == "paused" and now["judgement"] == "Paused: by operator."
    assert now["groups"][0]["status"] == "finished" and now["totals"]["finished"] == 3
    await steer(operator, rollout, "resume")
    assert await step_all(database) == NAMES[3:6]


@pytest.mark.parametrize("done", range(4))
async def test_a_stopped_rollout_cancels_what_runs_and_keeps_what_ended(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database, done: int
) -> None:
    rollout = await started(operator, database, names=NAMES[:6], amountGroups=1 if done == 3 else 3)
    first = NAMES[:6] if done == 3 else NAMES[:2]
    for name in first[:done]:
        await Device(gateway, name).finish()
    await steer(operator, rollout, "stop")
    rung = await step_all(database, batch=2)
    assert rung == first[done:], "in batches, each once"
    end = await shown(operator, rollout)
    assert end["status"] == "stopped" and end["totals"]["finished"] == min(done, len(first))
    for name in first[done:]:
        device = Device(gateway, name)
        action = await device.canceling()
        assert action is not None
        ok(await device.feedback(action, "closed", "success", cancel=True), 200)
    await step_all(database)
    end = await shown(operator, rollout)
    assert end["totals"]["cancelled"] == len(first[done:]) and end["totals"]["running"] == 0
    for verb in ("start", "pause", "resume", "stop"):
        refused = await operator.post(f"/rest/v1/rollouts/{rollout}/{verb}")
        assert refused.status_code == 400
        assert refused.json()["errorCode"] == "hawkbit.server.error.rollout.illegalState"


async def test_each_verb_is_taken_in_its_states_only(operator: httpx.AsyncClient, database: Database) -> None:
    await make_targets(operator, *NAMES)
    rollout = await make_rollout(operator, await make_plain_set(operator))
    for verb in ("start", "pause", "resume"):
        await steer(operator, rollout, verb, 400)  # creating
    await step_all(database)
    for verb in ("pause", "resume"):
        await steer(operator, rollout, verb, 400)  # ready
    await steer(operator, rollout, "start")
    await steer(operator, rollout, "start", 400)  # starting
    await steer(operator, rollout, "pause", 400)
    await step_all(database)
    for verb in ("start", "resume"):
        await steer(operator, rollout, verb, 400)  # running
    await steer(operator, rollout, "pause")
    await steer(operator, rollout, "pause", 400)
    await steer(operator, rollout, "stop")
    await step_all(database)
    assert (await shown(operator, rollout))["status"] == "stopped"


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_a_rollout_stopped_while_it_is_created_touches_nobody(
    operator: httpx.AsyncClient, database: Database, steps: int
) -> None:
    await make_targets(operator, *NAMES)
    rollout = await make_rollout(operator, await make_plain_set(operator))
    for _ in range(steps):
        await step_one(database, 4)
    await steer(operator, rollout, "stop")
    assert await step_all(database) == []
    assert (await shown(operator, rollout))["status"] == "stopped"
    assert ok(await operator.get("/rest/v1/actions"))["total"] == 0


async def test_targets_are_collected_in_batches_and_only_those_there_at_creation(
    operator: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, *NAMES)
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=2)
    await step_one(database, 4)
    await make_targets(operator, "latecomer")
    stepped = 1 + len([one for one in [await step_one(database, 4) for _ in range(4)] if one])
    assert stepped == 3, "4, 4 and 1"
    now = await shown(operator, rollout)
    assert now["status"] == "ready" and [group["targets"] for group in now["groups"]] == [5, 4]
    members = f"/rest/v1/rollouts/{rollout}/deploygroups/{now['groups'][0]['id']}/targets"
    assert [one["controllerId"] for one in ok(await operator.get(members))["content"]] == NAMES[:5]


async def test_a_group_is_started_in_batches_that_go_on_where_they_were(
    operator: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, *NAMES)
    rollout = await make_rollout(operator, await make_plain_set(operator))
    await step_all(database)
    await steer(operator, rollout, "start")
    assert await step_all(database, batch=4) == NAMES, "each once, in order"
    assert await groups_of(operator, rollout) == ["running"]
    assert ok(await operator.get("/rest/v1/actions"))["total"] == 9


async def test_start_at_starts_by_itself_when_the_time_has_come(
    operator: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, *NAMES)
    later = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
    rollout = await make_rollout(operator, await make_plain_set(operator), startAt=later)
    assert await step_all(database) == []
    assert (await shown(operator, rollout))["status"] == "ready"
    async with database.write() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(update(t.Rollout).values(start_at=past, next_step_at=past))
    assert await step_all(database) == NAMES
    assert (await shown(operator, rollout))["status"] == "running"


async def test_devices_that_have_the_set_are_done_without_being_rung(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, *NAMES)
    release = await make_plain_set(operator)
    ok(await operator.post("/rest/v1/targets/d0/assignedDS", json={"id": release}))
    await Device(gateway, "d0").finish()
    rollout = await make_rollout(operator, release)
    await step_all(database)
    await steer(operator, rollout, "start")
    assert await step_all(database) == NAMES[1:]
    totals = (await shown(operator, rollout))["totals"]
    assert (totals["finished"], totals["alreadyInstalled"], totals["running"]) == (1, 1, 8)


async def test_a_rollout_over_devices_that_all_have_it_finishes_by_itself(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, "d0", "d1")
    release = await make_plain_set(operator)
    for name in ("d0", "d1"):
        ok(await operator.post(f"/rest/v1/targets/{name}/assignedDS", json={"id": release}))
        await Device(gateway, name).finish()
    rollout = await make_rollout(operator, release, amountGroups=2)
    await step_all(database)
    await steer(operator, rollout, "start")
    assert await step_all(database) == []
    assert (await shown(operator, rollout))["status"] == "finished"


async def test_devices_deleted_on_the_way_hold_nothing_up(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    rollout = await started(operator, database)
    ok(await operator.delete("/rest/v1/targets/d0"), 204)  # under way
    ok(await operator.delete("/rest/v1/targets/d3"), 204)  # in a group that waits
    await step_all(database)
    now = await shown(operator, rollout)
    assert [group["targets"] for group in now["groups"]] == [2, 2, 3] and now["rollout"]["totalTargets"] == 7
    await Device(gateway, "d1").finish()
    ok(await operator.delete("/rest/v1/targets/d1"), 204)  # done
    await Device(gateway, "d2").finish()
    assert await step_all(database) == ["d4", "d5"]
    for name in ("d4", "d5", "d6", "d7", "d8"):
        ok(await operator.delete(f"/rest/v1/targets/{name}"), 204)
        await step_all(database)
    end = await shown(operator, rollout)
    assert end["status"] == "finished" and end["totals"]["finished"] == 1 and end["rollout"]["totalTargets"] == 1


async def test_devices_deleted_while_a_rollout_is_created_are_not_counted(
    operator: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, *NAMES)
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=2)
    await step_one(database, 4)
    ok(await operator.delete("/rest/v1/targets/d1"), 204)
    ok(await operator.delete("/rest/v1/targets/d7"), 204)
    await step_all(database, batch=4)
    now = await shown(operator, rollout)
    assert now["status"] == "ready" and [group["targets"] for group in now["groups"]] == [4, 3]


async def test_a_newer_rollout_takes_devices_over_and_the_older_one_ends(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    old = await started(operator, database, names=NAMES[:3], amountGroups=1)
    await Device(gateway, "d0").finish()
    new = await make_rollout(operator, await make_plain_set(operator, version="2.0"), name="newer")
    await step_all(database)
    await steer(operator, new, "start")
    assert await step_all(database) == NAMES[:3]
    end = await shown(operator, old)
    assert end["status"] == "finished" and end["totals"]["cancelled"] == 2
    for name in NAMES[:3]:
        await Device(gateway, name).finish()
    await step_all(database)
    assert (await shown(operator, new))["totals"]["finished"] == 3


async def test_a_deleted_rollout_is_gone_and_never_starts(operator: httpx.AsyncClient, database: Database) -> None:
    await make_targets(operator, *NAMES)
    rollout = await make_rollout(operator, await make_plain_set(operator, name="old"), startAt=1)
    ok(await operator.delete(f"/rest/v1/rollouts/{rollout}"), 204)
    ok(await operator.delete("/rest/v1/targets/d0"), 204)
    assert await step_all(database) == []
    assert (await operator.get(f"/rest/v1/rollouts/{rollout}")).status_code == 404
    running = await started(operator, database, names=["e0", "e1", "e2"], query="name==e*")
    assert (await operator.delete(f"/rest/v1/rollouts/{running}")).status_code == 400


async def test_a_rollout_that_cannot_be_stepped_does_not_keep_others_waiting(
    operator: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, *NAMES)
    release = await make_plain_set(operator)
    broken = await make_rollout(operator, release, name="broken")
    async with database.write() as session:
        await session.execute(update(t.Rollout).values(target_filter_query="no such field=="))
    good = await make_rollout(operator, release, name="good")
    await step_all(database)
    assert (await shown(operator, good))["status"] == "ready"
    async with database.write() as session:
        assert await session.scalar(select(t.Rollout.rests_until).where(t.Rollout.id == broken)) is not None
        await session.execute(update(t.Rollout).values(target_filter_query="name==*", rests_until=None))
    await step_all(database)
    assert (await shown(operator, broken))["status"] == "ready", "mended, it goes on where it was"


async def test_more_groups_than_devices_make_one_device_groups(operator: httpx.AsyncClient, database: Database) -> None:
    await make_fleet(database, 3)
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=10)
    await step_all(database)
    now = await shown(operator, rollout)
    assert [group["targets"] for group in now["groups"]] == [1, 1, 1]
