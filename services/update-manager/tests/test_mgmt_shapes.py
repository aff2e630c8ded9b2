"""Every answer beside hawkBit's own OpenAPI document (data/hawkbit-shapes.json): members, their types, their links."""

import json
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from softdevice.images import SigningKey
from update_manager.adapters.db.session import Database
from update_manager.testing import make_plain_set, make_product, make_rollout, make_targets, ok, step_all

SHAPES: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "data/hawkbit-shapes.json").read_text())["schemas"]
TYPES: Final[dict[str, Any]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "number": (int, float),
    "array": list,
    "object": dict,
}

# Members hawkBit has and Updraft does not send in these stories, each with its reason.
ABSENT: Final[dict[str, dict[str, str]]] = {
    "MgmtTarget": {
        "autoConfirmActive": "only while user confirmation is on, which Updraft does not have",
        "installedAt": "nothing is installed in this story",
        "lastControllerRequestAt": "the device has not polled",
        "pollStatus": "the device has not polled",
    },
    "MgmtAction": {
        "forceTime": "only for timeforced",
        "lastStatusCode": "no device has said a code",
        "externalRef": "none was given",
    },
    "MgmtActionStatus": {"code": "no device has said a code"},
    "MgmtRolloutResponseBody": {
        "startAt": "started by hand",
        "forcetime": "only for timeforced",
        "approvalRemark": "no approval",
        "approveDecidedBy": "no approval",
    },
    "MgmtRolloutGroupResponseBody": {"targetPercentage": "the groups are even", "description": "none was given"},
    "MgmtTargetFilterQuery": {
        "autoAssignDistributionSet": "no automatic assignment",
        "autoAssignActionType": "no automatic assignment",
        "autoAssignWeight": "no automatic assignment",
        "confirmationRequired": "no automatic assignment",
    },
}
# Relations of resources that are not there yet.
NO_LINK: Final = {"autoConfirm", "approve", "deny", "triggerNextGroup", "autoAssignDS"}
NO_METADATA: Final = {"MgmtDistributionSet", "MgmtSoftwareModule"}


def assert_shaped(answer: dict[str, Any], name: str, *, links: bool = True) -> None:
    """The answer has what hawkBit's has, in the same JSON types; further members are Updraft's own and harmless."""
    shape = SHAPES[name]
    excused = ABSENT.get(name, {})
    for member, kind in shape["properties"].items():
        if member == "_links":
            continue
        if member not in answer:
            assert member in excused, f"{name} lacks {member}: {sorted(answer)}"
            continue
        assert isinstance(answer[member], TYPES[kind]), f"{name}.{member} is {answer[member]!r}, hawkBit's is {kind}"
        assert not (kind == "integer" and isinstance(answer[member], bool))
        assert answer[member] is not None
    if not links:
        return
    expected = set(shape["links"]) - NO_LINK - ({"metadata"} if name in NO_METADATA else set())
    assert expected <= answer["_links"].keys(), f"{name} lacks links {expected - answer['_links'].keys()}"
    for relation, link in answer["_links"].items():
        assert link["href"].startswith("http://updraft/rest/v1/"), f"{name}._links.{relation} is {link}"


@pytest.fixture
async def world(operator: httpx.AsyncClient, database: Database, signing_key: SigningKey) -> dict[str, Any]:
    """A little of everything: a typed target with an action of a running rollout, a tag, a filter."""
    product = await make_product(operator, signing_key.public_pem, description="d", colour="#000")
    await make_targets(operator, "one", "two", description="d", address="coap://10.0.0.1:5683", targetType=product)
    [tag] = ok(await operator.post("/rest/v1/targettags", json={"name": "beta", "description": "d", "colour": "red"}))
    ok(await operator.post(f"/rest/v1/targettags/{tag['id']}/assigned", json=["one"]))
    stored = ok(await operator.post("/rest/v1/targetfilters", json={"name": "all", "query": "name==*"}))
    set_id = await make_plain_set(operator)
    for path in ("softwaremodules", "distributionsets"):
        listed = ok(await operator.get(f"/rest/v1/{path}"))["content"]
        ok(
            await operator.put(
                f"/rest/v1/{path}/{listed[0]['id']}", json={"description": "d", "vendor": "Acme", "name": "app"}
            )
        )
    rollout = await make_rollout(
        operator,
        set_id,
        description="d",
        weight=7,
        amountGroups=2,
        errorCondition={"condition": "THRESHOLD", "expression": "30"},
    )
    await step_all(database)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"))
    await step_all(database)
    return {"product": product, "tag": tag["id"], "filter": stored["id"], "set": set_id, "rollout": rollout}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("targets/one", "MgmtTarget"),
        ("targettypes/{product}", "MgmtTargetType"),
        ("targettags/{tag}", "MgmtTag"),
        ("targetfilters/{filter}", "MgmtTargetFilterQuery"),
        ("distributionsets/{set}", "MgmtDistributionSet"),
        ("rollouts/{rollout}", "MgmtRolloutResponseBody"),
        ("userinfo", "MgmtUserInfo"),
    ],
)
async def test_a_single_entity_has_hawkbits_members(
    operator: httpx.AsyncClient, world: dict[str, Any], path: str, name: str
) -> None:
    answer = ok(await operator.get(f"/rest/v1/{path.format(**world)}"), 200)
    if name == "MgmtTag":  # the example in hawkBit's document is one of distribution sets
        answer["_links"]["assignedDistributionSets"] = answer["_links"]["assignedTargets"]
    assert_shaped(answer, name, links=name != "MgmtUserInfo")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("targets/one/actions", "MgmtAction"),
        ("rollouts/{rollout}/deploygroups", "MgmtRolloutGroupResponseBody"),
        ("softwaremodules", "MgmtSoftwareModule"),
    ],
)
async def test_what_a_list_names_is_found_under_its_own_link(
    operator: httpx.AsyncClient, world: dict[str, Any], path: str, name: str
) -> None:
    listed = ok(await operator.get(f"/rest/v1/{path.format(**world)}"), 200)
    assert listed.keys() >= SHAPES["PagedListMgmtTarget"]["properties"].keys() - {"_links"}
    answer = ok(await operator.get(listed["content"][0]["_links"]["self"]["href"]), 200)
    assert_shaped(answer, name)


@pytest.mark.parametrize(
    ("path", "name"),
    [("softwaremoduletypes", "MgmtSoftwareModuleType"), ("distributionsettypes", "MgmtDistributionSetType")],
)
async def test_types_have_hawkbits_members(operator: httpx.AsyncClient, path: str, name: str) -> None:
    body = {"key": "modem", "name": "Modem", "description": "d", "colour": "#123", "maxAssignments": 2}
    [made] = ok(await operator.post(f"/rest/v1/{path}", json=[body]), 201)
    assert_shaped(made, name)
    assert ok(await operator.get(made["_links"]["self"]["href"])) == made
    again = await operator.post(f"/rest/v1/{path}", json=[body])
    assert again.status_code == 409


async def test_an_artifact_and_its_download_link(operator: httpx.AsyncClient, world: dict[str, Any]) -> None:
    [module] = ok(await operator.get("/rest/v1/softwaremodules"))["content"]
    listed = ok(await operator.get(module["_links"]["artifacts"]["href"]))
    assert isinstance(listed, list), "hawkBit's artifact list is a bare array"
    assert_shaped(listed[0], "MgmtArtifact")
    assert_shaped(listed[0]["hashes"], "MgmtArtifactHash", links=False)
    fetched = await operator.get(listed[0]["_links"]["download"]["href"])
    assert fetched.content == b"x"
    assert fetched.headers["etag"] == f'"{listed[0]["hashes"]["sha1"]}"'
    assert fetched.headers["content-type"] == "application/octet-stream"


async def test_the_log_of_an_action(operator: httpx.AsyncClient, world: dict[str, Any]) -> None:
    [action] = ok(await operator.get("/rest/v1/targets/one/actions"))["content"]
    full = ok(await operator.get(action["_links"]["self"]["href"]))
    log = ok(await operator.get(full["_links"]["status"]["href"]))
    assert log["total"] == 1
    assert_shaped(log["content"][0], "MgmtActionStatus", links=False)
    assert full["_links"]["target"] == {"href": "http://updraft/rest/v1/targets/one", "name": "one"}
    assert full["_links"]["distributionset"]["name"] == "app:1.0"
    assert full["rolloutName"] == "campaign"
    assert full["status"] == full["detailStatus"] == "running" and full["active"] is True


async def test_an_assignment_answers_with_links_to_its_actions(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "urn:50%", "c")
    set_id = await make_plain_set(operator)
    made = ok(
        await operator.post(
            f"/rest/v1/distributionsets/{set_id}/assignedTargets", json=[{"id": "urn:50%", "type": "soft"}, {"id": "c"}]
        ),
        200,
    )
    assert_shaped(made, "MgmtTargetAssignmentResponseBody", links=False)
    assert (made["assigned"], made["alreadyAssigned"], made["total"]) == (2, 0, 2)
    kinds = {ok(await operator.get(one["_links"]["self"]["href"]))["forceType"] for one in made["assignedActions"]}
    assert kinds == {"soft", "forced"}
    again = ok(await operator.post("/rest/v1/targets/c/assignedDS", json={"id": set_id}), 200)
    assert (again["assigned"], again["alreadyAssigned"], again["total"]) == (0, 1, 1)


async def test_counts_of_a_rollout_and_its_groups_agree(operator: httpx.AsyncClient, world: dict[str, Any]) -> None:
    full = ok(await operator.get(f"/rest/v1/rollouts/{world['rollout']}"))
    assert full["totalTargets"] == 2 and full["totalGroups"] == 2
    zero = dict.fromkeys(("scheduled", "cancelled", "finished", "error"), 0)
    assert full["totalTargetsPerStatus"] == {"running": 1, "notstarted": 1, **zero}
    groups = ok(await operator.get(full["_links"]["groups"]["href"]))
    assert [group["totalTargetsPerStatus"]["running"] for group in groups["content"]] == [1, 0]
    assert [group["status"] for group in groups["content"]] == ["running", "scheduled"]
    listed = ok(await operator.get("/rest/v1/rollouts"))["content"][0]
    assert "totalTargetsPerStatus" not in listed and listed["totalGroups"] == 2
    listed = ok(await operator.get("/rest/v1/rollouts", params={"representation": "full"}))["content"][0]
    assert listed["totalTargetsPerStatus"] == full["totalTargetsPerStatus"]


async def test_deploygroup_targets_are_targets(operator: httpx.AsyncClient, world: dict[str, Any]) -> None:
    groups = ok(await operator.get(f"/rest/v1/rollouts/{world['rollout']}/deploygroups"))["content"]
    names = []
    for group in groups:
        page = ok(await operator.get(f"{group['_links']['self']['href']}/targets"))
        names += [target["controllerId"] for target in page["content"]]
    assert sorted(names) == ["one", "two"]
    missing = await operator.get(f"/rest/v1/rollouts/{world['rollout']}/deploygroups/999999/targets")
    assert missing.status_code == 404
