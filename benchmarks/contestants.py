"""The servers under load, each a process on the last core, and what a device has to ask each of them for.

Peers come from .ci/install-bench; one that is missing ends the run with the name of that script.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from coap_wire import encode_options
from coap_wire import options as option
from datagrams.batch import library_path
from updraft_local.embedded import EmbeddedRedis
from updraft_local.ports import free_port
from updraft_local.processes import answers, end

HERE = Path(__file__).parent
BUILT = HERE.parent / ".cache/bench"
CORES = sorted(os.sched_getaffinity(0))
START_SECONDS = 60.0
MAX_SESSIONS = 10_000
UDP = 2
PSK_KEY = "secret-of-the-bench"  # of all devices; libcoap takes it as text, others in hex


class Missing(RuntimeError):
    """A peer or a compiled program is not there."""


@dataclass
class Server:
    """One that runs. `requests(count)` gives the lines of REQUESTS (load.c) for so many devices."""

    name: str
    port: int
    pid: int
    requests: Callable[[int], list[str]]
    secure: bool = False
    next_mid: int = 0

    @property
    def ours(self) -> bool:
        """Is it of this repository?"""
        return self.name in ("bound", "all cores", "one worker") or self.name.startswith("updraft")

    def processes(self) -> Iterator[int]:
        """The process and its children."""
        yield self.pid
        yield from children(self.pid)

    def cpu_seconds(self) -> float:
        """Processor time used up to now, by all threads."""
        tasks = (task for pid in self.processes() for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def resident_mib(self) -> float:
        """Memory in use, MiB: what is the process's own, and its share of what it maps with others."""
        total = 0
        for pid in self.processes():
            found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) if found else 0
        return total / 1024


def children(pid: int) -> Iterator[int]:
    """Processes below one, at any depth."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield int(child)
            yield from children(int(child))


def path_request(*segments: str) -> str:
    """Options of a GET by Uri-Path."""
    return encode_options((option.URI_PATH, each.encode()) for each in segments).hex() + " -"


def proxy_request(uri: str, whole: bool) -> str:
    """Options of a GET by Proxy-Uri: all of them in front, or behind Size2."""
    coded = encode_options(((option.PROXY_URI, uri.encode()),), 0 if whole else option.SIZE2).hex()
    return f"{coded} -" if whole else f"- {coded}"


def built(name: str, *sources: Path) -> Path:
    """What .ci/install-bench made of these very files."""
    made = BUILT / f"{name}.ready"
    stamp = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    if not made.exists() or made.read_text().strip() != stamp:
        raise Missing(f"{name} is not built, or of another version: run .ci/install-bench")
    return BUILT / name


def program(name: str) -> str:
    """A compiled program of this folder."""
    sources = (HERE / f"{name}.c", HERE / "device.h") if name.startswith("load") else (HERE / f"{name}.c",)
    return str(built(name, *sources))


def installed(name: str) -> str:
    """A program of this machine."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed: run .ci/install-bench")
    return found


@contextmanager
def process(
    command: list[str], log: Path, environment: dict[str, str], cores: list[int]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server on some cores; what it says goes into a file."""
    with log.open("wb") as words:
        child = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
            # Before it starts: a Java machine counts the cores it may use once.
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            yield child
        finally:
            end(child, 15, 10.0, lambda: False)


@dataclass
class Grounds:
    """What the contestants stand on: a folder, the body they serve, and the stack that ends them all."""

    folder: Path
    body: Path
    small: Path
    stack: ExitStack
    store: EmbeddedRedis | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        command: list[str],
        environment: dict[str, str] | None = None,
        cores: list[int] | None = None,
        ready: Callable[[bytes], bool] = lambda words: b"ready" in words,
    ) -> int:
        """Start a server on the last core, or on `cores`, and wait until it is `ready`; returns its process id.

        It ends with the run. Raises Missing with its last words when it does not start.
        """
        log = self.folder / f"log-{secrets.token_hex(4)}"
        child = self.stack.enter_context(process(command, log, environment or {}, cores or CORES[-1:]))
        deadline = time.monotonic() + START_SECONDS
        while not ready(words := log.read_bytes()):
            if child.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"{' '.join(command[:3])} did not start: {words[-800:].decode(errors='replace')}")
            time.sleep(0.05)
        return child.pid

    def redis(self) -> EmbeddedRedis:
        """One for all proxies, started when the first asks."""
        if self.store is None:
            self.store = EmbeddedRedis(self.folder / "redis", free_port(), secrets.token_hex(8), durable=False)
            self.store.start()
            self.stack.callback(self.store.stop)
        return self.store


def upstream(grounds: Grounds, body: Path) -> int:
    """An HTTP server for `body`; returns its port. It shares the generator's core."""
    port = free_port()
    grounds.run([program("upstream"), str(port), str(body)], cores=CORES[:1])
    return port


def upstream_counts(port: int) -> dict[str, int]:
    """Requests and body bytes that an upstream has sent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts", timeout=10) as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def bound(grounds: Grounds) -> Server:
    """bound.c: as little as a correct answer needs."""
    port = free_port(UDP)
    pid = grounds.run([program("bound"), str(port), str(grounds.body)])
    return Server("bound", port, pid, lambda count: [path_request("f", "ticket-00000", "a")] * count)


def updraft(
    grounds: Grounds,
    name: str = "updraft",
    cores: list[int] | None = None,
    settings: dict[str, str] | None = None,
    wrapper: tuple[str, ...] = (),
    upstreams: tuple[int, ...] = (),
) -> Server:
    """The proxy as it is run: tickets in a real Redis, one each, the body fetched over HTTP, progress told."""
    if not library_path().exists():
        raise Missing("the compiled part of libs/datagrams is not built: run tools/build_compiled.py")
    source = upstream(grounds, grounds.body)
    store = grounds.redis()
    http, coap = free_port(), free_port(UDP)
    told = {
        "REDIS_URL": store.url,
        "LOG_LEVEL": "WARNING",
        "COAP_HTTP_PROXY_PORT": str(http),
        "COAP_HTTP_PROXY_COAP_PORT": str(coap),
        # All devices come within the same moment, and none may be told to come again.
        "COAP_HTTP_PROXY_MAX_EXCHANGES": "20000",
        "COAP_HTTP_PROXY_CACHE_DIRECTORY": str(grounds.folder / f"blocks-{coap}"),
        "COAP_HTTP_PROXY_ALLOWED_UPSTREAMS": ",".join(f"http://127.0.0.1:{port}/" for port in (source, *upstreams)),
        **(settings or {}),
    }
    command = [sys.executable, *wrapper, "-m", "coap_http_proxy"]
    pid = grounds.run(command, told, cores, lambda words: answers(http))
    tickets: list[str] = []

    def requests(count: int) -> list[str]:
        tickets.extend(minted(store.url, f"http://127.0.0.1:{source}/body", grounds.body, count - len(tickets)))
        return [path_request("f", each, "a") for each in tickets[:count]]

    return Server(name, coap, pid, requests)


def updraft_python(grounds: Grounds) -> Server:
    """The proxy without its compiled part."""
    return updraft(grounds, "updraft python", settings={"COAP_HTTP_PROXY_COMPILED": "false"})


def updraft_dtls(grounds: Grounds) -> Server:
    """The proxy's DTLS port; one key for all devices, each with an identity of its own."""
    keys = grounds.folder / "keys"
    keys.write_text("".join(f"bench-{number} {PSK_KEY.encode().hex()}\n" for number in range(MAX_SESSIONS)))
    keys.chmod(0o600)
    port = free_port(UDP)
    settings = {"COAP_HTTP_PROXY_DTLS_PORT": str(port), "COAP_HTTP_PROXY_PSK_FILE": str(keys)}
    server = updraft(grounds, settings=settings)
    server.port, server.secure = port, True
    return server


def minted(store: str, url: str, body: Path, count: int) -> list[str]:
    """So many new tickets for `body` at `url`, good for an hour, as docs/contracts.md describes them."""
    data = body.read_bytes()
    common = {"url": url, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "tenant": "DEFAULT"}
    tokens = [secrets.token_urlsafe(9) for _ in range(max(0, count))]
    with redis.Redis.from_url(store, socket_timeout=10) as connection:
        pipe = connection.pipeline(transaction=False)
        for number, token in enumerate(tokens):
            record = {**common, "controllerId": f"device-{number}", "actionId": number, "name": "a"}
            pipe.set(f"updraft:ticket:{token}", json.dumps(record), ex=3600)
        pipe.execute()
    return tokens


def libcoap(grounds: Grounds) -> Server:
    """libcoap's example server, which is given the body by PUT."""
    server, port = installed("coap-server-notls"), free_port(UDP)
    pid = grounds.run([server, "-A", "127.0.0.1", "-p", str(port), "-d", "10"], ready=at_once)
    give_body(f"coap://127.0.0.1:{port}/blob", grounds.body)
    grounds.versions["libcoap"] = first_words(server, r"v(\d[\d.]*)")
    return Server("libcoap", port, pid, lambda count: [path_request("blob")] * count)


def libcoap_dtls(grounds: Grounds, library: str) -> Server:
    """The same server with `openssl` or `gnutls`; DTLS has the port above the plain one."""
    server, port = installed(f"coap-server-{library}"), free_port(UDP)
    command = [server, "-A", "127.0.0.1", "-p", str(port), "-d", "10", "-k", PSK_KEY, "-h", "bench"]
    pid = grounds.run(command, ready=at_once)
    give_body(f"coap://127.0.0.1:{port}/blob", grounds.body)
    return Server(f"libcoap {library}", port + 1, pid, lambda count: [path_request("blob")] * count, secure=True)


def at_once(words: bytes) -> bool:
    """For a server that does not say when it is ready: who asks it has to try again."""
    return True


def give_body(uri: str, body: Path) -> None:
    """PUT a body with libcoap's client, until the server is there to take it."""
    put = [installed("coap-client-notls"), "-m", "put", "-b", "1024", "-t", "42", "-B", "5", "-f", str(body), uri]
    for _ in range(40):
        time.sleep(0.1)
        done = subprocess.run(put, capture_output=True, timeout=30, check=False)
        if done.returncode == 0 and not re.match(rb"[45]\.", done.stderr):
            return
    raise Missing(f"libcoap's server did not take the body: {done.stderr[-200:].decode(errors='replace')}")


def first_words(command: str, pattern: str) -> str:
    """What a program says of its version."""
    done = subprocess.run([command, "-h"], capture_output=True, timeout=10, check=False)
    found = re.search(pattern, (done.stdout + done.stderr).decode(errors="replace"))
    return found[1] if found else "?"


def libcoap_proxy(grounds: Grounds) -> Server:
    """The same server, forwarding what names another host."""
    port = free_port(UDP)
    command = [installed("coap-server-notls"), "-A", "127.0.0.1", "-p", str(port), "-P", ",localhost"]
    return Server("libcoap", port, grounds.run(command, ready=at_once), lambda count: [])


def californium(grounds: Grounds, role: str = "blocks") -> Server:
    """Californium's block server, or a cross proxy of the parts its proxy2 is made of."""
    source = HERE / "peers/californium"
    folder = built("californium", source / "pom.xml", *source.glob("src/main/java/updraft/peers/*.java")) / "target"
    port = free_port(UDP)
    jars = f"{folder}/californium-peers-1.jar:{folder}/dependency/*"
    command = [
        installed("java"),
        "-Xmx3g",
        "-cp",
        jars,
        "updraft.peers.Peers",
        role,
        str(port),
        str(grounds.body),
        PSK_KEY,
    ]
    pid = grounds.run(command)
    version = next((folder / "dependency").glob("californium-core-*.jar")).stem.rpartition("-")[2]
    grounds.versions["californium"] = version
    return Server("californium", port, pid, lambda count: [path_request("blob")] * count, secure=role == "secure")


def aiocoap(grounds: Grounds) -> Server:
    """aiocoap's server with a resource that slices itself."""
    port = free_port(UDP)
    pid = grounds.run([sys.executable, str(HERE / "peers/aiocoap_server.py"), str(port), str(grounds.body)])
    return Server("aiocoap", port, pid, lambda count: [path_request("blob")] * count)


def npm_coap(grounds: Grounds) -> Server:
    """npm's server."""
    folder = built("node", HERE / "peers/node/package-lock.json", HERE / "peers/node/server.js")
    port = free_port(UDP)
    pid = grounds.run([installed("node"), str(folder / "server.js"), str(port), str(grounds.body)])
    grounds.versions["npm coap"] = json.loads((folder / "node_modules/coap/package.json").read_text())["version"]
    return Server("npm coap", port, pid, lambda count: [path_request("blob")] * count)
