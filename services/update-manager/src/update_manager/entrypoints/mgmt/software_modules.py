"""Software modules, their types, and their artifacts: upload, list, download."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application import artifacts, products, releases
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints import downloads, uploads
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import AsList, Body, Colour, Description, Key, Name, Vendor, Version
from update_manager.entrypoints.mgmt.reading import one, paged, types_by_key
from update_manager.errors import (
    AlreadyExists,
    ChecksumMismatch,
    ConstraintViolation,
    EntityLocked,
    NotFound,
    NotSupportedYet,
    QuotaExceeded,
)

router = APIRouter(tags=["Software modules"])

# hawkBit's quota.
MAX_ARTIFACTS: Final = 50


class ModuleBody(Body):
    """What can be changed of a module; absent means unchanged."""

    description: Description | None = None
    vendor: Vendor | None = None
    locked: bool | None = None


class NewModule(ModuleBody):
    """A module to create."""

    name: Name
    version: Version
    type: Key
    encrypted: bool = False


class NewModuleType(Body):
    """A module type to create."""

    key: Key
    name: Name
    description: Description | None = None
    colour: Colour | None = None
    max_assignments: int = Field(1, alias="maxAssignments", ge=1, le=2**31 - 1)


_LOADED: Final = selectinload(t.SoftwareModule.type)


async def find(session: AsyncSession, who: Principal, identifier: int, *, lock: bool = False) -> t.SoftwareModule:
    """The module with its type; raises NotFound."""
    query = (
        select(t.SoftwareModule)
        .where(
            t.SoftwareModule.tenant_id == who.tenant_id, t.SoftwareModule.id == identifier, ~t.SoftwareModule.deleted
        )
        .options(_LOADED)
    )
    found: t.SoftwareModule | None = await session.scalar(query.with_for_update(key_share=True) if lock else query)
    if found is None:
        raise NotFound(f"there is no software module {identifier}")
    return found


async def _find_open(session: AsyncSession, who: Principal, identifier: int) -> t.SoftwareModule:
    """The module when its artifacts may still change; raises NotFound or EntityLocked."""
    found = await find(session, who, identifier, lock=True)
    if found.locked:
        raise EntityLocked("this module has been assigned and cannot be changed any more; create another version")
    return found


@router.get("/softwaremoduletypes")
async def list_types(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Module types."""
    kind = t.SoftwareModuleType
    fields = rsql_sql.plain(
        kind, key=kind.key, description=kind.description, colour=kind.colour, maxassignments=kind.max_assignments
    )
    mine = kind.tenant_id == who.tenant_id
    async with parts.database.read() as session:
        rows, total = await paged(session, select(kind), kind, page, fields, kind.id.asc(), mine, ~kind.deleted)
        return listing([shapes.software_module_type(row) for (row,) in rows], total)


@router.post("/softwaremoduletypes", status_code=201)
async def create_types(
    who: Operator, parts: PartsDep, body: Annotated[list[NewModuleType], AsList, Field(max_length=100)]
) -> list[dict[str, Any]]:
    """Create module types, all or none."""
    async with parts.database.write() as session:
        mine = {"tenant_id": who.tenant_id, "created_by": who.username, "last_modified_by": who.username}
        rows = [t.SoftwareModuleType(**mine, **new.model_dump()) for new in body]
        session.add_all(rows)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists("one of these software module types exists; nothing was created") from error
        audit(session, who, "create", "softwaremoduletype", ",".join(row.key for row in rows))
        return [shapes.software_module_type(row) for row in rows]


@router.get("/softwaremoduletypes/{identifier}")
async def get_type(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One module type."""
    async with parts.database.read() as session:
        found = await one(session, who, t.SoftwareModuleType, identifier, "software module type")
        return shapes.software_module_type(found)


@router.get("/softwaremodules")
async def list_modules(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Modules."""
    module = t.SoftwareModule
    where = (module.tenant_id == who.tenant_id, ~module.deleted)
    query = select(module).options(_LOADED)
    async with parts.database.read() as session:
        rows, total = await paged(session, query, module, page, rsql_sql.SOFTWARE_MODULE, module.id.asc(), *where)
        return listing([shapes.software_module(row) for (row,) in rows], total)


@router.post("/softwaremodules", status_code=201)
async def create_modules(
    who: Operator, parts: PartsDep, body: Annotated[list[NewModule], AsList, Field(max_length=1000)]
) -> list[dict[str, Any]]:
    """Create modules, all or none."""
    async with parts.database.write() as session:
        kinds = await types_by_key(session, who, t.SoftwareModuleType, {new.type for new in body})
        rows = []
        for new in body:
            if new.encrypted:
                raise NotSupportedYet("encrypted artifacts are not supported; create the module without")
            row = t.SoftwareModule(
                tenant_id=who.tenant_id,
                type=kinds[new.type],
                name=new.name,
                version=new.version,
                description=new.description,
                vendor=new.vendor,
                created_by=who.username,
                last_modified_by=who.username,
            )
            session.add(row)
            rows.append(row)
        try:
            await session.flush()
        except IntegrityError as error:
            raise AlreadyExists("one of these software modules exists already; nothing was created") from error
        for row in rows:
            audit(session, who, "create", "softwaremodule", row.id, f"{row.name} {row.version}")
        return [shapes.software_module(row) for row in rows]


@router.get("/softwaremodules/{identifier}")
async def get_module(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One module."""
    async with parts.database.read() as session:
        return shapes.software_module(await find(session, who, identifier))


@router.put("/softwaremodules/{identifier}")
async def change_module(who: Operator, parts: PartsDep, identifier: int, body: ModuleBody) -> dict[str, Any]:
    """Change description or vendor; lock or unlock."""
    async with parts.database.write() as session:
        row = await find(session, who, identifier, lock=True)
        for name in ("description", "vendor", "locked"):
            if (value := getattr(body, name)) is not None:
                setattr(row, name, value)
        row.last_modified_by = who.username
        audit(session, who, "change", "softwaremodule", identifier)
        await session.flush()
        await session.refresh(row, ["last_modified_at"])
        return shapes.software_module(row)


@router.delete("/softwaremodules/{identifier}", status_code=204)
async def delete_module(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Delete a module no set uses, with its bytes; one that is used is kept for its history (soft delete)."""
    async with parts.database.write() as session:
        row = await find(session, who, identifier, lock=True)
        link = t.distribution_set_module
        used = await session.scalar(select(func.count()).where(link.c.software_module_id == identifier))
        mine = select(t.Artifact.sha256).where(t.Artifact.software_module_id == identifier)
        hashes = [] if used else list(await session.scalars(mine))
        if used:
            row.deleted = True
        else:
            await session.delete(row)
        audit(session, who, "delete", "softwaremodule", identifier)
    await artifacts.drop_unreferenced(parts.database, parts.store, hashes)
    return Response(status_code=204)


@router.get("/softwaremodules/{identifier}/artifacts")
async def list_artifacts(who: Operator, parts: PartsDep, identifier: int) -> list[dict[str, Any]]:
    """Artifacts of a module."""
    async with parts.database.read() as session:
        await find(session, who, identifier)
        rows = await session.scalars(
            select(t.Artifact).where(t.Artifact.software_module_id == identifier).order_by(t.Artifact.id)
        )
        return [shapes.artifact(row) for row in rows]


@router.post(
    "/softwaremodules/{identifier}/artifacts",
    status_code=201,
    openapi_extra=uploads.form("filename", "md5sum", "sha1sum", "sha256sum"),
)
async def upload(
    request: Request,
    who: Operator,
    parts: PartsDep,
    identifier: int,
    filename: Annotated[str | None, Query(max_length=256)] = None,
    md5sum: Annotated[str | None, Query(max_length=32)] = None,
    sha1sum: Annotated[str | None, Query(max_length=40)] = None,
    sha256sum: Annotated[str | None, Query(max_length=64)] = None,
) -> dict[str, Any]:
    """Store a file in a module; hashes the sender names, as query or form fields, are checked.

    A file for a module of type `firmware` has to be an MCUboot image that a product's key has signed.
    """
    async with parts.database.read() as session:
        await find(session, who, identifier)  # before a gigabyte has come
    async with uploads.receive(request, parts.store) as arrived:
        received = arrived.received
        name = filename or arrived.text("filename", 256) or arrived.filename
        if not name or "/" in name or "\\" in name or name in (".", "..") or not name.isprintable():
            raise ConstraintViolation("an artifact needs a file name without slashes or control characters")
        said = {
            "md5": md5sum or arrived.text("md5sum", 32),
            "sha1": sha1sum or arrived.text("sha1sum", 40),
            "sha256": sha256sum or arrived.text("sha256sum", 64),
        }
        for algorithm, expected in said.items():
            if expected and expected.lower() != (found := getattr(received, algorithm)):
                raise ChecksumMismatch(algorithm, expected, found)
        async with parts.database.write() as session:
            module = await _find_open(session, who, identifier)
            is_image = module.type.key == releases.FIRMWARE
            judged = await releases.judge(session, who, received) if is_image else {}
            mine = {"tenant_id": who.tenant_id, "created_by": who.username, "last_modified_by": who.username}
            row = t.Artifact(
                **mine,
                software_module_id=module.id,
                filename=name,
                size=received.size,
                sha256=received.sha256,
                sha1=received.sha1,
                md5=received.md5,
                **judged,
            )
            session.add(row)
            try:
                await session.flush()
            except IntegrityError as error:
                raise AlreadyExists(f"this module has an artifact {name!r} already") from error
            count = select(func.count()).where(t.Artifact.software_module_id == module.id)
            if (await session.scalar(count) or 0) > MAX_ARTIFACTS:
                raise QuotaExceeded(f"a software module has at most {MAX_ARTIFACTS} artifacts")
            if is_image:
                link = t.distribution_set_module.c
                await products.settle(
                    session, select(link.distribution_set_id).where(link.software_module_id == module.id)
                )
            audit(session, who, "upload", "artifact", row.id, f"{name}, {received.size} bytes")
            await artifacts.keep(session, parts.store, received)
            return shapes.artifact(row)


async def _artifact(session: AsyncSession, who: Principal, identifier: int, artifact_id: int) -> t.Artifact:
    await find(session, who, identifier)
    found = await session.scalar(
        select(t.Artifact).where(t.Artifact.id == artifact_id, t.Artifact.software_module_id == identifier)
    )
    if found is None:
        raise NotFound(f"there is no artifact {artifact_id} in software module {identifier}")
    return found


@router.get("/softwaremodules/{identifier}/artifacts/{artifact_id}")
async def get_artifact(who: Operator, parts: PartsDep, identifier: int, artifact_id: int) -> dict[str, Any]:
    """One artifact."""
    async with parts.database.read() as session:
        return shapes.artifact(await _artifact(session, who, identifier, artifact_id))


@router.get("/softwaremodules/{identifier}/artifacts/{artifact_id}/download")
async def download(request: Request, who: Operator, parts: PartsDep, identifier: int, artifact_id: int) -> Response:
    """The bytes."""
    async with parts.database.read() as session:
        row = await _artifact(session, who, identifier, artifact_id)
    return downloads.serve(request, downloads.stored_artifact(row, parts.store.path(row.sha256)))


@router.delete("/softwaremodules/{identifier}/artifacts/{artifact_id}", status_code=204)
async def delete_artifact(who: Operator, parts: PartsDep, identifier: int, artifact_id: int) -> Response:
    """Delete an artifact; its bytes go with the last one that refers to them."""
    async with parts.database.write() as session:
        await _find_open(session, who, identifier)
        row = await _artifact(session, who, identifier, artifact_id)
        await session.delete(row)
        audit(session, who, "delete", "artifact", artifact_id)
    await artifacts.drop_unreferenced(parts.database, parts.store, [row.sha256])
    return Response(status_code=204)
