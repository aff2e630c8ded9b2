"""The Celery application and its tasks, named by string; each may run twice and harms nothing."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import redis.asyncio as redis
from celery import Celery
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from update_manager.adapters.db.session import Database
from update_manager.application import hints
from update_manager.application.rollout_engine import step_one
from update_manager.entrypoints.worker.delta_builder import DeltaBuilder
from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)

STEP_ROLLOUTS: Final = "update_manager.step_rollouts"
SWEEP: Final = "update_manager.sweep"
BUILD_DELTAS: Final = "update_manager.build_deltas"
QUEUE: Final = "updraft"
# One task gives way to the next doorbell after this many steps, so that a huge rollout starves nobody.
STEPS_PER_RING: Final = 200
SWEEP_SECONDS: Final = 20.0


def create_celery(settings: UpdateManagerSettings) -> Celery:
    """The application over Redis; messages that nobody took in time vanish, beat rings again."""
    app = Celery("update_manager", broker=settings.redis_url.get_secret_value())
    app.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"visibility_timeout": 300, "socket_timeout": 10, "socket_connect_timeout": 5},
        beat_schedule={
            "step": {
                "task": STEP_ROLLOUTS,
                "schedule": settings.engine_tick_seconds,
                "options": {"expires": max(5.0, settings.engine_tick_seconds * 3)},
            },
            "deltas": {
                "task": BUILD_DELTAS,
                "schedule": settings.engine_tick_seconds,
                "options": {"expires": max(5.0, settings.engine_tick_seconds * 3)},
            },
            "sweep": {"task": SWEEP, "schedule": SWEEP_SECONDS, "options": {"expires": SWEEP_SECONDS}},
        },
    )
    return app


@dataclass
class Engine:
    """What tasks need in a worker process: one loop, one pool, one Redis client, made at the first ring."""

    settings: UpdateManagerSettings
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    database: Database | None = None
    redis: Any = None
    swept_up_to: int = 0

    def _open(self) -> tuple[Database, "redis.Redis"]:
        if self.database is None:
            self.database = Database(self.settings.database_url.get_secret_value(), 2)
            url = self.settings.redis_url.get_secret_value()
            self.redis = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3)
        return self.database, self.redis

    def _run(self, work: Coroutine[Any, Any, int]) -> int:
        try:
            return self.runner.run(work)
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            # The next ring tries again; a stack trace at each would bury what matters.
            logger.warning("PostgreSQL is away or asks to try again: %s", type(error).__name__)
            return 0

    def step(self) -> int:
        """Step due rollouts until none is due; returns the number of steps."""
        return self._run(self._step())

    async def _step(self) -> int:
        database, client = self._open()
        for done in range(STEPS_PER_RING):
            stepped = await step_one(database, self.settings.step_batch_size)
            if stepped is None:
                return done
            # After the commit, never before it.
            await hints.ring(client, self.settings.tenant, stepped.ring, "rollout")
        return STEPS_PER_RING

    def sweep(self) -> int:
        """Ring again for devices that have not begun; returns how many were rung for."""
        return self._run(self._sweep())

    async def _sweep(self) -> int:
        database, client = self._open()
        async with database.read() as session:
            names, self.swept_up_to = await hints.waiting(session, self.swept_up_to)
        await hints.ring(client, self.settings.tenant, names, "sweep")
        return len(names)


def register_tasks(app: Celery, settings: UpdateManagerSettings, builder: DeltaBuilder) -> None:
    """Bind the doorbells."""
    engine = Engine(settings)

    @app.task(name=STEP_ROLLOUTS)  # type: ignore[untyped-decorator]
    def step_rollouts() -> int:
        return engine.step()

    @app.task(name=SWEEP)  # type: ignore[untyped-decorator]
    def sweep() -> int:
        builder.ring_to_tidy()
        return engine.sweep()

    @app.task(name=BUILD_DELTAS)  # type: ignore[untyped-decorator]
    def build_deltas() -> None:
        builder.ring()
