"""Target tags: labels, and which targets carry them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Executable, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.dependencies import Operator, PageDep, Parts, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import (
    MAX_ENTRIES,
    AsList,
    Body,
    Colour,
    ControllerId,
    Description,
    Name,
)
from update_manager.entrypoints.mgmt.reading import one, paged
from update_manager.entrypoints.mgmt.targets import page_of
from update_manager.errors import AlreadyExists, NotFound

router = APIRouter(prefix="/targettags", tags=["Target tags"])


class TagBody(Body):
    """A tag; absent means unchanged."""

    name: Name | None = None
    description: Description | None = None
    colour: Colour | None = None


class NewTag(TagBody):
    """A tag to create."""

    name: Name


Policy = Literal["FAIL", "ON_WHAT_FOUND_AND_FAIL", "ON_WHAT_FOUND_AND_SUCCESS"]
PolicyQuery = Annotated[Policy, Query(alias="onNotFoundPolicy")]
NewTags = Annotated[list[NewTag], AsList, Field(max_length=MAX_ENTRIES)]
Controllers = Annotated[list[ControllerId], AsList, Field(max_length=MAX_ENTRIES)]


async def _find(session: AsyncSession, who: Principal, identifier: int) -> t.TargetTag:
    return await one(session, who, t.TargetTag, identifier, "target tag")


@router.get("")
async def list_tags(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Tags."""
    fields = rsql_sql.plain(t.TargetTag, description=t.TargetTag.description, colour=t.TargetTag.colour)
    mine = t.TargetTag.tenant_id == who.tenant_id
    async with parts.database.read() as session:
        rows, total = await paged(session, select(t.TargetTag), t.TargetTag, page, fields, t.TargetTag.id.asc(), mine)
        return listing([shapes.target_tag(row) for (row,) in rows], total)


@router.post("", status_code=201)
async def create_tags(who: Operator, parts: PartsDep, body: NewTags) -> list[dict[str, Any]]:
    """Create tags, all or none."""
    async with parts.database.write() as session:
        rows = [
            t.TargetTag(
                tenant_id=who.tenant_id,
                name=new.name,
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
        audit(session, who, "create", "targettag", ",".join(str(row.id) for row in rows))
        return [shapes.target_tag(row) for row in rows]


@router.get("/{identifier}")
async def get_tag(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One tag."""
    async with parts.database.read() as session:
        return shapes.target_tag(await _find(session, who, identifier))


@router.put("/{identifier}")
async def change_tag(who: Operator, parts: PartsDep, identifier: int, body: TagBody) -> dict[str, Any]:
    """Change what is given."""
    async with parts.database.write() as session:
        row = await _find(session, who, identifier)
        for name in ("name", "description", "colour"):
            if (value := getattr(body, name)) is not None:
                setattr(row, name, value)
        row.last_modified_by = who.username
        audit(session, who, "change", "targettag", identifier)
        await session.flush()
        await session.refresh(row)
        return shapes.target_tag(row)


@router.delete("/{identifier}", status_code=204)
async def delete_tag(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Delete a tag; targets keep going without it."""
    async with parts.database.write() as session:
        await session.delete(await _find(session, who, identifier))
        audit(session, who, "delete", "targettag", identifier)
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
    who: Operator, parts: PartsDep, identifier: int, body: Controllers, policy: PolicyQuery = "FAIL"
) -> Response:
    """Tag targets; `onNotFoundPolicy` says what happens when some of them do not exist."""
    return await _tag(parts, who, identifier, body, policy, insert_tags)


@router.delete("/{identifier}/assigned", status_code=204)
async def unassign_all(
    who: Operator, parts: PartsDep, identifier: int, body: Controllers, policy: PolicyQuery = "FAIL"
) -> Response:
    """Take the tag off targets."""
    return await _tag(parts, who, identifier, body, policy, delete_tags)


@router.post("/{identifier}/assigned/{controller_id}", status_code=204)
async def assign_one(who: Operator, parts: PartsDep, identifier: int, controller_id: str) -> Response:
    """Tag one target."""
    return await _tag(parts, who, identifier, [controller_id], "FAIL", insert_tags)


@router.delete("/{identifier}/assigned/{controller_id}", status_code=204)
async def unassign(who: Operator, parts: PartsDep, identifier: int, controller_id: str) -> Response:
    """Take the tag off one target."""
    return await _tag(parts, who, identifier, [controller_id], "FAIL", delete_tags)


def insert_tags(identifier: int, target_ids: list[int]) -> Executable:
    """Tag the targets; those that have it keep it."""
    rows = [{"target_id": target_id, "tag_id": identifier} for target_id in target_ids]
    return insert(t.target_tag_assignment).values(rows).on_conflict_do_nothing()


def delete_tags(identifier: int, target_ids: list[int]) -> Executable:
    """Take the tag off."""
    link = t.target_tag_assignment
    return delete(link).where(link.c.tag_id == identifier, link.c.target_id.in_(target_ids))


async def _tag(
    parts: Parts,
    who: Principal,
    identifier: int,
    controllers: list[str],
    policy: Policy,
    statement: Callable[[int, list[int]], Executable],
) -> Response:
    async with parts.database.write() as session:
        await _find(session, who, identifier)
        rows = await session.execute(
            select(t.Target.id, t.Target.controller_id).where(
                t.Target.tenant_id == who.tenant_id, t.Target.controller_id.in_(controllers)
            )
        )
        found = {name: target_id for target_id, name in rows}
        missing = [name for name in controllers if name not in found]
        if missing and policy == "FAIL":
            raise _missing(missing)
        if found:
            await session.execute(statement(identifier, sorted(found.values())))
            audit(session, who, "tag", "targettag", identifier, f"{statement.__name__}: {len(found)} targets")
    if missing and policy == "ON_WHAT_FOUND_AND_FAIL":
        raise _missing(missing)
    return Response(status_code=204)


def _missing(names: list[str]) -> NotFound:
    return NotFound(f"there is no target {names[0][:64]!r}", missing=names[:100])
