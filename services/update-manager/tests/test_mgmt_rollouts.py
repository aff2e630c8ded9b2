"""Rollouts over the Management API: planned, refused, started, paused, resumed, stopped, watched to their end."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from softdevice.images import SigningKey, small_image
from update_manager.adapters.db.session import Database
from update_manager.application import principal
from update_manager.entrypoints.mgmt import rollouts
from update_manager.testing import (
    PASSWORD,
    TENANT,
    TOKEN,
    USERNAME,
    make_plain_set,
    make_product,
    make_rollout,
    make_targets,
    ok,
    publish,
    serving,
    step_all,
)

ROLLOUTS = "/rest/v1/rollouts"


async def finish(gateway: httpx.AsyncClient, operator: httpx.AsyncClient, name: str, result: str = "success") -> None:
    """The device's last word on what it is doing."""
    listed = ok(await operator.get(f"/rest/v1/targets/{name}/actions", params={"q": "active==true"}))
    [action] = listed["content"]
    path = f"/{TENANT}/controller/v1/{name}/deploymentBase/{action['id']}/feedback"
    body = {"status": {"execution": "closed", "result": {"finished": result}, "details": ["cause: rolled_back"]}}
    ok(await gateway.post(path, json=body), 200)


async def status(operator: httpx.AsyncClient, rollout: int) -> str:
    found: str = ok(await operator.get(f"{ROLLOUTS}/{rollout}"))["status"]
    return found


async def verb(operator: httpx.AsyncClient, rollout: int, name: str) -> httpx.Response:
    return await operator.post(f"{ROLLOUTS}/{rollout}/{name}")


async def test_a_rollout_goes_through_its_groups_to_its_end(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, "a", "b", "c")
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=3)
    assert await status(operator, rollout) == "creating"
    await step_all(database)
    assert await status(operator, rollout) == "ready"
    assert (await verb(operator, rollout, "start")).status_code == 204
    for number, name in enumerate(("a", "b", "c"), 1):
        await step_all(database)
        groups = ok(await operator.get(f"{ROLLOUTS}/{rollout}/deploygroups"))["content"]
        assert sum(group["status"] == "running" for group in groups) == 1
        assert ok(await operator.get("/rest/v1/actions", params={"q": f"rollout.id=={rollout}"}))["total"] == number
        await finish(gateway, operator, name)
    await step_all(database)
    full = ok(await operator.get(f"{ROLLOUTS}/{rollout}"))
    assert full["status"] == "finished" and full["totalTargetsPerStatus"]["finished"] == 3
    for name in ("start", "pause", "resume", "stop"):
        refused = await verb(operator, rollout, name)
        assert refused.status_code == 400
        assert refused.json()["errorCode"] == "hawkbit.server.error.rollout.illegalState"
        assert "finished" in refused.json()["message"]


async def test_pause_holds_the_next_group_and_resume_lets_it_go(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, "a", "b")
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=2)
    for early in ("start", "pause", "resume"):
        assert (await verb(operator, rollout, early)).status_code == 400, f"{early} before it is ready"
    await step_all(database)
    ok(await verb(operator, rollout, "start"), 204)
    await step_all(database)
    ok(await verb(operator, rollout, "pause"), 204)
    assert (await verb(operator, rollout, "pause")).status_code == 400
    await finish(gateway, operator, "a")
    await step_all(database)
    paused = ok(await operator.get(f"{ROLLOUTS}/{rollout}"))
    assert paused["status"] == "paused" and paused["pauseReason"] == "by operator"
    assert ok(await operator.get("/rest/v1/targets/b/actions"))["total"] == 0
    ok(await verb(operator, rollout, "resume"), 204)
    await step_all(database)
    assert ok(await operator.get("/rest/v1/targets/b/actions"))["total"] == 1
    assert "pauseReason" not in ok(await operator.get(f"{ROLLOUTS}/{rollout}"))


async def test_too_many_errors_pause_it_and_the_reason_can_be_read(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, *"abcd")
    limit = {"condition": "THRESHOLD", "expression": "40"}
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=2, errorCondition=limit)
    await step_all(database)
    ok(await verb(operator, rollout, "start"), 204)
    await step_all(database)
    await finish(gateway, operator, "a", "failure")
    await step_all(database)
    paused = ok(await operator.get(f"{ROLLOUTS}/{rollout}"))
    assert paused["status"] == "paused" and "1 of 2 devices failed" in paused["pauseReason"]
    shown = ok(await operator.get(f"{ROLLOUTS}/{rollout}/progress"))
    assert [(cause["cause"], cause["controllerIds"]) for cause in shown["causes"]] == [("rolled_back", ["a"])]
    attention = ok(await operator.get("/rest/v1/overview"))["attention"]
    assert {(item["type"], item["kind"]) for item in attention} == {("rollout", "paused"), ("target", "rolled_back")}


async def test_stop_cancels_what_runs(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, "a", "b")
    rollout = await make_rollout(operator, await make_plain_set(operator), amountGroups=2)
    await step_all(database)
    ok(await verb(operator, rollout, "start"), 204)
    await step_all(database)
    refused = await operator.delete(f"{ROLLOUTS}/{rollout}")
    assert refused.status_code == 400 and refused.json()["info"]["hint"] == "stop it first"
    ok(await verb(operator, rollout, "stop"), 204)
    await step_all(database)
    assert await status(operator, rollout) == "stopped"
    [action] = ok(await operator.get("/rest/v1/targets/a/actions"))["content"]
    assert action["status"] == "canceling" and action["type"] == "cancel"
    ok(await operator.delete(f"{ROLLOUTS}/{rollout}"), 204)
    assert (await operator.get(f"{ROLLOUTS}/{rollout}")).status_code == 404
    assert ok(await operator.get(ROLLOUTS))["total"] == 0


async def test_cancel_and_force_quit_of_one_action(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "a")
    set_id = await make_plain_set(operator)
    made = ok(await operator.post("/rest/v1/targets/a/assignedDS", json={"id": set_id, "type": "soft"}))
    path = f"/rest/v1/targets/a/actions/{made['assignedActions'][0]['id']}"
    early = await operator.delete(path, params={"force": True})
    assert early.status_code == 405 and early.json()["errorCode"].endswith("action.notForceQuitable")
    forced = ok(await operator.put(path, json={"forceType": "forced"}), 200)
    assert forced["forceType"] == "forced"
    assert (await operator.put(path, json={"forceType": "soft"})).status_code == 400
    ok(await operator.delete(path), 204)
    again = await operator.delete(path)
    assert again.status_code == 405 and again.json()["errorCode"].endswith("action.notCancelable")
    ok(await operator.delete(path, params={"force": True}), 204)
    ended = ok(await operator.get(path))
    assert (ended["status"], ended["active"]) == ("canceled", False)
    log = ok(await operator.get(f"{path}/status", params={"sort": "id:ASC"}))
    assert [line["type"] for line in log["content"]] == ["running", "canceling", "canceled"]
    assert ok(await operator.get(f"{path}/status", params={"limit": 1}))["content"][0]["type"] == "canceled"
    assert (await operator.get("/rest/v1/targets/a/actions/999999")).status_code == 404
    await make_targets(operator, "b")
    assert (await operator.get(path.replace("/a/", "/b/"))).status_code == 404, "another target's action"


BODY: dict[str, Any] = {"name": "x", "targetFilterQuery": "name==*", "amountGroups": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targetFilterQuery": "name==ghost"}, "matches no device"),
        ({"targetFilterQuery": "name="}, "at column 5"),
        ({"targetFilterQuery": "label==x"}, "no field 'label' (column 1)"),
        ({"targetFilterQuery": ""}, "targetFilterQuery"),
        ({"targetFilterQuery": None}, "targetFilterQuery"),
        ({"name": ""}, "name"),
        ({"name": "n" * 129}, "name"),
        ({"name": "bell\x07"}, "control characters"),
        ({"amountGroups": 0}, "amountGroups"),
        ({"amountGroups": 501}, "amountGroups"),
        ({"amountGroups": 2, "groups": [{"name": "a"}]}, "either groups or amountGroups"),
        ({"amountGroups": None, "groups": [{"targetPercentage": 101}]}, "targetPercentage"),
        ({"amountGroups": None, "groups": [{"targetFilterQuery": "name==a"}]}, "own filter"),
        ({"dynamic": True}, "dynamic"),
        ({"confirmationRequired": True}, "confirmation"),
        ({"type": "timeforced"}, "timeforced"),
        ({"type": "sudden"}, "type"),
        ({"successCondition": {"condition": "THRESHOLD", "expression": "101"}}, "successCondition"),
        ({"errorCondition": {"condition": "MOON", "expression": "50"}}, "errorCondition"),
        ({"weight": 1001}, "weight"),
        ({"startAt": -1}, "startAt"),
    ],
)
async def test_a_rollout_that_makes_no_sense_is_refused_in_clear_words(
    operator: httpx.AsyncClient, change: dict[str, Any], words: str
) -> None:
    await make_targets(operator, "a")
    set_id = await make_plain_set(operator)
    answer = await operator.post(ROLLOUTS, json={**BODY, "distributionSetId": set_id, **change})
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["message"]
    assert ok(await operator.get(ROLLOUTS))["total"] == 0
    # A refused rollout leaves the set as it was.
    assert ok(await operator.get(f"/rest/v1/distributionsets/{set_id}"))["locked"] is False


async def test_a_rollout_of_nothing_or_of_half_a_set_is_refused(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "a")
    assert (await operator.post(ROLLOUTS, json={**BODY, "distributionSetId": 999999})).status_code == 404
    [empty] = ok(await operator.post("/rest/v1/distributionsets", json=[{"name": "e", "version": "1"}]), 201)
    for path, body in (
        (ROLLOUTS, {**BODY, "distributionSetId": empty["id"]}),
        ("/rest/v1/targets/a/assignedDS", {"id": empty["id"]}),
    ):
        answer = await operator.post(path, json=body)
        assert answer.status_code == 400
        assert answer.json()["errorCode"] == "hawkbit.server.error.distributionset.incomplete"
        assert "no module of type os" in answer.json()["message"]


async def test_a_rollout_for_other_products_only_says_so(operator: httpx.AsyncClient, signing_key: SigningKey) -> None:
    await make_product(operator, signing_key.public_pem)
    other = await make_product(operator, signing_key.public_pem, "valve")
    release = await publish(operator, small_image(signing_key, "1.0.0"))
    await make_targets(operator, "v1", "v2", targetType=other)
    answer = await operator.post(ROLLOUTS, json={**BODY, "distributionSetId": release["distributionSetId"]})
    assert answer.status_code == 400 and "another product" in answer.json()["message"]
    assigned = await operator.post("/rest/v1/targets/v1/assignedDS", json={"id": release["distributionSetId"]})
    assert assigned.status_code == 400
    assert assigned.json()["errorCode"] == "hawkbit.server.error.target.type.incompatible"


async def test_the_preview_counts_what_the_rollout_then_does(
    operator: httpx.AsyncClient, database: Database, signing_key: SigningKey
) -> None:
    product = await make_product(operator, signing_key.public_pem)
    other = await make_product(operator, signing_key.public_pem, "valve")
    image = small_image(signing_key, "1.0.0")
    release = await publish(operator, image)
    await make_targets(operator, *(f"s{n}" for n in range(10)), targetType=product)
    await make_targets(operator, "v1", targetType=other)
    groups = [{"name": "canary", "targetPercentage": 10}, {"name": "half", "targetPercentage": 50}, {"name": "rest"}]
    body = {**BODY, "distributionSetId": release["distributionSetId"], "groups": groups}
    del body["amountGroups"]
    shown = ok(await operator.post(f"{ROLLOUTS}/preview", json=body), 200)
    assert (shown["targets"], shown["incompatible"], shown["imageSize"]) == (10, 1, len(image))
    assert shown["bytesOnAir"] == 10 * len(image) and any("another product" in one for one in shown["warnings"])
    assert ok(await operator.get(ROLLOUTS))["total"] == 0
    made = ok(await operator.post(ROLLOUTS, json=body), 201)
    await step_all(database)
    real = ok(await operator.get(f"{ROLLOUTS}/{made['id']}/deploygroups"))["content"]
    assert [(one["name"], one["totalTargets"]) for one in real] == [("canary", 1), ("half", 4), ("rest", 5)]
    assert [(one["name"], one["targets"]) for one in shown["groups"]] == [("canary", 1), ("half", 4), ("rest", 5)]
    first = ok(await operator.get(f"{ROLLOUTS}/{made['id']}/deploygroups", params={"limit": 1, "offset": 1}))
    assert first["total"] == 3 and [one["name"] for one in first["content"]] == ["half"]


async def test_the_preview_says_how_many_devices_nobody_has_typed(
    operator: httpx.AsyncClient, database: Database, signing_key: SigningKey
) -> None:
    product = await make_product(operator, signing_key.public_pem)
    release = await publish(operator, small_image(signing_key, "1.0.0"))
    await make_targets(operator, "known", targetType=product)
    body = {**BODY, "distributionSetId": release["distributionSetId"]}
    shown = ok(await operator.post(f"{ROLLOUTS}/preview", json=body), 200)
    assert shown["withoutProduct"] == 0 and "no product" not in " ".join(shown["warnings"])
    await make_targets(operator, "u1", "u2")
    shown = ok(await operator.post(f"{ROLLOUTS}/preview", json=body), 200)
    assert (shown["targets"], shown["withoutProduct"], shown["incompatible"]) == (3, 2, 0)
    assert "2 devices have no product yet; they are included." in shown["warnings"]
    made = ok(await operator.post(ROLLOUTS, json=body), 201)
    await step_all(database)
    assert ok(await operator.get(f"{ROLLOUTS}/{made['id']}"))["totalTargets"] == 3, "as it was said"
    body["distributionSetId"] = await make_plain_set(operator)
    shown = ok(await operator.post(f"{ROLLOUTS}/preview", json=body), 200)
    assert shown["withoutProduct"] == 0, "a set of no product is for all alike"


async def test_a_name_can_be_changed_and_unknown_members_do_no_harm(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "a")
    rollout = await make_rollout(operator, await make_plain_set(operator), hue="blue", deleted=True, id=7)
    changed = ok(await operator.put(f"{ROLLOUTS}/{rollout}", json={"name": "<b>new</b>", "status": "finished"}), 200)
    assert changed["name"] == "<b>new</b>" and changed["status"] == "creating" and changed["deleted"] is False


async def test_progress_streams_until_the_end(
    app: FastAPI, operator: httpx.AsyncClient, gateway: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, "a")
    rollout = await make_rollout(operator, await make_plain_set(operator))
    await step_all(database)
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    seen: list[tuple[str, str]] = []
    async with (
        serving(app) as url,
        httpx.AsyncClient(timeout=20, trust_env=False) as client,
        client.stream("GET", f"{url}{ROLLOUTS}/{rollout}/events", headers=headers) as stream,
    ):
        assert stream.status_code == 200 and stream.headers["content-type"].startswith("text/event-stream")
        kind = ""
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            if not line.startswith("data: "):
                continue
            state = json.loads(line.removeprefix("data: ")).get("status", "")
            seen.append((kind, state))
            if state == "ready":
                ok(await verb(operator, rollout, "start"), 204)
                await step_all(database)
            elif state == "running":
                await finish(gateway, operator, "a")
                await step_all(database)
    assert seen == [("progress", "ready"), ("progress", "running"), ("progress", "finished"), ("end", "")]
    assert (await operator.get(f"{ROLLOUTS}/999999/events")).status_code == 404


@pytest.mark.parametrize("way", ["signed out", "new password"])
async def test_a_stream_ends_with_the_session_it_was_opened_with(
    app: FastAPI, operator: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(rollouts, "LIVE_SECONDS", 0.02)
    monkeypatch.setattr(rollouts, "HEARTBEAT_ROUNDS", 1)
    await make_targets(operator, "a")
    rollout = await make_rollout(operator, await make_plain_set(operator))
    credentials = {"username": USERNAME, "password": PASSWORD}
    opened = ok(await operator.post("/rest/v1/sessions", json=credentials), 201)
    headers = {"Authorization": f"Bearer {opened['token']}"}
    async with (
        serving(app) as url,
        httpx.AsyncClient(timeout=20, trust_env=False, headers=headers) as client,
        client.stream("GET", f"{url}{ROLLOUTS}/{rollout}/events") as stream,
    ):
        lines = stream.aiter_lines()
        for _ in range(3 * rollouts.CHECK_ROUNDS):  # as long as it lasts
            assert await anext(lines) is not None
        if way == "signed out":
            ok(await client.delete(f"{url}/rest/v1/sessions/current"), 204)
        else:
            async with database.write() as session:
                await principal.set_password(session, TENANT, USERNAME, "another password")
        async with asyncio.timeout(10):
            left = [line async for line in lines]
        assert "event: end" not in left, "the rollout has not ended"
        assert (await client.get(f"{url}{ROLLOUTS}/{rollout}/events")).status_code == 401
