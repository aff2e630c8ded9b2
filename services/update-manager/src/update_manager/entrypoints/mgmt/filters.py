"""Target filters: stored queries."""

from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import Body, Name, Query
from update_manager.entrypoints.mgmt.links import links
from update_manager.entrypoints.mgmt.reading import one, paged
from update_manager.errors import AlreadyExists

router = APIRouter(prefix="/targetfilters", tags=["Target filters"])


class FilterBody(Body):
    """A filter; absent means unchanged."""

    name: Name | None = None
    query: Query | None = None


class NewFilter(FilterBody):
    """A filter to store."""

    name: Name
    query: Query


def _shape(row: t.TargetFilter) -> dict[str, Any]:
    path = f"targetfilters/{row.id}"
    return {"id": row.id, "name": row.name, "query": row.query, **shapes.audit(row), **links(path)}


async def _find(session: AsyncSession, who: Principal, identifier: int) -> t.TargetFilter:
    return await one(session, who, t.TargetFilter, identifier, "target filter")


@router.get("")
async def list_filters(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Stored filters."""
    mine = t.TargetFilter.tenant_id == who.tenant_id
    fields = rsql_sql.plain(t.TargetFilter)
    async with parts.database.read() as session:
        rows, total = await paged(
            session, select(t.TargetFilter), t.TargetFilter, page, fields, t.TargetFilter.id.asc(), mine
        )
        return listing([_shape(row) for (row,) in rows], total)


@router.post("", status_code=201)
async def create_filter(who: Operator, parts: PartsDep, body: NewFilter) -> dict[str, Any]:
    """Store a filter; its query is checked."""
    rsql_sql.target_condition(body.query)
    async with parts.database.write() as session:
        mine = {"created_by": who.username, "last_modified_by": who.username}
        row = t.TargetFilter(tenant_id=who.tenant_id, name=body.name, query=body.query, **mine)
        session.add(row)
        await _flush(session, body.name)
        audit(session, who, "create", "targetfilter", row.id, body.name)
        await session.refresh(row)
        return _shape(row)


async def _flush(session: AsyncSession, name: str | None) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        raise AlreadyExists(f"there is a filter {name!r} already") from error


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
        row.name, row.query, row.last_modified_by = body.name or row.name, body.query or row.query, who.username
        await _flush(session, body.name)
        audit(session, who, "change", "targetfilter", identifier)
        await session.refresh(row)
        return _shape(row)


@router.delete("/{identifier}", status_code=204)
async def delete_filter(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Forget a filter."""
    async with parts.database.write() as session:
        await session.delete(await _find(session, who, identifier))
        audit(session, who, "delete", "targetfilter", identifier)
    return Response(status_code=204)
