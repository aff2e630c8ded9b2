"""The device API over HTTP: polls, deployments and feedback in hawkBit's shapes, and what devices get wrong."""

import hashlib
import json
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from update_manager.adapters.db.session import Database
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import Device, make_plain_set, make_targets, ok

DATA = bytes(range(256)) * 40
# hawkBit's DDI OpenAPI as (member, type, required); anything else in an answer is a mistake.
Shape = dict[str, tuple[Any, bool]]
LINK: Shape = {"href": (str, True)}
HASHES: Shape = {"sha1": (str, True), "md5": (str, True), "sha256": (str, True)}
FILE_LINKS: Shape = {"download-http": (LINK, True), "md5sum-http": (LINK, True)}
ARTIFACT: Shape = {"filename": (str, True), "hashes": (HASHES, True), "size": (int, True), "_links": (FILE_LINKS, True)}
CHUNK: Shape = {
    "part": (str, True),
    "version": (str, True),
    "name": (str, True),
    "artifacts": ([ARTIFACT], True),
}
HISTORY: Shape = {"status": (str, True), "messages": ([str], True)}
DEPLOYMENT: Shape = {"download": (str, True), "update": (str, True), "chunks": ([CHUNK], True)}
DEPLOYMENT_BASE: Shape = {"id": (str, True), "deployment": (DEPLOYMENT, True), "actionHistory": (HISTORY, False)}
POLL_LINKS: Shape = dict.fromkeys(("deploymentBase", "cancelAction", "installedBase", "configData"), (LINK, False))
POLL: Shape = {"config": ({"polling": ({"sleep": (str, True)}, True)}, True), "_links": (POLL_LINKS, True)}
PROBLEM: Shape = {
    "exceptionClass": (str, True),
    "errorCode": (str, True),
    "message": (str, True),
    "info": (dict, False),
}


def require_shape(value: Any, shape: Any, where: str = "$") -> None:
    """Fail unless `value` has exactly the members of `shape`, each of its type."""
    if isinstance(shape, list):
        assert isinstance(value, list), where
        for index, item in enumerate(value):
            require_shape(item, shape[0], f"{where}[{index}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert set(value) <= set(shape), f"{where} has {set(value) - set(shape)} too much"
        for name, (kind, required) in shape.items():
            assert name in value or not required, f"{where}.{name} is missing"
            if name in value:
                require_shape(value[name], kind, f"{where}.{name}")
    else:
        assert type(value) is shape, f"{where} is {value!r}"


@pytest.fixture
async def device(operator: httpx.AsyncClient, gateway: httpx.AsyncClient) -> Device:
    await make_targets(operator, "pump")
    return Device(gateway, "pump")


async def assign(operator: httpx.AsyncClient, release: int, **how: Any) -> int:
    made = ok(await operator.post("/rest/v1/targets/pump/assignedDS", json={"id": release, **how}))
    return int(made["assignedActions"][0]["id"])


async def test_a_poll_says_when_to_come_again_and_asks_for_attributes(device: Device) -> None:
    answer = ok(await device.client.get(device.base), 200)
    require_shape(answer, POLL)
    assert answer["config"]["polling"]["sleep"] == "00:05:00"
    assert answer["_links"] == {"configData": {"href": "http://updraft/DEFAULT/controller/v1/pump/configData"}}


@pytest.mark.parametrize(("seconds", "sleep"), [(30, "00:00:30"), (3661, "01:01:01"), (86400, "23:59:59")])
async def test_the_polling_sleep_stays_what_swupdate_can_parse(
    device: Device, settings: UpdateManagerSettings, seconds: int, sleep: str
) -> None:
    settings.poll_interval_seconds = seconds
    assert ok(await device.client.get(device.base))["config"]["polling"]["sleep"] == sleep


async def test_a_deployment_names_every_file_with_hashes_and_links(operator: httpx.AsyncClient, device: Device) -> None:
    release = await make_plain_set(operator, name="pump fw", version="2.1", data=DATA)
    action = await assign(operator, release)
    poll = ok(await device.client.get(device.base))
    require_shape(poll, POLL)
    href = poll["_links"]["deploymentBase"]["href"]
    assert re.fullmatch(rf"http://updraft/DEFAULT/controller/v1/pump/deploymentBase/{action}\?c=\d+", href)
    answer = ok(await device.client.get(href), 200)
    require_shape(answer, DEPLOYMENT_BASE)
    assert answer["id"] == str(action)
    assert (answer["deployment"]["download"], answer["deployment"]["update"]) == ("forced", "forced")
    assert "maintenanceWindow" not in answer["deployment"], "it has no schedule"
    [chunk] = answer["deployment"]["chunks"]
    assert (chunk["part"], chunk["name"], chunk["version"]) == ("os", "pump fw", "2.1")
    [artifact] = chunk["artifacts"]
    assert artifact["filename"] == "pump fw.bin" and artifact["size"] == len(DATA)
    assert artifact["hashes"] == {name: hashlib.new(name, DATA).hexdigest() for name in ("sha1", "md5", "sha256")}
    link = artifact["_links"]["download-http"]["href"]
    assert " " not in link, "a name with a space makes no broken link"
    fetched = await device.client.get(link, headers={"Accept": "application/octet-stream"})
    assert fetched.status_code == 200 and fetched.content == DATA
    sums = await device.client.get(artifact["_links"]["md5sum-http"]["href"])
    assert sums.text == f"{hashlib.md5(DATA).hexdigest()}  pump fw.bin"
    assert sums.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("action_type", "download", "update"),
    [("forced", "forced", "forced"), ("soft", "attempt", "attempt"), ("downloadonly", "forced", "skip")],
)
async def test_the_kind_of_action_says_how_urgent_it_is(
    operator: httpx.AsyncClient, device: Device, action_type: str, download: str, update: str
) -> None:
    action = await assign(operator, await make_plain_set(operator), type=action_type)
    answer = ok(await device.client.get(f"{device.base}/deploymentBase/{action}"))
    assert (answer["deployment"]["download"], answer["deployment"]["update"]) == (download, update)


async def test_the_number_behind_c_changes_when_an_operator_forces_a_soft_action(
    operator: httpx.AsyncClient, device: Device
) -> None:
    action = await assign(operator, await make_plain_set(operator), type="soft")
    before = (await device.links())["deploymentBase"]
    assert (await device.links())["deploymentBase"] == before
    ok(await operator.put(f"/rest/v1/targets/pump/actions/{action}", json={"forceType": "forced"}))
    assert (await device.links())["deploymentBase"] != before


async def test_the_application_part_keeps_its_old_name(operator: httpx.AsyncClient, device: Device) -> None:
    [module] = ok(
        await operator.post("/rest/v1/softwaremodules", json=[{"name": "app", "version": "1", "type": "application"}])
    )
    wanted = {"name": "app", "version": "1", "type": "app", "modules": [{"id": module["id"]}]}
    [release] = ok(await operator.post("/rest/v1/distributionsets", json=[wanted]))
    action = await assign(operator, release["id"])
    [chunk] = ok(await device.client.get(f"{device.base}/deploymentBase/{action}"))["deployment"]["chunks"]
    assert chunk["part"] == "bApp" and chunk["artifacts"] == []


async def test_the_action_history_is_what_the_device_said_newest_first(
    operator: httpx.AsyncClient, device: Device
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    url = f"{device.base}/deploymentBase/{action}"
    assert "actionHistory" not in ok(await device.client.get(f"{url}?actionHistory=10")), (
        "the server's words are not its"
    )
    for number in range(4):
        ok(await device.feedback(action, "proceeding", "none", f"step {number}"), 200)
    assert "actionHistory" not in ok(await device.client.get(url))
    answer = ok(await device.client.get(f"{url}?actionHistory=2"))
    require_shape(answer, DEPLOYMENT_BASE)
    assert answer["actionHistory"] == {"status": "RETRIEVED", "messages": ["step 3", "step 2"]}
    everything = ok(await device.client.get(f"{url}?actionHistory=-1"))["actionHistory"]
    assert everything["messages"] == ["step 3", "step 2", "step 1", "step 0"]
    assert (await device.client.get(f"{url}?actionHistory=-2")).status_code == 400


async def test_what_is_installed_can_be_asked_for_again(operator: httpx.AsyncClient, device: Device) -> None:
    action = await assign(operator, await make_plain_set(operator, data=DATA))
    assert (await device.client.get(f"{device.base}/installedBase/{action}")).status_code == 404
    ok(await device.feedback(action, "closed", "success", "all good"), 200)
    href = (await device.links())["installedBase"]
    answer = ok(await device.client.get(f"{href}?actionHistory=5"), 200)
    require_shape(answer, DEPLOYMENT_BASE)
    assert answer["actionHistory"]["status"] == "FINISHED"
    link = answer["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download-http"]["href"]
    assert (await device.client.get(link)).content == DATA
    newer = await assign(operator, await make_plain_set(operator, version="2.0"))
    assert set(await device.links()) == {"deploymentBase", "installedBase", "configData"}
    assert (await device.client.get(f"{device.base}/installedBase/{newer}")).status_code == 404


async def test_artifacts_are_listed_for_modules_of_the_device_only(operator: httpx.AsyncClient, device: Device) -> None:
    action = await assign(operator, await make_plain_set(operator))
    answer = ok(await device.client.get(f"{device.base}/deploymentBase/{action}"))
    link = answer["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download-http"]["href"]
    listed = ok(await device.client.get(link.rsplit("/", 1)[0]), 200)
    require_shape(listed, [ARTIFACT])
    assert len(listed) == 1
    await make_targets(operator, "stranger")
    for path in (link, link.rsplit("/", 1)[0], f"{link}.MD5SUM"):
        refused = await device.client.get(path.replace("/pump/", "/stranger/"))
        assert refused.status_code == 404
        require_shape(refused.json(), PROBLEM)


@pytest.mark.parametrize("identifier", ["7", 7, "", None])
async def test_members_of_older_clients_are_ignored_not_refused(
    operator: httpx.AsyncClient, device: Device, identifier: Any
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    status = {
        "execution": "PROCEEDING",
        "result": {"finished": "NONE", "progress": {"cnt": 2, "of": 5}},
        "details": None,
    }
    body = {"id": identifier, "time": "20140511T121314", "timestamp": 1627997501890, "status": status}
    url = f"{device.base}/deploymentBase/{action}/feedback"
    answer = await device.client.post(url, json=body)
    assert answer.status_code == 200 and not answer.content, "exactly 200: rauc-hawkbit raises on anything else"
    media = {"Content-Type": "application/json;charset=UTF-8"}
    assert (await device.client.post(url, content=json.dumps(body), headers=media)).status_code == 200


@pytest.mark.parametrize(
    "status",
    [
        {"execution": "exploding", "result": {"finished": "none"}},
        {"execution": "closed", "result": {"finished": "maybe"}},
        {"execution": "closed", "result": {"finished": "none"}, "details": "not a list"},
        {"execution": "closed", "result": {"finished": "none"}, "code": 2**40},
        {"result": {"finished": "success"}},
        "closed",
        None,
    ],
)
async def test_feedback_that_makes_no_sense_is_refused_with_the_reason(
    operator: httpx.AsyncClient, device: Device, status: Any
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    answer = await device.client.post(f"{device.base}/deploymentBase/{action}/feedback", json={"status": status})
    assert answer.status_code == 400
    require_shape(answer.json(), PROBLEM)
    assert await device.assigned() == action


async def test_a_body_that_is_no_json_is_refused(operator: httpx.AsyncClient, device: Device) -> None:
    action = await assign(operator, await make_plain_set(operator))
    url = f"{device.base}/deploymentBase/{action}/feedback"
    broken = await device.client.post(url, content=b'{"status": ', headers={"Content-Type": "application/json"})
    assert broken.status_code == 400
    assert broken.json()["errorCode"] == "hawkbit.server.error.rest.body.notReadable"
    xml = await device.client.post(url, content=b"<status/>", headers={"Content-Type": "application/xml"})
    assert xml.status_code == 415
    require_shape(xml.json(), PROBLEM)


async def test_long_details_are_split_and_too_many_are_refused(
    operator: httpx.AsyncClient, device: Device, database: Database
) -> None:
    action = await assign(operator, await make_plain_set(operator))
    long = "".join(chr(97 + number % 26) for number in range(1200))
    ok(await device.feedback(action, "proceeding", "none", long, "short"), 200)
    lines = ok(await operator.get(f"/rest/v1/targets/pump/actions/{action}/status"))["content"]
    assert lines[0]["messages"] == [long[:512], long[512:1024], long[1024:], "short"], "split, as hawkBit does"
    ok(await device.feedback(action, "proceeding", "none", *["x"] * 50), 200)
    assert (await device.feedback(action, "proceeding", "none", *["x"] * 51)).status_code == 429
    ok(await device.feedback(action, "proceeding", "none", "y" * 500_000), 200)
    async with database.read() as session:
        most = await session.scalar(text("SELECT max(length(messages::text)) FROM action_status"))
    assert most is not None and most < 130_000, "bounded, whatever a device sends"


@pytest.mark.parametrize(
    "said",
    ["<script>alert(1)</script>", "nul\0byte", "half \ud800 pair", "'; DROP TABLE target; --", "\u202egnp.exe", "𝔘𝔫𝔦"],
)
async def test_whatever_a_device_says_is_text(operator: httpx.AsyncClient, device: Device, said: str) -> None:
    action = await assign(operator, await make_plain_set(operator))
    # As bytes: JSON may carry lone surrogates and NUL, which neither UTF-8 nor PostgreSQL can.
    status = {"execution": "closed", "result": {"finished": "failure"}, "details": [said]}
    headers = {"Content-Type": "application/json"}
    feedback = await device.client.post(
        f"{device.base}/deploymentBase/{action}/feedback", content=json.dumps({"status": status}), headers=headers
    )
    ok(feedback, 200)
    data = await device.client.put(
        f"{device.base}/configData", content=json.dumps({"data": {"hw": said, said: "x"}}), headers=headers
    )
    ok(data, 200)
    kept = said.replace("\0", "").replace("\ud800", "?")
    line = ok(await operator.get(f"/rest/v1/targets/pump/actions/{action}/status"))["content"][0]
    assert line["messages"] == [kept]
    assert ok(await operator.get("/rest/v1/targets/pump/attributes")) == {"hw": kept, kept: "x"}


@pytest.mark.parametrize("number", ["0", "999999", "-1", "9" * 30, "x"])
async def test_actions_that_do_not_exist_are_not_found_and_nothing_breaks(device: Device, number: str) -> None:
    for path in ("deploymentBase", "cancelAction", "installedBase"):
        answer = await device.client.get(f"{device.base}/{path}/{number}")
        assert answer.status_code in (400, 404), answer.text
        require_shape(answer.json(), PROBLEM)
    answer = await device.feedback(number, "proceeding")  # type: ignore[arg-type]
    assert answer.status_code in (400, 404), answer.text


async def test_a_device_name_with_odd_letters_gets_links_that_work(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient
) -> None:
    name, path = "ürn:dev/0 1".replace("/", ":").replace(" ", "+"), "%C3%BCrn%3Adev%3A0%2B1"
    answer = ok(await gateway.get(f"/default/controller/v1/{path}"), 200)
    assert answer["_links"]["configData"]["href"] == f"http://updraft/default/controller/v1/{path}/configData"
    assert ok(await operator.get("/rest/v1/targets"))["content"][0]["controllerId"] == name
    ok(await gateway.put(answer["_links"]["configData"]["href"], json={"data": {}}), 200)
