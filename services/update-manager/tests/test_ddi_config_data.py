"""Attributes a device tells of itself: merged, replaced, removed, bounded."""

from typing import Any

import httpx
import pytest

from update_manager.testing import Device, make_targets, ok


@pytest.fixture
async def device(operator: httpx.AsyncClient, gateway: httpx.AsyncClient) -> Device:
    await make_targets(operator, "node")
    return Device(gateway, "node")


async def tell(device: Device, data: dict[str, Any], **more: Any) -> httpx.Response:
    return await device.client.put(f"{device.base}/configData", json={"data": data, **more})


async def attributes(operator: httpx.AsyncClient) -> Any:
    answer = await operator.get("/rest/v1/targets/node/attributes")
    return answer.json() if answer.status_code == 200 else {}


async def test_attributes_are_asked_for_until_they_came(operator: httpx.AsyncClient, device: Device) -> None:
    assert "configData" in await device.links()
    answer = await tell(device, {"hw": "rev B"})
    assert answer.status_code == 200 and not answer.content
    assert "configData" not in await device.links()
    ok(await operator.put("/rest/v1/targets/node", json={"requestAttributes": True}))
    assert "configData" in await device.links()


async def test_merge_adds_and_changes_and_null_deletes(operator: httpx.AsyncClient, device: Device) -> None:
    ok(await tell(device, {"a": "1", "b": "2", "c": "3"}), 200)
    ok(await tell(device, {"b": "two", "c": None, "d": "4"}, mode="merge"), 200)
    assert await attributes(operator) == {"a": "1", "b": "two", "d": "4"}


async def test_replace_keeps_nothing_else(operator: httpx.AsyncClient, device: Device) -> None:
    ok(await tell(device, {"a": "1", "b": "2"}), 200)
    ok(await tell(device, {"b": "two", "c": None}, mode="replace"), 200)
    assert await attributes(operator) == {"b": "two"}


async def test_remove_takes_the_named_keys_away(operator: httpx.AsyncClient, device: Device) -> None:
    ok(await tell(device, {"a": "1", "b": "2"}), 200)
    ok(await tell(device, {"a": "whatever", "zzz": "x"}, mode="REMOVE"), 200)
    assert await attributes(operator) == {"b": "2"}


async def test_swupdates_legacy_members_are_ignored(operator: httpx.AsyncClient, device: Device) -> None:
    legacy = {"id": "", "time": "20261125T120000", "status": {"execution": "closed", "result": {"finished": "success"}}}
    ok(await tell(device, {"a": "1"}, **legacy), 200)
    assert await attributes(operator) == {"a": "1"}


async def test_numbers_and_truth_are_kept_as_json_writes_them(operator: httpx.AsyncClient, device: Device) -> None:
    ok(await tell(device, {"int": 5, "float": 2.5, "yes": True, "no": False, "empty": ""}), 200)
    assert await attributes(operator) == {"int": "5", "float": "2.5", "yes": "true", "no": "false", "empty": ""}


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"k" * 129: "v"}},
        {"data": {"k": "v" * 129}},
        {"data": {"": "v"}},
        {"data": {"k": {"nested": 1}}},
        {"data": {"k": [1]}},
        {"data": {"k": "v"}, "mode": "append"},
        {"data": "text"},
        {"mode": "merge"},
        [],
    ],
)
async def test_what_cannot_be_an_attribute_is_refused_and_nothing_changes(
    operator: httpx.AsyncClient, device: Device, body: Any
) -> None:
    ok(await tell(device, {"kept": "1"}), 200)
    answer = await device.client.put(f"{device.base}/configData", json=body)
    assert answer.status_code == 400, answer.text
    assert await attributes(operator) == {"kept": "1"}


async def test_limits_are_taken_to_the_last_character(operator: httpx.AsyncClient, device: Device) -> None:
    ok(await tell(device, {"k" * 128: "v" * 128}), 200)
    assert await attributes(operator) == {"k" * 128: "v" * 128}


async def test_a_hundred_attributes_are_the_most(operator: httpx.AsyncClient, device: Device) -> None:
    ok(await tell(device, {f"k{number}": "v" for number in range(100)}), 200)
    answer = await tell(device, {"one": "too many"})
    assert answer.status_code == 429
    assert answer.json()["errorCode"] == "hawkbit.server.error.quota.tooManyEntries"
    assert len(await attributes(operator)) == 100
    ok(await tell(device, {"k0": "changed"}), 200)
    ok(await tell(device, {"k1": None, "instead": "v"}), 200)


async def test_a_body_beyond_all_measure_is_refused_before_anybody_is_asked_who_it_is(
    stranger: httpx.AsyncClient,
) -> None:
    huge = b'{"data": {"k": "' + b"v" * (9 * 1024 * 1024) + b'"}}'
    for kind in ("application/json", "multipart/form-data; boundary=b", "multipart/mixed"):
        headers = {"Content-Type": kind}
        answer = await stranger.put("/DEFAULT/controller/v1/node/configData", content=huge, headers=headers)
        assert answer.status_code == 413
        feedback = "/DEFAULT/controller/v1/node/deploymentBase/1/feedback"
        assert (await stranger.post(feedback, content=huge, headers=headers)).status_code == 413


async def test_a_device_that_names_its_product_is_given_its_type(operator: httpx.AsyncClient, device: Device) -> None:
    [made] = ok(await operator.post("/rest/v1/targettypes", json=[{"key": "meter-v2", "name": "Meter"}]))
    ok(await tell(device, {"product": "no such product"}), 200)
    assert "targetType" not in ok(await operator.get("/rest/v1/targets/node"))
    ok(await tell(device, {"product": "meter-v2"}), 200)
    assert ok(await operator.get("/rest/v1/targets/node"))["targetType"] == made["id"]
