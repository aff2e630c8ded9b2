"""The worker and beat processes. A worker also follows the uplink stream and makes deltas, in threads."""

import asyncio
import logging
import tempfile
import threading
import time
from pathlib import Path

from update_manager.entrypoints.worker.celery_app import create_celery, register_tasks
from update_manager.entrypoints.worker.delta_builder import DeltaBuilder
from update_manager.entrypoints.worker.heartbeat import Role, beat_heart
from update_manager.entrypoints.worker.uplink_consumer import follow
from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)


def run_worker(settings: UpdateManagerSettings) -> None:
    """Take rings one at a time; scale by running more workers."""
    app = create_celery(settings)
    builder = DeltaBuilder(settings)
    register_tasks(app, settings, builder)
    threading.Thread(target=builder.run, daemon=True, name="deltas").start()
    threading.Thread(target=_follow_uplink, args=(settings,), daemon=True, name="uplink").start()
    _start_heart(settings, "worker")
    app.worker_main(["worker", "--pool=solo", "--without-gossip", "--without-mingle", "--loglevel=WARNING"])


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
