"""The worker and beat processes. A worker also follows the uplink stream, in a thread of its own."""

import asyncio
import logging
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

import redis

from update_manager.entrypoints.worker.celery_app import create_celery, register_tasks
from update_manager.entrypoints.worker.uplink_consumer import follow
from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5


def run_worker(settings: UpdateManagerSettings) -> None:
    """Take rings one at a time; scale by running more workers."""
    app = create_celery(settings)
    register_tasks(app, settings)
    threading.Thread(target=_follow_uplink, args=(settings,), daemon=True, name="uplink").start()
    threading.Thread(target=_beat_heart, args=(settings,), daemon=True, name="heartbeat").start()
    app.worker_main(["worker", "--pool=solo", "--without-gossip", "--without-mingle", "--loglevel=WARNING"])


def run_beat(settings: UpdateManagerSettings) -> None:
    """Ring on time; the schedule file is scratch, nothing in it must survive."""
    app = create_celery(settings)
    with tempfile.TemporaryDirectory(prefix="updraft-beat-") as scratch:
        app.Beat(schedule=str(Path(scratch) / "schedule"), loglevel="WARNING", quiet=True).run()


def _follow_uplink(settings: UpdateManagerSettings) -> None:
    while True:
        try:
            asyncio.run(follow(settings))
        except Exception:
            logger.exception("the uplink consumer stumbled and begins anew")
            time.sleep(1)


def _beat_heart(settings: UpdateManagerSettings) -> None:
    """`updraft:worker:<host>-<pid>` lives as long as the process does: what a supervisor may look at."""
    client = redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=3)
    key = f"updraft:worker:{socket.gethostname()}-{os.getpid()}"
    while True:
        try:
            client.set(key, int(time.time()), ex=HEARTBEAT_SECONDS * 3)
        except redis.RedisError:
            logger.warning("no heartbeat: Redis is away")
        time.sleep(HEARTBEAT_SECONDS)
