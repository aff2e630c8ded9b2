"""Another CoAP stack, aiocoap, as the server: registers the device, reads, observes, and serves the file by Block2."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiocoap
import pytest
from aiocoap import resource

from softdevice.coap_endpoint import Transmission
from softdevice.fleet import Fleet
from softdevice.images import new_key, small_image
from softdevice.options import DeviceOptions
from softdevice.profiles import PROFILES

KEY = new_key()
OLD, NEW = small_image(KEY, "1.0.0", 4000), small_image(KEY, "2.0.0", 9000)


class Registry(resource.Resource):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.came: asyncio.Queue[aiocoap.Message] = asyncio.Queue()

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self.came.put_nowait(request)
        answer = aiocoap.Message(code=aiocoap.CREATED)
        answer.opt.location_path = ("rd", "aio")
        return answer


class File(resource.Resource):  # type: ignore[misc]
    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=NEW)


@pytest.fixture
async def server() -> AsyncIterator[tuple[aiocoap.Context, Registry, int]]:
    site, registry = resource.Site(), Registry()
    site.add_resource(["rd"], registry)
    site.add_resource(["f", "t", "n.bin"], File())
    from updraft_local.ports import free_port

    port = free_port()
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port))
    yield context, registry, port
    await context.shutdown()


async def test_device_updates_under_aiocoap(server: tuple[aiocoap.Context, Registry, int], tmp_path: Path) -> None:
    context, registry, port = server
    options = replace(
        DeviceOptions(server=("127.0.0.1", port), slot_sectors=8).hurried(),
        transmission=Transmission(ack_timeout_seconds=0.3),
    )
    async with asyncio.timeout(20):
        async with Fleet(("dev-1",), tmp_path, options, image=OLD, keys=(KEY.public,)) as fleet:
            first = await registry.came.get()
            assert "ep=dev-1" in first.opt.uri_query

            async def ask(code: aiocoap.Code, path: str, payload: bytes = b"") -> aiocoap.Message:
                message = aiocoap.Message(code=code, uri=f"{origin}/{path}", payload=payload)
                if payload:
                    message.opt.content_format = 0
                return await context.request(message).response

            origin = f"coap://{first.remote.hostinfo}"
            await asyncio.sleep(0.1)
            assert (await ask(aiocoap.GET, "3/0/3")).payload == b"1.0.0"
            watch = context.request(aiocoap.Message(code=aiocoap.GET, uri=f"{origin}/5/0/3", observe=0))
            assert (await watch.response).payload == b"0"
            await ask(aiocoap.PUT, "5/0/1", f"coap://127.0.0.1:{port}/f/t/n.bin".encode())
            async for notification in watch.observation:
                if notification.payload == b"2":
                    break
            watch.observation.cancel()
            assert (await ask(aiocoap.POST, "5/0/2")).code == aiocoap.CHANGED
            second = await registry.came.get()
            origin = f"coap://{second.remote.hostinfo}"
            await asyncio.sleep(0.1)
            assert (await ask(aiocoap.GET, "3/0/3")).payload == b"2.0.0"
            while not fleet["dev-1"].board.confirmed:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("client", "code"),
    [
        # aiocoap begins with blocks of 1024 bytes; each block has a token of its own.
        ("anjay", aiocoap.CHANGED),
        ("wakaama", aiocoap.CHANGED),
        # Asked for smaller ones by 4.13 it goes on behind the block that was refused, and not at block 0.
        ("zephyr", aiocoap.REQUEST_ENTITY_INCOMPLETE),
        ("zephyr-old", aiocoap.REQUEST_ENTITY_INCOMPLETE),
    ],
)
async def test_aiocoaps_own_sender_pushes_a_package_where_the_client_takes_its_blocks(
    server: tuple[aiocoap.Context, Registry, int], tmp_path: Path, client: str, code: aiocoap.Code
) -> None:
    context, registry, port = server
    options = replace(
        DeviceOptions(server=("127.0.0.1", port), slot_sectors=8, profile=PROFILES[client]).hurried(),
        transmission=Transmission(ack_timeout_seconds=0.3),
    )
    async with asyncio.timeout(20):
        async with Fleet(("dev-1",), tmp_path, options, image=OLD, keys=(KEY.public,)) as fleet:
            origin = f"coap://{(await registry.came.get()).remote.hostinfo}"
            push = aiocoap.Message(code=aiocoap.PUT, uri=f"{origin}/5/0/0", payload=NEW, content_format=42)
            assert (await context.request(push).response).code == code
            waiting = str(fleet["dev-1"].board.secondary_version())
            assert waiting == ("2.0.0" if code == aiocoap.CHANGED else "None")
