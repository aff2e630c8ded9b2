"""Ringing the gateways after a commit: a hint is never the truth, so a lost one costs time only."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import redis.asyncio as redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import Action, Target

logger = logging.getLogger(__name__)

STREAM = "updraft:hints"
MAXIMUM_ENTRIES = 10_000


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


async def waiting(session: AsyncSession, limit: int = 5000) -> list[str]:
    """Controllers with something to fetch that nobody has begun: what the sweep rings for."""
    rows = await session.scalars(
        select(Target.controller_id)
        .join(Action, Action.target_id == Target.id)
        .where(Action.active, Action.status.in_(("running", "canceling")))
        .order_by(Action.id)
        .limit(limit)
    )
    return list(rows)
