"""Target filters: stored queries."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application.principal import Principal
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import Body, Name
from update_manager.errors import AlreadyExists, ConstraintViolation, NotFound

router = APIRouter(prefix="/targetfilters", tags=["Target filters"])


class FilterBody(Body):
    """A filter; absent means unchanged."""

    name: Name | None = None
    query: str | None = Field(None, max_length=4096)


def _shape(row: t.TargetFilter) -> dict[str, Any]:
    link = {"self": {"href": f"/rest/v1/targetfilters/{row.id}"}}
    return {"id": row.id, "name": row.name, "query": row.query, "_links": link, **shapes.audit(row)}


async def _find(session: AsyncSession, who: Principal, identifier: int) -> t.TargetFilter:
    found = await session.scalar(
        select(t.TargetFilter).where(t.TargetFilter.tenant_id == who.tenant_id, t.TargetFilter.id == identifier)
    )
    if found is None:
        raise NotFound(f"there is no target filter {identifier}")
    return found


@router.get("")
async def list_filters(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Stored filters."""
    fields = rsql_sql.plain(t.TargetFilter)
    where = [t.TargetFilter.tenant_id == who.tenant_id]
    if page.q:
        where.append(rsql_sql.condition(page.q, fields))
    async with parts.database.read() as session:
        total = await session.scalar(select(func.count()).select_from(t.TargetFilter).where(*where))
        order = page.order(fields, t.TargetFilter.id.asc())
        rows = await session.scalars(
            select(t.TargetFilter).where(*where).order_by(*order).offset(page.offset).limit(page.limit)
        )
        return listing([_shape(row) for row in rows], total or 0)


@router.post("", status_code=201)
async def create_filter(who: Operator, parts: PartsDep, body: FilterBody) -> dict[str, Any]:
    """Store a filter; its query is checked."""
    if body.name is None or body.query is None:
        raise ConstraintViolation("a filter needs a name and a query")
    rsql_sql.target_condition(body.query)
    async with parts.database.write() as session:
        mine = {"created_by": who.username, "last_modified_by": who.username}
        row = t.TargetFilter(tenant_id=who.tenant_id, name=body.name, query=body.query, **mine)
        session.add(row)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists(f"there is a filter {body.name!r} already") from error
        await session.refresh(row)
        return _shape(row)


@router.get("/{identifier}")
async def get_filter(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One filter."""
    async with parts.database.read() as session:
        return _shape(await _find(session, who, identifier))


@router.put("/{identifier}")
async def change_filter(who: Operator, parts: PartsDep, identifier: int, body: FilterBody) -> dict[str, Any]:
    """Change what is given; a new query is checked."""
    if body.query is not None:
        rsql_sql.target_condition(body.query)
    async with parts.database.write() as session:
        row = await _find(session, who, identifier)
        row.name, row.query = body.name or row.name, body.query or row.query
        await session.flush()
        await session.refresh(row)
        return _shape(row)


@router.delete("/{identifier}", status_code=204)
async def delete_filter(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Forget a filter."""
    async with parts.database.write() as session:
        await session.delete(await _find(session, who, identifier))
    return Response(status_code=204)
