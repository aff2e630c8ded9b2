"""Several processes on one UDP port: a parent that starts them, starts those anew that died, and speaks for them all.

The parent opens one socket for each worker on the same port (SO_REUSEPORT) and keeps it open: the kernel spreads
devices over the sockets by their addresses, and a worker that died leaves a queue that the next one finds. Over a
socket pair the parent asks a worker for its numbers; a worker whose parent is gone hears the end of it, and drains.
"""

import asyncio
import contextlib
import json
import logging
import multiprocessing
import signal
import socket
import time
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from typing import Any, Final

import servicekit
from coap_http_proxy import metrics
from coap_http_proxy.bootstrap import DRAIN_SECONDS, Proxy, handlers
from coap_http_proxy.metrics import Snapshot
from coap_http_proxy.settings import ProxySettings
from datagrams import udp_socket

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 1.0
# A worker that dies at once is started anew ever later.
SHORTEST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
STABLE_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 3.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(eq=False)
class Worker:
    """One place on the port, and the process that fills it now."""

    number: int
    opened: socket.socket
    process: SpawnProcess | None = None
    channel: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    last: Snapshot = field(default_factory=dict)
    asked: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Workers:
    """The parent; `async with` starts and stops all."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._workers: list[Worker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._http: asyncio.Server | None = None
        self._stopping = asyncio.Event()
        # Counts of processes that died: sums never fall.
        self._died: Snapshot = {}

    async def __aenter__(self) -> "Workers":
        host, port = self._settings.coap_host, self._settings.coap_port
        for number in range(self._settings.workers):
            self._workers.append(Worker(number, udp_socket(host, port, share_port=True)))
        faces = handlers(self.snapshot, self.checks)
        self._http = await servicekit.serve(faces, self._settings.host, self._settings.port)
        self._tasks = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        self._tasks.append(asyncio.create_task(self._poll()))
        logger.info("workers start", extra={"workers": self._settings.workers, "udp": port})
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        for worker in self._workers:
            if worker.process is not None:
                worker.process.terminate()
        done, late = await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS + GRACE_SECONDS)
        for worker in self._workers:
            if late and worker.process is not None and worker.process.is_alive():
                logger.error("a worker did not drain in time and is killed", extra={"worker": worker.number})
                worker.process.kill()
            worker.opened.close()
        for task in late:
            task.cancel()
        for problem in (task.exception() for task in done if not task.cancelled()):
            if problem is not None:
                raise problem
        if self._http is not None:
            self._http.close()

    async def _keep(self, worker: Worker) -> None:
        """Keep a worker's place filled until the parent stops."""
        pause = SHORTEST_PAUSE_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                process, writer = await self._start(worker)
            except OSError as error:
                # No process or descriptor to be had (EAGAIN, ENOMEM, EMFILE): in a while there may be one.
                what, status = "a worker cannot be started, and is tried again", error.errno
            else:
                await _ended(process)
                worker.channel = None
                writer.close()
                self._died = metrics.summed((self._died, metrics.lasting(worker.last)))
                worker.last = {}
                if self._stopping.is_set():
                    return
                what, status = "a worker died, and is started anew", process.exitcode
                pause = SHORTEST_PAUSE_SECONDS if time.monotonic() - began >= STABLE_SECONDS else pause
            logger.error(what, extra={"worker": worker.number, "status": status, "seconds": pause})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _start(self, worker: Worker) -> tuple[SpawnProcess, asyncio.StreamWriter]:
        """A process for this place, and the way to ask it; raises OSError when the system gives none."""
        ours, theirs = socket.socketpair()
        arguments = (worker.number, self._settings, worker.opened, theirs)
        process = _SPAWN.Process(target=work, args=arguments, name=f"worker {worker.number}", daemon=True)
        try:
            with theirs:
                process.start()
            worker.process = process
            worker.channel = await asyncio.open_connection(sock=ours)
        except OSError:
            ours.close()  # a process that did start hears it, and drains
            raise
        return process, worker.channel[1]

    async def _poll(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), POLL_SECONDS)
            await asyncio.gather(*(_ask(worker) for worker in self._workers))

    async def snapshot(self) -> Snapshot:
        """Sums over all workers, those that died included."""
        await asyncio.gather(*(_ask(worker) for worker in self._workers))
        return metrics.summed((self._died, *(worker.last for worker in self._workers)))

    async def checks(self) -> dict[str, str]:
        """What is wrong, by worker; empty when all is well."""
        said = await asyncio.gather(*(_ask(worker) for worker in self._workers))
        wrong: dict[str, str] = {}
        for worker, answer in zip(self._workers, said, strict=True):
            checks: Any = {"answer": "none"} if answer is None else answer["checks"]
            wrong |= {f"worker {worker.number}: {name}": problem for name, problem in checks.items()}
        return wrong


async def _ask(worker: Worker) -> dict[str, Any] | None:
    """A worker's numbers and checks; None when it does not say."""
    async with worker.turn:
        if worker.channel is None:
            return None
        reader, writer = worker.channel
        worker.asked += 1
        try:
            async with asyncio.timeout(ASK_SECONDS):
                writer.write(b"%d\n" % worker.asked)
                # One that came too late may still lie there.
                while (answer := json.loads(await reader.readline()))["question"] != worker.asked:
                    continue
        except (TimeoutError, OSError, ValueError):
            return None
        worker.last = answer["counted"]
        return dict(answer)


async def _ended(process: SpawnProcess) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()


def work(number: int, settings: ProxySettings, opened: socket.socket, channel: socket.socket) -> None:
    """A worker's process: serve on `opened` until told to stop, or until the parent is gone."""
    servicekit.configure(settings.log_level)
    asyncio.run(_serve(number, settings, opened, channel))


async def _serve(number: int, settings: ProxySettings, opened: socket.socket, channel: socket.socket) -> None:
    stop = asyncio.Event()
    # Ctrl-C reaches all processes of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Proxy(settings, opened, number) as proxy:
        answering = asyncio.create_task(_answer(proxy, channel, stop))
        await stop.wait()
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering


async def _answer(proxy: Proxy, channel: socket.socket, stop: asyncio.Event) -> None:
    """Answer the parent until it is gone. However this ends, the worker stops: nobody else would tell it."""
    try:
        reader, writer = await asyncio.open_connection(sock=channel)
        while question := await _question(reader):
            said = {"question": int(question), "counted": await proxy.snapshot(), "checks": await proxy.checks()}
            writer.write(json.dumps(said).encode() + b"\n")
    finally:
        stop.set()


async def _question(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ConnectionError:
        return b""  # killed before it had read our last answer: the kernel calls that a reset, not an end


async def run(settings: ProxySettings) -> None:
    """Keep `settings.workers` processes serving until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Workers(settings):
        await stop.wait()
