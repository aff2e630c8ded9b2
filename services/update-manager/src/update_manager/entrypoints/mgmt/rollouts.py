"""Rollouts: create, preview, steer, watch; groups; live progress by server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application import deltas, progress, releases, rollouts
from update_manager.application.principal import Principal, audit
from update_manager.domain.rollouts import RolloutStatus
from update_manager.entrypoints.dependencies import Operator, PageDep, Parts, PartsDep, listing, require_operator
from update_manager.entrypoints.mgmt.links import links
from update_manager.entrypoints.mgmt.reading import paged
from update_manager.entrypoints.mgmt.rollout_bodies import ChangeBody, RolloutBody
from update_manager.entrypoints.mgmt.shapes import audit as audit_fields
from update_manager.entrypoints.mgmt.shapes import compact, millis
from update_manager.entrypoints.mgmt.targets import page_of
from update_manager.errors import IllegalRolloutState, NotAuthenticated, NotFound, TooManyTries

router = APIRouter(prefix="/rollouts", tags=["Rollouts"])

LIVE_SECONDS = 1.0
HEARTBEAT_ROUNDS = 15
CHECK_ROUNDS = 10
# hawkBit writes these words in lower case.
STATUS_WORDS: Final = ("running", "notStarted", "scheduled", "cancelled", "finished", "error")


async def _shape(
    session: AsyncSession, row: t.Rollout, total_groups: int | None = None, *, full: bool = True
) -> dict[str, Any]:
    counts = await progress.by_status(session, row.id) if full else {}
    totals = progress.totals_of(row, counts) if full else {}
    relations = {}
    if full:
        relations = {verb: verb for verb in ("start", "pause", "resume", "stop", "progress", "events")}
        relations |= {"groups": "deploygroups?offset=0&limit=50", "distributionset": _set_path(row)}
    return compact(
        {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "status": row.status,
            "targetFilterQuery": row.target_filter_query,
            "distributionSetId": row.distribution_set_id,
            "totalTargets": row.total_targets,
            "totalTargetsPerStatus": {word.lower(): totals[word] for word in STATUS_WORDS} if full else None,
            "totalGroups": len(counts) if full else total_groups,
            "type": row.action_type,
            "startAt": millis(row.start_at),
            "forcetime": millis(row.forced_at),
            "weight": row.weight,
            "dynamic": False,
            "deleted": row.deleted,
            "pauseReason": row.pause_reason,
            **audit_fields(row),
            **links(f"rollouts/{row.id}", **relations),
        }
    )


def _set_path(row: t.Rollout) -> str:
    return f"/distributionsets/{row.distribution_set_id}"


@router.get("")
async def list_rollouts(
    who: Operator, parts: PartsDep, page: PageDep, representation: str = "compact"
) -> dict[str, Any]:
    """Rollouts; `representation=full` adds counts by status."""
    rollout, group = t.Rollout, t.RolloutGroup
    where = (rollout.tenant_id == who.tenant_id, ~rollout.deleted)
    groups = select(func.count()).where(group.rollout_id == rollout.id).correlate(rollout).scalar_subquery()
    async with parts.database.read() as session:
        rows, total = await paged(
            session, select(rollout, groups), rollout, page, rsql_sql.ROLLOUT, rollout.id.asc(), *where
        )
        full = representation.lower() == "full"
        return listing([await _shape(session, row, number, full=full) for row, number in rows], total)


@router.post("", status_code=201)
async def create_rollout(who: Operator, parts: PartsDep, body: RolloutBody) -> dict[str, Any]:
    """Create a rollout; it waits in `ready` for its start, unless `startAt` says when."""
    async with parts.database.write() as session:
        await releases.freeze(session, who, body.set_id)
        row = await rollouts.create(session, who, body.plan(), deltas.limits_of(parts.settings))
        audit(session, who, "create", "rollout", row.id, row.name)
        return await _shape(session, row)


@router.post("/preview")
async def preview(who: Operator, parts: PartsDep, body: RolloutBody) -> dict[str, Any]:
    """Who would get it, who would not and why, and what goes on air; nothing is created."""
    async with parts.database.read() as session:
        return await rollouts.preview(session, who, body.plan(), deltas.limits_of(parts.settings))


@router.get("/{identifier}")
async def get_rollout(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One rollout."""
    async with parts.database.read() as session:
        return await _shape(session, await rollouts.find(session, who, identifier))


@router.put("/{identifier}")
async def change_rollout(who: Operator, parts: PartsDep, identifier: int, body: ChangeBody) -> dict[str, Any]:
    """Change name or description."""
    async with parts.database.write() as session:
        row = await rollouts.find(session, who, identifier, lock=True)
        row.name = body.name or row.name
        row.description = body.description if body.description is not None else row.description
        row.last_modified_by = who.username
        audit(session, who, "change", "rollout", identifier, row.name)
        await session.flush()
        await session.refresh(row)
        return await _shape(session, row)


@router.delete("/{identifier}", status_code=204)
async def delete_rollout(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Hide a rollout that is not under way; its history stays."""
    async with parts.database.write() as session:
        row = await rollouts.find(session, who, identifier, lock=True)
        if row.status in ("starting", "running", "paused", "stopping"):
            raise IllegalRolloutState(f"a rollout that is {row.status} cannot be deleted", hint="stop it first")
        row.deleted, row.next_step_at = True, None
        audit(session, who, "delete", "rollout", identifier, row.name)
    return Response(status_code=204)


async def _move(parts: Parts, who: Principal, identifier: int, to: RolloutStatus, verb: str) -> Response:
    async with parts.database.write() as session:
        row = await rollouts.move(session, who, identifier, to, verb, deltas.limits_of(parts.settings))
        audit(session, who, verb, "rollout", identifier, row.name)
    return Response(status_code=204)


@router.post("/{identifier}/start", status_code=204)
async def start(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Start the first group."""
    return await _move(parts, who, identifier, RolloutStatus.STARTING, "start")


@router.post("/{identifier}/pause", status_code=204)
async def pause(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Start no further group; what runs goes on."""
    return await _move(parts, who, identifier, RolloutStatus.PAUSED, "pause")


@router.post("/{identifier}/resume", status_code=204)
async def resume(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Go on."""
    return await _move(parts, who, identifier, RolloutStatus.RUNNING, "resume")


@router.post("/{identifier}/stop", status_code=204)
async def stop(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Cancel what runs and start nothing more."""
    return await _move(parts, who, identifier, RolloutStatus.STOPPING, "stop")


def _group_shape(row: t.RolloutGroup, counts: dict[str, int], *, full: bool = True) -> dict[str, Any]:
    numbers = {word: counts.get(word, 0) for word in ("running", "finished", "error", "cancelled")}
    waiting = {"scheduled": 0, "notstarted": max(0, row.total_targets - sum(numbers.values()))}
    error = {"condition": "THRESHOLD", "expression": str(row.error_threshold)}
    return compact(
        {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "status": row.status,
            "dynamic": False,
            "confirmationRequired": False,
            "totalTargets": row.total_targets,
            "targetPercentage": row.target_percentage,
            "targetFilterQuery": row.target_filter_query or "",
            "totalTargetsPerStatus": {**numbers, **waiting} if full else None,
            "successCondition": {"condition": "THRESHOLD", "expression": str(row.success_threshold)},
            "successAction": {"action": row.success_action, "expression": ""},
            "errorCondition": None if row.error_threshold is None else error,
            "errorAction": {"action": row.error_action, "expression": ""},
            **audit_fields(row),
            **links(f"rollouts/{row.rollout_id}/deploygroups/{row.id}"),
        }
    )


@router.get("/{identifier}/deploygroups")
async def list_groups(
    who: Operator, parts: PartsDep, identifier: int, page: PageDep, representation: str = "full"
) -> dict[str, Any]:
    """Groups in order, with counts unless `representation=compact`."""
    group = t.RolloutGroup
    fields = rsql_sql.plain(group, description=group.description, status=group.status)
    full = representation.lower() == "full"
    async with parts.database.read() as session:
        await rollouts.find(session, who, identifier)
        counts = await progress.by_status(session, identifier) if full else {}
        rows, total = await paged(
            session, select(group), group, page, fields, group.position.asc(), group.rollout_id == identifier
        )
        return listing([_group_shape(row, counts.get(row.id, {}), full=full) for (row,) in rows], total)


async def _group(session: AsyncSession, who: Principal, identifier: int, group_id: int) -> t.RolloutGroup:
    await rollouts.find(session, who, identifier)
    found = await session.scalar(
        select(t.RolloutGroup).where(t.RolloutGroup.rollout_id == identifier, t.RolloutGroup.id == group_id)
    )
    if found is None:
        raise NotFound(f"there is no group {group_id} in rollout {identifier}")
    return found


@router.get("/{identifier}/deploygroups/{group_id}")
async def get_group(who: Operator, parts: PartsDep, identifier: int, group_id: int) -> dict[str, Any]:
    """One group."""
    async with parts.database.read() as session:
        row = await _group(session, who, identifier, group_id)
        counts = await progress.by_status(session, identifier)
        return _group_shape(row, counts.get(row.id, {}))


@router.get("/{identifier}/deploygroups/{group_id}/targets")
async def list_group_targets(
    who: Operator, parts: PartsDep, identifier: int, group_id: int, page: PageDep
) -> dict[str, Any]:
    """Targets of a group."""
    members = select(t.RolloutTarget.target_id).where(
        t.RolloutTarget.rollout_id == identifier, t.RolloutTarget.group_id == group_id
    )
    async with parts.database.read() as session:
        await _group(session, who, identifier, group_id)
        return await page_of(session, parts, page, t.Target.id.in_(members))


async def _progress(parts: Parts, who: Principal, identifier: int) -> dict[str, Any]:
    async with parts.database.read() as session:
        row = await rollouts.find(session, who, identifier)
        release = await session.get_one(t.DistributionSet, row.distribution_set_id)
        shown = await progress.of_rollout(session, row, release, deltas.limits_of(parts.settings))
        return {"rollout": await _shape(session, row), **shown}


@router.get("/{identifier}/progress")
async def get_progress(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """Everything the control room shows."""
    return await _progress(parts, who, identifier)


async def _still_in(request: Request, parts: Parts) -> bool:
    try:
        await require_operator(request, parts)
    except (NotAuthenticated, TooManyTries):
        return False
    return True


@router.get("/{identifier}/events")
async def live(request: Request, who: Operator, parts: PartsDep, identifier: int) -> StreamingResponse:
    """Server-sent events: `progress` with the same JSON whenever it changed, `end` when the rollout has ended.

    The stream ends without a word when the session it was opened with has ended; asking again is answered 401.
    """
    await _progress(parts, who, identifier)  # 404 as a status, not inside the stream

    async def stream() -> AsyncIterator[str]:
        last, rounds = "", 0
        while True:
            rounds += 1
            if rounds % CHECK_ROUNDS == 0 and not await _still_in(request, parts):
                return
            shown = await _progress(parts, who, identifier)
            text = json.dumps(shown)
            if text != last:
                last = text
                yield f"event: progress\ndata: {text}\n\n"
            elif rounds % HEARTBEAT_ROUNDS == 0:
                yield ": still here\n\n"
            if shown["status"] in ("finished", "stopped"):
                yield "event: end\ndata: {}\n\n"
                return
            # No connection is held while waiting.
            await asyncio.sleep(LIVE_SECONDS)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
