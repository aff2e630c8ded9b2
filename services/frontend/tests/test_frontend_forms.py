"""Every core form works as a plain post, and what was typed is never lost."""

import struct

import httpx
import pytest

from frontend.testing import FakeManager

GOOD_IMAGE = struct.pack("<I", 0x96F3B83D) + bytes(4096)
PLAN = {
    "distribution_set_id": "11",
    "name": "North field",
    "target_filter": "targettype.key==soil-sensor",
    "groups": "5",
    "success_percent": "60",
    "error_percent": "10",
}


def image(content: bytes, name: str = "zephyr.signed.bin") -> dict[str, tuple[str, bytes]]:
    return {"file": (name, content)}


async def test_good_image_becomes_a_release(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    answer = await browser.post(
        "/releases", data={"targetType": "1", "name": "Sensor"}, files=image(GOOD_IMAGE), follow_redirects=True
    )
    assert answer.url.path == f"/releases/{manager.releases[0]['distributionSetId']}"
    assert "Release saved." in answer.text and "Accepted: signed with" in answer.text


async def test_refused_image_says_what_where_and_how_to_mend(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    before = len(manager.releases)
    answer = await browser.post(
        "/releases", data={"targetType": "2", "name": "kept"}, files=image(b"\x7fELF" + bytes(64), "<zephyr>.elf")
    )
    assert answer.status_code == 422
    for words in ("Refused: This is no MCUboot image.", "Wrong magic", "byte 0: 0x464c457f", "made by imgtool sign"):
        assert words in answer.text
    assert "&lt;zephyr&gt;.elf" in answer.text and 'value="kept"' in answer.text
    assert '<option value="2" selected>' in answer.text
    assert len(manager.releases) == before


async def test_upload_without_a_file_or_too_large_is_told(browser: httpx.AsyncClient) -> None:
    missing = await browser.post("/releases", data={"targetType": "1"}, files={"other": b""})
    assert missing.status_code == 422 and "Choose the image file first." in missing.text
    headers = {"Content-Length": str(10**12), "Content-Type": "multipart/form-data; boundary=x"}
    large = await browser.post("/releases", content=b"--x--", headers=headers)
    assert large.status_code == 413 and "larger than 64" in large.text


async def test_check_previews_without_making_anything(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    before = len(manager.rollouts)
    answer = await browser.post("/rollouts/check", data=PLAN)
    assert answer.status_code == 200
    assert "Will download it" in answer.text and "group-5" in answer.text and "on air" in answer.text
    assert 'value="North field"' in answer.text
    fragment = await browser.post("/rollouts/check", data=PLAN, headers={"HX-Request": "true"})
    assert "<html" not in fragment.text and "Will download it" in fragment.text
    assert len(manager.rollouts) == before


async def test_rollout_is_created_then_started_paused_resumed_and_stopped(
    browser: httpx.AsyncClient, manager: FakeManager
) -> None:
    made = await browser.post("/rollouts", data=PLAN)
    assert made.headers["location"] == "/rollouts/6?notice=created"
    assert manager.bodies[-1] == {
        "name": "North field",
        "description": "",
        "targetFilterQuery": "targettype.key==soil-sensor",
        "distributionSetId": 11,
        "amountGroups": 5,
        "successCondition": {"condition": "THRESHOLD", "expression": "60"},
        "errorCondition": {"condition": "THRESHOLD", "expression": "10"},
        "type": "forced",
    }
    for verb, status in (("start", "running"), ("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        answer = await browser.post(f"/rollouts/6/{verb}")
        assert answer.headers["location"] == f"/rollouts/6?notice={verb}"
        assert manager.rollouts[0]["status"] == status


async def test_rollout_may_start_at_once(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    answer = await browser.post("/rollouts", data={**PLAN, "start": "on"})
    assert answer.headers["location"] == "/rollouts/6?notice=starting"
    assert manager.rollouts[0]["status"] == "running"


async def test_act_the_state_forbids_is_refused_in_the_control_room(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/rollouts/4/pause")
    assert answer.status_code == 400
    assert "A rollout that is finished cannot pause." in answer.text and "Soil sensors to 2.3.1" in answer.text


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"distribution_set_id": ""}, "Choose what is to be installed."),
        ({"name": " "}, "Give the rollout a name."),
        ({"groups": "0"}, "A whole number from 1 to 500."),
        ({"error_percent": "101"}, "A whole number from 0 to 100."),
        ({"success_percent": "²"}, "A whole number from 0 to 100."),
        ({"target_filter": ""}, "Say which devices"),
    ],
)
async def test_field_errors_stand_beside_their_fields(
    browser: httpx.AsyncClient, manager: FakeManager, wrong: dict[str, str], told: str
) -> None:
    answer = await browser.post("/rollouts", data={**PLAN, **wrong})
    assert answer.status_code == 422
    assert told in answer.text and 'aria-invalid="true"' in answer.text
    assert not manager.bodies


async def test_filter_error_of_a_rollout_shows_its_column(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/rollouts/check", data={**PLAN, "target_filter": "targettype.key=soil"})
    assert answer.status_code == 422 and "Filter cannot be read at column 15" in answer.text


async def test_product_is_added_with_its_key(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"
    answer = await browser.post("/products", data={"name": "Valve", "key": "valve", "public_key": pem})
    assert answer.headers["location"] == "/products?notice=product"
    assert manager.products[-1]["key"] == "valve" and len(manager.keys[4]) == 1


async def test_private_key_is_never_sent_on(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    pem = "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----"
    for path, fields in (("/products", {"name": "Valve", "key": "valve"}), ("/products/1/keys", {})):
        answer = await browser.post(path, data={**fields, "public_key": pem})
        assert answer.status_code == 422 and "This is a private key." in answer.text
    assert not any(call.startswith("POST /rest/v1/targettypes") for call in manager.calls)


async def test_taken_product_key_is_told_and_the_form_kept(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/products", data={"name": "Another", "key": "pump"})
    assert answer.status_code == 409
    assert "A product with the key pump exists." in answer.text and 'value="Another"' in answer.text
