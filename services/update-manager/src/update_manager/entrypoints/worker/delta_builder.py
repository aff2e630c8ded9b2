"""The worker's bench for deltas: a thread that makes what is wanted, so that rollout steps wait for no delta."""

import asyncio
import logging
import threading
from datetime import timedelta

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from update_manager.adapters.artifact_store import ArtifactStore
from update_manager.adapters.db.session import Database
from update_manager.application import delta_builds
from update_manager.application.deltas import limits_of
from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)


class DeltaBuilder:
    """Rung for by tasks; one delta at a time for each worker, computed in a process of its own."""

    def __init__(self, settings: UpdateManagerSettings) -> None:
        self._settings = settings
        self._bell = threading.Event()
        self._untidy = False

    def ring(self) -> None:
        """Something may be wanted."""
        self._bell.set()

    def ring_to_tidy(self) -> None:
        """Something may be out of date."""
        self._untidy = True
        self._bell.set()

    def run(self) -> None:
        """Work for ever; run as a daemon thread."""
        settings = self._settings
        database = Database(settings.database_url.get_secret_value(), 2)
        store = ArtifactStore(settings.artifact_directory, settings.max_artifact_bytes)
        with asyncio.Runner() as runner:
            while True:
                self._bell.wait()
                self._bell.clear()
                try:
                    runner.run(self._work(database, store))
                except (OperationalError, InterfaceError, PoolTimeout) as error:
                    logger.warning("deltas wait for PostgreSQL: %s", type(error).__name__)
                except Exception:
                    logger.exception("the delta builder stumbled and goes on at the next ring")

    async def _work(self, database: Database, store: ArtifactStore) -> None:
        settings = self._settings
        if self._untidy:
            self._untidy = False
            await delta_builds.tidy(database, store, timedelta(days=settings.delta_unused_days))
        limits = limits_of(settings)
        while limits.on and await delta_builds.build_one(database, store, limits, settings.delta_build_seconds):
            pass
