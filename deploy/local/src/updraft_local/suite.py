"""The whole suite as processes on one machine: which there are, what each is told, in which order they go."""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from updraft_local.embedded import EmbeddedPostgres, EmbeddedRedis
from updraft_local.external import require_database, require_redis
from updraft_local.firmware import Firmware
from updraft_local.management import Management
from updraft_local.orphans import Ledger, stop_leftovers
from updraft_local.ports import PortTaken, free_port, require_free
from updraft_local.processes import Process, ProcessFailed, answers, python
from updraft_local.suite_secrets import Secrets

OPERATOR = "operator"
# Among the default devices some misbehave on purpose: number and kind.
MISBEHAVING = {3: "never_confirms", 7: "loses_fifth", 11: "reboots_mid_download", 15: "queue_mode"}
DEVICE_PREFIX = "softdevice-"
ONCE_SECONDS = 120.0


def device_name(number: int) -> str:
    """Endpoint name of a device of the fleet, counted from 1."""
    return f"{DEVICE_PREFIX}{number:04d}"


@dataclass(frozen=True)
class Pace:
    """How patient the gateway and how quick the devices are; seconds."""

    gateway: dict[str, str]
    devices: tuple[str, ...]


# Real patience would make a demonstration last an hour; these are the same decisions with shorter clocks. The soak is
# longer than a device runs unconfirmed, or a revert would come too late to be seen.
HURRY = Pace(
    gateway={
        "SOAK_SECONDS": "11",
        "SETTLE_SECONDS": "0.2",
        "ASK_AGAIN_SECONDS": "4",
        "AWAKE_SECONDS": "2.5",
        "REQUEST_SECONDS": "12",
        "REBOOT_SECONDS": "120",
        "SILENCE_SECONDS": "240",
        "SWEEP_SECONDS": "20",
    },
    devices=("--hurry", "--lifetime", "60", "--ack-timeout", "0.4"),
)


@dataclass(frozen=True)
class Line:
    """Devices of one line of firmware: named `prefix` and 0001.., `image` at first, `misbehaving` by number."""

    prefix: str
    devices: int
    image: Path
    misbehaving: dict[int, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Endpoint names."""
        return [f"{self.prefix}{number:04d}" for number in range(1, self.devices + 1)]


@dataclass
class Options:
    """What to start. Ports of 0 are chosen; `database_url` and `redis_url` replace the embedded servers.

    `lines` are fleets in place of the one of `devices`, which runs the older of the firmware's two images.
    """

    folder: Path
    firmware: Firmware
    devices: int = 25
    misbehaving: dict[int, str] = field(default_factory=lambda: dict(MISBEHAVING))
    lines: tuple[Line, ...] = ()
    pace: Pace = HURRY
    ports: dict[str, int] = field(default_factory=dict)
    database_url: str | None = None
    redis_url: str | None = None
    frontend: bool = True
    workers: int = 1
    durable: bool = True
    say: Callable[[str], None] = lambda line: None


class Suite:
    """Start, look after, stop. `kill` and `restart` are for fault tests."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.secrets = Secrets.load(options.folder)
        self._ports: dict[str, int] = {}
        self.processes: dict[str, Process] = {}
        self.postgres: EmbeddedPostgres | None = None
        self.redis: EmbeddedRedis | None = None
        self.ledger = Ledger(options.folder / "processes.json")

    # --- what each process is told ------------------------------------------------------------------------------

    def port(self, name: str, kind: int = socket.SOCK_STREAM) -> int:
        """The port of a face: as asked for (and free), or any free one."""
        if name not in self._ports:
            wanted = self.options.ports.get(name, 0)
            setting = f"{name.upper()}_PORT"
            self._ports[name] = require_free(wanted, setting, kind) if wanted else free_port(kind)
        return self._ports[name]

    def _require_ports(self) -> None:
        """Look at all ports before anything is started; raises PortTaken."""
        asked: dict[tuple[int, int], str] = {}
        for name, wanted in self.options.ports.items():
            kind = socket.SOCK_DGRAM if name in ("lwm2m", "blocks") else socket.SOCK_STREAM
            port = self.port(name, kind)
            if wanted and (other := asked.setdefault((kind, port), name)) != name:
                raise PortTaken(f"{other.upper()}_PORT and {name.upper()}_PORT are both {port}; choose two ports")

    @property
    def api_url(self) -> str:
        """Base URL of the update manager."""
        return f"http://127.0.0.1:{self.port('api')}"

    @property
    def frontend_url(self) -> str:
        """Where an operator looks."""
        return f"http://127.0.0.1:{self.port('http')}"

    @property
    def gateway_uri(self) -> str:
        """Where devices register."""
        return f"coap://127.0.0.1:{self.port('lwm2m', socket.SOCK_DGRAM)}"

    @property
    def proxy_uri(self) -> str:
        """Where devices fetch."""
        return f"coap://127.0.0.1:{self.port('blocks', socket.SOCK_DGRAM)}"

    def _environment(self) -> dict[str, str]:
        assert self.postgres is not None or self.options.database_url
        assert self.redis is not None or self.options.redis_url
        return {
            "DATABASE_URL": self.options.database_url or (self.postgres.url if self.postgres else ""),
            "REDIS_URL": self.options.redis_url or (self.redis.url if self.redis else ""),
            "UPDATE_MANAGER_PORT": str(self.port("api")),
            "UPDATE_MANAGER_ARTIFACT_DIRECTORY": str(self.options.folder / "artifacts"),
            "UPDATE_MANAGER_GATEWAY_TOKEN": self.secrets.gateway,
        }

    def _gateway(self) -> dict[str, str]:
        prefix = "LWM2M_GATEWAY_"
        told = {
            "PORT": str(self.port("gateway_http")),
            "COAP_PORT": str(self.port("lwm2m", socket.SOCK_DGRAM)),
            "DDI_URL": self.api_url,
            "GATEWAY_TOKEN": self.secrets.gateway,
            "PROXY_URI": self.proxy_uri,
            **self.options.pace.gateway,
        }
        return {"REDIS_URL": self._environment()["REDIS_URL"], **{prefix + key: value for key, value in told.items()}}

    def _proxy(self) -> dict[str, str]:
        prefix = "COAP_HTTP_PROXY_"
        told = {
            "PORT": str(self.port("proxy_http")),
            "COAP_PORT": str(self.port("blocks", socket.SOCK_DGRAM)),
            "CACHE_DIRECTORY": str(self.options.folder / "blocks"),
            "ALLOWED_UPSTREAMS": f"{self.api_url}/DEFAULT/controller/",
            "GATEWAY_TOKEN": self.secrets.gateway,
        }
        return {"REDIS_URL": self._environment()["REDIS_URL"], **{prefix + key: value for key, value in told.items()}}

    @property
    def lines(self) -> tuple[Line, ...]:
        """All devices, by the firmware they begin with."""
        options = self.options
        return options.lines or (Line(DEVICE_PREFIX, options.devices, options.firmware.old, options.misbehaving),)

    def _fleet(self, line: Line) -> list[str]:
        command = ["-m", "softdevice", "fleet", "--devices", str(line.devices), "--name-prefix", line.prefix]
        command += ["--server", self.gateway_uri, "--directory", str(self.devices_folder), "--image", str(line.image)]
        for key in self.options.firmware.public_keys:
            command += ["--key", str(key)]
        for number, kind in line.misbehaving.items():
            if number <= line.devices:
                command += ["--misbehave", f"{line.names[number - 1]}={kind}"]
        return python(*command, *self.options.pace.devices)

    @property
    def devices_folder(self) -> Path:
        """Flash files of the fleet."""
        return self.options.folder / "devices"

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self, *, fleet: bool = True) -> None:
        """Start everything in order, each healthy before the next needs it."""
        if left := stop_leftovers(self.ledger.path):
            self.options.say(f"stopped {len(left)} processes that an earlier run was not able to stop")
        self._require_ports()
        self.ledger.open()
        self._start_servers()
        self._once("migrate")
        common = self._environment()
        api = self.port("api")
        self._add("api", python("-m", "update_manager", "api"), common, lambda: answers(api))
        for number in range(self.options.workers):
            name = "worker" if number == 0 else f"worker-{number + 1}"
            self._add(name, python("-m", "update_manager", "worker"), common, self._beats("worker", name))
        self._add("beat", python("-m", "update_manager", "beat"), common, self._beats("beat", "beat"))
        gateway, proxy = self.port("gateway_http"), self.port("proxy_http")
        self._add("proxy", python("-m", "coap_http_proxy"), self._proxy(), lambda: answers(proxy))
        self._add("gateway", python("-m", "lwm2m_gateway"), self._gateway(), lambda: answers(gateway))
        if self.options.frontend:
            http = self.port("http")
            told = {"FRONTEND_PORT": str(http), "FRONTEND_UPDATE_MANAGER_URL": self.api_url}
            self._add("frontend", python("-m", "frontend"), told, lambda: answers(http))
        self._once("password", OPERATOR, text=self.secrets.operator)
        for process in list(self.processes.values()):
            process.wait_healthy()
        if fleet and self.options.devices:
            self.start_fleet()

    def start_fleet(self) -> None:
        """Switch the devices on."""
        for line, name in zip(self.lines, self._fleets, strict=True):
            self._add(name, self._fleet(line), {})

    @property
    def _fleets(self) -> list[str]:
        """Names of the processes that are devices."""
        return ["devices", *(f"devices-{number}" for number in range(2, len(self.lines) + 1))]

    def _add(
        self, name: str, command: list[str], environment: dict[str, str], healthy: Callable[[], bool] = lambda: True
    ) -> None:
        log = self.options.folder / "logs" / f"{name}.log"
        marked = {**environment, **self.ledger.environment}
        process = Process(name, command, marked, log, self.options.say, healthy)
        self.processes[name] = process
        process.start()
        self._note(name)

    def _beats(self, role: str, name: str) -> Callable[[], bool]:
        """Whether a process without a port of its own works: its heart beats in Redis."""
        url = self._environment()["REDIS_URL"]

        def healthy() -> bool:
            child = self.processes[name].child
            key = f"updraft:{role}:{socket.gethostname()}-{child.pid if child else 0}"
            try:
                with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
                    return bool(client.exists(key))
            except redis.RedisError:
                return False

        return healthy

    def _start_servers(self) -> None:
        folder, durable = self.options.folder, self.options.durable
        if self.options.database_url is None:
            self.postgres = EmbeddedPostgres(
                folder / "postgres", self.port("postgres"), self.secrets.postgres, durable, self.ledger.environment
            )
            self.postgres.start()
            self._note("postgres")
        else:
            require_database(self.options.database_url)
        if self.options.redis_url is None:
            self.redis = EmbeddedRedis(
                folder / "redis", self.port("redis"), self.secrets.redis, durable, self.ledger.environment
            )
            self.redis.start()
            self._note("redis")
        else:
            require_redis(self.options.redis_url)

    def _note(self, name: str) -> None:
        servers = {"postgres": self.postgres, "redis": self.redis}
        server = servers.get(name)
        child = server.process if server is not None else self.processes[name].child
        if child is not None:
            self.ledger.note(name, child.pid)

    def _once(self, *role: str, text: str = "") -> None:
        try:
            done = subprocess.run(
                python("-m", "update_manager", *role),
                env={**os.environ, **self._environment(), **self.ledger.environment},
                input=text + "\n",
                capture_output=True,
                text=True,
                timeout=ONCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ProcessFailed(f"update_manager {role[0]} did not end within {ONCE_SECONDS:.0f} s") from error
        if done.returncode:
            raise ProcessFailed(f"update_manager {role[0]} failed:\n{done.stderr.strip()[-2000:]}")

    def require_alive(self) -> None:
        """Raise ProcessFailed naming the first process that died."""
        for process in self.processes.values():
            process.require_alive()
        for name, server in (("PostgreSQL", self.postgres), ("Redis", self.redis)):
            if server is not None and server.process is not None and server.process.poll() is not None:
                raise ProcessFailed(f"{name} died; its log is in {server.folder}")

    def stop_fleet(self) -> None:
        """Switch the devices off, flash files closed."""
        for name in self._fleets:
            if process := self.processes.pop(name, None):
                process.stop()

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop everything, devices first, servers last; whoever is in a hurry has the rest killed."""
        for stage in (self._fleets, ("frontend", "gateway", "proxy", "beat"), tuple(self.processes)):
            there = [self.processes[name] for name in stage if name in self.processes]
            for process in there:
                process.ask_to_stop()
            for process in there:
                process.stop(hurry)
        if self.redis is not None:
            self.redis.stop(hurry)
        if self.postgres is not None:
            self.postgres.stop(hurry)
        self.ledger.close()

    def kill(self, name: str) -> None:
        """kill -9 of a process or of `postgres` or `redis`."""
        if name in ("postgres", "redis"):
            server = self.postgres if name == "postgres" else self.redis
            assert server is not None
            server.kill()
        else:
            self.processes[name].kill()

    def restart(self, name: str) -> None:
        """Start it again, as a supervisor would, and wait until it is healthy."""
        if name in ("postgres", "redis"):
            server = self.postgres if name == "postgres" else self.redis
            assert server is not None
            server.start()
        else:
            self.processes[name].start()
            self.processes[name].wait_healthy()
        self._note(name)

    # --- looking in ---------------------------------------------------------------------------------------------

    def management(self) -> Management:
        """A client signed in as the operator."""
        return Management(self.api_url, OPERATOR, self.secrets.operator)

    def proxy_stats(self) -> dict[str, Any]:
        """The proxy's counters."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port("proxy_http"), timeout=5)
        try:
            connection.request("GET", "/stats")
            stats: dict[str, Any] = json.loads(connection.getresponse().read())
            return stats
        finally:
            connection.close()

    def wait_online(self, seconds: float = 120.0) -> None:
        """Wait until every device is registered and shown."""
        manager, wanted = self.management(), sum(line.devices for line in self.lines)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self.require_alive()
                if manager.online() >= wanted:
                    return
                time.sleep(0.5)
            raise TimeoutError(f"{manager.online()} of {wanted} devices came online in {seconds:.0f} s")
        finally:
            manager.close()
