"""Wakaama, an LwM2M 1.0 client in C, against the gateway: registered, read, observed, updated, gone.

What plays the device around it is wakaama/driver.js; its downloads come through the npm package coap.
"""

import hashlib
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from strangers import Stranger, program, wakaama_modules

from updraft_local.firmware import NEW_VERSION, OLD_VERSION, Firmware
from updraft_local.management import Management
from updraft_local.ports import free_port
from updraft_local.suite import Suite

DRIVER = Path(__file__).parent / "wakaama" / "driver.js"
# What the driver puts into object 3.
DEVICE = {
    "manufacturer": "Eclipse Wakaama",
    "model": "wakatiwai",
    "serial": "WK-0001",
    "firmware.version": OLD_VERSION,
    "device.type": "interop bench",
    "hardware.version": "rev C",
    "software.version": "2.12.3",
    "lwm2m.version": "1.0",
}


class Device:
    """A Wakaama client and what the update manager shows of it."""

    def __init__(self, name: str, client: Stranger, manager: Management) -> None:
        self.name, self.client, self._manager = name, client, manager

    def target(self) -> dict[str, Any]:
        """As the update manager shows it."""
        shown: dict[str, Any] = self._manager.get(f"/targets/{self.name}")
        return shown

    def wait_online(self) -> None:
        """Wait until it is taken in and read."""
        self.client.told("registered", 20)
        known = f"controllerId=={self.name}"
        self._manager.wait(lambda: self._manager.get("/targets", q=known)["total"], 20, f"{self.name} to be known")
        self.wait_resource("/3/0/0", DEVICE["manufacturer"])

    def wait_resource(self, path: str, text: str, seconds: float = 15.0) -> None:
        """Wait until the update manager shows this value."""
        self._manager.wait(
            lambda: self.target()["telemetry"].get(path) == text, seconds, f"{path} of {self.name} to be {text}"
        )

    def wait_presence(self, state: str) -> None:
        """Wait until it is shown as `online` or `offline`."""
        self._manager.wait(lambda: self.target()["presence"]["state"] == state, 15, f"{self.name} to be {state}")

    def attributes(self) -> dict[str, str]:
        """What the gateway told of it over DDI."""
        return self._manager.get(f"/targets/{self.name}/attributes") or {}

    def assign(self, release: dict[str, Any]) -> int:
        """Assign a release; returns the action."""
        answer = self._manager.post(f"/targets/{self.name}/assignedDS", {"id": release["distributionSetId"]})
        (action,) = answer["assignedActions"]
        return int(action["id"])

    def attempt(self) -> dict[str, Any]:
        """Its newest attempt, as the operator's screen tells it."""
        newest: dict[str, Any] = self._manager.timeline(self.name)["attempts"][0]
        return newest


@pytest.fixture
def device(suite: Suite, manager: Management, tmp_path: Path) -> Iterator[Device]:
    """A client that has just been switched on, with the old firmware."""
    name, port = f"wakaama-{secrets.token_hex(4)}", suite.gateway_uri.rpartition(":")[2]
    own_port, modules = str(free_port(socket.SOCK_DGRAM)), {"NODE_PATH": str(wakaama_modules())}
    command = [program("node"), str(DRIVER), "127.0.0.1", port, name, own_port, OLD_VERSION]
    with Stranger(command, tmp_path, modules) as client:
        yield Device(name, client, manager)


def test_client_that_registers_is_read_shown_and_gone_again(device: Device, manager: Management) -> None:
    device.wait_online()
    shown = device.target()
    assert shown["presence"]["state"] == "online"
    assert shown["presence"]["queueMode"] is False
    manager.wait(lambda: device.attributes() == DEVICE, 15, "the attributes")
    read = {path: text for path, text in device.target()["telemetry"].items() if path.count("/") == 3}
    expected = {"/3/0/0": "Eclipse Wakaama", "/3/0/1": "wakatiwai", "/3/0/3": OLD_VERSION, "/3/0/9": "97"}
    assert expected.items() <= read.items()
    assert manager.get("/targets", q=f"attribute.serial==WK-0001 and controllerId=={device.name}")["total"] == 1

    device.client.order(goodbye=True)
    device.client.told("gone", 10)
    device.wait_presence("offline")


def test_value_that_changes_on_the_device_changes_on_the_screen(device: Device) -> None:
    device.wait_online()
    device.wait_resource("/3/0/9", "97")
    for level in (42, 17):
        device.client.order(set="/3/0/9", value=level)
        device.wait_resource("/3/0/9", str(level))


def test_client_that_dies_without_a_word_may_register_again(device: Device, suite: Suite, tmp_path: Path) -> None:
    device.wait_online()
    device.client.stop()
    again = [program("node"), str(DRIVER), "127.0.0.1", suite.gateway_uri.rpartition(":")[2], device.name]
    again += [str(free_port(socket.SOCK_DGRAM)), "1.0.1"]
    with Stranger(again, tmp_path, {"NODE_PATH": str(wakaama_modules())}) as client:
        client.told("registered", 20)
        device.wait_resource("/3/0/3", "1.0.1")
        device.wait_presence("online")


def test_firmware_assigned_by_the_operator_reaches_the_device_and_is_believed_after_its_reboot(
    device: Device, manager: Management, new_release: dict[str, Any], bench: Firmware, suite: Suite
) -> None:
    image = bench.new.read_bytes()
    device.wait_online()
    device.assign(new_release)

    offered = device.client.told("written", 20, path="/5/0/1")
    assert offered["value"].startswith(f"{suite.proxy_uri}/f/")
    assert len(offered["value"]) <= 100
    fetched = device.client.told("downloaded", 40)
    assert (fetched["bytes"], fetched["sha256"]) == (len(image), hashlib.sha256(image).hexdigest())
    assert fetched["version"] == NEW_VERSION
    device.client.told("executed", 20, path="/5/0/2")
    device.client.told("registered", 20, version=NEW_VERSION)

    manager.wait(lambda: device.attempt()["status"] == "finished", 40, "the action to be finished")
    manager.wait(lambda: device.attempt()["phase"] == "succeeded", 15, "the journey's end to be shown")
    attempt, phases = device.attempt(), []
    for seen in attempt["phases"]:
        if seen["phase"] not in phases:
            phases.append(seen["phase"])
    story = ["assigned", "offered", "downloading", "downloaded", "executing", "rebooting", "verifying", "succeeded"]
    assert [phase for phase in story if phase in phases] == phases
    assert {"offered", "downloaded", "verifying", "succeeded"} <= set(phases)
    assert attempt["download"]["percent"] == 100
    assert attempt["download"]["bytesOnAir"] == len(image)

    shown = device.target()
    assert shown["updateStatus"] == "in_sync"
    assert shown["installedDistributionSet"]["version"] == NEW_VERSION
    # A filter by version must find it at once, not at the gateway's next sweep.
    manager.wait(lambda: device.attributes()["firmware.version"] == NEW_VERSION, 5, "the new version as an attribute")
    told = [line["messages"] for line in attempt["log"]]
    assert told[-1] == [f"runs {NEW_VERSION}"]


def test_device_that_lost_its_connection_is_offered_the_image_again(
    device: Device, manager: Management, new_release: dict[str, Any], suite: Suite
) -> None:
    device.wait_online()
    suite.processes["proxy"].stop()
    try:
        device.assign(new_release)
        device.client.told("download failed", 30, result=4)
    finally:
        suite.restart("proxy")
    device.client.told("downloaded", 60)
    manager.wait(lambda: device.attempt()["status"] == "finished", 60, "the action to be finished")
    texts = [seen["text"] for seen in device.attempt()["phases"]]
    assert any("offering again" in text for text in texts), texts
