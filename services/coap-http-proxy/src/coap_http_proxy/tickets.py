"""Download tickets in Redis: short token to artifact, made by the gateway (docs/contracts.md)."""

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as redis

from coap_http_proxy.peers import Peer

TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{12}")
LOOKED_UP_AT_ONCE: Final = 256
MAX_WAITING: Final = 16384
# Short: the gateway makes a ticket before it tells the device, but nothing says that it will always.
WRONG_SECONDS: Final = 2.0
MAX_WRONG: Final = 16384


@dataclass(frozen=True, slots=True)
class Ticket:
    """One device's right to one artifact; `size` in bytes, `sha256` in hex. Who has no `identity` may be anybody."""

    token: str
    url: str
    sha256: str
    size: int
    tenant: str
    controller_id: str
    action_id: int | None
    identity: str | None = None

    def is_for(self, peer: Peer) -> bool:
        """Whether this peer may know of it: it has proved to be whom the ticket names, and fetches for itself only."""
        return self.identity in (None, peer.identity) and peer.controller_id in (None, self.controller_id)


def parse(token: str, text: bytes | str | None) -> Ticket | None:
    """Read a ticket's JSON; None for a missing or malformed one."""
    if text is None:
        return None
    try:
        record: dict[str, Any] = json.loads(text)
        sha256 = str(record["sha256"]).lower()
        size = int(record["size"])
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or size <= 0:
            return None
        action, identity = record.get("actionId"), record.get("identity")
        return Ticket(
            token,
            str(record["url"]),
            sha256,
            size,
            str(record.get("tenant", "DEFAULT")),
            str(record["controllerId"]),
            None if action is None else int(action),
            None if identity is None else str(identity),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


State = dict[str, int]


class Unknown(Exception):
    """Whether there is such a ticket cannot be said now."""


class Tickets:
    """Reading tickets; without Redis there are none.

    However many are asked for, one round trip to Redis is under way at a time and carries all that came meanwhile; what
    was wrong a moment ago is wrong still. So a flood of wrong tokens costs a few round trips, and holds up nobody.
    """

    def __init__(self, client: "redis.Redis | None", clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = client
        self._clock = clock
        self._waiting: dict[str, asyncio.Future[tuple[Ticket, State | None] | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        # Until when they are taken for wrong without a look; oldest first.
        self._wrong: OrderedDict[str, float] = OrderedDict()

    async def find(self, token: str) -> tuple[Ticket, State | None] | None:
        """The ticket and what all processes counted of it; None when it never was, was revoked or has expired.

        Raises Unknown when Redis does not say, or too many wait for it.
        """
        if self._redis is None or not TOKEN.fullmatch(token) or self._wrong.get(token, 0.0) > self._clock():
            return None
        if token not in self._waiting:
            if len(self._waiting) >= MAX_WAITING:
                raise Unknown("too many tickets are looked up")
            self._waiting[token] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(self._redis))
        # Who asks may be cancelled; others wait for the same answer.
        return await asyncio.shield(self._waiting[token])

    async def _ask(self, client: "redis.Redis") -> None:
        try:
            while tokens := list(self._waiting)[:LOOKED_UP_AT_ONCE]:
                waiting = [(token, self._waiting[token]) for token in tokens]
                try:
                    pipe = client.pipeline(transaction=False)
                    pipe.mget([f"updraft:ticket:{token}" for token in tokens])
                    for token in tokens:
                        pipe.hgetall(f"updraft:proxy:download:{token}")
                    texts, *states = await pipe.execute()
                except (redis.RedisError, OSError) as error:
                    self._fail(waiting, type(error).__name__)
                    continue
                for (token, asked), text, state in zip(waiting, texts, states, strict=True):
                    ticket = parse(token, text)
                    if ticket is None:
                        self._remember_wrong(token)
                    found = None if ticket is None else (ticket, _numbers(state))
                    del self._waiting[token]
                    asked.set_result(found)
        finally:
            self._asking = None
            # None are left but when this broke, and then nobody else would answer them.
            self._fail(list(self._waiting.items()), "the lookup broke")

    def _fail(self, waiting: "list[tuple[str, asyncio.Future[Any]]]", reason: str) -> None:
        for token, asked in waiting:
            del self._waiting[token]
            asked.set_exception(Unknown(reason))
            asked.exception()  # nobody may be left to hear it

    def _remember_wrong(self, token: str) -> None:
        self._wrong[token] = self._clock() + WRONG_SECONDS
        self._wrong.move_to_end(token)
        while len(self._wrong) > MAX_WRONG:
            self._wrong.popitem(last=False)

    async def gone(self, tokens: list[str]) -> list[str]:
        """Those of `tokens` that are no longer valid."""
        if self._redis is None or not tokens:
            return []
        found = await self._redis.mget([f"updraft:ticket:{token}" for token in tokens])
        return [token for token, text in zip(tokens, found, strict=True) if text is None]


def _numbers(found: dict[Any, Any]) -> State | None:
    try:
        return {name.decode(): int(number) for name, number in found.items()} or None
    except (ValueError, AttributeError):
        return None
