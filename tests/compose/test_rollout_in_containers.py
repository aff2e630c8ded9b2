"""From `up` to a fleet updated over the air, inside containers; then everything is stopped, started and still there.

The tests are one story and run in this order.
"""

import re
import time
from typing import Any

import pytest
from engine import SERVICES
from fleet import DEVICES, Fleet

from servicekit import probe
from updraft_local.firmware import NEW_VERSION, OLD_VERSION, PRODUCT_KEY, PRODUCT_NAME

ROLLOUT_SECONDS = 300.0


@pytest.fixture(scope="module")
def release(fleet: Fleet) -> dict[str, Any]:
    """A product that trusts the devices' key, and real firmware for it."""
    fleet.wait_online()
    assert {one["runningVersion"] for one in fleet.flashes().values()} == {OLD_VERSION}
    fleet.manager.product(PRODUCT_KEY, PRODUCT_NAME, (fleet.firmware("test-key.pub.pem"),))
    return fleet.manager.publish(fleet.firmware(f"hci_usb-{NEW_VERSION}.signed.bin"), PRODUCT_KEY)


@pytest.fixture(scope="module")
def rollout(fleet: Fleet, release: dict[str, Any]) -> int:
    """A rollout that has ended; in the middle of it Redis and the gateway were restarted."""
    number = fleet.manager.create_rollout("in containers", release["distributionSetId"], groups=2)
    fleet.manager.post(f"/rollouts/{number}/start")
    fleet.manager.wait(
        lambda: fleet.statistics("coap-http-proxy", 8082)["blocks"] > 20, 60, "a download to be under way"
    )
    fleet.engine.restart("redis")
    fleet.engine.restart("lwm2m-gateway")
    deadline = time.monotonic() + ROLLOUT_SECONDS
    while (shown := fleet.manager.progress(number))["status"] != "finished":
        assert shown["status"] in ("starting", "running"), shown["judgement"]
        assert time.monotonic() < deadline, f"{shown['percent']} %: {shown['judgement']}"
        time.sleep(1)
    return number


def _attempts(fleet: Fleet) -> dict[str, list[str]]:
    names = [one["controllerId"] for one in fleet.manager.get("/targets")["content"]]
    return {name: [attempt["status"] for attempt in fleet.manager.timeline(name)["attempts"]] for name in names}


def test_the_rollout_ends_with_every_device_updated_once(fleet: Fleet, rollout: int) -> None:
    assert _attempts(fleet) == {f"softdevice-{number:04d}": ["finished"] for number in range(1, DEVICES + 1)}
    flashes = fleet.flashes()
    assert len(flashes) == DEVICES
    for name, flash in flashes.items():
        assert (flash["runningVersion"], flash["confirmed"], flash["swapDue"]) == (NEW_VERSION, True, None), name
        assert (flash["installs"], flash["reverts"], flash["downloads"]) == (1, 0, 1), name


def test_the_image_was_fetched_from_upstream_once(fleet: Fleet, rollout: int, release: dict[str, Any]) -> None:
    statistics = fleet.statistics("coap-http-proxy", 8082)
    size = release["artifact"]["size"]
    assert size <= statistics["upstreamBytes"] <= size * 1.1
    assert statistics["bytesOnAir"] >= size * DEVICES


def test_a_device_goes_back_by_a_delta_that_a_worker_made(fleet: Fleet, rollout: int) -> None:
    device = "softdevice-0001"
    older = fleet.manager.publish(fleet.firmware(f"hci_usb-{OLD_VERSION}.signed.bin"), PRODUCT_KEY)
    set_id = older["distributionSetId"]
    fleet.manager.post(f"/targets/{device}/assignedDS", {"id": set_id})

    def ended() -> dict[str, Any] | None:
        newest: dict[str, Any] = fleet.manager.timeline(device)["attempts"][0]
        return None if newest["active"] else newest

    back = fleet.manager.wait(ended, 120, f"{device} to go back")
    made = fleet.manager.get(f"/distributionsets/{set_id}/deltas")["content"]
    assert (back["status"], back["delivery"]["kind"]) == ("finished", "delta"), (back, made)
    assert back["delivery"]["size"] * 4 < older["artifact"]["size"]
    assert fleet.flashes()[device]["runningVersion"] == OLD_VERSION


def test_an_operator_signs_in_at_the_published_console(fleet: Fleet, rollout: int) -> None:
    console, origin = fleet.console, str(fleet.console.base_url)
    assert console.get("/").headers["location"].startswith("/sign-in")
    given = {"username": fleet.settings["OPERATOR_NAME"], "password": "not the password"}
    assert console.post("/sign-in", data=given, headers={"Origin": origin}).status_code == 401
    given["password"] = fleet.settings["OPERATOR_PASSWORD"]
    assert console.post("/sign-in", data=given, headers={"Origin": origin}).status_code == 303
    assert "softdevice-0001" in console.get("/devices").text
    assert "in containers" in console.get("/rollouts").text


def test_no_process_died(fleet: Fleet, rollout: int) -> None:
    assert {service: fleet.engine.restarts(service) for service in SERVICES} == dict.fromkeys(SERVICES, 0)


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_is_root_or_may_become_it(fleet: Fleet, service: str) -> None:
    status = fleet.engine.inside(service, "sh", "-c", "cat /proc/[0-9]*/status").decode()
    users = {number for line in re.findall(r"^Uid:(.*)$", status, re.MULTILINE) for number in line.split()}
    assert users and "0" not in users
    capabilities = {int(mask, 16) for mask in re.findall(r"^Cap(?:Eff|Prm|Bnd):\s*(\w+)$", status, re.MULTILINE)}
    assert capabilities == {0}
    assert set(re.findall(r"^NoNewPrivs:\s*(\d)$", status, re.MULTILINE)) == {"1"}


def test_a_container_knows_only_the_secrets_it_needs(fleet: Fleet) -> None:
    needed: dict[str, set[str]] = {
        "frontend": set(),
        "devices": set(),
        "lwm2m-gateway": {"REDIS_PASSWORD", "GATEWAY_TOKEN"},
    }
    for service, names in needed.items():
        environment = fleet.engine.inside(service, "cat", "/proc/1/environ").decode()
        all_secrets = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "GATEWAY_TOKEN", "OPERATOR_PASSWORD")
        assert {name for name in all_secrets if fleet.settings[name] in environment} == names, service


def test_redis_shows_its_password_in_no_list_of_processes(fleet: Fleet) -> None:
    lines = fleet.engine.inside("redis", "sh", "-c", "cat /proc/[0-9]*/cmdline").decode()
    assert "redis-server" in lines and fleet.settings["REDIS_PASSWORD"] not in lines


def test_images_hold_nothing_of_the_machine_that_built_them(fleet: Fleet) -> None:
    found = fleet.engine.inside(
        "devices", "sh", "-c", "ls -d /etc/pip.conf /opt/pip /srv/updraft/.env /srv/updraft/*/*/tests 2>/dev/null; true"
    )
    assert found == b""
    history = fleet.engine.engine(
        "history", "--no-trunc", "--format", "{{.CreatedBy}}", fleet.settings["UPDRAFT_IMAGE"]
    )
    assert "://" not in history and "/root" not in history


@pytest.mark.parametrize("face", ["LWM2M", "BLOCKS"])
def test_devices_reach_the_published_coap_faces(fleet: Fleet, face: str) -> None:
    assert probe.problem(f"coap://127.0.0.1:{fleet.settings[f'UPDRAFT_{face}_PORT']}") is None


def test_a_face_that_does_not_answer_is_unhealthy(fleet: Fleet) -> None:
    ping = ("python", "-m", "servicekit.probe", "coap://127.0.0.1:5683")
    fleet.engine.inside("lwm2m-gateway", *ping)
    assert not fleet.engine.succeeds_inside("coap-http-proxy", *ping)  # nobody listens there on the gateway's port


def test_everything_is_still_there_after_down_and_up(fleet: Fleet, rollout: int) -> None:
    before, flashes = _attempts(fleet), fleet.flashes()
    fleet.engine.compose("stop")
    # 137 is SIGKILL: nobody had to be stopped by force.
    assert [service for service in SERVICES if fleet.engine.state(service)[1] == 137] == []
    fleet.engine.down(volumes=False)
    fleet.engine.up()
    fleet.wait_online()
    assert fleet.manager.get(f"/rollouts/{rollout}")["status"] == "finished"
    assert _attempts(fleet) == before
    versions = {name: flash["runningVersion"] for name, flash in flashes.items()}
    assert {name: flash["runningVersion"] for name, flash in fleet.flashes().items()} == versions
