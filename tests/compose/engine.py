"""Runs docker-compose.yml by docker compose where an engine answers, else by podman-compose on podman.

Old podman knows no conditions and starts no health checks by itself: there the order of docker-compose.yml and the
checks are kept from here. What the containers are told is the same.
"""

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "updraft-compose-test"
STANDINS = ROOT / ".cache" / "compose.env"
# Services by turn: each turn is up and healthy (or has ended well) before the next begins.
TURNS = (
    ("postgres", "redis"),
    ("migrate", "firmware"),
    ("api", "worker", "beat"),
    ("lwm2m-gateway", "coap-http-proxy", "frontend"),
    ("devices",),
)
ENDING = frozenset({"migrate", "firmware"})
SERVICES = tuple(name for turn in TURNS for name in turn if name not in ENDING)
WITHOUT_HEALTHCHECK = frozenset({"devices"})
COMMAND_SECONDS = 180.0
BUILD_SECONDS = 900.0
HEALTHY_SECONDS = 120.0
# What a build needs to know of the machine's pip to reach the same packages; never part of an image.
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "cert", "default-timeout")


class EngineFailed(RuntimeError):
    """A command of the engine failed or a container did not become healthy; the message holds its last words."""


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    seconds: float = COMMAND_SECONDS,
    check: bool = True,
) -> "subprocess.CompletedProcess[bytes]":
    """Run to the end, output kept; raises EngineFailed."""
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=seconds, check=False)
    if check and done.returncode:
        words = (done.stdout[-2000:] + done.stderr[-4000:]).decode(errors="replace")
        raise EngineFailed(f"{' '.join(command)} ended with {done.returncode}:\n{words}")
    return done


def answers(*command: str) -> bool:
    """Whether a command is there and ends well."""
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def standins() -> dict[str, str]:
    """Names of images that replace the public ones on this machine, as .ci/install-containers left them."""
    if not STANDINS.exists():
        return {}
    return dict(line.split("=", 1) for line in STANDINS.read_text().splitlines() if "=" in line)


def find() -> "Engine":
    """The engine of this machine; raises EngineFailed when there is none."""
    if answers("docker", "info"):
        return Docker(("docker",), ("docker", "compose"), {})
    if answers("podman", "--version"):
        return Podman(("podman",), (sys.executable, "-m", "podman_compose", "--in-pod", "false"), standins())
    raise EngineFailed("neither docker nor podman answers: bash .ci/install-containers makes podman ready")


@dataclass
class Engine(ABC):
    """What both have in common; `settings` are environment variables of this machine."""

    command: tuple[str, ...]
    compose_command: tuple[str, ...]
    settings: dict[str, str]
    env_file: Path = Path(os.devnull)

    def environment(self) -> dict[str, str]:
        """The machine's environment, the stand-ins' names, and what .env says."""
        mine = {key: value for key, value in os.environ.items() if not key.endswith(("_PASSWORD", "_TOKEN"))}
        lines = self.env_file.read_text().splitlines()
        told = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return {**mine, **self.settings, **told}

    def engine(self, *arguments: str, seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
        """A command of the engine itself; its output."""
        done = run([*self.command, *arguments], env=self.environment(), seconds=seconds, check=check)
        return done.stdout.decode(errors="replace")

    def compose(
        self, *arguments: str, seconds: float = COMMAND_SECONDS, check: bool = True
    ) -> "subprocess.CompletedProcess[bytes]":
        """A command of compose on this project, `demo` profile included."""
        options = ["-p", PROJECT, "--env-file", str(self.env_file), "--profile", "demo"]
        return run([*self.compose_command, *options, *arguments], env=self.environment(), seconds=seconds, check=check)

    def container(self, service: str) -> str:
        """Identifier of a service's container; raises EngineFailed when there is none."""
        labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": service}
        filters = [part for key, value in labels.items() for part in ("--filter", f"label={key}={value}")]
        found = self.engine("ps", "--all", "--quiet", *filters).split()
        if not found:
            raise EngineFailed(f"there is no container of {service}")
        return found[0]

    def inside(self, service: str, *command: str) -> bytes:
        """Run a command in a running container; its standard output as it is."""
        return run([*self.command, "exec", self.container(service), *command], env=self.environment()).stdout

    def succeeds_inside(self, service: str, *command: str) -> bool:
        """Whether a command in a running container ends with 0."""
        done = run([*self.command, "exec", self.container(service), *command], env=self.environment(), check=False)
        return done.returncode == 0

    def state(self, service: str) -> tuple[str, int]:
        """`running`, `exited` and so on, with the exit code."""
        shown = self.engine("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", self.container(service))
        status, code = shown.split()
        return status, int(code)

    def restarts(self, service: str) -> int:
        """How often the restart policy had to bring a service back."""
        return int(self.engine("inspect", "--format", "{{.RestartCount}}", self.container(service)))

    @abstractmethod
    def healthy(self, service: str) -> bool:
        """Whether the health check of docker-compose.yml says so; running is enough where it has none."""

    @abstractmethod
    def build(self) -> None:
        """Build the images docker-compose.yml names."""

    @abstractmethod
    def up(self) -> None:
        """Start everything that is not there yet, in order, until all of it is healthy."""

    def wait_healthy(self, *services: str, seconds: float = HEALTHY_SECONDS) -> None:
        """Wait for services to be well; raises EngineFailed naming the first that is not, or that keeps dying."""
        deadline = time.monotonic() + seconds
        for service in services:
            while not (self.state(service)[0] == "running" and self.healthy(service)):
                if self.restarts(service):
                    raise EngineFailed(f"{service} died and was restarted:\n{self.logs(service)}")
                if time.monotonic() > deadline:
                    raise EngineFailed(f"{service} is not healthy after {seconds:.0f} s, but {self.state(service)}")
                time.sleep(0.5)

    def wait_ended(self, service: str, seconds: float = HEALTHY_SECONDS) -> None:
        """Wait for a one-shot service; raises EngineFailed unless it ended well."""
        deadline = time.monotonic() + seconds
        while self.state(service)[0] not in ("exited", "stopped"):
            if time.monotonic() > deadline:
                raise EngineFailed(f"{service} does not end: {self.state(service)}")
            time.sleep(0.3)
        if (code := self.state(service)[1]) != 0:
            raise EngineFailed(f"{service} ended with {code}:\n{self.logs(service)}")

    def restart(self, service: str) -> None:
        """Stop and start one container as an operator would, and wait until it is healthy."""
        self.compose("restart", service)
        self.wait_healthy(service)

    def logs(self, service: str, lines: int = 60) -> str:
        """The last words of a service."""
        done = run(
            [*self.command, "logs", "--tail", str(lines), self.container(service)], env=self.environment(), check=False
        )
        return (done.stdout + done.stderr).decode(errors="replace")

    def down(self, *, volumes: bool) -> None:
        """Remove the containers, and with `volumes` all data."""
        self.compose("down", *(["--volumes"] if volumes else []), check=False)


class Docker(Engine):
    """docker compose keeps order and checks by itself."""

    def build(self) -> None:
        """By docker-compose.yml alone, as a user would."""
        self.compose("build", seconds=BUILD_SECONDS)

    def up(self) -> None:
        """`up -d` waits for the conditions of docker-compose.yml."""
        self.compose("up", "--detach", seconds=BUILD_SECONDS)
        self.wait_healthy(*SERVICES)

    def healthy(self, service: str) -> bool:
        """What docker's own checks say."""
        shown = self.engine("inspect", "--format", "{{json .State.Health}}", self.container(service))
        return service in WITHOUT_HEALTHCHECK or '"Status":"healthy"' in shown


class Podman(Engine):
    """podman without systemd: order, checks and the way to the package index come from here."""

    def build(self) -> None:
        """Both targets on the host's network, with the machine's pip settings lent for the build."""
        environment = self.environment()
        base = environment.get("UPDRAFT_BASE_IMAGE")
        secret = self.env_file.parent / "pip.conf"
        secret.write_text(pip_configuration())
        for target in ("services", "devices"):
            command = ["build", "--quiet", "--network", "host", "--file", "deploy/compose/Dockerfile"]
            command += ["--target", target, "--tag", environment[f"UPDRAFT_{image_variable(target)}"]]
            command += ["--secret", f"id=pip,src={secret}"]
            if Path("/etc/ssl/certs").is_dir():
                command += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
            if base:
                command += ["--build-arg", f"BASE_IMAGE={base}"]
            self.engine(*command, str(ROOT), seconds=BUILD_SECONDS)

    def up(self) -> None:
        """Turn by turn."""
        for turn in TURNS:
            self.compose("up", "--detach", "--no-build", "--no-deps", "--no-recreate", *turn)
            for service in turn:
                if service in ENDING:
                    self.wait_ended(service)
                else:
                    self.wait_healthy(service)

    def healthy(self, service: str) -> bool:
        """Runs the check of docker-compose.yml now."""
        if service in WITHOUT_HEALTHCHECK:
            return True
        command = [*self.command, "healthcheck", "run", self.container(service)]
        return run(command, env=self.environment(), check=False).returncode == 0


def image_variable(target: str) -> str:
    """The variable of docker-compose.yml that names a target's image, without prefix."""
    return {"services": "IMAGE", "devices": "DEVICES_IMAGE"}[target]


def pip_configuration() -> str:
    """The machine's pip settings as a pip.conf for one build."""
    listed = run([sys.executable, "-m", "pip", "config", "list"]).stdout.decode()
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.split(".", 1)[-1].strip(".")
        if name in PIP_OPTIONS:
            found[name] = value.strip("'\"")
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())
