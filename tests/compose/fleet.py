"""What an operator of docker-compose.yml has in hand: .env, the published ports, the API, the devices' flash."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from engine import ROOT, Engine

from updraft_local.management import Management
from updraft_local.ports import free_port
from updraft_local.suite import HURRY

DEVICES = 5
FIRMWARE = "/var/lib/updraft/firmware"
MAKE_ENV = ROOT / "deploy" / "compose" / "make_env.py"


class Fleet:
    """The suite with its settings; `engine` does the work."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.env_file = folder / ".env"
        subprocess.run([sys.executable, MAKE_ENV, "--output", self.env_file], check=True, capture_output=True)
        ports = {"UPDRAFT_FRONTEND_PORT": free_port(), "UPDRAFT_API_PORT": free_port()}
        ports |= {
            "UPDRAFT_LWM2M_PORT": free_port(socket.SOCK_DGRAM),
            "UPDRAFT_BLOCKS_PORT": free_port(socket.SOCK_DGRAM),
        }
        told = {
            **{name: str(port) for name, port in ports.items()},
            "UPDRAFT_DEVICE_BIND": "127.0.0.1",
            "UPDRAFT_IMAGE": "localhost/updraft-test/services:latest",
            "UPDRAFT_DEVICES_IMAGE": "localhost/updraft-test/devices:latest",
            "UPDRAFT_DEMO_DEVICES": str(DEVICES),
            # The same decisions with shorter clocks, so that a rollout ends in a minute.
            "SOFTDEVICE_LIFETIME": "20",
            "SOFTDEVICE_ACK_TIMEOUT": "0.4",
            **{f"LWM2M_GATEWAY_{name}": value for name, value in HURRY.gateway.items()},
        }
        with self.env_file.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in told.items())
        engine.env_file = self.env_file
        self.settings = engine.environment()
        self.console = httpx.Client(base_url=self._local("FRONTEND"), timeout=20, trust_env=False)
        self.manager = Management(
            self._local("API"), self.settings["OPERATOR_NAME"], self.settings["OPERATOR_PASSWORD"]
        )

    def _local(self, face: str) -> str:
        return f"http://127.0.0.1:{self.settings[f'UPDRAFT_{face}_PORT']}"

    def firmware(self, name: str) -> Path:
        """A file of the `firmware` volume, copied out as an operator would."""
        path = self.folder / name
        path.write_bytes(self.engine.inside("devices", "cat", f"{FIRMWARE}/{name}"))
        return path

    def wait_online(self) -> None:
        """Until every device is registered and shown."""
        self.manager.wait(lambda: self.manager.online() == DEVICES, 120, f"{DEVICES} devices to be online")

    def flashes(self) -> dict[str, dict[str, Any]]:
        """What the devices have in flash, by endpoint name."""
        shown = json.loads(self.engine.inside("devices", "python", "-m", "softdevice", "inspect"))
        return {one["endpoint"]: one for one in shown}

    def statistics(self, service: str, port: int) -> dict[str, Any]:
        """The counters of the gateway or the proxy, which no published port shows."""
        code = (
            f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/stats', timeout=5).read().decode())"
        )
        shown: dict[str, Any] = json.loads(self.engine.inside(service, "python", "-c", code))
        return shown

    def close(self) -> None:
        """Let the connections go."""
        self.console.close()
        self.manager.close()
