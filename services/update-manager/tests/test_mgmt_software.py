"""Software modules and distribution sets as a hawkBit script builds them: types, limits, completeness, conflicts."""

from typing import Any

import httpx
import pytest

from update_manager.testing import make_plain_set, make_targets, ok

MODULES, SETS = "/rest/v1/softwaremodules", "/rest/v1/distributionsets"


async def make_module(operator: httpx.AsyncClient, name: str, kind: str = "os", version: str = "1") -> int:
    [made] = ok(await operator.post(MODULES, json=[{"name": name, "version": version, "type": kind}]), 201)
    identifier: int = made["id"]
    return identifier


async def make_set(operator: httpx.AsyncClient, *modules: int, **fields: Any) -> dict[str, Any]:
    body = {"name": "set", "version": "1", "modules": [{"id": one} for one in modules], **fields}
    [made] = ok(await operator.post(SETS, json=[body]), 201)
    shown: dict[str, Any] = made
    return shown


async def test_a_module_is_made_changed_and_deleted(operator: httpx.AsyncClient) -> None:
    body = {"name": "kernel", "version": "5.1", "type": "os", "vendor": "Acme", "description": "line 1\nline 2"}
    [made] = ok(await operator.post(MODULES, json=body), 201)
    assert (made["type"], made["typeName"], made["encrypted"], made["locked"]) == ("os", "OS", False, False)
    changed = ok(await operator.put(f"{MODULES}/{made['id']}", json={"vendor": "Apex", "name": "ignored"}), 200)
    assert (changed["vendor"], changed["name"], changed["description"]) == ("Apex", "kernel", "line 1\nline 2")
    assert ok(await operator.put(f"{MODULES}/{made['id']}", json={"locked": True}))["locked"] is True
    assert ok(await operator.get(MODULES, params={"q": "type==os;version==5.*"}))["total"] == 1
    ok(await operator.delete(f"{MODULES}/{made['id']}"), 204)
    assert (await operator.get(f"{MODULES}/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"version": "1", "type": "os"}, 400),
        ({"name": "x", "type": "os"}, 400),
        ({"name": "x", "version": "1"}, 400),
        ({"name": "x", "version": "1", "type": "ghost"}, 404),
        ({"name": "x", "version": "v" * 65, "type": "os"}, 400),
        ({"name": "x\n", "version": "1\x7f", "type": "os"}, 400),
        ({"name": "x", "version": "1", "type": "os", "encrypted": True}, 400),
        ({"name": "taken", "version": "1", "type": "os"}, 409),
    ],
)
async def test_a_module_that_cannot_be_spoils_the_whole_batch(
    operator: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    await make_module(operator, "taken")
    answer = await operator.post(MODULES, json=[{"name": "fine", "version": "1", "type": "os"}, body])
    assert answer.status_code == status, answer.text
    assert [one["name"] for one in ok(await operator.get(MODULES))["content"]] == ["taken"]


async def test_the_same_name_and_version_may_be_of_another_type(operator: httpx.AsyncClient) -> None:
    assert await make_module(operator, "x", "os") != await make_module(operator, "x", "application")


async def test_a_set_is_complete_when_it_has_what_its_type_demands(operator: httpx.AsyncClient) -> None:
    made = await make_set(operator)
    assert made["type"] == "os_app", "hawkBit's default type"
    assert made["complete"] is False
    path = f"{SETS}/{made['id']}/assignedSM"
    ok(await operator.post(path, json=[{"id": await make_module(operator, "app", "application")}]), 204)
    assert ok(await operator.get(f"{SETS}/{made['id']}"))["complete"] is False
    system = await make_module(operator, "system")
    ok(await operator.post(path, json={"id": system}), 204)
    full = ok(await operator.get(f"{SETS}/{made['id']}"))
    assert full["complete"] is True and [one["name"] for one in full["modules"]] == ["app", "system"]
    listed = ok(await operator.get(path))
    assert listed["total"] == 2 and ok(await operator.get(path, params={"limit": 1}))["size"] == 1
    newer = await make_module(operator, "system", version="2")
    ok(await operator.post(path, json=[{"id": newer}]), 204)
    versions = {one["name"]: one["version"] for one in ok(await operator.get(path))["content"]}
    assert versions == {"app": "1", "system": "2"}, "there is one OS in a set; the newer takes its place"
    ok(await operator.delete(f"{path}/{newer}"), 204)
    assert (await operator.delete(f"{path}/{newer}")).status_code == 404
    assert ok(await operator.get(f"{SETS}/{made['id']}"))["complete"] is False


async def test_a_module_of_a_strange_type_does_not_fit(operator: httpx.AsyncClient) -> None:
    app = await make_module(operator, "app", "application")
    made = await make_set(operator, type="os")
    for answer in (
        await operator.post(f"{SETS}/{made['id']}/assignedSM", json=[{"id": app}]),
        await operator.post(SETS, json=[{"name": "b", "version": "1", "type": "os", "modules": [{"id": app}]}]),
    ):
        assert answer.status_code == 400
        assert answer.json()["errorCode"] == "hawkbit.server.error.distributionset.modules.unsupported"
        assert "'application'" in answer.json()["message"]
    for bad, status in (({"id": 999999}, 404), ({"id": "x"}, 400), ({}, 400)):
        assert (await operator.post(f"{SETS}/{made['id']}/assignedSM", json=[bad])).status_code == status


async def test_sets_of_a_type_of_ones_own(operator: httpx.AsyncClient) -> None:
    [modem] = ok(await operator.post("/rest/v1/softwaremoduletypes", json={"key": "modem", "name": "Modem"}), 201)
    assert modem["maxAssignments"] == 1
    [system] = ok(await operator.get("/rest/v1/softwaremoduletypes", params={"q": "key==os"}))["content"]
    body = {"key": "dual", "name": "Dual", "mandatorymodules": [modem], "optionalmodules": [{"id": system["id"]}]}
    [kind] = ok(await operator.post("/rest/v1/distributionsettypes", json=[body]), 201)
    assert [one["key"] for one in ok(await operator.get(kind["_links"]["mandatorymodules"]["href"]))] == ["modem"]
    assert [one["key"] for one in ok(await operator.get(kind["_links"]["optionalmodules"]["href"]))] == ["os"]
    made = await make_set(operator, await make_module(operator, "m", "modem"), type="dual")
    assert made["complete"] is True and made["typeName"] == "Dual"
    refused = await operator.post(
        "/rest/v1/distributionsettypes", json=[{"key": "k", "name": "k", "mandatorymodules": [{"id": 999999}]}]
    )
    assert refused.status_code == 404
    assert ok(await operator.get("/rest/v1/distributionsettypes", params={"q": "key==k"}))["total"] == 0


async def test_two_sets_cannot_share_name_and_version(operator: httpx.AsyncClient) -> None:
    first = await make_set(operator)
    second = await make_set(operator, version="2")
    assert (await operator.post(SETS, json=[{"name": "set", "version": "1"}])).status_code == 409
    clash = await operator.put(f"{SETS}/{second['id']}", json={"version": "1"})
    assert clash.status_code == 409 and "name and version" in clash.json()["message"]
    ok(await operator.delete(f"{SETS}/{first['id']}"), 204)
    renamed = ok(
        await operator.put(f"{SETS}/{second['id']}", json={"version": "1", "requiredMigrationStep": True}), 200
    )
    assert renamed["version"] == "1" and renamed["requiredMigrationStep"] is True


async def test_a_locked_set_opens_again_when_it_is_unlocked(operator: httpx.AsyncClient) -> None:
    module = await make_module(operator, "m")
    made = await make_set(operator, locked=True)
    path = f"{SETS}/{made['id']}/assignedSM"
    assert made["locked"] is True
    assert (await operator.post(path, json=[{"id": module}])).status_code == 423
    ok(await operator.put(f"{SETS}/{made['id']}", json={"locked": False}), 200)
    ok(await operator.post(path, json=[{"id": module}]), 204)


async def test_a_module_in_use_is_hidden_but_stays_in_its_set(operator: httpx.AsyncClient) -> None:
    set_id = await make_plain_set(operator)
    [module] = ok(await operator.get(f"{SETS}/{set_id}"))["modules"]
    ok(await operator.delete(f"{MODULES}/{module['id']}"), 204)
    assert ok(await operator.get(MODULES))["total"] == 0
    [kept] = ok(await operator.get(f"{SETS}/{set_id}"))["modules"]
    assert kept["id"] == module["id"] and kept["deleted"] is True
    another = await operator.post(SETS, json=[{"name": "b", "version": "1", "modules": [{"id": module["id"]}]}])
    assert another.status_code == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"maintenanceWindow": {"schedule": "0 0 3 ? * *", "duration": "01:00:00", "timezone": "+00:00"}}, "window"),
        ({"confirmationRequired": True}, "confirmation"),
        ({"type": "timeforced", "forcetime": 1}, "timeforced"),
    ],
)
async def test_an_assignment_that_could_only_be_half_obeyed_is_refused(
    operator: httpx.AsyncClient, body: dict[str, Any], words: str
) -> None:
    await make_targets(operator, "one")
    set_id = await make_plain_set(operator)
    for path, more in (("targets/one/assignedDS", {"id": set_id}), (f"distributionsets/{set_id}/assignedTargets", {})):
        answer = await operator.post(f"/rest/v1/{path}", json=[{"id": "one", **more, **body}])
        assert answer.status_code == 400 and words in answer.json()["message"]
    offline = await operator.post("/rest/v1/targets/one/assignedDS", json={"id": set_id}, params={"offline": True})
    assert offline.status_code == 400 and "offline" in offline.json()["message"]
    assert ok(await operator.get("/rest/v1/actions"))["total"] == 0


async def test_an_assignment_is_for_all_or_for_none(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "one")
    set_id = await make_plain_set(operator)
    path = f"{SETS}/{set_id}/assignedTargets"
    answer = await operator.post(path, json=[{"id": "one"}, {"id": "ghost"}])
    assert answer.status_code == 404 and "ghost" in answer.json()["message"]
    assert (await operator.post(path, json=[])).status_code == 400
    two = await operator.post("/rest/v1/targets/one/assignedDS", json=[{"id": set_id}, {"id": set_id}])
    assert two.status_code == 400
    assert ok(await operator.get("/rest/v1/actions"))["total"] == 0
