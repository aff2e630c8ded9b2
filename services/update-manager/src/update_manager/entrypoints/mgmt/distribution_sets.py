"""Distribution sets and their types."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application import artifacts, products, releases
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import AsList, Body, Colour, Description, Key, Name, Reference, Version
from update_manager.entrypoints.mgmt.reading import SHOWN, paged, types_by_key
from update_manager.entrypoints.mgmt.reading import one as one_row
from update_manager.entrypoints.mgmt.targets import page_of
from update_manager.errors import AlreadyExists, EntityLocked, NotFound, QuotaExceeded, UnsupportedModule

router = APIRouter(tags=["Distribution sets"])

# hawkBit's tenant default ("OS with app(s)") and its quota.
DEFAULT_TYPE: Final = "os_app"
MAX_MODULES: Final = 100
References = Annotated[list[Reference], AsList, Field(max_length=MAX_MODULES)]


class SetBody(Body):
    """A distribution set; absent means unchanged."""

    name: Name | None = None
    version: Version | None = None
    description: Description | None = None
    required_migration_step: bool | None = Field(None, alias="requiredMigrationStep")
    locked: bool | None = None


class NewSet(SetBody):
    """A set to create."""

    name: Name
    version: Version
    type: Key = DEFAULT_TYPE
    modules: References = Field(default_factory=list)


class NewSetType(Body):
    """A set type to create."""

    key: Key
    name: Name
    description: Description | None = None
    colour: Colour | None = None
    mandatory: list[Reference] = Field(default_factory=list, alias="mandatorymodules", max_length=50)
    optional: list[Reference] = Field(default_factory=list, alias="optionalmodules", max_length=50)


async def find(session: AsyncSession, who: Principal, identifier: int, *, lock: bool = False) -> t.DistributionSet:
    """The set with type and modules; raises NotFound."""
    query = (
        select(t.DistributionSet)
        .where(
            t.DistributionSet.tenant_id == who.tenant_id, t.DistributionSet.id == identifier, ~t.DistributionSet.deleted
        )
        .options(*SHOWN)
    )
    found: t.DistributionSet | None = await session.scalar(
        query.with_for_update(of=t.DistributionSet, key_share=True) if lock else query
    )
    if found is None:
        raise NotFound(f"there is no distribution set {identifier}")
    return found


@router.get("/distributionsettypes")
async def list_types(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Set types."""
    kind = t.DistributionSetType
    fields = rsql_sql.plain(kind, key=kind.key, description=kind.description, colour=kind.colour)
    mine = kind.tenant_id == who.tenant_id
    async with parts.database.read() as session:
        rows, total = await paged(session, select(kind), kind, page, fields, kind.id.asc(), mine, ~kind.deleted)
        return listing([shapes.distribution_set_type(row) for (row,) in rows], total)


@router.post("/distributionsettypes", status_code=201)
async def create_types(
    who: Operator, parts: PartsDep, body: Annotated[list[NewSetType], AsList, Field(max_length=100)]
) -> list[dict[str, Any]]:
    """Create set types, all or none."""
    async with parts.database.write() as session:
        rows = []
        for new in body:
            mine = {"tenant_id": who.tenant_id, "created_by": who.username, "last_modified_by": who.username}
            row = t.DistributionSetType(
                **mine, key=new.key, name=new.name, description=new.description, colour=new.colour
            )
            session.add(row)
            try:
                await session.flush()
            except IntegrityError as error:
                raise AlreadyExists(f"the set type {new.key!r} exists already; nothing was created") from error
            for reference, mandatory in [(one, True) for one in new.mandatory] + [(one, False) for one in new.optional]:
                module = await one_row(session, who, t.SoftwareModuleType, reference.id, "software module type")
                values = {"distribution_set_type_id": row.id, "software_module_type_id": module.id}
                statement = insert(t.distribution_set_type_module_type).values(**values, mandatory=mandatory)
                await session.execute(statement.on_conflict_do_nothing())
            audit(session, who, "create", "distributionsettype", row.id, row.key)
            rows.append(row)
        return [shapes.distribution_set_type(row) for row in rows]


@router.get("/distributionsettypes/{identifier}")
async def get_type(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One set type."""
    async with parts.database.read() as session:
        found = await one_row(session, who, t.DistributionSetType, identifier, "distribution set type")
        return shapes.distribution_set_type(found)


@router.get("/distributionsettypes/{identifier}/mandatorymoduletypes")
@router.get("/distributionsettypes/{identifier}/optionalmoduletypes")
async def list_type_modules(request: Request, who: Operator, parts: PartsDep, identifier: int) -> list[dict[str, Any]]:
    """Module types a set of this type must or may have."""
    link, mandatory = t.distribution_set_type_module_type, request.url.path.endswith("/mandatorymoduletypes")
    async with parts.database.read() as session:
        await one_row(session, who, t.DistributionSetType, identifier, "distribution set type")
        rows = await session.scalars(
            select(t.SoftwareModuleType)
            .join(link, link.c.software_module_type_id == t.SoftwareModuleType.id)
            .where(link.c.distribution_set_type_id == identifier, link.c.mandatory == mandatory)
            .order_by(t.SoftwareModuleType.id)
        )
        return [shapes.software_module_type(row) for row in rows]


@router.get("/distributionsets")
async def list_sets(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Distribution sets."""
    entity = t.DistributionSet
    where = (entity.tenant_id == who.tenant_id, ~entity.deleted)
    query = select(entity).options(*SHOWN)
    async with parts.database.read() as session:
        rows, total = await paged(session, query, entity, page, rsql_sql.DISTRIBUTION_SET, entity.id.asc(), *where)
        return listing([shapes.distribution_set(row) for (row,) in rows], total)


@router.post("/distributionsets", status_code=201)
async def create_sets(
    who: Operator, parts: PartsDep, body: Annotated[list[NewSet], AsList, Field(max_length=1000)]
) -> list[dict[str, Any]]:
    """Create sets, all or none; `modules` are assigned at once."""
    async with parts.database.write() as session:
        kinds = await types_by_key(session, who, t.DistributionSetType, {new.type for new in body})
        modules = await _modules(session, who, {one.id for new in body for one in new.modules})
        rows = []
        for new in body:
            row = t.DistributionSet(
                tenant_id=who.tenant_id,
                type=kinds[new.type],
                name=new.name,
                version=new.version,
                description=new.description,
                required_migration_step=bool(new.required_migration_step),
                locked=bool(new.locked),
                modules=[],
                created_by=who.username,
                last_modified_by=who.username,
            )
            _put_in(row, [modules[one.id] for one in new.modules])
            session.add(row)
            rows.append(row)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists("one of these names and versions is taken; nothing was created") from error
        await products.settle(
            session, select(t.DistributionSet.id).where(t.DistributionSet.id.in_([row.id for row in rows]))
        )
        for row in rows:
            audit(session, who, "create", "distributionset", row.id, f"{row.name} {row.version}")
        return [shapes.distribution_set(row) for row in rows]


async def _modules(session: AsyncSession, who: Principal, ids: set[int]) -> dict[int, t.SoftwareModule]:
    """Modules with their types, by id, in one query; raises NotFound."""
    module = t.SoftwareModule
    rows = await session.scalars(
        select(module)
        .where(module.tenant_id == who.tenant_id, module.id.in_(ids), ~module.deleted)
        .options(selectinload(module.type))
    )
    found = {row.id: row for row in rows}
    for identifier in sorted(ids - found.keys()):
        raise NotFound(f"there is no software module {identifier}")
    return found


def _put_in(row: t.DistributionSet, modules: list[t.SoftwareModule]) -> None:
    """Add modules; one of a type that takes one only replaces the earlier one, as in hawkBit. UnsupportedModule."""
    allowed = {kind.id for kind in [*row.type.mandatory, *row.type.optional]}
    for module in modules:
        if module.type_id not in allowed:
            raise UnsupportedModule(f"a set of type {row.type.key!r} takes no module of type {module.type.key!r}")
        if module in row.modules:
            continue
        same = [one for one in row.modules if one.type_id == module.type_id]
        if module.type.max_assignments == 1 and same:
            row.modules.remove(same[0])
        elif len(same) >= module.type.max_assignments or len(row.modules) >= MAX_MODULES:
            raise QuotaExceeded(f"no further module of type {module.type.key!r} fits into the set")
        row.modules.append(module)


@router.get("/distributionsets/{identifier}")
async def get_set(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One set."""
    async with parts.database.read() as session:
        return shapes.distribution_set(await find(session, who, identifier))


@router.put("/distributionsets/{identifier}")
async def change_set(who: Operator, parts: PartsDep, identifier: int, body: SetBody) -> dict[str, Any]:
    """Change what is given."""
    async with parts.database.write() as session:
        row = await find(session, who, identifier, lock=True)
        for name in ("name", "version", "description", "required_migration_step", "locked"):
            if (value := getattr(body, name)) is not None:
                setattr(row, name, value)
        row.last_modified_by = who.username
        audit(session, who, "change", "distributionset", identifier)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists("another set has that name and version") from error
        await session.refresh(row, ["last_modified_at"])
        return shapes.distribution_set(row)


@router.delete("/distributionsets/{identifier}", status_code=204)
async def delete_set(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Delete a set that was never used; hide one that was, what it did stays in the history."""
    async with parts.database.write() as session:
        row = await find(session, who, identifier, lock=True)
        hashes = await releases.withdraw(session, row)
        audit(session, who, "delete", "distributionset", identifier, f"{row.name} {row.version}")
    await artifacts.drop_unreferenced(parts.database, parts.store, hashes)
    return Response(status_code=204)


@router.get("/distributionsets/{identifier}/assignedSM")
async def list_modules(who: Operator, parts: PartsDep, identifier: int, page: PageDep) -> dict[str, Any]:
    """Modules of a set; there are at most a hundred."""
    async with parts.database.read() as session:
        found = await find(session, who, identifier)
        content = [shapes.software_module(module) for module in found.modules]
    return listing(content[page.offset : page.offset + page.limit], len(content))


@router.post("/distributionsets/{identifier}/assignedSM", status_code=204)
async def add_modules(who: Operator, parts: PartsDep, identifier: int, body: References) -> Response:
    """Add modules to a set that was not assigned yet."""
    async with parts.database.write() as session:
        row = await _find_open(session, who, identifier)
        modules = await _modules(session, who, {one.id for one in body})
        _put_in(row, [modules[one.id] for one in body])
        await session.flush()
        await products.settle(session, select(t.DistributionSet.id).where(t.DistributionSet.id == row.id))
        audit(session, who, "change", "distributionset", identifier, "modules added")
    return Response(status_code=204)


@router.delete("/distributionsets/{identifier}/assignedSM/{module_id}", status_code=204)
async def remove_module(who: Operator, parts: PartsDep, identifier: int, module_id: int) -> Response:
    """Take a module out of a set that was not assigned yet."""
    async with parts.database.write() as session:
        row = await _find_open(session, who, identifier)
        if module_id not in {module.id for module in row.modules}:
            raise NotFound(f"there is no software module {module_id} in distribution set {identifier}")
        row.modules = [module for module in row.modules if module.id != module_id]
        audit(session, who, "change", "distributionset", identifier, f"module {module_id} removed")
    return Response(status_code=204)


async def _find_open(session: AsyncSession, who: Principal, identifier: int) -> t.DistributionSet:
    """The set when its modules may still change; raises NotFound or EntityLocked."""
    row = await find(session, who, identifier, lock=True)
    if row.locked:
        raise EntityLocked("this set has been assigned and cannot be changed any more; create another version")
    await session.refresh(row.type, ["optional"])
    return row


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
