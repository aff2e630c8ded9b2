"""Debian's SWUpdate over the device API (DDI): it installs, confirms, fails, cancels and resumes as on a real device.

Nothing is shortened for it: images are signed (Debian's build takes no others) and carry a hardware compatibility
list; a device "reboots" by running its post-update command, ending, and starting anew with a word on how that went.
"""

import hashlib
import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cut_line import CutLine
from strangers import Stranger, program

from updraft_local.management import Management
from updraft_local.suite import Suite

VERSION = "2.0.0"
# hawkBit's own module types and the set types they fit in.
SET_TYPES = {"os": "os", "application": "app"}
# What `-c` says after the reboot (SWUpdate's own numbers).
SUCCESS, FAILED = "2", "3"


@dataclass(frozen=True)
class Signer:
    """Who signs .swu files, and whom devices trust."""

    key: Path
    certificate: Path


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A self-signed certificate of this run."""
    folder = tmp_path_factory.mktemp("signer")
    made = Signer(folder / "key.pem", folder / "certificate.pem")
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    command += ["-keyout", str(made.key), "-out", str(made.certificate)]
    extensions = ["-addext", "extendedKeyUsage=emailProtection", "-addext", "keyUsage=digitalSignature"]
    subprocess.run(command + extensions, capture_output=True, timeout=60, check=True)
    return made


def build_swu(folder: Path, signer: Signer, payload: bytes, installs_to: Path, *, sha256: str | None = None) -> Path:
    """A signed .swu that copies `payload` to `installs_to`; `sha256` replaces the true one in sw-description."""
    folder.mkdir(parents=True)
    (folder / "payload.bin").write_bytes(payload)
    digest = sha256 or hashlib.sha256(payload).hexdigest()
    (folder / "sw-description").write_text(
        f"""software = {{
  version = "{VERSION}";
  hardware-compatibility: [ "1.0" ];
  files: ( {{ filename = "payload.bin"; path = "{installs_to}"; sha256 = "{digest}"; }} );
}}
"""
    )
    sign = [program("openssl"), "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig"]
    sign += ["-signer", str(signer.certificate), "-inkey", str(signer.key), "-outform", "DER", "-nosmimecap", "-binary"]
    subprocess.run(sign, cwd=folder, capture_output=True, timeout=60, check=True)
    listed = "sw-description\nsw-description.sig\npayload.bin\n"
    image = folder / "update.swu"
    packed = subprocess.run(
        [program("cpio"), "-o", "-H", "crc", "--quiet"],
        cwd=folder,
        input=listed.encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    image.write_bytes(packed.stdout)
    return image


class Edge:
    """A Linux device: its identity, its disk, and SWUpdate running on it."""

    def __init__(self, suite: Suite, manager: Management, signer: Signer, folder: Path) -> None:
        self.name = f"edge-{secrets.token_hex(4)}"
        self.folder = folder
        self.installed = folder / "installed.bin"
        self.reboot_asked = folder / "reboot-asked"
        self._url, self._manager, self._signer = suite.api_url, manager, signer
        self._token = ["-k", secrets.token_hex(16)]

    def at(self, url: str) -> None:
        """Reach the update manager by another address."""
        self._url = url

    def known(self) -> None:
        """Make it known to the update manager, with a token of its own."""
        self._manager.post("/targets", [{"controllerId": self.name, "securityToken": self._token[1]}])

    def with_gateway_token(self, token: str) -> None:
        """Speak with the tenant's gateway token: the first poll makes it known (plug and play)."""
        self._token = ["-g", token]

    def with_target_token(self, token: str) -> None:
        """Speak with another target token."""
        self._token = ["-k", token]

    def assign(self, image: Path, kind: str = "os") -> int:
        """As any hawkBit user would: module, artifact, distribution set, assignment; returns the action."""
        made = {"name": self.name, "version": VERSION, "type": kind}
        (module,) = self._manager.post("/softwaremodules", [made])
        with image.open("rb") as file:
            path = f"/softwaremodules/{module['id']}/artifacts"
            self._manager.call("POST", path, files={"file": (f"{self.name}.swu", file)})
        whole = {**made, "type": SET_TYPES[kind], "modules": [{"id": module["id"]}]}
        (release,) = self._manager.post("/distributionsets", [whole])
        answer = self._manager.post(f"/targets/{self.name}/assignedDS", {"id": release["id"]})
        assert answer["assigned"] == 1
        return int(answer["assignedActions"][0]["id"])

    def swupdate(self, *suricatta: str) -> Stranger:
        """Start SWUpdate's daemon; everything it writes stays in the device's folder."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        configuration = self.folder / "swupdate.cfg"
        configuration.write_text(
            """globals : { };
identify : (
  { name = "serialNo"; value = "SN-4711"; },
  { name = "hwVersion"; value = "1.0"; }
);
"""
        )
        hawkbit = ["-t", "DEFAULT", "-u", self._url, "-i", self.name, *self._token, "-p", "2", *suricatta]
        command = [program("swupdate"), "-v", "-f", str(configuration), "-H", "bench:1.0"]
        command += ["-k", str(self._signer.certificate), "-p", f"touch {self.reboot_asked}", "-u", " ".join(hawkbit)]
        # Without these its sockets would be in everybody's folder, one SWUpdate per machine.
        scratch = str(self.folder / "tmp")
        return Stranger(command, self.folder, {"TMPDIR": scratch, "RUNTIME_DIRECTORY": scratch})

    def target(self) -> dict[str, Any]:
        """What the update manager shows of it."""
        shown: dict[str, Any] = self._manager.get(f"/targets/{self.name}")
        return shown

    def attributes(self) -> dict[str, str]:
        """What it said of itself."""
        return self._manager.get(f"/targets/{self.name}/attributes") or {}

    def action(self, action_id: int) -> dict[str, Any]:
        """An action of it."""
        shown: dict[str, Any] = self._manager.get(f"/targets/{self.name}/actions/{action_id}")
        return shown

    def log(self, action_id: int) -> list[tuple[str, str]]:
        """Type and text of each message of an action, in the order they came."""
        lines = self._manager.get(f"/targets/{self.name}/actions/{action_id}/status", limit=200)["content"]
        return [(line["type"], message) for line in reversed(lines) for message in line["messages"]]

    def wait_ended(self, action_id: int, status: str, seconds: float = 30.0) -> None:
        """Wait until an action has ended with that status; another end fails at once."""

        def ended() -> bool:
            shown = self.action(action_id)["detailStatus"]
            assert shown == status or shown not in ("finished", "error", "canceled"), self.log(action_id)
            return bool(shown == status)

        self._manager.wait(ended, seconds, f"{self.name}'s action to be {status}")


@pytest.fixture
def edge(suite: Suite, manager: Management, signer: Signer, tmp_path: Path) -> Edge:
    """A device nobody has heard of yet."""
    program("swupdate")
    return Edge(suite, manager, signer, tmp_path)


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something on the device's own disk."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["os", "application"])
def test_device_polls_tells_its_attributes_installs_reboots_and_confirms(
    edge: Edge, signer: Signer, manager: Management, kind: str
) -> None:
    payload = os.urandom(300_000)
    edge.known()
    action = edge.assign(build_swu(edge.folder / "swu", signer, payload, edge.installed), kind)
    assert edge.target()["updateStatus"] == "pending"

    with edge.swupdate() as running:
        running.hear(lambda line: "SWUPDATE successful" in line, 30, "that the update was installed")
        until(edge.reboot_asked.exists, 10, "the reboot")
    assert edge.installed.read_bytes() == payload
    # Installed is not yet believed: SWUpdate reports the end only after the reboot.
    assert edge.action(action)["active"]
    assert edge.target()["updateStatus"] == "pending"

    with edge.swupdate("-c", SUCCESS):
        edge.wait_ended(action, "finished")
        expected = {"serialNo": "SN-4711", "hwVersion": "1.0"}
        manager.wait(lambda: edge.attributes() == expected, 10, "the attributes")
        manager.wait(lambda: not edge.target()["requestAttributes"], 10, "the attributes after the update")
    shown = edge.target()
    assert shown["updateStatus"] == "in_sync"
    assert shown["installedDistributionSet"]["version"] == VERSION
    assert shown["installedDistributionSet"] == shown["assignedDistributionSet"]
    told = [text for _, text in edge.log(action)]
    assert "Installing Update Chunk Artifacts." in told
    assert told[-1] == "Update Installed."


def test_corrupt_image_ends_in_an_error_whose_reason_is_on_the_operators_screen(
    edge: Edge, signer: Signer, manager: Management
) -> None:
    edge.known()
    wrong = hashlib.sha256(b"something else").hexdigest()
    action = edge.assign(build_swu(edge.folder / "swu", signer, b"bytes", edge.installed, sha256=wrong))
    with edge.swupdate():
        edge.wait_ended(action, "error")
    assert not edge.installed.exists()
    log = edge.log(action)
    assert log[-1] == ("error", "No suitable .swu image found")
    assert any("HASH mismatch" in text and wrong in text for _, text in log)
    shown = edge.target()
    assert shown["updateStatus"] == "error"
    assert "installedDistributionSet" not in shown
    (attempt,) = manager.timeline(edge.name)["attempts"]
    assert (attempt["cause"], attempt["causeText"]) == ("device_reported", "No suitable .swu image found")


def test_image_of_a_stranger_is_refused_by_the_device(
    edge: Edge, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    edge.known()
    folder = tmp_path_factory.mktemp("stranger")
    stranger = Signer(folder / "key.pem", folder / "certificate.pem")
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=stranger"]
    files = ["-keyout", str(stranger.key), "-out", str(stranger.certificate)]
    subprocess.run(command + files, capture_output=True, timeout=60, check=True)
    action = edge.assign(build_swu(edge.folder / "swu", stranger, b"bytes", edge.installed))
    with edge.swupdate():
        edge.wait_ended(action, "error")
    assert not edge.installed.exists()
    assert any("Authentication of all signatures failed" in text for _, text in edge.log(action)), edge.log(action)


def test_device_whose_new_software_fails_its_own_test_ends_in_an_error(edge: Edge, signer: Signer) -> None:
    edge.known()
    action = edge.assign(build_swu(edge.folder / "swu", signer, b"looks good, is not", edge.installed))
    with edge.swupdate():
        until(edge.reboot_asked.exists, 30, "the reboot")
    with edge.swupdate("-c", FAILED):
        edge.wait_ended(action, "error")
    assert edge.target()["updateStatus"] == "error"
    assert "installedDistributionSet" not in edge.target()


def test_cancelled_action_is_never_installed_and_the_device_agrees(
    edge: Edge, signer: Signer, manager: Management
) -> None:
    edge.known()
    action = edge.assign(build_swu(edge.folder / "swu", signer, b"too late", edge.installed))
    manager.call("DELETE", f"/targets/{edge.name}/actions/{action}")
    assert edge.action(action)["detailStatus"] == "canceling"
    with edge.swupdate():
        edge.wait_ended(action, "canceled")
    assert not edge.installed.exists()


def test_unknown_device_with_the_gateway_token_introduces_itself(
    edge: Edge, suite: Suite, signer: Signer, manager: Management
) -> None:
    edge.with_gateway_token(suite.secrets.gateway)
    with edge.swupdate():
        introduced = f"controllerId=={edge.name} and attribute.serialNo==SN-4711"
        manager.wait(lambda: manager.get("/targets", q=introduced)["total"] == 1, 30, "the device and its attributes")
        action = edge.assign(build_swu(edge.folder / "swu", signer, b"welcome", edge.installed))
        until(edge.reboot_asked.exists, 30, "the reboot")
    assert edge.installed.read_bytes() == b"welcome"
    assert edge.action(action)["active"]


def test_wrong_token_gets_nothing_and_changes_nothing(edge: Edge, signer: Signer) -> None:
    edge.known()
    edge.assign(build_swu(edge.folder / "swu", signer, b"secret", edge.installed))
    edge.with_target_token("0" * 32)
    with edge.swupdate() as running:
        running.hear(lambda line: "HTTP error code 401" in line, 20, "that it was refused")
    assert not edge.installed.exists()
    shown = edge.target()
    assert shown["requestAttributes"] is True
    assert "pollStatus" not in shown


def test_download_that_is_cut_off_goes_on_where_it_was(edge: Edge, suite: Suite, signer: Signer) -> None:
    payload = os.urandom(3_000_000)
    with CutLine(urlsplit(suite.api_url).port or 0, after=1_000_000) as line:
        edge.known()
        edge.at(f"http://127.0.0.1:{line.port}")
        action = edge.assign(build_swu(edge.folder / "swu", signer, payload, edge.installed))
        with edge.swupdate("-r", "5", "-w", "1"):
            until(edge.reboot_asked.exists, 40, "the reboot")
        assert edge.installed.read_bytes() == payload
        with edge.swupdate("-c", SUCCESS):
            edge.wait_ended(action, "finished")
    first, second = line.downloads
    assert (first.range, first.status) == (None, 200)
    assert second.status == 206
    # What was fetched is not fetched again.
    start = re.fullmatch(r"bytes=(\d+)-", second.range or "")
    assert start is not None, second
    assert 0 < int(start[1]) <= 1_000_000
