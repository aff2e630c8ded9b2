"""Ringing the gateways after a commit: a hint is never the truth, so a lost one costs time only."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import redis.asyncio as redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import Action, Target
from update_manager.domain.actions import Status

logger = logging.getLogger(__name__)

STREAM = "updraft:hints"
MAXIMUM_ENTRIES = 10_000
# What a device has been told to do and has not begun, as far as the update manager knows.
FETCHABLE = (Status.RUNNING, Status.RETRIEVED, Status.CANCELING)


async def ring(client: "redis.Redis", tenant: str, controllers: Iterable[str], reason: str) -> None:
    """One hint per controller; Redis being away is noted, not raised: the sweep rings again."""
    names = list(controllers)
    try:
        for start in range(0, len(names), 500):
            pipe = client.pipeline(transaction=False)
            for name in names[start : start + 500]:
                entry: dict[Any, Any] = {"tenant": tenant, "controllerId": name, "reason": reason}
                pipe.xadd(STREAM, entry, maxlen=MAXIMUM_ENTRIES, approximate=True)
            async with asyncio.timeout(10):
                await pipe.execute()
    except (redis.RedisError, OSError, TimeoutError) as error:
        logger.warning("gateways could not be rung, the sweep will: %s", type(error).__name__)


async def waiting(session: AsyncSession, after: int = 0, limit: int = 5000) -> tuple[list[str], int]:
    """Controllers with something to fetch, and the action id to go on after; 0 begins anew.

    A page at a time: thousands of devices that are away for good must not keep the rest from being rung.
    """
    rows = list(
        await session.execute(
            select(Target.controller_id, Action.id)
            .join(Action, Action.target_id == Target.id)
            .where(Action.active, Action.id > after, Action.status.in_(FETCHABLE))
            .order_by(Action.id)
            .limit(limit)
        )
    )
    return [row.controller_id for row in rows], rows[-1].id if len(rows) == limit else 0
