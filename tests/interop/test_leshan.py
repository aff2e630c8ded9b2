"""Leshan's demo server, another LwM2M server, with devices of every profile: registered, read, observed, updated, kept.

The fleet is the same command as against Updraft's gateway; images come from libcoap's coap-server.
"""

import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from strangers import ROOT, Missing, Stranger, program

from softdevice.images import new_key, small_image
from softdevice.profiles import PROFILES
from updraft_local.ports import free_port

LESHAN = ROOT / ".cache" / "interop" / "leshan"
START_SECONDS = 60
# Those that hear a server at any time; one in queue mode is asked after it has woken, which Leshan's REST does not wait
# for.
AWAKE = tuple(name for name, profile in PROFILES.items() if not profile.queue_mode)
# Object 5, resource 9: 1 takes packages by push only.
PUSHED = ("wakaama", "zephyr")
PULLING = tuple(name for name in AWAKE if PROFILES[name].delivery != 1)


class Leshan:
    """The demo server: its CoAP port, its REST, and the notifications it has told of."""

    def __init__(self, coap: int, web: int) -> None:
        self.uri = f"coap://127.0.0.1:{coap}"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{web}/api", timeout=20)
        self.notified: list[dict[str, Any]] = []
        self._events = httpx.Client(base_url=f"http://127.0.0.1:{web}", timeout=httpx.Timeout(20, read=None))

    def registered(self) -> list[str]:
        """Endpoint names, sorted."""
        return sorted(one["endpoint"] for one in self.http.get("/clients").raise_for_status().json())

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """An operation on a device: its answer, which must be a good one."""
        answer = self.http.request(method, f"/clients{path}", json=body).raise_for_status().json()
        assert answer["success"], (path, answer)
        found: dict[str, Any] = answer
        return found

    def value(self, path: str) -> Any:
        """Value of a resource."""
        return self.ask("GET", path)["content"]["value"]

    def listen(self) -> None:
        """Keep all notifications, until the server ends."""

        def follow() -> None:
            try:
                with self._events.stream("GET", "/event", headers={"Accept": "text/event-stream"}) as stream:
                    kind = ""
                    for line in stream.iter_lines():
                        if line.startswith("event:"):
                            kind = line.removeprefix("event:").strip()
                        elif line.startswith("data:") and kind == "NOTIFICATION":
                            self.notified.append(json.loads(line.removeprefix("data:")))
            except httpx.HTTPError:
                return

        threading.Thread(target=follow, daemon=True).start()


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something of other processes; raises AssertionError with what it was."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def leshan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leshan]:
    if not (LESHAN / "ready").is_file():
        raise Missing("Leshan's demo server")
    coap, coaps, web = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM), free_port()
    command = [
        *(program("java"), "-Xmx512m", "--add-opens", "java.base/java.util=ALL-UNNAMED"),
        f"-Dlogback.configurationFile={ROOT}/tests/interop/leshan/logback.xml",
        *("-cp", f"{LESHAN}/jars/*", "org.eclipse.leshan.server.demo.LeshanServerDemo"),
        *("-lh", "127.0.0.1", "-lp", str(coap), "-slh", "127.0.0.1", "-slp", str(coaps)),
        *("-wh", "127.0.0.1", "-wp", str(web)),
    ]
    with Stranger(command, tmp_path_factory.mktemp("leshan"), {}) as server:
        server.hear(lambda line: "Web server started" in line, START_SECONDS, "that it is ready")
        made = Leshan(coap, web)
        made.listen()
        yield made
        made.http.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a libcoap server that takes files by PUT."""
    port = free_port(socket.SOCK_DGRAM)
    command = [program("coap-server-notls", "coap-server"), "-A", "127.0.0.1", "-p", str(port), "-d", "10"]
    with Stranger(command, tmp_path_factory.mktemp("files"), {}):
        yield f"coap://127.0.0.1:{port}"


class Devices:
    """A running fleet, one device of each of these profiles, kept in a folder."""

    def __init__(self, leshan: Leshan, folder: Path, profiles: tuple[str, ...]) -> None:
        self.folder, self.profiles, self.key = folder, profiles, new_key()
        self.prefix = f"{secrets.token_hex(3)}-"
        self.names = {f"{self.prefix}{number:04d}": name for number, name in enumerate(profiles, 1)}
        (folder / "public.pem").write_bytes(self.key.public_pem)
        (folder / "old.bin").write_bytes(small_image(self.key, "1.0.0"))
        self.command = [
            *(sys.executable, "-m", "softdevice", "fleet", "--devices", str(len(profiles)), "--server", leshan.uri),
            *("--name-prefix", self.prefix, "--profile-mix", ",".join(f"{name}=1" for name in profiles)),
            *("--directory", str(folder / "devices"), "--image", str(folder / "old.bin")),
            *("--key", str(folder / "public.pem"), "--hurry"),
        ]

    def in_flash(self) -> dict[str, dict[str, Any]]:
        """What `inspect` shows, by name."""
        command = [sys.executable, "-m", "softdevice", "inspect", str(self.folder / "devices")]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        return {one["endpoint"]: one for one in json.loads(shown)}


@pytest.fixture
def devices(leshan: Leshan, tmp_path: Path) -> Iterator[Devices]:
    """One device of each profile, registered."""
    made = Devices(leshan, tmp_path, tuple(PROFILES))
    with Stranger(made.command, tmp_path, {}):
        until(lambda: set(made.names) <= set(leshan.registered()), 30, "all devices to be registered")
        yield made


def test_every_client_is_registered_and_read(leshan: Leshan, devices: Devices) -> None:
    for name, profile in devices.names.items():
        if profile not in AWAKE:
            continue
        content = {one["id"]: one for one in leshan.ask("GET", f"/{name}/3/0")["content"]["resources"]}
        assert content[0]["value"] == PROFILES[profile].manufacturer
        assert content[2]["value"] == name
        assert content[3]["value"].startswith("1.0.0")


def one_of(devices: Devices, profile: str) -> str:
    """The device that is this client."""
    (name,) = [name for name, one in devices.names.items() if one == profile]
    return name


def is_installed(leshan: Leshan, devices: Devices, name: str) -> None:
    """Wait for Downloaded, have it installed, and look into the flash once the device has confirmed itself."""
    until(lambda: leshan.value(f"/{name}/5/0/3") == 2, 30, "Downloaded")
    leshan.ask("POST", f"/{name}/5/0/2")

    def runs() -> bool:
        answer = leshan.http.get(f"/clients/{name}/3/0/3")
        return answer.is_success and str(answer.json().get("content", {}).get("value")).startswith("1.1.0")

    until(runs, 40, "the new version")
    until(lambda: devices.in_flash()[name]["confirmed"], 20, "the device to confirm itself")
    found = devices.in_flash()[name]
    assert (found["runningVersion"], found["installs"], found["reverts"]) == ("1.1.0", 1, 0)
    # dm-lwm2m erases the way back at once.
    confirms_early = PROFILES[devices.names[name]].confirms_early
    assert found["secondaryVersion"] == (None if confirms_early else "1.0.0")


@pytest.mark.parametrize("profile", PULLING)
def test_update_by_uri_is_observed_and_runs(
    leshan: Leshan, devices: Devices, files: str, tmp_path: Path, profile: str
) -> None:
    name = one_of(devices, profile)
    (tmp_path / "new.bin").write_bytes(small_image(devices.key, "1.1.0", 20_000))
    client = program("coap-client-notls", "coap-client")
    put = [client, "-m", "put", "-b", "1024", "-f", str(tmp_path / "new.bin"), f"{files}/{name}.bin"]
    subprocess.run(put, timeout=30, check=True)

    leshan.ask("POST", f"/{name}/5/0/3/observe")
    leshan.ask("PUT", f"/{name}/5/0/1?format=TEXT", {"id": 1, "value": f"{files}/{name}.bin"})
    is_installed(leshan, devices, name)
    states = [one["val"]["value"] for one in leshan.notified if one["ep"] == name and one["res"] == "/5/0/3"]
    assert states[:2] == [1, 2]


@pytest.mark.parametrize("profile", PUSHED)
def test_update_by_push_runs(leshan: Leshan, devices: Devices, profile: str) -> None:
    name = one_of(devices, profile)
    image = small_image(devices.key, "1.1.0", 9_000)
    leshan.ask("PUT", f"/{name}/5/0/0?format=OPAQUE&timeout=30", {"id": 0, "value": image.hex()})
    is_installed(leshan, devices, name)


def test_three_hundred_devices_stay_registered(leshan: Leshan) -> None:
    prefix = f"{secrets.token_hex(3)}-"
    mix = ",".join(f"{name}=1" for name in PROFILES)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "softdevice", "fleet", "--in-memory", "--devices", "300", "--server", leshan.uri),
            *("--name-prefix", prefix, "--profile-mix", mix, "--start-rate", "150", "--lifetime", "16"),
            *("--duration", "30", "--report", "-", "--no-deregister", "--log-level", "WARNING"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: sum(one.startswith(prefix) for one in leshan.registered()) == 300, 20, "300 registrations")
        out, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait()
    # Lifetimes are over twice by now, and Leshan forgets those who did not renew.
    assert sum(one.startswith(prefix) for one in leshan.registered()) == 300
    report = json.loads(out)
    assert (process.returncode, report["registered"], report["errors"]) == (0, 300, {})
    assert report["counts"]["updates"] > 300 and report["counts"].get("registrations lost", 0) == 0
