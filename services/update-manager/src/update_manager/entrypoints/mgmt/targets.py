"""Targets: list, create, change, delete; attributes, metadata, tags, type, sets."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.ddi.authentication import new_security_token
from update_manager.entrypoints.dependencies import Operator, PageDep, Parts, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import (
    Address,
    AsList,
    Body,
    ControllerId,
    Description,
    MetadataKey,
    MetadataValue,
    Name,
    Reference,
    Token,
)
from update_manager.entrypoints.mgmt.reading import SHOWN, one, paged
from update_manager.errors import AlreadyExists, ConstraintViolation, NotFound, QuotaExceeded

router = APIRouter(prefix="/targets", tags=["Targets"])

MAX_METADATA = 100

Assigned, Installed = aliased(t.DistributionSet), aliased(t.DistributionSet)


class TargetBody(Body):
    """Fields of a target that may be set; absent means unchanged."""

    name: Name | None = None
    description: Description | None = None
    address: Address | None = None
    security_token: Token | None = Field(None, alias="securityToken")
    request_attributes: bool | None = Field(None, alias="requestAttributes")
    target_type: int | None = Field(None, alias="targetType")
    group: Name | None = None


class NewTarget(TargetBody):
    """A target to create."""

    controller_id: ControllerId = Field(alias="controllerId")


class MetadataBody(Body):
    """A metadata entry."""

    key: MetadataKey
    value: MetadataValue


class MetadataValueBody(Body):
    """A metadata value."""

    value: MetadataValue


def _rows() -> Any:
    return (
        select(t.Target, t.TargetType, Assigned, Installed)
        .outerjoin(t.TargetType, t.TargetType.id == t.Target.target_type_id)
        .outerjoin(Assigned, Assigned.id == t.Target.assigned_distribution_set_id)
        .outerjoin(Installed, Installed.id == t.Target.installed_distribution_set_id)
    )


async def find(session: AsyncSession, who: Principal, controller_id: str) -> t.Target:
    """The target; raises NotFound."""
    found = await session.scalar(
        select(t.Target).where(t.Target.tenant_id == who.tenant_id, t.Target.controller_id == controller_id)
    )
    if found is None:
        raise NotFound(f"there is no target {controller_id[:64]!r}")
    return found


async def _shape(session: AsyncSession, parts: Parts, target_id: int) -> dict[str, Any]:
    row = (await session.execute(_rows().where(t.Target.id == target_id))).one()
    return shapes.target(row, parts.settings.poll_interval_seconds, full=True)


async def page_of(session: AsyncSession, parts: Parts, page: PageDep, *conditions: Any) -> dict[str, Any]:
    """A page of targets under conditions and the page's own filter."""
    rows, total = await paged(
        session, _rows(), t.Target, page, rsql_sql.TARGET, t.Target.controller_id.asc(), *conditions
    )
    poll = parts.settings.poll_interval_seconds
    return listing([shapes.target(row, poll) for row in rows], total)


@router.get("")
async def list_targets(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Targets, by controller id."""
    async with parts.database.read() as session:
        return await page_of(session, parts, page, t.Target.tenant_id == who.tenant_id)


@router.post("", status_code=201)
async def create_targets(
    who: Operator, parts: PartsDep, body: Annotated[list[NewTarget], AsList, Field(max_length=1000)]
) -> list[dict[str, Any]]:
    """Create all or none; 409 when a controller id is taken."""
    async with parts.database.write() as session:
        for type_id in {new.target_type for new in body}:
            await _type_id(session, who, type_id)
        rows = []
        for new in body:
            row = t.Target(
                tenant_id=who.tenant_id,
                controller_id=new.controller_id,
                name=new.name or new.controller_id[:128],
                description=new.description,
                address=new.address,
                security_token=new.security_token or new_security_token(),
                request_attributes=True if new.request_attributes is None else new.request_attributes,
                target_type_id=None if new.target_type == -1 else new.target_type,
                group_name=new.group,
                telemetry={},
                created_by=who.username,
                last_modified_by=who.username,
            )
            session.add(row)
            rows.append(row)
            audit(session, who, "create", "target", new.controller_id)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists("one of these controller ids is taken; nothing was created") from error
        made = await session.execute(_rows().where(t.Target.id.in_([row.id for row in rows])).order_by(t.Target.id))
        poll = parts.settings.poll_interval_seconds
        shown = {row[0].id: shapes.target(row, poll, full=True) for row in made}
        return [shown[row.id] for row in rows]


async def _type_id(session: AsyncSession, who: Principal, wanted: int | None) -> int | None:
    if wanted is None or wanted == -1:
        return None
    return (await one(session, who, t.TargetType, wanted, "target type")).id


@router.get("/{controller_id}")
async def get_target(who: Operator, parts: PartsDep, controller_id: str) -> dict[str, Any]:
    """One target."""
    async with parts.database.read() as session:
        return await _shape(session, parts, (await find(session, who, controller_id)).id)


@router.put("/{controller_id}")
async def change_target(who: Operator, parts: PartsDep, controller_id: str, body: TargetBody) -> dict[str, Any]:
    """Change what is given; `targetType: -1` takes the type away."""
    if body.request_attributes is False:
        raise ConstraintViolation("requestAttributes can only be set to true; the device clears it")
    async with parts.database.write() as session:
        row = await find(session, who, controller_id)
        names = ("name", "description", "address", "security_token", "request_attributes")
        for name in names:
            if (value := getattr(body, name)) is not None:
                setattr(row, name, value)
        if body.group is not None:
            row.group_name = body.group
        if body.target_type is not None:
            row.target_type_id = await _type_id(session, who, body.target_type)
        row.last_modified_by = who.username
        audit(session, who, "change", "target", controller_id)
        await session.flush()
        return await _shape(session, parts, row.id)


@router.delete("/{controller_id}", status_code=204)
async def delete_target(who: Operator, parts: PartsDep, controller_id: str) -> Response:
    """Delete the target with its actions and history."""
    async with parts.database.write() as session:
        await session.delete(await find(session, who, controller_id))
        audit(session, who, "delete", "target", controller_id)
    return Response(status_code=204)


@router.get("/{controller_id}/attributes")
async def get_attributes(who: Operator, parts: PartsDep, controller_id: str) -> Any:
    """What the device says of itself; 204 when nothing."""
    async with parts.database.read() as session:
        target = await find(session, who, controller_id)
        rows = await session.execute(
            select(t.TargetAttribute.key, t.TargetAttribute.value)
            .where(t.TargetAttribute.target_id == target.id)
            .order_by(t.TargetAttribute.key)
        )
        found = dict(rows.all())
    return found or Response(status_code=204)


@router.get("/{controller_id}/tags")
async def get_tags(who: Operator, parts: PartsDep, controller_id: str) -> list[dict[str, Any]]:
    """Tags of a target."""
    async with parts.database.read() as session:
        target = await find(session, who, controller_id)
        rows = await session.scalars(
            select(t.TargetTag)
            .join(t.target_tag_assignment, t.target_tag_assignment.c.tag_id == t.TargetTag.id)
            .where(t.target_tag_assignment.c.target_id == target.id)
        )
        return [shapes.target_tag(row) for row in rows]


@router.get("/{controller_id}/metadata")
async def list_metadata(who: Operator, parts: PartsDep, controller_id: str, page: PageDep) -> dict[str, Any]:
    """Metadata of a target, by key."""
    async with parts.database.read() as session:
        target = await find(session, who, controller_id)
        mine = t.TargetMetadata.target_id == target.id
        total = await session.scalar(select(func.count()).select_from(t.TargetMetadata).where(mine))
        rows = await session.scalars(
            select(t.TargetMetadata).where(mine).order_by(t.TargetMetadata.key).offset(page.offset).limit(page.limit)
        )
        return listing([{"key": row.key, "value": row.value} for row in rows], total or 0)


@router.post("/{controller_id}/metadata", status_code=201)
async def add_metadata(
    who: Operator,
    parts: PartsDep,
    controller_id: str,
    body: Annotated[list[MetadataBody], AsList, Field(min_length=1, max_length=MAX_METADATA)],
) -> Response:
    """Add metadata; a key that is there gets the new value. 429 beyond a hundred keys, hawkBit's quota."""
    async with parts.database.write() as session:
        target = await find(session, who, controller_id)
        values = {entry.key: entry.value for entry in body}
        statement = insert(t.TargetMetadata).values(
            [{"target_id": target.id, "key": key, "value": value} for key, value in values.items()]
        )
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["target_id", "key"], set_={"value": statement.excluded.value}
            )
        )
        mine = t.TargetMetadata.target_id == target.id
        if (await session.scalar(select(func.count()).select_from(t.TargetMetadata).where(mine)) or 0) > MAX_METADATA:
            raise QuotaExceeded(f"a target has at most {MAX_METADATA} metadata entries")
        audit(session, who, "change", "target", controller_id, f"metadata {', '.join(values)}")
    return Response(status_code=201)


async def _metadata(session: AsyncSession, who: Principal, controller_id: str, key: str) -> t.TargetMetadata:
    target = await find(session, who, controller_id)
    found = await session.get(t.TargetMetadata, (target.id, key))
    if found is None:
        raise NotFound(f"target {controller_id[:64]!r} has no metadata {key[:64]!r}")
    return found


@router.get("/{controller_id}/metadata/{key}")
async def get_metadata(who: Operator, parts: PartsDep, controller_id: str, key: str) -> dict[str, Any]:
    """One metadata entry."""
    async with parts.database.read() as session:
        found = await _metadata(session, who, controller_id, key)
        return {"key": found.key, "value": found.value}


@router.put("/{controller_id}/metadata/{key}", status_code=204)
async def change_metadata(
    who: Operator, parts: PartsDep, controller_id: str, key: str, body: MetadataValueBody
) -> Response:
    """Give one metadata entry another value."""
    async with parts.database.write() as session:
        (await _metadata(session, who, controller_id, key)).value = body.value
        audit(session, who, "change", "target", controller_id, f"metadata {key}")
    return Response(status_code=204)


@router.delete("/{controller_id}/metadata/{key}", status_code=204)
async def delete_metadata(who: Operator, parts: PartsDep, controller_id: str, key: str) -> Response:
    """Remove one metadata entry."""
    async with parts.database.write() as session:
        await session.delete(await _metadata(session, who, controller_id, key))
        audit(session, who, "change", "target", controller_id, f"metadata {key} removed")
    return Response(status_code=204)


@router.post("/{controller_id}/targettype", status_code=204)
async def set_type(who: Operator, parts: PartsDep, controller_id: str, body: Reference) -> Response:
    """Say which product a target is."""
    async with parts.database.write() as session:
        (await find(session, who, controller_id)).target_type_id = await _type_id(session, who, body.id)
        audit(session, who, "change", "target", controller_id, f"type {body.id}")
    return Response(status_code=204)


@router.delete("/{controller_id}/targettype", status_code=204)
async def unset_type(who: Operator, parts: PartsDep, controller_id: str) -> Response:
    """Take the product away."""
    async with parts.database.write() as session:
        (await find(session, who, controller_id)).target_type_id = None
        audit(session, who, "change", "target", controller_id, "no type")
    return Response(status_code=204)


@router.get("/{controller_id}/assignedDS")
@router.get("/{controller_id}/installedDS")
async def get_set(request: Request, who: Operator, parts: PartsDep, controller_id: str) -> Any:
    """The assigned or installed set; 204 when there is none."""
    async with parts.database.read() as session:
        target = await find(session, who, controller_id)
        assigned = request.url.path.endswith("/assignedDS")
        wanted = target.assigned_distribution_set_id if assigned else target.installed_distribution_set_id
        row = await session.scalar(select(t.DistributionSet).where(t.DistributionSet.id == wanted).options(*SHOWN))
        return shapes.distribution_set(row) if row else Response(status_code=204)
