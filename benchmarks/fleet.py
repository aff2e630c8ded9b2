"""The line `fleet`: what a software device costs, and what a round trip of its CoAP endpoint costs beside others.

A round trip is a confirmable GET and its answer, client and server in one process and one event loop, one after the
other, in rounds that go from one contestant to the next. The fleet is the command a user runs, on one core, against the
registrar on another.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final, cast

import aiocoap
from aiocoap import resource
from contestants import CORES
from lines import Entry, Result, WrongAnswer

from coap_wire import Code, Message
from softdevice.coap_endpoint import CoapEndpoint, Transmission
from softdevice.reply import Reply
from updraft_local.ports import free_port

PAYLOAD: Final = b"x" * 64
STEADY_SECONDS: Final = 600
Ask = Callable[[], Awaitable[bytes]]


class _Echo(asyncio.DatagramProtocol):
    """Bare asyncio: what comes is sent back, or handed to whoever waits."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self.waiting: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._answers:
            self.transport.sendto(data, addr)
        elif self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(data)


class _Resource(resource.Resource):  # type: ignore[misc]
    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=PAYLOAD)


async def _bare(port: int) -> Ask:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Echo(answers=True), local_addr=("127.0.0.1", port))
    _, client = await loop.create_datagram_endpoint(lambda: _Echo(answers=False), remote_addr=("127.0.0.1", port))

    async def ask() -> bytes:
        client.waiting = loop.create_future()
        client.transport.sendto(PAYLOAD)
        return await client.waiting

    return ask


async def _softdevice(port: int) -> Ask:
    def answer(request: Message, peer: tuple[str, int]) -> Reply:
        return Reply(Code.CONTENT, PAYLOAD)

    server = CoapEndpoint(answer, transmission=Transmission())
    await server.open(("127.0.0.1", port))
    client = CoapEndpoint(lambda request, peer: None, transmission=Transmission())
    await client.open(("127.0.0.1", 0))

    async def ask() -> bytes:
        return (await client.request(("127.0.0.1", port), Code.GET, ((11, b"a"),))).payload

    return ask


async def _aiocoap(port: int) -> Ask:
    site = resource.Site()
    site.add_resource(["a"], _Resource())
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port))
    client = await aiocoap.Context.create_client_context()

    async def ask() -> bytes:
        request = aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{port}/a")
        return bytes((await client.request(request).response).payload)

    return ask


async def _round_trips(rounds: int, seconds: float) -> dict[str, float]:
    """Round trips a second by contestant, medians."""
    asks = {
        "bare asyncio UDP": await _bare(free_port()),
        "softdevice": await _softdevice(free_port()),
        "aiocoap": await _aiocoap(free_port()),
    }
    rates: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(rounds):
        for name, ask in asks.items():
            count, began = 0, time.perf_counter()
            while (took := time.perf_counter() - began) < seconds:
                if await ask() != PAYLOAD:
                    raise WrongAnswer(f"{name} answered with something else")
                count += 1
            rates[name].append(count / took)
    return {name: statistics.median(each) for name, each in rates.items()}


def _run_fleet(devices: int, seconds: float) -> Entry:
    """A fleet against the registrar, each on a core of its own where there are two."""
    softdevice = [sys.executable, "-m", "softdevice"]
    with subprocess.Popen(
        ["taskset", "-c", str(CORES[-1]), *softdevice, "registrar", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as registrar:
        try:
            assert registrar.stderr is not None
            port = int(registrar.stderr.readline().rpartition(":")[2])
            fleet = subprocess.run(
                [
                    *("taskset", "-c", str(CORES[0]), *softdevice, "fleet", "--in-memory", "--devices", str(devices)),
                    *("--server", f"coap://127.0.0.1:{port}", "--start-rate", "200", "--duration", str(seconds)),
                    *("--report", "-", "--no-deregister", "--no-progress", "--log-level", "WARNING"),
                ],
                capture_output=True,
                text=True,
                timeout=seconds + devices / 50 + 60,
                check=False,
            )
        finally:
            registrar.terminate()
            told = registrar.communicate(timeout=20)[0]
    if fleet.returncode:
        raise WrongAnswer(f"the fleet ended with {fleet.returncode}: {fleet.stderr[-500:]}")
    report, seen = json.loads(fleet.stdout), json.loads(told)
    return Entry(
        "softdevice",
        facts={
            "devices": report["devices"],
            "registered": seen["registeredNow"],
            "expired": seen["expired"],
            "bytes_per_device": report["bytesPerDevice"],
            "cpu_ms_to_start_one": round(1000 * report["cpuSecondsToStart"] / devices, 2),
            "devices_a_core_keeps": report["devicesPerCore"],
            "update_p99_ms": report["milliseconds"].get("updates", {}).get("p99", ""),
        },
    )


def fleet(rounds: int, seconds: float, *, quick: bool) -> Result:
    """The fleet and the endpoint, in one table of facts."""
    kept = _run_fleet(100 if quick else 10_000, 2 if quick else STEADY_SECONDS)
    rates = asyncio.run(_round_trips(rounds, seconds))
    entries = [kept]
    for name, rate in rates.items():
        entry = kept if name == kept.name else Entry(name)
        entry.facts["round_trips_per_second"] = round(rate)
        entry.facts["x_aiocoap"] = round(rate / rates["aiocoap"], 2)
        if entry is not kept:
            entries.append(entry)
    return Result("fleet", "software devices in one process, and round trips of their CoAP endpoint", entries)
