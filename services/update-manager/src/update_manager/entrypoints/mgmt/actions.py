"""Actions: what is being done to which target; assign, cancel, force."""

from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from pydantic import Field, model_validator
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application import actions, hints, releases
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.dependencies import Operator, Page, PageDep, Parts, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import (
    MAX_ENTRIES,
    ActionType,
    AsList,
    Body,
    ControllerId,
    refuse_unsupported,
)
from update_manager.entrypoints.mgmt.links import links
from update_manager.entrypoints.mgmt.reading import paged
from update_manager.entrypoints.mgmt.targets import find as find_target
from update_manager.errors import ConstraintViolation, NotFound, NotSupportedYet

router = APIRouter(tags=["Actions"])

STATUS_FIELDS: Final[rsql_sql.Fields] = {
    "id": t.ActionStatus.id,
    "timestamp": t.ActionStatus.at,
    "reportedat": t.ActionStatus.at,
    "createdat": t.ActionStatus.at,
}


class HowBody(Body):
    """How an assignment is to be carried out. What would change who installs when is refused, never ignored."""

    type: ActionType = "forced"
    confirmation_required: bool = Field(False, alias="confirmationRequired")
    maintenance_window: dict[str, Any] | None = Field(None, alias="maintenanceWindow")

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if self.maintenance_window is not None:
            raise NotSupportedYet("maintenance windows are not supported yet; the device would install at once")
        refuse_unsupported(self.type, confirmation=self.confirmation_required)
        return self


class AssignBody(HowBody):
    """A set for a target."""

    id: int


class TargetBody(HowBody):
    """A target for a set."""

    id: ControllerId


class ForceBody(Body):
    """Only `{"forceType": "forced"}`."""

    force_type: Literal["forced"] = Field(alias="forceType")


def _rows() -> Any:
    """Actions with what their shape needs: controller id, rollout name, set name and version."""
    return (
        select(t.Action, t.Target.controller_id, t.Rollout.name, t.DistributionSet.name, t.DistributionSet.version)
        .join(t.Target, t.Target.id == t.Action.target_id)
        .join(t.DistributionSet, t.DistributionSet.id == t.Action.distribution_set_id)
        .outerjoin(t.Rollout, t.Rollout.id == t.Action.rollout_id)
    )


def _shape(row: Any, *, full: bool = True) -> dict[str, Any]:
    action, controller_id, rollout_name, set_name, set_version = row
    return shapes.action(action, controller_id, rollout_name, f"{set_name}:{set_version}", full=full)


async def _list(session: AsyncSession, page: Page, representation: str, *conditions: Any) -> dict[str, Any]:
    rows, total = await paged(session, _rows(), t.Action, page, rsql_sql.ACTION, t.Action.id.desc(), *conditions)
    full = representation.lower() == "full"
    return listing([_shape(row, full=full) for row in rows], total)


async def _one(session: AsyncSession, who: Principal, controller_id: str, action_id: int) -> Any:
    target = await find_target(session, who, controller_id)
    found = (await session.execute(_rows().where(t.Action.id == action_id, t.Action.target_id == target.id))).first()
    if found is None:
        raise NotFound(f"there is no action {action_id} for {controller_id[:64]!r}")
    return found


@router.get("/actions")
async def list_actions(
    who: Operator, parts: PartsDep, page: PageDep, representation: str = "compact"
) -> dict[str, Any]:
    """All actions, newest first; `representation=full` adds links."""
    async with parts.database.read() as session:
        return await _list(session, page, representation, t.Action.tenant_id == who.tenant_id)


@router.get("/actions/{action_id}")
async def get_action(who: Operator, parts: PartsDep, action_id: int) -> dict[str, Any]:
    """One action by id."""
    async with parts.database.read() as session:
        mine = _rows().where(t.Action.tenant_id == who.tenant_id, t.Action.id == action_id)
        row = (await session.execute(mine)).first()
        if row is None:
            raise NotFound(f"there is no action {action_id}")
        return _shape(row)


@router.get("/targets/{controller_id}/actions")
async def list_target_actions(
    who: Operator, parts: PartsDep, controller_id: str, page: PageDep, representation: str = "compact"
) -> dict[str, Any]:
    """Actions of a target, newest first."""
    async with parts.database.read() as session:
        target = await find_target(session, who, controller_id)
        return await _list(session, page, representation, t.Action.target_id == target.id)


@router.get("/targets/{controller_id}/actions/{action_id}")
async def get_target_action(who: Operator, parts: PartsDep, controller_id: str, action_id: int) -> dict[str, Any]:
    """One action of a target."""
    async with parts.database.read() as session:
        return _shape(await _one(session, who, controller_id, action_id))


@router.put("/targets/{controller_id}/actions/{action_id}")
async def force(who: Operator, parts: PartsDep, controller_id: str, action_id: int, body: ForceBody) -> dict[str, Any]:
    """Turn a soft action into a forced one."""
    async with parts.database.write() as session:
        row = await _one(session, who, controller_id, action_id)
        row[0].action_type, row[0].last_modified_by = body.force_type, who.username
        audit(session, who, "force", "action", action_id, controller_id)
        await session.flush()
        await session.refresh(row[0])
        shown = _shape(row)
    await hints.ring(parts.redis, parts.settings.tenant, [controller_id], "assigned")
    return shown


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
        await actions.cancel(session, who.tenant_id, controller_id, action_id, force=force)
        audit(session, who, "quit" if force else "cancel", "action", action_id, controller_id)
    await hints.ring(parts.redis, parts.settings.tenant, [controller_id], "cancelled")
    return Response(status_code=204)


@router.get("/targets/{controller_id}/actions/{action_id}/status")
async def list_status(
    who: Operator, parts: PartsDep, controller_id: str, action_id: int, page: PageDep
) -> dict[str, Any]:
    """The action's log, newest first."""
    line = t.ActionStatus
    order = page.order(STATUS_FIELDS, line.id.desc())
    async with parts.database.read() as session:
        await _one(session, who, controller_id, action_id)
        total = await session.scalar(select(func.count()).select_from(line).where(line.action_id == action_id))
        rows = await session.scalars(
            select(line).where(line.action_id == action_id).order_by(*order).offset(page.offset).limit(page.limit)
        )
        return listing([shapes.action_status(row) for row in rows], total or 0)


async def _assign(
    parts: Parts, who: Principal, set_id: int, wanted: dict[str, str], *, offline: bool
) -> dict[str, Any]:
    """`wanted`: action type by controller id."""
    if offline:
        raise NotSupportedYet("offline assignment is not supported yet; the device would be updated")
    made: list[dict[str, Any]] = []
    ring: list[str] = []
    already = 0
    async with parts.database.write() as session:
        await releases.freeze(session, who, set_id)
        # All at once and by id, the order everybody locks them in (application/actions), whatever their types.
        mine = (t.Target.tenant_id == who.tenant_id, t.Target.controller_id.in_(wanted))
        await session.execute(select(t.Target.id).where(*mine).order_by(t.Target.id).with_for_update(key_share=True))
        for kind in dict.fromkeys(wanted.values()):
            names = [name for name, one in wanted.items() if one == kind]
            ids, had_it, rung = await actions.assign(session, who.tenant_id, set_id, names, kind, who.username)
            for action_id, name in zip(ids, rung, strict=True):
                made.append({"id": action_id, **links(f"targets/{quote(name, safe='')}/actions/{action_id}")})
            already, ring = already + had_it, ring + rung
        audit(session, who, "assign", "distributionset", set_id, f"to {len(made)} targets")
    await hints.ring(parts.redis, parts.settings.tenant, ring, "assigned")
    return {"assigned": len(made), "alreadyAssigned": already, "total": len(wanted), "assignedActions": made}


@router.post("/targets/{controller_id}/assignedDS")
async def assign_set(
    who: Operator,
    parts: PartsDep,
    controller_id: str,
    body: Annotated[list[AssignBody], AsList],
    offline: bool = False,
) -> dict[str, Any]:
    """Assign a set to one target."""
    if len(body) != 1:
        raise ConstraintViolation("assign one distribution set at a time")
    return await _assign(parts, who, body[0].id, {controller_id: body[0].type}, offline=offline)


@router.post("/distributionsets/{set_id}/assignedTargets")
async def assign_targets(
    who: Operator,
    parts: PartsDep,
    set_id: int,
    body: Annotated[list[TargetBody], AsList, Field(min_length=1, max_length=MAX_ENTRIES)],
    offline: bool = False,
) -> dict[str, Any]:
    """Assign a set to several targets, all or none."""
    return await _assign(parts, who, set_id, {one.id: one.type for one in body}, offline=offline)
