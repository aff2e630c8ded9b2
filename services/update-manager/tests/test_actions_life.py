"""The life of an action: operator on one side, a DDI device on the other, PostgreSQL between."""

import asyncio
import random
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.domain.actions import TRANSITIONS, Status
from update_manager.testing import Device, make_plain_set, make_rollout, make_targets, ok, step_all


@pytest.fixture
async def device(operator: httpx.AsyncClient, gateway: httpx.AsyncClient) -> Device:
    await make_targets(operator, "meter")
    return Device(gateway, "meter")


async def assign(operator: httpx.AsyncClient, release: int, name: str = "meter", **how: Any) -> int:
    """Assign a set; the action's id."""
    made = ok(await operator.post(f"/rest/v1/targets/{name}/assignedDS", json={"id": release, **how}), 200)
    assert made["assigned"] == 1
    return int(made["assignedActions"][0]["id"])


async def target(operator: httpx.AsyncClient, name: str = "meter") -> Any:
    return ok(await operator.get(f"/rest/v1/targets/{name}"))


async def row(database: Database, action_id: int) -> t.Action:
    async with database.read() as session:
        return await session.get_one(t.Action, action_id)


async def log_of(operator: httpx.AsyncClient, action_id: int, name: str = "meter") -> list[tuple[str, list[str]]]:
    """The action's log, oldest first."""
    answer = ok(await operator.get(f"/rest/v1/targets/{name}/actions/{action_id}/status?limit=500"))
    return [(line["type"], line["messages"]) for line in reversed(answer["content"])]


async def test_an_update_goes_from_assignment_to_in_sync(operator: httpx.AsyncClient, device: Device) -> None:
    release = await make_plain_set(operator)
    action = await assign(operator, release)
    assert (await target(operator))["updateStatus"] == "pending"
    assert await device.assigned() == action
    ok(await device.client.get(f"{device.base}/deploymentBase/{action}"), 200)
    for execution in ("proceeding", "download", "downloaded", "proceeding"):
        assert (await device.feedback(action, execution, "none", f"now {execution}")).status_code == 200
    assert (await device.feedback(action, "closed", "success", "done", code=200)).status_code == 200
    shown = await target(operator)
    assert shown["updateStatus"] == "in_sync" and shown["installedAt"] > 0
    assert ok(await operator.get("/rest/v1/targets/meter/installedDS"))["id"] == release
    assert await log_of(operator, action) == [
        ("running", ["assigned by operator"]),
        ("retrieved", ["the device has fetched the assignment"]),
        ("running", ["now proceeding"]),
        ("download", ["now download"]),
        ("downloaded", ["now downloaded"]),
        ("running", ["now proceeding"]),
        ("finished", ["done"]),
    ]
    links = await device.links()
    assert set(links) == {"installedBase", "configData"}, "attributes are asked for after every update"


async def test_a_failure_leaves_the_target_in_error_with_the_cause(
    operator: httpx.AsyncClient, device: Device, database: Database
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    ok(await device.feedback(action, "closed", "failure", "cause: not_enough_flash", "slot is 64 KiB"), 200)
    ended = await row(database, action)
    assert (ended.status, ended.active, ended.cause, ended.cause_text) == (
        "error",
        False,
        "not_enough_flash",
        "slot is 64 KiB",
    )
    assert (await target(operator))["updateStatus"] == "error"
    assert (await operator.get("/rest/v1/targets/meter/assignedDS")).status_code == 204, "so it can be assigned again"


async def test_feedback_for_a_closed_action_is_gone_and_changes_nothing(
    operator: httpx.AsyncClient, device: Device, database: Database
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    ok(await device.feedback(action, "closed", "success"), 200)
    before = await log_of(operator, action)
    for execution, finished in (("closed", "success"), ("closed", "failure"), ("proceeding", "none")):
        answer = await device.feedback(action, execution, finished)
        assert answer.status_code == 410
        assert answer.json()["errorCode"] == "hawkbit.server.error.action.closed"
    assert await log_of(operator, action) == before
    assert (await row(database, action)).status == "finished"


async def test_the_same_final_feedback_at_once_closes_the_action_once(
    operator: httpx.AsyncClient, device: Device
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    answers = await asyncio.gather(*(device.feedback(action, "closed", "success") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [410] * 7
    assert [status for status, _ in await log_of(operator, action)] == ["running", "finished"]


async def test_a_newer_assignment_ends_the_older_one_at_once(
    operator: httpx.AsyncClient, device: Device, database: Database
) -> None:
    old = await assign(operator, await make_plain_set(operator, version="1.0"))
    ok(await device.feedback(old, "download"), 200)
    new = await assign(operator, await make_plain_set(operator, version="2.0"))
    assert await device.assigned() == new
    assert (await row(database, old)).status == "canceled"
    assert (await log_of(operator, old))[-1] == ("canceled", ["replaced by a newer assignment"])
    assert (await device.client.get(f"{device.base}/deploymentBase/{old}")).status_code == 404
    assert (await device.feedback(old, "closed", "success")).status_code == 410
    ok(await device.feedback(old, "closed", "success", cancel=True), 200)  # a device that saw it go may say so
    ok(await device.feedback(new, "closed", "success"), 200)
    assert (await target(operator))["updateStatus"] == "in_sync"


async def test_the_same_set_again_is_counted_not_assigned(operator: httpx.AsyncClient, device: Device) -> None:
    release = await make_plain_set(operator)
    await assign(operator, release)
    again = ok(await operator.post("/rest/v1/targets/meter/assignedDS", json={"id": release}))
    assert (again["assigned"], again["alreadyAssigned"]) == (0, 1)


async def test_several_sets_at_once_are_refused(operator: httpx.AsyncClient, device: Device) -> None:
    sets = [{"id": await make_plain_set(operator, version=version)} for version in ("1.0", "2.0")]
    assert (await operator.post("/rest/v1/targets/meter/assignedDS", json=sets)).status_code == 400


@pytest.mark.parametrize("said", [("closed", "success"), ("closed", "none"), ("canceled", "success")])
async def test_a_cancelled_device_stops_and_is_what_it_was(
    operator: httpx.AsyncClient, device: Device, database: Database, said: tuple[str, str]
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    ok(await operator.delete(f"/rest/v1/targets/meter/actions/{action}"), 204)
    links = await device.links()
    assert "deploymentBase" not in links and links["cancelAction"].endswith(f"/cancelAction/{action}")
    answer = ok(await device.client.get(links["cancelAction"]), 200)
    assert answer == {"id": str(action), "cancelAction": {"stopId": str(action)}}
    assert (await device.client.get(f"{device.base}/deploymentBase/{action}")).status_code == 404
    ok(await device.feedback(action, *said, cancel=True), 200)
    ended = await row(database, action)
    assert (ended.status, ended.active) == ("canceled", False)
    assert (await target(operator))["updateStatus"] == "in_sync"
    assert await device.canceling() is None
    assert (await device.client.get(links["cancelAction"])).status_code == 404
    ok(await device.feedback(action, *said, cancel=True), 200)  # said twice, heard once
    assert [status for status, _ in await log_of(operator, action)] == ["running", "canceling", "canceled"]


@pytest.mark.parametrize("said", [("closed", "failure"), ("rejected", "none")])
async def test_a_device_may_refuse_to_stop_and_go_on(
    operator: httpx.AsyncClient, device: Device, said: tuple[str, str]
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    ok(await operator.delete(f"/rest/v1/targets/meter/actions/{action}"), 204)
    ok(await device.feedback(action, *said, "too late, I am writing", cancel=True), 200)
    assert await device.assigned() == action
    assert (await log_of(operator, action))[-1] == ("cancel_rejected", ["too late, I am writing"])
    ok(await device.feedback(action, "closed", "success"), 200)
    assert (await target(operator))["updateStatus"] == "in_sync"


async def test_canceled_alone_is_only_noted(operator: httpx.AsyncClient, device: Device) -> None:
    action = await assign(operator, await make_plain_set(operator))
    ok(await device.feedback(action, "canceled"), 200)
    assert await device.assigned() == action, "hawkBit does not close on it either"
    ok(await operator.delete(f"/rest/v1/targets/meter/actions/{action}"), 204)
    ok(await device.feedback(action, "canceled", cancel=True), 200)
    assert await device.canceling() == action


async def test_cancel_feedback_without_a_cancel_is_not_allowed(operator: httpx.AsyncClient, device: Device) -> None:
    action = await assign(operator, await make_plain_set(operator))
    answer = await device.feedback(action, "closed", "success", cancel=True)
    assert answer.status_code == 405
    assert answer.json()["errorCode"] == "hawkbit.server.error.action.notCancelable"
    assert (await device.client.get(f"{device.base}/cancelAction/{action}")).status_code == 404
    ok(await device.feedback(action, "closed", "success"), 200)
    assert (await device.feedback(action, "closed", "success", cancel=True)).status_code == 405, "it finished"


async def test_force_quit_comes_only_after_a_cancel(
    operator: httpx.AsyncClient, device: Device, database: Database
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    path = f"/rest/v1/targets/meter/actions/{action}"
    assert (await operator.delete(f"{path}?force=true")).status_code == 405
    ok(await operator.delete(path), 204)
    assert (await operator.delete(path)).status_code == 405, "it is being cancelled already"
    ok(await operator.delete(f"{path}?force=true"), 204)
    assert (await row(database, action)).status == "canceled"
    assert (await device.links()).keys() == {"configData"}
    assert (await operator.delete(f"{path}?force=true")).status_code == 405
    assert (await device.feedback(action, "closed", "success")).status_code == 410


async def test_a_device_may_not_speak_of_another_ones_action(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, device: Device
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    await make_targets(operator, "other")
    other = Device(gateway, "other")
    assert (await other.feedback(action, "closed", "success")).status_code == 404
    assert (await other.client.get(f"{other.base}/deploymentBase/{action}")).status_code == 404
    assert (await other.client.get(f"{other.base}/cancelAction/{action}")).status_code == 404


async def test_a_download_only_action_ends_with_the_download_and_hears_of_the_installation_later(
    operator: httpx.AsyncClient, device: Device, database: Database
) -> None:
    release = await make_plain_set(operator)
    action = await assign(operator, release, type="downloadonly")
    answer = ok(await device.client.get(f"{device.base}/deploymentBase/{action}"))
    assert (answer["deployment"]["download"], answer["deployment"]["update"]) == ("forced", "skip")
    ok(await device.feedback(action, "downloaded"), 200)
    ended = await row(database, action)
    assert (ended.status, ended.active) == ("downloaded", False)
    assert (await target(operator))["updateStatus"] == "in_sync"
    assert (await operator.get("/rest/v1/targets/meter/installedDS")).status_code == 204
    assert (await device.feedback(action, "proceeding")).status_code == 410
    ok(await device.feedback(action, "closed", "success"), 200)
    assert ok(await operator.get("/rest/v1/targets/meter/installedDS"))["id"] == release


async def test_a_chatty_device_is_stopped_but_its_last_word_is_taken(
    operator: httpx.AsyncClient, device: Device, database: Database
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    async with database.write() as session:
        await session.execute(
            text(
                "INSERT INTO action_status (action_id, status, messages) "
                "SELECT :action, 'running', '[\"chatter\"]' FROM generate_series(1, 998)"
            ),
            {"action": action},
        )
    ok(await device.feedback(action, "proceeding"), 200)
    answer = await device.feedback(action, "proceeding")
    assert answer.status_code == 429
    assert answer.json()["errorCode"] == "hawkbit.server.error.quota.tooManyEntries"
    ok(await device.feedback(action, "closed", "failure", "cause: update_failed"), 200)


async def test_everybody_at_once_never_deadlocks(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    """Devices report, the operator assigns and cancels, the engine starts and stops rollouts: same rows, one order."""
    names = [f"meter-{number}" for number in range(8)]
    await make_targets(operator, *names)
    sets = [await make_plain_set(operator, version=f"{number}.0") for number in range(4)]
    ended = asyncio.Event()
    seen: list[int] = []

    async def report(name: str) -> None:
        device = Device(gateway, name)
        while not ended.is_set():
            if (action := await device.assigned()) is not None:
                seen.append(
                    (await device.feedback(action, "closed", random.choice(["success", "failure"]))).status_code
                )

    async def interfere() -> None:
        for round_ in range(6):
            release = sets[round_ % 4]
            body = [{"id": name} for name in random.sample(names, 5)]
            seen.append(
                (await operator.post(f"/rest/v1/distributionsets/{release}/assignedTargets", json=body)).status_code
            )

    async def campaign(version: int) -> None:
        for number in range(2):
            rollout = await make_rollout(operator, sets[version], name=f"{version}-{number}", amountGroups=2)
            await step_all(database, batch=5)
            seen.append((await operator.post(f"/rest/v1/rollouts/{rollout}/start")).status_code)
            await step_all(database, batch=5)
            seen.append((await operator.post(f"/rest/v1/rollouts/{rollout}/stop")).status_code)
            await step_all(database, batch=5)

    reports = [asyncio.create_task(report(name)) for name in names]
    await asyncio.gather(interfere(), campaign(0), campaign(1))
    ended.set()
    await asyncio.gather(*reports)
    assert set(seen) <= {200, 204, 400, 410}, "400: stopped or started by the other; 410: replaced meanwhile"
    async with database.read() as session:
        doubled = text("SELECT target_id FROM action WHERE active GROUP BY target_id HAVING count(*) > 1")
        assert (await session.execute(doubled)).all() == []
        deadlocks = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert await session.scalar(deadlocks) == 0


@pytest.mark.parametrize("seed", range(4))
async def test_no_walk_of_operator_and_device_leaves_the_table(
    operator: httpx.AsyncClient, device: Device, database: Database, seed: int
) -> None:
    walk = random.Random(seed)
    sets = [await make_plain_set(operator, version=f"{number}.0") for number in range(3)]
    before: dict[int, tuple[str, bool]] = {}
    for _ in range(60):
        action = walk.choice(sorted(before)[-3:]) if before else 0
        path = f"/rest/v1/targets/meter/actions/{action}"
        execution = walk.choice(["closed", "proceeding", "download", "downloaded", "rejected", "canceled"])
        finished = walk.choice(["success", "failure", "none"])
        match walk.randrange(6):
            case 0:
                how = {"id": walk.choice(sets), "type": walk.choice(["forced", "soft", "downloadonly"])}
                answer = await operator.post("/rest/v1/targets/meter/assignedDS", json=how)
            case 1:
                answer = await operator.delete(path)
            case 2:
                answer = await operator.delete(path, params={"force": "true"})
            case 3:
                answer = await device.client.get(f"{device.base}/deploymentBase/{action}")
            case kind:
                answer = await device.feedback(action, execution, finished, cancel=kind == 4)
        assert answer.status_code in (200, 204, 404, 405, 410), answer.text
        async with database.read() as session:
            rows = await session.scalars(select(t.Action).order_by(t.Action.id))
            after = {one.id: (one.status, one.active) for one in rows}
            shown = await session.scalar(select(t.Target.update_status))
        for number, (status, active) in after.items():
            was, was_active = before.get(number, (status, active))
            assert status == was or Status(status) in TRANSITIONS[Status(was)], f"{was} became {status}"
            assert was_active or not active, "an action that has ended never comes back"
            assert (status in ("finished", "error", "canceled")) <= (not active)
        assert sum(active for _, active in after.values()) <= 1
        assert shown in ("unknown", "registered", "pending", "in_sync", "error")
        assert (shown == "pending") == any(active for _, active in after.values())
        before = after
