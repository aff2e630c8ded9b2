"""The worker and beat processes. A worker also follows the uplink stream and makes deltas, in threads."""

import asyncio
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from update_manager.entrypoints.worker.celery_app import create_celery, register_tasks
from update_manager.entrypoints.worker.delta_builder import DeltaBuilder
from update_manager.entrypoints.worker.heartbeat import Role, beat_heart
from update_manager.entrypoints.worker.uplink_consumer import follow
from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)

# Less than anybody waits before a SIGKILL: docker-compose.yml gives a worker 20 s.
STOP_SECONDS: Final = 10.0


def run_worker(settings: UpdateManagerSettings) -> None:
    """Take rings one at a time; scale by running more workers."""
    app = create_celery(settings)
    builder = DeltaBuilder(settings)
    register_tasks(app, settings, builder)
    threading.Thread(target=builder.run, daemon=True, name="deltas").start()
    threading.Thread(target=_follow_uplink, args=(settings,), daemon=True, name="uplink").start()
    _start_heart(settings, "worker")
    end_in_time(STOP_SECONDS)
    app.worker_main(["worker", "--pool=solo", "--without-gossip", "--without-mingle", "--loglevel=WARNING"])


def end_in_time(seconds: float) -> None:
    """End this process so long after a SIGTERM at the latest, whatever it waits for; call it in the main thread.

    Celery takes its leave of the broker first. When all is stopped at once and the broker was faster, even its name
    may be gone, and a lookup holds the main thread, signal handlers included. Tasks are doorbells and ring again.
    """
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.detach(), warn_on_full_buffer=False)

    def wait() -> None:
        while told.recv(1)[0] != signal.SIGTERM:
            pass
        time.sleep(seconds)
        os._exit(0)

    threading.Thread(target=wait, daemon=True, name="end").start()


def run_beat(settings: UpdateManagerSettings) -> None:
    """Ring on time; the schedule file is scratch, nothing in it must survive."""
    app = create_celery(settings)
    _start_heart(settings, "beat")
    with tempfile.TemporaryDirectory(prefix="updraft-beat-") as scratch:
        app.Beat(schedule=str(Path(scratch) / "schedule"), loglevel="WARNING", quiet=True).run()


def _start_heart(settings: UpdateManagerSettings, role: Role) -> None:
    threading.Thread(target=beat_heart, args=(settings, role), daemon=True, name="heartbeat").start()


def _follow_uplink(settings: UpdateManagerSettings) -> None:
    while True:
        try:
            asyncio.run(follow(settings))
        except Exception:
            logger.exception("the uplink consumer stumbled and begins anew")
            time.sleep(1)
