"""Reading rows the way every list and every `/{id}` does: one tenant, one filter, one page, one count."""

from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.adapters.db.rsql_sql import Fields
from update_manager.adapters.db.tables.base import TenantOwned
from update_manager.application.principal import Principal
from update_manager.entrypoints.dependencies import Page
from update_manager.errors import NotFound

# What a distribution set needs to be shown.
SHOWN: Final = (
    selectinload(t.DistributionSet.type).selectinload(t.DistributionSetType.mandatory),
    selectinload(t.DistributionSet.modules).selectinload(t.SoftwareModule.type),
)

Entity = TypeVar("Entity", bound=TenantOwned)


async def one(session: AsyncSession, who: Principal, entity: type[Entity], identifier: int, what: str) -> Entity:
    """The caller's row with that id; raises NotFound."""
    found: Entity | None = await session.scalar(
        select(entity).where(entity.tenant_id == who.tenant_id, entity.id == identifier)
    )
    if found is None:
        raise NotFound(f"there is no {what} {identifier}")
    return found


async def paged(
    session: AsyncSession,
    rows: Select[Any],
    entity: type[TenantOwned],
    page: Page,
    fields: Fields,
    default: ColumnElement[Any],
    *conditions: ColumnElement[bool],
) -> tuple[list[Any], int]:
    """Rows of one page under the page's own filter and `conditions` (on `entity`), and how many there are in all."""
    where = list(conditions)
    if page.q:
        where.append(rsql_sql.condition(page.q, fields))
    order = page.order(fields, default)
    total = await session.scalar(select(func.count()).select_from(entity).where(*where))
    found = await session.execute(rows.where(*where).order_by(*order).offset(page.offset).limit(page.limit))
    return list(found), total or 0


Kind = TypeVar("Kind", t.SoftwareModuleType, t.DistributionSetType)


async def types_by_key(session: AsyncSession, who: Principal, kind: type[Kind], keys: set[str]) -> dict[str, Kind]:
    """Types by their keys, in one query, with what is mandatory loaded; raises NotFound for the first unknown one."""
    query = select(kind).where(kind.tenant_id == who.tenant_id, kind.key.in_(keys), ~kind.deleted)
    if kind is t.DistributionSetType:
        query = query.options(
            selectinload(t.DistributionSetType.mandatory), selectinload(t.DistributionSetType.optional)
        )
    found = {row.key: row for row in await session.scalars(query)}
    for key in sorted(keys - found.keys()):
        word = "software module" if kind is t.SoftwareModuleType else "distribution set"
        raise NotFound(f"there is no {word} type {key!r}")
    return found
