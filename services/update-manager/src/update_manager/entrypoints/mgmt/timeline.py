"""A device's story: its attempts with phases, download and log; its protocol trace; its events."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import tables as t
from update_manager.domain.actions import cause_text
from update_manager.entrypoints.dependencies import Operator, PartsDep
from update_manager.entrypoints.mgmt.shapes import millis, named_set
from update_manager.entrypoints.mgmt.targets import find

router = APIRouter(prefix="/targets", tags=["Timeline"])

ATTEMPTS = 20
PHASES = 100
LINES = 200
TRACES = 200
EVENTS = 100


@router.get("/{controller_id}/timeline")
async def timeline(who: Operator, parts: PartsDep, controller_id: str) -> dict[str, Any]:
    """Attempts, newest first, and the protocol trace."""
    async with parts.database.read() as session:
        target = await find(session, who, controller_id)
        rows = await session.execute(
            select(t.Action, t.DistributionSet, t.Rollout)
            .join(t.DistributionSet, t.DistributionSet.id == t.Action.distribution_set_id)
            .outerjoin(t.Rollout, t.Rollout.id == t.Action.rollout_id)
            .where(t.Action.target_id == target.id)
            .order_by(t.Action.id.desc())
            .limit(ATTEMPTS)
        )
        found = list(rows)
        ids = [action.id for action, _, _ in found]
        event, line = t.TargetEvent, t.ActionStatus
        of_these = event.action_id.in_(ids) & (event.kind == "phase")
        phases = await _newest(session, event, (event.at, event.id), PHASES, of_these)
        logs = await _newest(session, line, (line.id,), LINES, line.action_id.in_(ids))
        attempts = [_attempt(*row, phases=phases.get(row[0].id, []), log=logs.get(row[0].id, [])) for row in found]
        traces = await session.scalars(
            select(t.TargetEvent)
            .where(t.TargetEvent.target_id == target.id, t.TargetEvent.kind == "trace")
            .order_by(t.TargetEvent.at.desc(), t.TargetEvent.id)
            .limit(TRACES)
        )
        trace = [
            {
                "at": millis(line.at),
                "direction": line.details.get("direction", "in"),
                "text": line.text,
                "ok": line.details.get("ok", True),
            }
            for line in traces
        ]
    return {"attempts": attempts, "trace": trace}


async def _newest(
    session: AsyncSession, entity: Any, order: tuple[Any, ...], most: int, where: ColumnElement[bool]
) -> dict[int, list[Any]]:
    """The last `most` rows of each action in the given order, in one query."""
    backwards = func.row_number().over(partition_by=entity.action_id, order_by=[column.desc() for column in order])
    ranked = select(entity.id, backwards.label("number")).where(where).subquery()
    rows = await session.scalars(
        select(entity).join(ranked, ranked.c.id == entity.id).where(ranked.c.number <= most).order_by(*order)
    )
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.action_id, []).append(row)
    return found


def _attempt(
    action: t.Action, release: t.DistributionSet, rollout: t.Rollout | None, *, phases: list[Any], log: list[Any]
) -> dict[str, Any]:
    return {
        "actionId": action.id,
        "status": action.status,
        "active": action.active,
        "distributionSet": named_set(release),
        "rollout": None if rollout is None else {"id": rollout.id, "name": rollout.name},
        "startedAt": millis(action.started_at or action.created_at),
        "endedAt": millis(action.ended_at),
        "cause": action.cause,
        "causeText": action.cause_text or (cause_text(action.cause) if action.cause else None),
        "phase": action.phase,
        "phases": [
            {
                "phase": event.details.get("phase"),
                "at": millis(event.at),
                "text": event.text,
                "state": event.details.get("state"),
                "result": event.details.get("result"),
            }
            for event in phases
        ],
        "download": action.download,
        "delivery": action.delivery,
        "log": [
            {
                "at": millis(line.at),
                "status": line.status,
                "messages": line.messages,
                "code": line.code,
                "cause": line.cause,
            }
            for line in log
        ],
    }


@router.get("/{controller_id}/events")
async def events(who: Operator, parts: PartsDep, controller_id: str) -> list[dict[str, Any]]:
    """What happened to a device, newest first, without its trace."""
    async with parts.database.read() as session:
        target = await find(session, who, controller_id)
        rows = await session.scalars(
            select(t.TargetEvent)
            .where(t.TargetEvent.target_id == target.id, t.TargetEvent.kind != "trace")
            .order_by(t.TargetEvent.at.desc(), t.TargetEvent.id)
            .limit(EVENTS)
        )
        return [{"at": millis(row.at), "kind": row.details.get("phase", row.kind), "text": row.text} for row in rows]
