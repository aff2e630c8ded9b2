"""Distribution sets and their types."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import AsList, Body, Description, Key, Name, Reference, Version
from update_manager.entrypoints.mgmt.targets import page_of
from update_manager.errors import AlreadyExists, ConstraintViolation, EntityLocked, NotFound

router = APIRouter(tags=["Distribution sets"])


class SetBody(Body):
    """A distribution set; absent means unchanged."""

    name: Name | None = None
    version: Version | None = None
    type: Key | None = None
    description: Description | None = None
    required_migration_step: bool | None = Field(None, alias="requiredMigrationStep")
    modules: list[Reference] = Field(default_factory=list, max_length=100)


def _loaded() -> Any:
    return select(t.DistributionSet).options(
        selectinload(t.DistributionSet.type),
        selectinload(t.DistributionSet.modules).selectinload(t.SoftwareModule.type),
    )


async def find(session: AsyncSession, who: Principal, identifier: int) -> t.DistributionSet:
    """The set with type and modules; raises NotFound."""
    found: t.DistributionSet | None = await session.scalar(
        _loaded().where(
            t.DistributionSet.tenant_id == who.tenant_id, t.DistributionSet.id == identifier, ~t.DistributionSet.deleted
        )
    )
    if found is None:
        raise NotFound(f"there is no distribution set {identifier}")
    return found


@router.get("/distributionsettypes")
async def list_types(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Set types."""
    fields = rsql_sql.plain(t.DistributionSetType, key=t.DistributionSetType.key)
    where = [t.DistributionSetType.tenant_id == who.tenant_id]
    if page.q:
        where.append(rsql_sql.condition(page.q, fields))
    async with parts.database.read() as session:
        total = await session.scalar(select(func.count()).select_from(t.DistributionSetType).where(*where))
        order = page.order(fields, t.DistributionSetType.id.asc())
        rows = await session.scalars(
            select(t.DistributionSetType).where(*where).order_by(*order).offset(page.offset).limit(page.limit)
        )
        return listing([shapes.typed(row) for row in rows], total or 0)


@router.get("/distributionsets")
async def list_sets(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Distribution sets."""
    where = [t.DistributionSet.tenant_id == who.tenant_id, ~t.DistributionSet.deleted]
    if page.q:
        where.append(rsql_sql.condition(page.q, rsql_sql.DISTRIBUTION_SET))
    async with parts.database.read() as session:
        total = await session.scalar(select(func.count()).select_from(t.DistributionSet).where(*where))
        order = page.order(rsql_sql.DISTRIBUTION_SET, t.DistributionSet.id.asc())
        rows = await session.scalars(_loaded().where(*where).order_by(*order).offset(page.offset).limit(page.limit))
        return listing([shapes.distribution_set(row) for row in rows], total or 0)


@router.post("/distributionsets", status_code=201)
async def create_sets(who: Operator, parts: PartsDep, body: Annotated[list[SetBody], AsList]) -> list[dict[str, Any]]:
    """Create sets, all or none; `modules` are assigned at once."""
    async with parts.database.write() as session:
        ids = []
        for new in body:
            if new.name is None or new.version is None:
                raise ConstraintViolation("a distribution set needs name and version")
            key = new.type or "os"
            kind = await session.scalar(
                select(t.DistributionSetType.id).where(
                    t.DistributionSetType.tenant_id == who.tenant_id, t.DistributionSetType.key == key
                )
            )
            if kind is None:
                raise NotFound(f"there is no distribution set type {key!r}")
            row = t.DistributionSet(
                tenant_id=who.tenant_id,
                type_id=kind,
                name=new.name,
                version=new.version,
                description=new.description,
                required_migration_step=bool(new.required_migration_step),
                created_by=who.username,
                last_modified_by=who.username,
            )
            session.add(row)
            try:
                await session.flush()
            except IntegrityError as error:
                raise AlreadyExists(f"{new.name} {new.version} exists already; nothing was created") from error
            await _add_modules(session, who, row.id, new.modules)
            audit(session, who, "create", "distributionset", row.id, f"{new.name} {new.version}")
            ids.append(row.id)
        session.expire_all()
        return [shapes.distribution_set(await find(session, who, identifier)) for identifier in ids]


async def _add_modules(session: AsyncSession, who: Principal, set_id: int, modules: list[Reference]) -> None:
    for one in modules:
        module = await session.scalar(
            select(t.SoftwareModule.id).where(
                t.SoftwareModule.tenant_id == who.tenant_id, t.SoftwareModule.id == one.id, ~t.SoftwareModule.deleted
            )
        )
        if module is None:
            raise NotFound(f"there is no software module {one.id}")
        values = {"distribution_set_id": set_id, "software_module_id": module}
        await session.execute(insert(t.distribution_set_module).values(**values).on_conflict_do_nothing())


@router.get("/distributionsets/{identifier}")
async def get_set(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One set."""
    async with parts.database.read() as session:
        return shapes.distribution_set(await find(session, who, identifier))


@router.put("/distributionsets/{identifier}")
async def change_set(who: Operator, parts: PartsDep, identifier: int, body: SetBody) -> dict[str, Any]:
    """Change what is given."""
    async with parts.database.write() as session:
        row = await find(session, who, identifier)
        for name in ("name", "version", "description", "required_migration_step"):
            if (value := getattr(body, name)) is not None:
                setattr(row, name, value)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists("another set has that name and version") from error
        session.expire_all()
        return shapes.distribution_set(await find(session, who, identifier))


@router.delete("/distributionsets/{identifier}", status_code=204)
async def delete_set(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Hide a set; what it did stays in the history."""
    async with parts.database.write() as session:
        (await find(session, who, identifier)).deleted = True
        audit(session, who, "delete", "distributionset", identifier)
    return Response(status_code=204)


@router.get("/distributionsets/{identifier}/assignedSM")
async def list_modules(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """Modules of a set."""
    async with parts.database.read() as session:
        found = await find(session, who, identifier)
        content = [shapes.software_module(module) for module in found.modules]
    return listing(content, len(content))


@router.post("/distributionsets/{identifier}/assignedSM", status_code=204)
async def add_modules(
    who: Operator, parts: PartsDep, identifier: int, body: Annotated[list[Reference], AsList]
) -> Response:
    """Add modules to a set that was not assigned yet."""
    async with parts.database.write() as session:
        await _require_open(session, who, identifier)
        await _add_modules(session, who, identifier, body)
    return Response(status_code=204)


@router.delete("/distributionsets/{identifier}/assignedSM/{module_id}", status_code=204)
async def remove_module(who: Operator, parts: PartsDep, identifier: int, module_id: int) -> Response:
    """Take a module out of a set that was not assigned yet."""
    link = t.distribution_set_module
    async with parts.database.write() as session:
        await _require_open(session, who, identifier)
        await session.execute(
            delete(link).where(link.c.distribution_set_id == identifier, link.c.software_module_id == module_id)
        )
    return Response(status_code=204)


async def _require_open(session: AsyncSession, who: Principal, identifier: int) -> None:
    await find(session, who, identifier)
    used = await session.scalar(select(t.Action.id).where(t.Action.distribution_set_id == identifier).limit(1))
    if used is not None:
        raise EntityLocked("this set has been assigned and cannot be changed any more; create another version")


@router.get("/distributionsets/{identifier}/assignedTargets")
async def list_assigned(who: Operator, parts: PartsDep, identifier: int, page: PageDep) -> dict[str, Any]:
    """Targets the set is assigned to."""
    async with parts.database.read() as session:
        await find(session, who, identifier)
        return await page_of(session, parts, page, t.Target.assigned_distribution_set_id == identifier)


@router.get("/distributionsets/{identifier}/installedTargets")
async def list_installed(who: Operator, parts: PartsDep, identifier: int, page: PageDep) -> dict[str, Any]:
    """Targets that run the set."""
    async with parts.database.read() as session:
        await find(session, who, identifier)
        return await page_of(session, parts, page, t.Target.installed_distribution_set_id == identifier)
