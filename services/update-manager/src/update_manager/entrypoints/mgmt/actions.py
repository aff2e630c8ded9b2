"""Actions: what is being done to which target; assign, cancel, force."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application import actions, hints
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.dependencies import Operator, Page, PageDep, Parts, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import AsList, Body, ControllerId
from update_manager.entrypoints.mgmt.targets import find as find_target
from update_manager.errors import ConstraintViolation, NotFound

router = APIRouter(tags=["Actions"])

ActionType = Literal["forced", "soft", "timeforced", "downloadonly"]


class AssignBody(Body):
    """A set for a target."""

    id: int
    type: ActionType = "forced"


class TargetBody(Body):
    """A target for a set."""

    id: ControllerId
    type: ActionType = "forced"


class ForceBody(Body):
    """Only `{"forceType": "forced"}`."""

    force_type: Literal["forced"] = Field(alias="forceType")


async def _list(session: AsyncSession, page: Page, *conditions: Any) -> dict[str, Any]:
    where = list(conditions)
    if page.q:
        where.append(rsql_sql.condition(page.q, rsql_sql.ACTION))
    total = await session.scalar(select(func.count()).select_from(t.Action).where(*where))
    rows = await session.execute(
        select(t.Action, t.Target.controller_id)
        .join(t.Target, t.Target.id == t.Action.target_id)
        .where(*where)
        .order_by(*page.order(rsql_sql.ACTION, t.Action.id.desc()))
        .offset(page.offset)
        .limit(page.limit)
    )
    return listing([shapes.action(row, name) for row, name in rows.tuples()], total or 0)


async def _one(session: AsyncSession, who: Principal, controller_id: str, action_id: int) -> t.Action:
    target = await find_target(session, who, controller_id)
    found = await session.scalar(select(t.Action).where(t.Action.id == action_id, t.Action.target_id == target.id))
    if found is None:
        raise NotFound(f"there is no action {action_id} for {controller_id[:64]!r}")
    return found


@router.get("/actions")
async def list_actions(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """All actions, newest first."""
    async with parts.database.read() as session:
        return await _list(session, page, t.Action.tenant_id == who.tenant_id)


@router.get("/actions/{action_id}")
async def get_action(who: Operator, parts: PartsDep, action_id: int) -> dict[str, Any]:
    """One action by id."""
    async with parts.database.read() as session:
        row = (
            await session.execute(
                select(t.Action, t.Target.controller_id)
                .join(t.Target, t.Target.id == t.Action.target_id)
                .where(t.Action.tenant_id == who.tenant_id, t.Action.id == action_id)
            )
        ).first()
        if row is None:
            raise NotFound(f"there is no action {action_id}")
        return shapes.action(*row.tuple())


@router.get("/targets/{controller_id}/actions")
async def list_target_actions(who: Operator, parts: PartsDep, controller_id: str, page: PageDep) -> dict[str, Any]:
    """Actions of a target, newest first."""
    async with parts.database.read() as session:
        target = await find_target(session, who, controller_id)
        return await _list(session, page, t.Action.target_id == target.id)


@router.get("/targets/{controller_id}/actions/{action_id}")
async def get_target_action(who: Operator, parts: PartsDep, controller_id: str, action_id: int) -> dict[str, Any]:
    """One action of a target."""
    async with parts.database.read() as session:
        return shapes.action(await _one(session, who, controller_id, action_id), controller_id)


@router.put("/targets/{controller_id}/actions/{action_id}")
async def force(who: Operator, parts: PartsDep, controller_id: str, action_id: int, body: ForceBody) -> dict[str, Any]:
    """Turn a soft action into a forced one."""
    async with parts.database.write() as session:
        row = await _one(session, who, controller_id, action_id)
        row.action_type = body.force_type
        audit(session, who, "force", "action", action_id)
        await session.flush()
        await session.refresh(row)
        return shapes.action(row, controller_id)


@router.delete("/targets/{controller_id}/actions/{action_id}", status_code=204)
async def cancel(
    who: Operator,
    parts: PartsDep,
    controller_id: str,
    action_id: int,
    force: Annotated[bool, Query()] = False,
) -> Response:
    """Cancel; with `force=true`, after a cancel the device does not answer, give up on it."""
    async with parts.database.write() as session:
        ended_in = await actions.cancel(session, who.tenant_id, controller_id, action_id, force=force)
        audit(session, who, "quit" if force else "cancel", "action", action_id, controller_id)
    await actions.wake(parts.database, ended_in)
    await hints.ring(parts.redis, parts.settings.tenant, [controller_id], "cancelled")
    return Response(status_code=204)


@router.get("/targets/{controller_id}/actions/{action_id}/status")
async def list_status(
    who: Operator, parts: PartsDep, controller_id: str, action_id: int, page: PageDep
) -> dict[str, Any]:
    """The action's log, newest first."""
    async with parts.database.read() as session:
        await _one(session, who, controller_id, action_id)
        where = t.ActionStatus.action_id == action_id
        total = await session.scalar(select(func.count()).select_from(t.ActionStatus).where(where))
        rows = await session.scalars(
            select(t.ActionStatus).where(where).order_by(t.ActionStatus.id.desc()).offset(page.offset).limit(page.limit)
        )
        return listing([shapes.action_status(row) for row in rows], total or 0)


async def _assign(
    parts: Parts, who: Principal, set_id: int, controllers: list[str], action_type: str
) -> dict[str, Any]:
    async with parts.database.write() as session:
        ids, already, ring = await actions.assign(
            session, who.tenant_id, set_id, controllers, action_type, who.username
        )
        audit(session, who, "assign", "distributionset", set_id, f"to {len(ids)} targets")
    await hints.ring(parts.redis, parts.settings.tenant, ring, "assigned")
    made = [{"id": identifier} for identifier in ids]
    return {"assigned": len(ids), "alreadyAssigned": already, "total": len(controllers), "assignedActions": made}


@router.post("/targets/{controller_id}/assignedDS")
async def assign_set(
    who: Operator, parts: PartsDep, controller_id: str, body: Annotated[list[AssignBody], AsList]
) -> dict[str, Any]:
    """Assign a set to one target."""
    if len(body) != 1:
        raise ConstraintViolation("assign one distribution set at a time")
    return await _assign(parts, who, body[0].id, [controller_id], body[0].type)


@router.post("/distributionsets/{set_id}/assignedTargets")
async def assign_targets(
    who: Operator,
    parts: PartsDep,
    set_id: int,
    body: Annotated[list[TargetBody], AsList, Field(max_length=5000)],
) -> dict[str, Any]:
    """Assign a set to several targets, all or none."""
    names = list(dict.fromkeys(one.id for one in body))
    return await _assign(parts, who, set_id, names, body[0].type if body else "forced")
