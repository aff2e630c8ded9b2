"""Redis streams: hints in, uplink events out (docs/contracts.md)."""

import asyncio
import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import redis.asyncio as redis

logger = logging.getLogger(__name__)

HINTS: Final = "updraft:hints"
UPLINK: Final = "updraft:uplink"
UPLINK_MAXIMUM_ENTRIES: Final = 200_000
MAX_WAITING_BYTES: Final = 64 << 20
BATCH: Final = 500
RETRY_SECONDS: Final = 1.0


class Uplink:
    """Events for the update manager, in order per device, kept in memory while Redis is away (bounded)."""

    def __init__(self, client: "redis.Redis", tenant: str) -> None:
        self._redis = client
        self._tenant = tenant
        self._waiting: deque[str] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    def send(self, kind: str, endpoint: str, **members: Any) -> None:
        """Queue one event."""
        event = {
            "type": kind,
            "id": uuid.uuid4().hex,
            "at": int(time.time() * 1000),
            "tenant": self._tenant,
            "controllerId": endpoint,
            **members,
        }
        text = json.dumps(event)
        self._waiting.append(text)
        self._bytes += len(text)
        while self._bytes > MAX_WAITING_BYTES and self._waiting:
            self._bytes -= len(self._waiting.popleft())
        self._wake.set()

    async def write_for_ever(self) -> None:
        """Write what waits; run as a task."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except (redis.RedisError, OSError) as error:
                logger.warning("uplink events wait in memory: Redis is away (%s)", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def flush(self) -> None:
        """Write everything that waits now; an event may be written twice after an error, ids make that harmless."""
        async with self._writing:
            while self._waiting:
                # Taken out first: while Redis is asked, a full queue drops its oldest, which must not shift the rest.
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._bytes -= sum(map(len, batch))
                pipe = self._redis.pipeline(transaction=False)
                for event in batch:
                    pipe.xadd(UPLINK, {"event": event}, maxlen=UPLINK_MAXIMUM_ENTRIES, approximate=True)
                try:
                    await pipe.execute()
                except BaseException:
                    self._waiting.extendleft(reversed(batch))
                    self._bytes += sum(map(len, batch))
                    raise


async def follow_hints(client: "redis.Redis", tenant: str, hinted: Callable[[str], None]) -> None:
    """Call `hinted(controller_id)` for every hint from now on; run as a task. A lost hint costs time only."""
    last: str | bytes = "$"
    while True:
        try:
            # The client's types cannot say which shape an answer has; without decoding it is lists of pairs.
            answer: Any = await client.xread({HINTS: last}, count=1000, block=2000)
            for _, entries in answer or ():
                for identifier, fields in entries:
                    last = identifier
                    if fields.get(b"tenant", b"").decode(errors="replace") == tenant:
                        hinted(fields.get(b"controllerId", b"").decode(errors="replace"))
        except (redis.RedisError, OSError) as error:
            logger.warning("hints cannot be read now: %s", type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
