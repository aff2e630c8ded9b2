"""SIGTERM in the middle of requests: the process answers what it was asked before, and ends well."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from coap_http_proxy.testing import CoapClient, HttpAnswer, HttpOrigin, HttpRequest, HttpUpstream
from coap_wire import Code, Message, Type, decode, encode
from coap_wire import options as option
from updraft_local.ports import free_port

START_SECONDS = 30.0
END_SECONDS = 20.0


@asynccontextmanager
async def process(folder: Path, http: int, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The proxy as its command line starts it, healthy."""
    kept = ["--no-redis", "--cache", str(folder / "blocks")]
    command = ["-m", "coap_http_proxy", *kept, "--http", str(http), *arguments]
    environment = {**os.environ, "LOG_LEVEL": "WARNING"}
    with (folder / "log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment, stderr=log)
    try:
        async with httpx.AsyncClient(timeout=5) as client, asyncio.timeout(START_SECONDS):
            while not await healthy(client, http):
                await asyncio.sleep(0.05)
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def healthy(client: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_device_that_waits_is_answered_after_sigterm(workers: int, tmp_path: Path) -> None:
    coap = free_port(socket.SOCK_DGRAM)
    async with HttpUpstream({"/a": b"the answer"}, "slow") as upstream:
        options = ["--coap", str(coap), "--reverse", f"/r={upstream.url('')}", "--workers", str(workers)]
        async with process(tmp_path, free_port(), *options) as child:
            client = await CoapClient.connect(coap)
            path = tuple((option.URI_PATH, part) for part in (b"r", b"a"))
            client.send_raw(encode(Message(Type.CON, Code.GET, 4711, b"tok", path)))
            async with asyncio.timeout(END_SECONDS):
                waiting = await client.replies.get()
            assert (waiting.type, waiting.code) == (Type.ACK, Code.EMPTY)
            child.send_signal(signal.SIGTERM)
            async with asyncio.timeout(END_SECONDS):
                answer = await client.replies.get()
                assert (answer.type, answer.code, answer.token) == (Type.CON, Code.CONTENT, b"tok")
                assert answer.payload == b"the answer"
                assert await child.wait() == 0
            client.close()


class SlowDevice(asyncio.DatagramProtocol):
    """A device that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[Message, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.put_nowait((decode(data), addr))


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_http_client_that_waits_is_answered_after_sigterm(workers: int, tmp_path: Path) -> None:
    transport, device = await asyncio.get_running_loop().create_datagram_endpoint(
        SlowDevice, local_addr=("127.0.0.1", 0)
    )
    uri = f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    face, coap = free_port(), free_port(socket.SOCK_DGRAM)
    options = ["--coap", str(coap), "--http-to-coap", str(face), "--allow", f"{uri}/", "--workers", str(workers)]
    async with process(tmp_path, free_port(), *options) as child, httpx.AsyncClient(timeout=END_SECONDS) as http:
        async with asyncio.timeout(START_SECONDS):
            while not await listens(face):
                await asyncio.sleep(0.05)
        got = asyncio.create_task(http.get(f"http://127.0.0.1:{face}/hc/{uri}/x"))
        async with asyncio.timeout(END_SECONDS):
            request, address = await device.asked.get()
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(END_SECONDS):
            while await listens(face):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)  # devices take their time
        answer = Message(Type.ACK, Code.CONTENT, request.mid, request.token, (), b"the answer")
        transport.sendto(encode(answer), address)
        assert (await got).content == b"the answer"
        async with asyncio.timeout(END_SECONDS):
            assert await child.wait() == 0
    transport.close()


async def test_workers_whose_clients_on_both_faces_wait_in_vain_drain_before_they_would_be_killed(
    tmp_path: Path,
) -> None:
    transport, device = await asyncio.get_running_loop().create_datagram_endpoint(
        SlowDevice, local_addr=("127.0.0.1", 0)
    )
    uri = f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    face, coap = free_port(), free_port(socket.SOCK_DGRAM)

    async def silent(_: HttpRequest) -> HttpAnswer:
        await asyncio.Event().wait()
        return 500, {}, b""

    async with HttpOrigin(silent) as origin:
        # Only a parent of workers sets a limit.
        options = ["--coap", str(coap), "--http-to-coap", str(face), "--allow", f"{uri}/", "--workers", "2"]
        options += ["--reverse", f"/r={origin.url()}"]
        async with process(tmp_path, free_port(), *options) as child, httpx.AsyncClient(timeout=END_SECONDS) as http:
            async with asyncio.timeout(START_SECONDS):
                while not await listens(face):
                    await asyncio.sleep(0.05)
            by_http = asyncio.create_task(http.get(f"http://127.0.0.1:{face}/hc/{uri}/x"))
            clients = [await CoapClient.connect(coap) for _ in range(16)]  # enough to reach both workers
            for number, client in enumerate(clients):
                path = ((option.URI_PATH, b"r"), (option.URI_PATH, b"%d" % number))
                client.send_raw(encode(Message(Type.CON, Code.GET, 4711, b"tok", path)))
            async with asyncio.timeout(END_SECONDS):
                await device.asked.get()
                while len(origin.requests) < len(clients):
                    await asyncio.sleep(0.05)
                child.send_signal(signal.SIGTERM)
                assert await child.wait() == 0
            await asyncio.wait([by_http])
            assert by_http.exception() or by_http.result().status_code >= 500
            for client in clients:
                client.close()
    transport.close()
    assert "is killed" not in (tmp_path / "log").read_text()
