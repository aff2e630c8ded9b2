"""Targets, their types, tags, filters and metadata over the Management API, as an operator's script uses them."""

from typing import Any

import httpx
import pytest

from softdevice.images import SigningKey
from update_manager.testing import make_plain_set, make_product, make_targets, ok

TARGETS = "/rest/v1/targets"


def ids(page: dict[str, Any]) -> list[str]:
    return [target["controllerId"] for target in page["content"]]


async def test_a_created_target_has_a_token_of_its_own_and_is_unknown(operator: httpx.AsyncClient) -> None:
    one, two = await make_targets(operator, "one", "two")
    assert len(one["securityToken"]) == 32 and one["securityToken"] != two["securityToken"]
    assert one["updateStatus"] == "unknown" and one["requestAttributes"] is True
    assert one["name"] == "one", "the name is the controller id when none is given"
    assert "securityToken" not in ok(await operator.get(TARGETS))["content"][0]


async def test_one_duplicate_makes_the_whole_batch_fail(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "one")
    answer = await operator.post(TARGETS, json=[{"controllerId": "two"}, {"controllerId": "one"}])
    assert answer.status_code == 409
    assert answer.json()["errorCode"] == "hawkbit.server.error.repo.entityAlreadyExists"
    assert ids(ok(await operator.get(TARGETS))) == ["one"]


async def test_a_single_object_is_taken_where_an_array_is_expected(operator: httpx.AsyncClient) -> None:
    [made] = ok(await operator.post(TARGETS, json={"controllerId": "alone", "madeUp": {"deep": [1]}}), 201)
    assert made["controllerId"] == "alone" and "madeUp" not in made


async def test_a_put_changes_what_it_names_and_nothing_else(operator: httpx.AsyncClient) -> None:
    [made] = await make_targets(
        operator, "one", description="before", address="coap://192.0.2.1:5683", group="eu/north"
    )
    assert made["ipAddress"] == "192.0.2.1"
    changed = ok(await operator.put(f"{TARGETS}/one", json={"name": "Pump 1", "description": None}), 200)
    assert changed["name"] == "Pump 1" and changed["description"] == "before" and changed["group"] == "eu/north"
    assert changed["lastModifiedAt"] >= made["lastModifiedAt"] and changed["securityToken"] == made["securityToken"]
    refused = await operator.put(f"{TARGETS}/one", json={"requestAttributes": False})
    assert refused.status_code == 400


async def test_a_deleted_target_is_gone_with_its_history(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "one")
    set_id = await make_plain_set(operator)
    made = ok(await operator.post(f"{TARGETS}/one/assignedDS", json={"id": set_id}))
    assert (await operator.delete(f"{TARGETS}/one")).status_code == 204
    for path in ("one", "one/attributes", "one/actions", "one/timeline", "one/events", "one/assignedDS", "one/tags"):
        assert (await operator.get(f"{TARGETS}/{path}")).status_code == 404
    assert (await operator.get(f"/rest/v1/actions/{made['assignedActions'][0]['id']}")).status_code == 404
    assert (await operator.delete(f"{TARGETS}/one")).status_code == 404


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"controllerId": ""},
        {"controllerId": "with space"},
        {"controllerId": "tab\t"},
        {"controllerId": "nul\0"},
        {"controllerId": "a/b"},
        {"controllerId": ".."},
        {"controllerId": "x" * 257},
        {"controllerId": 7},
        {"controllerId": "x", "name": "escape \x1b[2J"},
        {"controllerId": "x", "name": "n" * 129},
        {"controllerId": "x", "name": "   "},
        {"controllerId": "x", "description": "d" * 513},
        {"controllerId": "x", "address": "a" * 513},
        {"controllerId": "x", "securityToken": ""},
        {"controllerId": "x", "requestAttributes": "perhaps"},
        "x",
        None,
        7,
    ],
)
async def test_a_target_outside_its_limits_is_refused_and_nothing_is_made(
    operator: httpx.AsyncClient, bad: object
) -> None:
    answer = await operator.post(TARGETS, json=[bad])
    assert answer.status_code == 400, answer.text
    assert answer.json()["errorCode"].removeprefix("hawkbit.server.error.") in (
        "rest.body.notReadable",
        "repo.constraintViolation",
    )
    assert ok(await operator.get(TARGETS))["total"] == 0


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "Ünïcødé 温度計 🌡", "' OR 1=1 --", "x" * 128])
async def test_strange_but_printable_names_are_kept_as_they_are(operator: httpx.AsyncClient, name: str) -> None:
    [made] = await make_targets(operator, "x" * 256, name=name)
    assert ok(await operator.get(f"{TARGETS}/{'x' * 256}"))["name"] == made["name"] == name
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    found = ok(await operator.get(TARGETS, params={"q": f"name=='{quoted}'"}))
    assert found["total"] == 1


async def test_attributes_and_sets_are_204_until_there_are_some(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "one")
    for path in ("attributes", "assignedDS", "installedDS"):
        answer = await operator.get(f"{TARGETS}/one/{path}")
        assert answer.status_code == 204 and not answer.content
    set_id = await make_plain_set(operator)
    ok(await operator.post(f"{TARGETS}/one/assignedDS", json={"id": set_id}))
    assigned = ok(await operator.get(f"{TARGETS}/one/assignedDS"), 200)
    assert assigned["id"] == set_id and assigned["locked"] is True
    assert ok(await operator.get(f"{TARGETS}/one"))["updateStatus"] == "pending"
    assert ids(ok(await operator.get(f"/rest/v1/distributionsets/{set_id}/assignedTargets"))) == ["one"]
    assert ok(await operator.get(f"/rest/v1/distributionsets/{set_id}/installedTargets"))["total"] == 0


async def test_metadata_is_written_read_changed_and_removed(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "one")
    path = f"{TARGETS}/one/metadata"
    assert (
        ok(await operator.post(path, json=[{"key": "site", "value": "Kiel"}, {"key": "row", "value": ""}]), 201) is None
    )
    assert ok(await operator.get(path)) == {
        "content": [{"key": "row", "value": ""}, {"key": "site", "value": "Kiel"}],
        "total": 2,
        "size": 2,
    }
    assert (await operator.put(f"{path}/site", json={"value": "Lübeck"})).status_code == 204
    assert ok(await operator.get(f"{path}/site")) == {"key": "site", "value": "Lübeck"}
    assert ids(ok(await operator.get(TARGETS, params={"q": "metadata.site==l*beck"}))) == ["one"]
    assert (await operator.delete(f"{path}/site")).status_code == 204
    for verb in ("get", "delete"):
        assert (await operator.request(verb, f"{path}/site")).status_code == 404
    assert (await operator.put(f"{path}/site", json={"value": "x"})).status_code == 404
    many = [{"key": f"k{number}", "value": "v"} for number in range(100)]
    assert (await operator.post(path, json=many)).status_code == 429
    assert ok(await operator.get(path))["total"] == 1
    assert (await operator.post(path, json=[{"key": "k" * 129, "value": "v"}])).status_code == 400
    assert (await operator.post(path, json=[{"key": "k", "value": "v" * 4001}])).status_code == 400


async def test_a_target_type_comes_and_goes(operator: httpx.AsyncClient, signing_key: SigningKey) -> None:
    product = await make_product(operator, signing_key.public_pem)
    await make_targets(operator, "one")
    assert (await operator.post(f"{TARGETS}/one/targettype", json={"id": product})).status_code == 204
    typed = ok(await operator.get(f"{TARGETS}/one"))
    assert typed["targetType"] == product and typed["targetTypeName"] == "sensor"
    assert ids(ok(await operator.get(TARGETS, params={"q": "targettype.key==sensor"}))) == ["one"]
    used = await operator.delete(f"/rest/v1/targettypes/{product}")
    assert used.status_code == 409
    assert (await operator.put(f"{TARGETS}/one", json={"targetType": -1})).status_code == 200
    assert "targetType" not in ok(await operator.get(f"{TARGETS}/one"))
    assert (await operator.post(f"{TARGETS}/one/targettype", json={"id": 999999})).status_code == 404
    assert (await operator.delete(f"/rest/v1/targettypes/{product}")).status_code == 204


async def test_set_types_a_product_takes(operator: httpx.AsyncClient, signing_key: SigningKey) -> None:
    product = await make_product(operator, signing_key.public_pem)
    [kind] = ok(await operator.get("/rest/v1/distributionsettypes", params={"q": "key==firmware"}))["content"]
    path = f"/rest/v1/targettypes/{product}/compatibledistributionsettypes"
    assert ok(await operator.get(path)) == []
    assert (await operator.post(path, json=[{"id": kind["id"]}])).status_code == 204
    assert [one["key"] for one in ok(await operator.get(path))] == ["firmware"]
    assert (await operator.post(path, json=[{"id": 999999}])).status_code == 404
    assert (await operator.delete(f"{path}/{kind['id']}")).status_code == 204
    assert ok(await operator.get(path)) == []


async def test_two_target_types_cannot_share_a_name(operator: httpx.AsyncClient) -> None:
    for name in ("pump", "valve"):
        ok(await operator.post("/rest/v1/targettypes", json=[{"name": name}]), 201)
    assert (await operator.post("/rest/v1/targettypes", json=[{"name": "pump"}])).status_code == 409
    [valve] = ok(await operator.get("/rest/v1/targettypes", params={"q": "name==valve"}))["content"]
    assert valve["key"] == "valve"
    clash = await operator.put(f"/rest/v1/targettypes/{valve['id']}", json={"name": "pump"})
    assert clash.status_code == 409 and "pump" in clash.json()["message"]


async def test_only_public_keys_are_trusted_and_a_private_one_is_sent_back(
    operator: httpx.AsyncClient, signing_key: SigningKey
) -> None:
    product = await make_product(operator, signing_key.public_pem)
    path = f"/rest/v1/targettypes/{product}/signingkeys"
    [key] = ok(await operator.get(path))
    assert key["algorithm"] == "ECDSA P-256" and len(key["fingerprint"]) == 64
    again = await operator.post(path, json={"name": "twice", "publicKeyPem": signing_key.public_pem.decode()})
    assert again.status_code == 409
    private = await operator.post(path, json={"name": "oops", "publicKeyPem": signing_key.private_pem.decode()})
    assert private.status_code == 400 and "private" in private.json()["message"]
    garbage = await operator.post(path, json={"name": "x", "publicKeyPem": "-----BEGIN PUBLIC KEY-----\nAA=="})
    assert garbage.status_code == 400
    assert len(ok(await operator.get(path))) == 1
    assert (await operator.delete(f"{path}/{key['id']}")).status_code == 204
    assert ok(await operator.get(path)) == []


async def test_tags_are_put_on_and_taken_off(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "a", "b", "c")
    [tag] = ok(await operator.post("/rest/v1/targettags", json=[{"name": "beta"}]), 201)
    path = f"/rest/v1/targettags/{tag['id']}"
    assert (await operator.post(f"{path}/assigned", json=["a", "b"])).status_code == 204
    assert (await operator.put(f"{path}/assigned", json=["b"])).status_code == 204, "hawkBit 0.9 puts"
    assert (await operator.post(f"{path}/assigned/c")).status_code == 204
    assert ids(ok(await operator.get(f"{path}/assigned"))) == ["a", "b", "c"]
    assert ids(ok(await operator.get(TARGETS, params={"q": "tag==beta;name!=a"}))) == ["b", "c"]
    assert [one["name"] for one in ok(await operator.get(f"{TARGETS}/a/tags"))] == ["beta"]
    assert (await operator.delete(f"{path}/assigned/c")).status_code == 204
    assert (await operator.request("DELETE", f"{path}/assigned", json=["a"])).status_code == 204
    assert ids(ok(await operator.get(f"{path}/assigned"))) == ["b"]
    assert ids(ok(await operator.get(TARGETS, params={"q": "tag==''"}))) == ["a", "c"]
    assert (await operator.delete(path)).status_code == 204
    assert ids(ok(await operator.get(TARGETS))) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("policy", "status", "tagged"),
    [
        (None, 404, []),
        ("FAIL", 404, []),
        ("ON_WHAT_FOUND_AND_FAIL", 404, ["a"]),
        ("ON_WHAT_FOUND_AND_SUCCESS", 204, ["a"]),
    ],
)
async def test_tagging_targets_that_do_not_exist(
    operator: httpx.AsyncClient, policy: str | None, status: int, tagged: list[str]
) -> None:
    await make_targets(operator, "a")
    [tag] = ok(await operator.post("/rest/v1/targettags", json=[{"name": "beta"}]), 201)
    path = f"/rest/v1/targettags/{tag['id']}/assigned"
    params = {"onNotFoundPolicy": policy} if policy else {}
    answer = await operator.post(path, json=["a", "ghost"], params=params)
    assert answer.status_code == status
    if status == 404:
        assert "ghost" in answer.json()["message"]
    assert ids(ok(await operator.get(path))) == tagged


async def test_a_tag_needs_a_name_of_its_own(operator: httpx.AsyncClient) -> None:
    first, second = ok(await operator.post("/rest/v1/targettags", json=[{"name": "a"}, {"name": "b"}]), 201)
    assert (await operator.post("/rest/v1/targettags", json=[{"colour": "red"}])).status_code == 400
    assert (await operator.post("/rest/v1/targettags", json=[{"name": "a"}])).status_code == 409
    assert (await operator.put(f"/rest/v1/targettags/{second['id']}", json={"name": "a"})).status_code == 409
    renamed = ok(await operator.put(f"/rest/v1/targettags/{first['id']}", json={"name": "c", "colour": "#fff"}), 200)
    assert renamed["name"] == "c" and renamed["colour"] == "#fff"


async def test_a_stored_filter_is_checked_when_it_is_stored(operator: httpx.AsyncClient) -> None:
    path = "/rest/v1/targetfilters"
    made = ok(await operator.post(path, json={"name": "north", "query": "attribute.site==kiel"}), 201)
    wrong = await operator.post(path, json={"name": "bad", "query": "name=="})
    assert wrong.status_code == 400
    assert wrong.json()["errorCode"] == "hawkbit.server.error.rest.param.rsqlParamSyntax"
    assert wrong.json()["info"]["column"] == 7
    unknown = await operator.put(f"{path}/{made['id']}", json={"query": "label==x"})
    assert unknown.status_code == 400
    assert unknown.json()["errorCode"] == "hawkbit.server.error.rest.param.rsqlInvalidField"
    assert unknown.json()["info"]["column"] == 1 and "controllerid" in unknown.json()["info"]["hint"]
    assert (await operator.post(path, json={"name": "north", "query": "name==x"})).status_code == 409
    other = ok(await operator.post(path, json={"name": "south", "query": "name==x"}), 201)
    assert (await operator.put(f"{path}/{other['id']}", json={"name": "north"})).status_code == 409
    assert ok(await operator.put(f"{path}/{other['id']}", json={"query": "name==y"}))["query"] == "name==y"
    for lacking in ({"name": "x"}, {"query": "name==x"}):
        assert (await operator.post(path, json=lacking)).status_code == 400
    assert (await operator.delete(f"{path}/{other['id']}")).status_code == 204
    assert [one["name"] for one in ok(await operator.get(path))["content"]] == ["north"]
