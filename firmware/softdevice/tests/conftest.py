"""Makes the modules beside the tests importable; a scripted server, and devices with short timers at it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path as FilePath

import pytest

from softdevice.coap_endpoint import Transmission
from softdevice.device import Device
from softdevice.fleet import Fleet
from softdevice.options import DeviceOptions, Misbehaviour

sys.path.insert(0, str(FilePath(__file__).parent))

from device_world import KEY, NAME, NEW, OLD, Make
from scripted_server import ScriptedServer
from wire import Wire


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    await server.open()
    server.files["f", "token", "new.bin"] = NEW
    yield server
    server.close()


@pytest.fixture
async def make(server: ScriptedServer, tmp_path: FilePath) -> AsyncIterator[Make]:
    """Makes a running device with short timers."""
    made: list[Fleet] = []
    base = replace(
        DeviceOptions(server=("127.0.0.1", server.port), slot_sectors=8),
        transmission=Transmission(ack_timeout_seconds=0.05, ack_random_factor=1.2, response_seconds=0.5),
        reboot_seconds=0.02,
        boot_seconds=0.02,
        self_test_seconds=0.05,
        confirm_deadline_seconds=0.4,
        retry_seconds=0.05,
        patience_seconds=2.0,
        report_seconds=30.0,
    )

    def start(*vices: Misbehaviour, **changed: object) -> Device:
        options = replace(base, misbehaviours=frozenset(vices), **changed)  # type: ignore[arg-type]
        fleet = Fleet((NAME,), tmp_path, options, image=OLD, keys=(KEY.public,))
        made.append(fleet)
        fleet[NAME].start()
        return fleet[NAME]

    yield start
    for fleet in made:
        await fleet.stop(deregister=False)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: wire, local_addr=("127.0.0.1", 0))
    yield wire
    wire.transport.close()
