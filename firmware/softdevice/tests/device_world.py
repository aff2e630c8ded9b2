"""What stories about whole devices share: two images, and how to wait for a device at its server."""

import asyncio
from collections.abc import Callable

from scripted_server import ScriptedServer

from coap_wire import Code, Message
from lwm2m.firmware import PACKAGE_URI, RESULT, STATE
from lwm2m.paths import Path
from softdevice.device import Device
from softdevice.images import new_key, small_image

KEY = new_key()
OLD, NEW = small_image(KEY, "1.0.0", 6000), small_image(KEY, "1.1.0+3", 9000)
VERSION = Path(3, 0, 3)
NAME = "dev-0001"
TEXT = ((12, b""),)

Make = Callable[..., Device]


async def registered(server: ScriptedServer) -> Message:
    async with asyncio.timeout(5):
        return await server.registrations.get()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def state_is(server: ScriptedServer, state: int, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while int(await server.read(STATE)) != state:
            await asyncio.sleep(0.01)


async def offer(server: ScriptedServer, path: str = "f/token/new.bin") -> None:
    answer = await server.ask(Code.PUT, PACKAGE_URI, server.uri(path).encode(), TEXT)
    assert answer.code == Code.CHANGED


async def download(server: ScriptedServer) -> None:
    await registered(server)
    await offer(server)
    await state_is(server, 2)


async def result_of(server: ScriptedServer, path: str) -> int:
    await offer(server, path)
    await asyncio.sleep(0.02)
    await state_is(server, 0)
    return int(await server.read(RESULT))
