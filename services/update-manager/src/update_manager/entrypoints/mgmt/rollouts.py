"""Rollouts: create, preview, steer, watch; groups; live progress by server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application import progress, rollouts
from update_manager.application.principal import Principal, audit
from update_manager.domain.rollouts import RolloutStatus
from update_manager.entrypoints.dependencies import Operator, PageDep, Parts, PartsDep, listing
from update_manager.entrypoints.mgmt.fields import Body, Description, Name
from update_manager.entrypoints.mgmt.shapes import audit as audit_fields
from update_manager.entrypoints.mgmt.shapes import compact, millis
from update_manager.entrypoints.mgmt.targets import page_of
from update_manager.errors import IllegalRolloutState, NotFound

router = APIRouter(prefix="/rollouts", tags=["Rollouts"])

LIVE_SECONDS = 1.0
HEARTBEAT_ROUNDS = 15
NEVER = 2**63 - 1


class Condition(Body):
    """hawkBit's condition: a threshold in percent, as text."""

    condition: Literal["THRESHOLD"] = "THRESHOLD"
    expression: str = Field("50", pattern=r"^(100|[0-9]{1,2})$")


class GroupAction(Body):
    """What follows when a condition holds."""

    action: Literal["NEXTGROUP", "PAUSE"] = "NEXTGROUP"


class GroupBody(Body):
    """A group."""

    name: Name | None = None
    target_percentage: float | None = Field(None, alias="targetPercentage", gt=0, le=100)
    success_condition: Condition | None = Field(None, alias="successCondition")
    success_action: GroupAction | None = Field(None, alias="successAction")
    error_condition: Condition | None = Field(None, alias="errorCondition")
    error_action: GroupAction | None = Field(None, alias="errorAction")


class RolloutBody(GroupBody):
    """A rollout; its conditions are the defaults of its groups."""

    name: Name
    description: Description | None = None
    filter: str = Field(alias="targetFilterQuery", min_length=1, max_length=4096)
    set_id: int = Field(alias="distributionSetId")
    amount_groups: int | None = Field(None, alias="amountGroups", ge=1, le=rollouts.MAX_GROUPS)
    groups: list[GroupBody] | None = Field(None, max_length=rollouts.MAX_GROUPS)
    type: Literal["forced", "soft", "timeforced", "downloadonly"] = "forced"
    start_at: int | None = Field(None, alias="startAt", ge=0)
    weight: int | None = Field(None, ge=0, le=1000)

    def plan(self) -> rollouts.RolloutPlan:
        """As the use case wants it."""
        asked = self.groups or [GroupBody() for _ in range(self.amount_groups or 1)]
        start = None
        if self.start_at is not None and self.start_at != NEVER:
            start = datetime.fromtimestamp(min(self.start_at, 4102444800000) / 1000, UTC)
        groups = tuple(self._group(group, number) for number, group in enumerate(asked, 1))
        return rollouts.RolloutPlan(
            self.name, self.description, self.filter, self.set_id, groups, self.type, start, self.weight
        )

    def _group(self, group: GroupBody, number: int) -> rollouts.GroupPlan:
        success = group.success_condition or self.success_condition or Condition()
        # Without an error condition nothing pauses a hawkBit rollout.
        error = group.error_condition or self.error_condition
        success_action = group.success_action or self.success_action or GroupAction()
        error_action = group.error_action or self.error_action or GroupAction(action="PAUSE")
        return rollouts.GroupPlan(
            group.name or f"group-{number}",
            int(success.expression),
            int(error.expression) if error else None,
            group.target_percentage,
            success_action.action,
            error_action.action,
        )


class ChangeBody(Body):
    """What can be changed later."""

    name: Name | None = None
    description: Description | None = None


async def _shape(session: AsyncSession, row: t.Rollout, *, full: bool = True) -> dict[str, Any]:
    link = f"/rest/v1/rollouts/{row.id}"
    totals = progress.totals_of(row, await progress.by_status(session, row.id)) if full else {}
    links = {"self": {"href": link}}
    if full:
        for verb in ("start", "pause", "resume", "stop", "deploygroups", "progress", "events"):
            links[verb] = {"href": f"{link}/{verb}"}
    counts = totals and {
        "running": totals["running"],
        "notstarted": totals["notStarted"],
        "scheduled": totals["scheduled"],
        "cancelled": totals["cancelled"],
        "finished": totals["finished"],
        "error": totals["error"],
    }
    return compact(
        {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "status": row.status,
            "targetFilterQuery": row.target_filter_query,
            "distributionSetId": row.distribution_set_id,
            "totalTargets": row.total_targets,
            "totalTargetsPerStatus": counts or None,
            "type": row.action_type,
            "startAt": millis(row.start_at),
            "weight": row.weight,
            "deleted": False,
            "pauseReason": row.pause_reason,
            "_links": links,
            **audit_fields(row),
        }
    )


@router.get("")
async def list_rollouts(
    who: Operator, parts: PartsDep, page: PageDep, representation: str = "compact"
) -> dict[str, Any]:
    """Rollouts; `representation=full` adds counts by status."""
    where = [t.Rollout.tenant_id == who.tenant_id, ~t.Rollout.deleted]
    if page.q:
        where.append(rsql_sql.condition(page.q, rsql_sql.ROLLOUT))
    async with parts.database.read() as session:
        total = await session.scalar(select(func.count()).select_from(t.Rollout).where(*where))
        order = page.order(rsql_sql.ROLLOUT, t.Rollout.id.asc())
        rows = await session.scalars(
            select(t.Rollout).where(*where).order_by(*order).offset(page.offset).limit(page.limit)
        )
        full = representation.lower() == "full"
        return listing([await _shape(session, row, full=full) for row in rows], total or 0)


@router.post("", status_code=201)
async def create_rollout(who: Operator, parts: PartsDep, body: RolloutBody) -> dict[str, Any]:
    """Create a rollout; it waits in `ready` for its start, unless `startAt` says when."""
    async with parts.database.write() as session:
        row = await rollouts.create(session, who, body.plan())
        audit(session, who, "create", "rollout", row.id, row.name)
        return await _shape(session, row)


@router.post("/preview")
async def preview(who: Operator, parts: PartsDep, body: RolloutBody) -> dict[str, Any]:
    """Who would get it, who would not and why, and what goes on air; nothing is created."""
    async with parts.database.read() as session:
        return await rollouts.preview(session, who, body.plan())


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
        row = await rollouts.move(session, who, identifier, to, verb)
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


def _group_shape(row: t.RolloutGroup, counts: dict[str, int]) -> dict[str, Any]:
    numbers = {word: counts.get(word, 0) for word in ("running", "finished", "error", "cancelled")}
    error = {"condition": "THRESHOLD", "expression": str(row.error_threshold)}
    return compact(
        {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "status": row.status,
            "totalTargets": row.total_targets,
            "targetPercentage": row.target_percentage,
            "totalTargetsPerStatus": {
                **numbers,
                "scheduled": 0,
                "notstarted": max(0, row.total_targets - sum(numbers.values())),
            },
            "successCondition": {"condition": "THRESHOLD", "expression": str(row.success_threshold)},
            "successAction": {"action": row.success_action, "expression": ""},
            "errorCondition": None if row.error_threshold is None else error,
            "errorAction": {"action": row.error_action, "expression": ""},
            **audit_fields(row),
        }
    )


@router.get("/{identifier}/deploygroups")
async def list_groups(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """Groups in order."""
    async with parts.database.read() as session:
        await rollouts.find(session, who, identifier)
        counts = await progress.by_status(session, identifier)
        rows = await session.scalars(
            select(t.RolloutGroup).where(t.RolloutGroup.rollout_id == identifier).order_by(t.RolloutGroup.position)
        )
        content = [_group_shape(row, counts.get(row.id, {})) for row in rows]
    return listing(content, len(content))


@router.get("/{identifier}/deploygroups/{group_id}")
async def get_group(who: Operator, parts: PartsDep, identifier: int, group_id: int) -> dict[str, Any]:
    """One group."""
    groups = await list_groups(who, parts, identifier)
    for group in groups["content"]:
        if group["id"] == group_id:
            found: dict[str, Any] = group
            return found
    raise NotFound(f"there is no group {group_id} in rollout {identifier}")


@router.get("/{identifier}/deploygroups/{group_id}/targets")
async def list_group_targets(
    who: Operator, parts: PartsDep, identifier: int, group_id: int, page: PageDep
) -> dict[str, Any]:
    """Targets of a group."""
    members = select(t.RolloutTarget.target_id).where(
        t.RolloutTarget.rollout_id == identifier, t.RolloutTarget.group_id == group_id
    )
    async with parts.database.read() as session:
        await rollouts.find(session, who, identifier)
        return await page_of(session, parts, page, t.Target.id.in_(members))


async def _progress(parts: Parts, who: Principal, identifier: int) -> dict[str, Any]:
    async with parts.database.read() as session:
        row = await rollouts.find(session, who, identifier)
        release = await session.get_one(t.DistributionSet, row.distribution_set_id)
        shown = await progress.of_rollout(session, row, release)
        return {"rollout": await _shape(session, row), **shown}


@router.get("/{identifier}/progress")
async def get_progress(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """Everything the control room shows."""
    return await _progress(parts, who, identifier)


@router.get("/{identifier}/events")
async def live(who: Operator, parts: PartsDep, identifier: int) -> StreamingResponse:
    """Server-sent events: `progress` with the same JSON whenever it changed, `end` when the rollout has ended."""
    await _progress(parts, who, identifier)  # 404 as a status, not inside the stream

    async def stream() -> AsyncIterator[str]:
        last, rounds = "", 0
        while True:
            shown = await _progress(parts, who, identifier)
            text = json.dumps(shown)
            rounds += 1
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
