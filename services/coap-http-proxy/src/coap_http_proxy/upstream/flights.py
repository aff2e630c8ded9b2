"""One request however many ask: fetches under way by key, a time limit for each, and the counters of them all."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from coap_http_proxy.mapping.requests import Refusal
from coap_wire import Code

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

CHUNK_BYTES = 64 * 1024


@dataclass
class UpstreamStats:
    """Counters for statistics and metrics; bytes are payload bytes received."""

    requests: int = 0
    bytes: int = 0
    failures: int = 0
    artifact_hits: int = 0


@dataclass
class Flights(Generic[K, T]):
    """Fetches under way; each ends after `timeout_seconds` at the latest."""

    timeout_seconds: float
    stats: UpstreamStats
    _under_way: dict[K, "asyncio.Task[T]"] = field(default_factory=dict)

    def __contains__(self, key: K) -> bool:
        return key in self._under_way

    def __iter__(self) -> Iterator[K]:
        return iter(self._under_way)

    async def join(self, key: K, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the fetch of `key` brings, started when it is not under way; raises Refusal."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(asyncio.wait_for(start(), self.timeout_seconds))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        try:
            # One impatient device must not cancel the fetch for all the others.
            return await asyncio.shield(task)
        except TimeoutError as error:
            raise Refusal(Code.GATEWAY_TIMEOUT, "the upstream took too long") from error

    def _landed(self, key: K, task: "asyncio.Task[T]") -> None:
        self._under_way.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            self.stats.failures += 1
            logger.warning("upstream fetch failed: %s", task.exception())

    def cancel(self) -> None:
        """Give up what is under way."""
        for task in self._under_way.values():
            task.cancel()
