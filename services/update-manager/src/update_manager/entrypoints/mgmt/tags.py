"""Target tags: labels, and which targets carry them."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application.principal import Principal
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import AsList, Body, Colour, ControllerId, Description, Name
from update_manager.entrypoints.mgmt.targets import page_of
from update_manager.errors import AlreadyExists, NotFound

router = APIRouter(prefix="/targettags", tags=["Target tags"])


class TagBody(Body):
    """A tag; absent means unchanged."""

    name: Name | None = None
    description: Description | None = None
    colour: Colour | None = None


async def _find(session: AsyncSession, who: Principal, identifier: int) -> t.TargetTag:
    found = await session.scalar(
        select(t.TargetTag).where(t.TargetTag.tenant_id == who.tenant_id, t.TargetTag.id == identifier)
    )
    if found is None:
        raise NotFound(f"there is no target tag {identifier}")
    return found


@router.get("")
async def list_tags(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Tags."""
    fields = rsql_sql.plain(t.TargetTag, description=t.TargetTag.description, colour=t.TargetTag.colour)
    where = [t.TargetTag.tenant_id == who.tenant_id]
    if page.q:
        where.append(rsql_sql.condition(page.q, fields))
    async with parts.database.read() as session:
        total = await session.scalar(select(func.count()).select_from(t.TargetTag).where(*where))
        order = page.order(fields, t.TargetTag.id.asc())
        rows = await session.scalars(
            select(t.TargetTag).where(*where).order_by(*order).offset(page.offset).limit(page.limit)
        )
        return listing([shapes.typed(row) for row in rows], total or 0)


@router.post("", status_code=201)
async def create_tags(who: Operator, parts: PartsDep, body: Annotated[list[TagBody], AsList]) -> list[dict[str, Any]]:
    """Create tags, all or none."""
    async with parts.database.write() as session:
        rows = [
            t.TargetTag(
                tenant_id=who.tenant_id,
                name=new.name or "",
                description=new.description,
                colour=new.colour,
                created_by=who.username,
                last_modified_by=who.username,
            )
            for new in body
        ]
        session.add_all(rows)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists("one of these tags exists; nothing was created") from error
        for row in rows:
            await session.refresh(row)
        return [shapes.typed(row) for row in rows]


@router.get("/{identifier}")
async def get_tag(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One tag."""
    async with parts.database.read() as session:
        return shapes.typed(await _find(session, who, identifier))


@router.put("/{identifier}")
async def change_tag(who: Operator, parts: PartsDep, identifier: int, body: TagBody) -> dict[str, Any]:
    """Change what is given."""
    async with parts.database.write() as session:
        row = await _find(session, who, identifier)
        for name in ("name", "description", "colour"):
            if (value := getattr(body, name)) is not None:
                setattr(row, name, value)
        await session.flush()
        await session.refresh(row)
        return shapes.typed(row)


@router.delete("/{identifier}", status_code=204)
async def delete_tag(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Delete a tag; targets keep going without it."""
    async with parts.database.write() as session:
        await session.delete(await _find(session, who, identifier))
    return Response(status_code=204)


@router.get("/{identifier}/assigned")
async def list_assigned(who: Operator, parts: PartsDep, identifier: int, page: PageDep) -> dict[str, Any]:
    """Targets with the tag."""
    link = t.target_tag_assignment
    tagged = select(link.c.target_id).where(link.c.tag_id == identifier)
    async with parts.database.read() as session:
        await _find(session, who, identifier)
        return await page_of(session, parts, page, t.Target.id.in_(tagged))


@router.post("/{identifier}/assigned", status_code=204)
@router.put("/{identifier}/assigned", status_code=204)
async def assign(
    who: Operator, parts: PartsDep, identifier: int, body: Annotated[list[ControllerId], AsList]
) -> Response:
    """Tag targets."""
    async with parts.database.write() as session:
        await _tag(session, who, identifier, body)
    return Response(status_code=204)


@router.post("/{identifier}/assigned/{controller_id}", status_code=204)
async def assign_one(who: Operator, parts: PartsDep, identifier: int, controller_id: str) -> Response:
    """Tag one target."""
    async with parts.database.write() as session:
        await _tag(session, who, identifier, [controller_id])
    return Response(status_code=204)


async def _tag(session: AsyncSession, who: Principal, identifier: int, controllers: list[str]) -> None:
    await _find(session, who, identifier)
    rows = await session.execute(
        select(t.Target.id, t.Target.controller_id).where(
            t.Target.tenant_id == who.tenant_id, t.Target.controller_id.in_(controllers)
        )
    )
    found = {name: target_id for target_id, name in rows}
    if missing := [name for name in controllers if name not in found]:
        raise NotFound(f"there is no target {missing[0][:64]!r}")
    for target_id in found.values():
        values = {"target_id": target_id, "tag_id": identifier}
        await session.execute(insert(t.target_tag_assignment).values(**values).on_conflict_do_nothing())


@router.delete("/{identifier}/assigned/{controller_id}", status_code=204)
async def unassign(who: Operator, parts: PartsDep, identifier: int, controller_id: str) -> Response:
    """Take the tag off one target."""
    link = t.target_tag_assignment
    same = select(t.Target.id).where(t.Target.tenant_id == who.tenant_id, t.Target.controller_id == controller_id)
    async with parts.database.write() as session:
        await _find(session, who, identifier)
        await session.execute(delete(link).where(link.c.tag_id == identifier, link.c.target_id.in_(same)))
    return Response(status_code=204)
