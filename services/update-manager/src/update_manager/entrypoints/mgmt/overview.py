"""The overview: the whole fleet in one answer."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import BigInteger, case, cast, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.presence import PRESENCE, PRESENCES
from update_manager.application import progress
from update_manager.domain.actions import Status, cause_text
from update_manager.entrypoints.dependencies import Operator, PartsDep
from update_manager.entrypoints.mgmt.shapes import millis

router = APIRouter(prefix="/overview", tags=["Overview"])

LATEST = 15
ROLLOUTS = 6
ATTENTION = 20


@router.get("")
async def overview(who: Operator, parts: PartsDep) -> dict[str, Any]:
    """Counts, versions, rollouts under way, what needs a person, what just happened."""
    async with parts.database.read() as session:
        statuses = await _statuses(session, who.tenant_id)
        on_air = await session.scalar(
            select(func.sum(cast(t.Action.download["bytesOnAir"].astext, BigInteger))).where(
                t.Action.tenant_id == who.tenant_id
            )
        )
        return {
            "targets": sum(statuses.values()),
            "updateStatus": statuses,
            "presence": await _presence(session, who.tenant_id),
            "versions": await _versions(session, who.tenant_id),
            "rollouts": await _rollouts(session, who.tenant_id),
            "attention": await _attention(session, who.tenant_id),
            "events": await _events(session, who.tenant_id),
            "bytesOnAir": int(on_air or 0),
        }


async def _statuses(session: AsyncSession, tenant_id: int) -> dict[str, int]:
    rows = await session.execute(
        select(t.Target.update_status, func.count())
        .where(t.Target.tenant_id == tenant_id)
        .group_by(t.Target.update_status)
    )
    return {**dict.fromkeys(("in_sync", "pending", "error", "unknown", "registered"), 0), **dict(rows.all())}


async def _presence(session: AsyncSession, tenant_id: int) -> dict[str, int]:
    word = PRESENCE.label("word")
    rows = await session.execute(select(word, func.count()).where(t.Target.tenant_id == tenant_id).group_by(word))
    return {**dict.fromkeys(PRESENCES, 0), **dict(rows.all())}


async def _versions(session: AsyncSession, tenant_id: int) -> list[dict[str, Any]]:
    told = t.Target.telemetry["/3/0/3"].astext
    version = func.coalesce(told, t.DistributionSet.version).label("version")
    rows = await session.execute(
        select(t.TargetType.id, t.TargetType.key, t.TargetType.name, version, func.count().label("number"))
        .select_from(t.Target)
        .outerjoin(t.TargetType, t.TargetType.id == t.Target.target_type_id)
        .outerjoin(t.DistributionSet, t.DistributionSet.id == t.Target.installed_distribution_set_id)
        .where(t.Target.tenant_id == tenant_id)
        .group_by(t.TargetType.id, t.TargetType.key, t.TargetType.name, version)
        .order_by(func.count().desc())
        .limit(40)
    )
    return [
        {
            "targetType": None if row.id is None else {"id": row.id, "key": row.key, "name": row.name},
            "version": row.version,
            "count": row.number,
        }
        for row in rows
    ]


async def _rollouts(session: AsyncSession, tenant_id: int) -> list[dict[str, Any]]:
    under_way = t.Rollout.status.in_(("running", "paused", "starting", "creating", "ready", "stopping"))
    rows = await session.execute(
        select(t.Rollout, t.DistributionSet)
        .join(t.DistributionSet, t.DistributionSet.id == t.Rollout.distribution_set_id)
        .where(t.Rollout.tenant_id == tenant_id, ~t.Rollout.deleted)
        .order_by(case((under_way, 0), else_=1), t.Rollout.id.desc())
        .limit(ROLLOUTS)
    )
    return [await progress.summary(session, rollout, release) for rollout, release in rows]


async def _attention(session: AsyncSession, tenant_id: int) -> list[dict[str, Any]]:
    paused = await session.scalars(
        select(t.Rollout)
        .where(t.Rollout.tenant_id == tenant_id, t.Rollout.status == "paused", ~t.Rollout.deleted)
        .order_by(t.Rollout.id.desc())
        .limit(ATTENTION)
    )
    items: list[dict[str, Any]] = [
        {
            "type": "rollout",
            "id": str(row.id),
            "kind": "paused",
            "severity": "error" if row.pause_reason and not row.pause_reason.startswith("by ") else "warning",
            "text": f"{row.name} is paused: {row.pause_reason or 'by an operator'}",
            "at": millis(row.last_modified_at),
        }
        for row in paused
    ]
    newer = aliased(t.Action)
    failed = await session.execute(
        select(t.Target, t.Action)
        .join(t.Target, t.Target.id == t.Action.target_id)
        .where(
            t.Action.tenant_id == tenant_id,
            t.Action.status == Status.ERROR,
            ~exists().where(newer.target_id == t.Action.target_id, newer.id > t.Action.id),
        )
        .order_by(t.Action.ended_at.desc(), t.Action.id.desc())
        .limit(ATTENTION)
    )
    for target, action in failed:
        why = action.cause_text or cause_text(action.cause or "device_reported")
        items.append(
            {
                "type": "target",
                "id": target.controller_id,
                "kind": action.cause or "failed",
                "severity": "error",
                "text": f"{target.name}: {why}",
                "at": millis(action.ended_at),
            }
        )
    return items[:ATTENTION]


async def _events(session: AsyncSession, tenant_id: int) -> list[dict[str, Any]]:
    rows = await session.execute(
        select(t.TargetEvent, t.Target.controller_id)
        .join(t.Target, t.Target.id == t.TargetEvent.target_id)
        .where(t.Target.tenant_id == tenant_id, t.TargetEvent.kind != "trace")
        .order_by(t.TargetEvent.at.desc(), t.TargetEvent.id)
        .limit(LATEST)
    )
    return [progress.event_shape(event, controller) for event, controller in rows]
