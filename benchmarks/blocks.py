"""`make bench`: blocks per second, beside aiocoap, libcoap's server (where installed) and the limit of the sockets.

All servers run at once, rounds go from one to the next, medians are shown: so what else the machine does hits all of
them. The ratios are the result; the numbers are this machine's. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio as redis
from servers import TOKEN

from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from updraft_local.embedded import EmbeddedRedis
from updraft_local.ports import free_port
from updraft_local.processes import answers, end

HERE = Path(__file__).parent
BODY_BYTES = 256 << 10
CORES = sorted(os.sched_getaffinity(0))


@dataclass
class Contestant:
    """A server under load, and its rates round by round."""

    name: str
    about: str
    port: int
    paths: list[str]
    mode: str = "check"
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    pid: int = 0

    @property
    def rate(self) -> float:
        """Blocks per second, median."""
        return statistics.median(self.rates)


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(command: list[str], environment: dict[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A server on the last core; the load has the first one to itself."""
    child = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.sched_setaffinity(child.pid, CORES[-1:])
    try:
        yield child
    finally:
        end(child, 15, 5.0, lambda: False)


def generator(folder: Path, python: bool) -> tuple[str, list[str]]:
    """Kind and command of the load generator: C when there is a compiler."""
    compiler = None if python else shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        return "python", [sys.executable, str(HERE / "load.py")]
    command = [compiler, "-O2", "-o", str(folder / "load"), str(HERE / "load.c")]
    subprocess.run(command, check=True, timeout=60)
    return "c", [str(folder / "load")]


def own_server(stack: ExitStack, role: str, about: str, body: Path, clients: int) -> Contestant:
    """A role of servers.py."""
    port = free_port(2)
    child = stack.enter_context(process([sys.executable, str(HERE / "servers.py"), role, str(port), str(body)]))
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    paths = [f"f/{TOKEN}/a"] * clients
    return Contestant(role, about, port, paths, "echo" if role == "echo" else "check", pid=child.pid)


def libcoap(stack: ExitStack, body: Path, clients: int) -> Contestant | None:
    """libcoap's example server, which is given the body by PUT; None where it is not installed."""
    server, client = shutil.which("coap-server-notls"), shutil.which("coap-client-notls")
    if server is None or client is None:
        return None
    port = free_port(2)
    child = stack.enter_context(process([server, "-A", "127.0.0.1", "-p", str(port), "-d", "10"]))
    put = [client, "-m", "put", "-b", "1024", "-t", "42", "-f", str(body), f"coap://127.0.0.1:{port}/blob"]
    for _ in range(20):
        time.sleep(0.1)
        done = subprocess.run(put, capture_output=True, timeout=20, check=False)
        if done.returncode == 0 and b"4." not in done.stderr[:2]:
            return Contestant("libcoap", "libcoap's coap-server, in C", port, ["blob"] * clients, pid=child.pid)
    raise RuntimeError("libcoap's server did not take the body")


@contextmanager
def in_background() -> Iterator[Callable[..., object]]:
    """An event loop in a thread of its own; yields a function that runs a coroutine there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def live_proxy(stack: ExitStack, folder: Path, body: bytes, clients: int) -> Contestant:
    """The proxy as it is run: its own process, tickets in a real Redis, the body fetched over HTTP, progress told."""
    store = EmbeddedRedis(folder / "redis", free_port(), secrets.token_hex(8), durable=False)
    store.start()
    stack.callback(store.stop)
    wait = stack.enter_context(in_background())
    upstream = HttpUpstream({"/body": body})
    wait(upstream.__aenter__())
    http, coap = free_port(), free_port(2)
    told = {
        "REDIS_URL": store.url,
        "COAP_HTTP_PROXY_PORT": str(http),
        "COAP_HTTP_PROXY_COAP_PORT": str(coap),
        "COAP_HTTP_PROXY_CACHE_DIRECTORY": str(folder / "blocks"),
        "COAP_HTTP_PROXY_ALLOWED_UPSTREAMS": upstream.url("/"),
    }
    child = stack.enter_context(process([sys.executable, "-m", "coap_http_proxy"], told))
    while not answers(http):
        assert child.poll() is None
        time.sleep(0.05)

    async def tickets() -> list[str]:
        connection = redis.Redis.from_url(store.url)
        tokens = [await mint(connection, upstream.url("/body"), body, controllerId=f"d{n}") for n in range(clients)]
        await connection.aclose()
        first = await CoapClient.connect(coap)
        assert await first.fetch("f", tokens[0], "a", szx=6) == body
        first.close()
        return tokens

    tokens = wait(tickets())
    assert isinstance(tokens, list)
    paths = [f"f/{token}/a" for token in tokens]
    return Contestant("proxy", "the proxy as a process, a ticket each", coap, paths, pid=child.pid)


def measure(one: Contestant, load: list[str], seconds: float, szx: int, body: Path) -> None:
    """One round."""
    before = cpu_seconds(one.pid)
    command = [*load, str(one.port), str(seconds), str(szx), str(body), one.mode, *one.paths]
    first = CORES[:1] if len(load) == 1 else CORES
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 30,
        preexec_fn=lambda: os.sched_setaffinity(0, first),
    )
    blocks, lasted, _, wrong = done.stdout.split()
    if int(wrong):
        raise RuntimeError(f"{one.name} gave {wrong} wrong answers")
    one.rates.append(int(blocks) / float(lasted))
    one.cpu.append((cpu_seconds(one.pid) - before) / max(1, int(blocks)) * 1e6)


def main() -> None:
    """Start all, measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--clients", type=int, default=64, help="virtual devices at once (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; medians are shown (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (default %(default)s)")
    parser.add_argument(
        "--szx", type=int, default=6, choices=range(7), help="block size exponent (default 6: 1024 bytes)"
    )
    parser.add_argument("--python-load", action="store_true", help="do not use the C load generator")
    options = parser.parse_args()
    data = secrets.token_bytes(BODY_BYTES)
    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        body = folder / "body"
        body.write_bytes(data)
        kind, load = generator(folder, options.python_load)
        clients = options.clients
        contestants = [
            own_server(stack, "echo", "datagrams back unread: the limit of Python's sockets", body, clients),
            own_server(stack, "fast", "the proxy's fast path alone", body, clients),
            live_proxy(stack, folder, data, clients),
            libcoap(stack, body, clients),
            own_server(stack, "aiocoap", "aiocoap, a resource that slices Block2 itself", body, clients),
        ]
        there = [one for one in contestants if one is not None]
        for one in there:
            measure(one, load, 0.3, options.szx, body)
            one.rates.clear()
            one.cpu.clear()
        for number in range(options.rounds):
            sys.stderr.write(f"round {number + 1} of {options.rounds}\n")
            for one in there:
                measure(one, load, options.seconds, options.szx, body)
    report(there, kind, options)


def report(there: list[Contestant], kind: str, options: argparse.Namespace) -> None:
    """The table, and everything as JSON."""
    fast = next(one for one in there if one.name == "fast")
    say = sys.stdout.write
    say(f"\n{options.clients} clients, blocks of {16 << options.szx} bytes, load generator in {kind}, medians of ")
    say(f"{options.rounds} rounds of {options.seconds:g} s\n\n")
    say(f"{'':<10} {'blocks/s':>9} {'CPU us':>7} {'of fast':>8}\n")
    for one in there:
        cpu = statistics.median(one.cpu)
        say(f"{one.name:<10} {one.rate:>9,.0f} {cpu:>7.1f} {one.rate / fast.rate:>8.2f}   {one.about}\n")
    if not any(one.name == "libcoap" for one in there):
        say("libcoap    not installed (Debian: libcoap3-bin)\n")
    rates = {one.name: round(one.rate) for one in there}
    ratios = {f"fast_to_{one.name}": round(fast.rate / one.rate, 2) for one in there if one is not fast}
    cpu_us = {one.name: round(statistics.median(one.cpu), 1) for one in there}
    result = {"generator": kind, "clients": options.clients, "block_bytes": 16 << options.szx}
    say("\n" + json.dumps({**result, "blocks_per_second": rates, "cpu_us_per_block": cpu_us, "ratios": ratios}) + "\n")


if __name__ == "__main__":
    main()
