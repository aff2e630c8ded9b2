"""The block proxy as a process of its own, with the Redis it needs and nothing else of the suite; for tests."""

import contextlib
import hashlib
import http.client
import json
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from updraft_local.embedded import EmbeddedRedis
from updraft_local.ports import free_port
from updraft_local.processes import Process, answers, python

TICKET_SECONDS = 3600


class LoneProxy:
    """`settings` are the proxy's, without their prefix; `under` is a command that starts its process, if any."""

    def __init__(self, folder: Path, settings: Mapping[str, str], under: tuple[str, ...] = ()) -> None:
        self.redis = EmbeddedRedis(folder / "redis", free_port(), "for-tests-only")
        self.http, self.coap = free_port(), free_port(socket.SOCK_DGRAM)
        self.blocks = folder / "blocks"
        told = {
            "PORT": str(self.http),
            "COAP_PORT": str(self.coap),
            "CACHE_DIRECTORY": str(self.blocks),
            **settings,
        }
        environment = {"REDIS_URL": self.redis.url, **{f"COAP_HTTP_PROXY_{key}": value for key, value in told.items()}}
        command = [*under, *python("-m", "coap_http_proxy")]
        log = folder / "proxy.log"
        self.process = Process("proxy", command, environment, log, healthy=lambda: answers(self.http))

    @property
    def uri(self) -> str:
        """`coap://HOST:PORT`."""
        return f"coap://127.0.0.1:{self.coap}"

    def start(self) -> None:
        """Redis and the proxy, healthy."""
        self.redis.start()
        self.restart()

    def restart(self) -> None:
        """The proxy again, as a supervisor would after a kill; waits until it is healthy."""
        self.process.start()
        self.process.wait_healthy()

    def workers(self) -> list[int]:
        """Process ids of its workers, when it has several (Linux)."""
        assert self.process.child is not None
        parent = str(self.process.child.pid)
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # gone meanwhile
                its_parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if its_parent == parent and b"multiprocessing.spawn" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found

    def stop(self) -> None:
        """Everything down."""
        self.process.stop()
        self.redis.stop()

    def store(self) -> redis.Redis:
        """A client of its Redis."""
        return redis.Redis.from_url(self.redis.url, socket_timeout=5, socket_connect_timeout=5)

    def ticket(self, url: str, data: bytes, controller: str = "device") -> str:
        """A new ticket for `data`, which is at `url` (docs/contracts.md); returns its token."""
        token = secrets.token_urlsafe(9)
        record = {
            "url": url,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "controllerId": controller,
            "tenant": "DEFAULT",
            "actionId": None,
            "name": "fw.bin",
        }
        with self.store() as store:
            store.set(f"updraft:ticket:{token}", json.dumps(record), ex=TICKET_SECONDS)
        return token

    def stats(self) -> dict[str, Any]:
        """The proxy's counters since it was started."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
        try:
            connection.request("GET", "/stats")
            counters: dict[str, Any] = json.loads(connection.getresponse().read())
            return counters
        finally:
            connection.close()

    def progress(self) -> dict[str, list[dict[str, Any]]]:
        """All progress it reported, in order, by token."""
        with self.store() as store:
            entries: Any = store.xrange("updraft:uplink")
        told: dict[str, list[dict[str, Any]]] = {}
        for _, fields in entries:
            event = json.loads(fields[b"event"])
            told.setdefault(event["token"], []).append(event)
        return told
