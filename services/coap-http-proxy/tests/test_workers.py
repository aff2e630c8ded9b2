"""Several processes on one port: one fetch for all, one voice, and none of them is missed for long."""

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream, mint
from coap_http_proxy.workers import _answer
from coap_wire import Block, Code
from datagrams import udp_socket
from updraft_local.ports import free_port

IMAGE = os.urandom(50_001)
BLOCKS = -(-len(IMAGE) // 512)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for it."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@dataclass
class Herd:
    """A parent and its workers, from outside."""

    parent: asyncio.subprocess.Process
    coap: int
    http: int
    log: Path
    face: httpx.AsyncClient

    def workers(self) -> list[int]:
        """Process ids of the workers, told by what they serve on: all children hold the port's sockets."""
        children = Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children").read_text().split()
        return [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]

    async def stats(self) -> dict[str, Any]:
        return dict((await self.face.get(f"http://127.0.0.1:{self.http}/stats")).json())

    async def health(self) -> int:
        try:
            return (await self.face.get(f"http://127.0.0.1:{self.http}/healthz")).status_code
        except httpx.TransportError:
            return 0

    async def healthy(self) -> None:
        async with asyncio.timeout(30):
            while await self.health() != 200:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def herd(redis_url: str, folder: Path, upstream: HttpUpstream, workers: int = 2) -> AsyncIterator[Herd]:
    http, coap = free_port(), free_port(2)
    told = {
        "REDIS_URL": redis_url,
        "COAP_HTTP_PROXY_PORT": str(http),
        "COAP_HTTP_PROXY_COAP_PORT": str(coap),
        "COAP_HTTP_PROXY_CACHE_DIRECTORY": str(folder / "blocks"),
        "COAP_HTTP_PROXY_ALLOWED_UPSTREAMS": upstream.url("/"),
        "COAP_HTTP_PROXY_REPORT_SECONDS": "0.2",
    }
    log = folder / "log"
    with log.open("wb") as output:
        parent = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "coap_http_proxy", "--workers", str(workers)),
            env={**os.environ, **told},
            stderr=output,
        )
    async with httpx.AsyncClient(timeout=5, trust_env=False) as face:
        one = Herd(parent, coap, http, log, face)
        try:
            await one.healthy()
            yield one
        finally:
            if parent.returncode is None:
                parent.terminate()
                await asyncio.wait_for(parent.wait(), 20)


async def test_all_workers_serve_and_fetch_an_artifact_once_and_are_summed_up(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, herd(redis_url, tmp_path, upstream) as all_of_them:
        tokens = [await mint(store, upstream.url("/a"), IMAGE, controllerId=f"d{n}") for n in range(16)]
        clients = [await CoapClient.connect(all_of_them.coap) for _ in tokens]
        fetched = await asyncio.gather(
            *(one.fetch("f", token, "a") for one, token in zip(clients, tokens, strict=True))
        )
        assert set(fetched) == {IMAGE}
        assert len(upstream.requests) == 1
        stats = await all_of_them.stats()
        assert (stats["blocks"], stats["upstreamBytes"], stats["downloads"]) == (16 * BLOCKS, len(IMAGE), 16)
        assert stats["requests"] == 16 * BLOCKS
        text = (await all_of_them.face.get(f"http://127.0.0.1:{all_of_them.http}/metrics")).text
        assert f"\ncoap_proxy_blocks_total {16 * BLOCKS}\n" in text
        used = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in all_of_them.workers()]
        assert len(used) == 2
        for one in clients:
            one.close()


async def test_a_killed_worker_is_started_anew_and_its_devices_go_on_at_the_next_block(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}) as upstream, herd(redis_url, tmp_path, upstream) as all_of_them:
        tokens = [await mint(store, upstream.url("/a"), IMAGE, controllerId=f"d{n}") for n in range(8)]
        clients = [await CoapClient.connect(all_of_them.coap) for _ in tokens]
        pairs = list(zip(clients, tokens, strict=True))
        for client, token in pairs:
            for num in range(20):
                assert (await client.get("f", token, "a", block=Block(num, False, 5))).code == Code.CONTENT
        before = await all_of_them.stats()
        first = all_of_them.workers()
        os.kill(first[0], signal.SIGKILL)

        async def go_on(client: CoapClient, token: str) -> bytes:
            data = b""
            for num in range(20, BLOCKS):
                reply = await client.get("f", token, "a", block=Block(num, False, 5))
                assert reply.code == Code.CONTENT
                data += reply.payload
            return data

        # What a dead worker had not read yet, the next one answers: nobody has to ask twice.
        assert set(await asyncio.gather(*(go_on(*pair) for pair in pairs))) == {IMAGE[20 * 512 :]}
        await all_of_them.healthy()
        assert set(all_of_them.workers()) != set(first) and len(all_of_them.workers()) == 2
        after = await all_of_them.stats()
        assert before["blocks"] == 8 * 20 and after["blocks"] == 8 * BLOCKS, "what the dead one counted is not lost"
        assert after["upstreamBytes"] == len(IMAGE)
        assert "a worker died, and is started anew" in all_of_them.log.read_text()
        await asyncio.sleep(0.5)
        entries: Any = await store.xrange("updraft:uplink")
        for token in tokens:
            told = [json.loads(entry[b"event"]) for _, entry in entries]
            offsets = [event["offset"] for event in told if event["token"] == token]
            assert offsets == sorted(offsets) and offsets[-1] == len(IMAGE)
            assert {event["restarts"] for event in told} == {0}
        for one in clients:
            one.close()


async def test_stopped_it_drains_and_leaves_no_process_behind(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, herd(redis_url, tmp_path, upstream) as all_of_them:
        token = await mint(store, upstream.url("/a"), IMAGE)
        client = await CoapClient.connect(all_of_them.coap)
        waiting = asyncio.create_task(client.get("f", token, "a", block=Block(0, False, 5)))
        await until(lambda: upstream.requests)
        workers = all_of_them.workers()
        all_of_them.parent.terminate()
        assert (await waiting).code == Code.CONTENT, "who was waiting still gets an answer"
        assert await asyncio.wait_for(all_of_them.parent.wait(), 15) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        client.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", all_of_them.coap))


async def test_workers_do_not_outlive_a_killed_parent(redis_url: str, store: "redis.Redis", tmp_path: Path) -> None:
    async with HttpUpstream({}) as upstream, herd(redis_url, tmp_path, upstream) as all_of_them:
        workers = all_of_them.workers()
        all_of_them.parent.kill()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


async def test_a_worker_that_cannot_start_is_tried_ever_later(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({}) as upstream, herd(redis_url, tmp_path, upstream) as all_of_them:
        # Nothing a worker could write to: it dies at once, again and again.
        for pid in all_of_them.workers():
            os.kill(pid, signal.SIGKILL)
        for path in (tmp_path / "blocks",):
            path.rmdir()
            path.write_text("no folder")
        await until(
            lambda: '"seconds": 0.4' in all_of_them.log.read_text() or "seconds=0.4" in all_of_them.log.read_text()
        )
        assert await all_of_them.health() == 503
        path.unlink()
        await all_of_them.healthy()


async def test_a_worker_for_whom_no_descriptor_is_left_is_tried_until_there_is_one(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    async with HttpUpstream({}) as upstream, herd(redis_url, tmp_path, upstream) as all_of_them:
        _, most = resource.prlimit(all_of_them.parent.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(all_of_them.parent.pid, resource.RLIMIT_NOFILE, (3, most))
        os.kill(all_of_them.workers()[0], signal.SIGKILL)
        await until(lambda: "a worker cannot be started, and is tried again" in all_of_them.log.read_text())
        resource.prlimit(all_of_them.parent.pid, resource.RLIMIT_NOFILE, (most, most))
        await all_of_them.healthy()
        assert len(all_of_them.workers()) == 2


@asynccontextmanager
async def answering(folder: Path) -> AsyncIterator[tuple[socket.socket, "asyncio.Task[None]", asyncio.Event]]:
    """A worker's proxy that answers the other end of a socket pair, and the event by which it is told to stop."""
    settings = ProxySettings(redis_url=SecretStr(""), cache_directory=folder, coap_port=free_port(socket.SOCK_DGRAM))
    opened = udp_socket("127.0.0.1", settings.coap_port, share_port=True)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stop = asyncio.Event()
    with ours:
        async with Proxy(settings, opened, 1) as proxy:
            task = asyncio.create_task(_answer(proxy, theirs, stop))
            yield ours, task, stop


async def test_a_worker_notices_the_death_of_a_parent_that_had_not_read_its_last_answer(tmp_path: Path) -> None:
    async with answering(tmp_path) as (parent, task, stop):
        parent.send(b"1\n")
        answered = asyncio.Event()
        asyncio.get_running_loop().add_reader(parent, answered.set)
        await asyncio.wait_for(answered.wait(), 20)
        asyncio.get_running_loop().remove_reader(parent)
        parent.close()
        await asyncio.wait_for(stop.wait(), 20)
        await task


async def test_a_worker_that_cannot_understand_its_parent_stops_and_says_why(tmp_path: Path) -> None:
    async with answering(tmp_path) as (parent, task, stop):
        parent.send(b"what\n")
        await asyncio.wait_for(stop.wait(), 20)
        with pytest.raises(ValueError, match="what"):
            await task
