"""Software modules, their types, and their artifacts: upload, list, download."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints import downloads
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import AsList, Body, Description, Key, Name, Version
from update_manager.errors import AlreadyExists, ChecksumMismatch, ConstraintViolation, EntityLocked, NotFound

router = APIRouter(tags=["Software modules"])


class ModuleBody(Body):
    """A software module; absent means unchanged."""

    name: Name | None = None
    version: Version | None = None
    type: Key | None = None
    description: Description | None = None
    vendor: Name | None = None


def _loaded() -> Any:
    return select(t.SoftwareModule).options(selectinload(t.SoftwareModule.type))


async def find(session: AsyncSession, who: Principal, identifier: int) -> t.SoftwareModule:
    """The module with its type; raises NotFound."""
    found: t.SoftwareModule | None = await session.scalar(
        _loaded().where(
            t.SoftwareModule.tenant_id == who.tenant_id, t.SoftwareModule.id == identifier, ~t.SoftwareModule.deleted
        )
    )
    if found is None:
        raise NotFound(f"there is no software module {identifier}")
    return found


@router.get("/softwaremoduletypes")
async def list_types(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Module types."""
    fields = rsql_sql.plain(t.SoftwareModuleType, key=t.SoftwareModuleType.key)
    where = [t.SoftwareModuleType.tenant_id == who.tenant_id]
    if page.q:
        where.append(rsql_sql.condition(page.q, fields))
    async with parts.database.read() as session:
        total = await session.scalar(select(func.count()).select_from(t.SoftwareModuleType).where(*where))
        order = page.order(fields, t.SoftwareModuleType.id.asc())
        rows = await session.scalars(
            select(t.SoftwareModuleType).where(*where).order_by(*order).offset(page.offset).limit(page.limit)
        )
        return listing([shapes.typed(row, maxAssignments=row.max_assignments) for row in rows], total or 0)


@router.get("/softwaremodules")
async def list_modules(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Modules."""
    where = [t.SoftwareModule.tenant_id == who.tenant_id, ~t.SoftwareModule.deleted]
    if page.q:
        where.append(rsql_sql.condition(page.q, rsql_sql.SOFTWARE_MODULE))
    async with parts.database.read() as session:
        total = await session.scalar(select(func.count()).select_from(t.SoftwareModule).where(*where))
        order = page.order(rsql_sql.SOFTWARE_MODULE, t.SoftwareModule.id.asc())
        rows = await session.scalars(_loaded().where(*where).order_by(*order).offset(page.offset).limit(page.limit))
        return listing([shapes.software_module(row) for row in rows], total or 0)


@router.post("/softwaremodules", status_code=201)
async def create_modules(
    who: Operator, parts: PartsDep, body: Annotated[list[ModuleBody], AsList]
) -> list[dict[str, Any]]:
    """Create modules, all or none."""
    async with parts.database.write() as session:
        ids = []
        for new in body:
            if new.name is None or new.version is None or new.type is None:
                raise ConstraintViolation("a software module needs name, version and type")
            kind = await session.scalar(
                select(t.SoftwareModuleType.id).where(
                    t.SoftwareModuleType.tenant_id == who.tenant_id, t.SoftwareModuleType.key == new.type
                )
            )
            if kind is None:
                raise NotFound(f"there is no software module type {new.type!r}")
            row = t.SoftwareModule(
                tenant_id=who.tenant_id,
                type_id=kind,
                name=new.name,
                version=new.version,
                description=new.description,
                vendor=new.vendor,
                created_by=who.username,
                last_modified_by=who.username,
            )
            session.add(row)
            try:
                await session.flush()
            except IntegrityError as error:
                raise AlreadyExists(f"{new.name} {new.version} exists already; nothing was created") from error
            audit(session, who, "create", "softwaremodule", row.id, f"{new.name} {new.version}")
            ids.append(row.id)
        session.expire_all()
        return [shapes.software_module(await find(session, who, identifier)) for identifier in ids]


@router.get("/softwaremodules/{identifier}")
async def get_module(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One module."""
    async with parts.database.read() as session:
        return shapes.software_module(await find(session, who, identifier))


@router.put("/softwaremodules/{identifier}")
async def change_module(who: Operator, parts: PartsDep, identifier: int, body: ModuleBody) -> dict[str, Any]:
    """Change description or vendor."""
    async with parts.database.write() as session:
        row = await find(session, who, identifier)
        row.description = body.description if body.description is not None else row.description
        row.vendor = body.vendor if body.vendor is not None else row.vendor
        await session.flush()
        session.expire_all()
        return shapes.software_module(await find(session, who, identifier))


@router.delete("/softwaremodules/{identifier}", status_code=204)
async def delete_module(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Delete a module no set uses; one that is used is kept for its history (soft delete)."""
    async with parts.database.write() as session:
        row = await find(session, who, identifier)
        link = t.distribution_set_module
        used = await session.scalar(select(func.count()).where(link.c.software_module_id == identifier))
        if used:
            row.deleted = True
        else:
            await session.delete(row)
        audit(session, who, "delete", "softwaremodule", identifier)
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


@router.post("/softwaremodules/{identifier}/artifacts", status_code=201)
async def upload(
    who: Operator,
    parts: PartsDep,
    identifier: int,
    file: Annotated[UploadFile, File()],
    filename: Annotated[str | None, Form(max_length=256)] = None,
    md5sum: Annotated[str | None, Form(max_length=32)] = None,
    sha1sum: Annotated[str | None, Form(max_length=40)] = None,
    sha256sum: Annotated[str | None, Form(max_length=64)] = None,
) -> dict[str, Any]:
    """Store a file in a module; hashes the sender names are checked."""
    name = (filename or file.filename or "").replace("\0", "").strip()
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise ConstraintViolation("an artifact needs a file name without slashes")
    received = await parts.store.receive(file)
    try:
        pairs = (
            ("md5", md5sum, received.md5),
            ("sha1", sha1sum, received.sha1),
            ("sha256", sha256sum, received.sha256),
        )
        for algorithm, said, found in pairs:
            if said and said.lower() != found:
                raise ChecksumMismatch(f"the file's {algorithm} is {found}, not {said}", algorithm=algorithm)
        async with parts.database.write() as session:
            module = await find(session, who, identifier)
            if module.locked:
                raise EntityLocked("this module has been assigned and cannot be changed any more")
            row = t.Artifact(
                tenant_id=who.tenant_id,
                software_module_id=module.id,
                filename=name,
                size=received.size,
                sha256=received.sha256,
                sha1=received.sha1,
                md5=received.md5,
                created_by=who.username,
                last_modified_by=who.username,
            )
            session.add(row)
            try:
                await session.flush()
            except IntegrityError as error:
                raise AlreadyExists(f"this module has an artifact {name!r} already") from error
            audit(session, who, "upload", "artifact", row.id, f"{name}, {received.size} bytes")
            parts.store.keep(received)
            await session.refresh(row)
            return shapes.artifact(row)
    finally:
        parts.store.discard(received)


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
    return downloads.serve(request, row, parts.store.path(row.sha256))


@router.delete("/softwaremodules/{identifier}/artifacts/{artifact_id}", status_code=204)
async def delete_artifact(who: Operator, parts: PartsDep, identifier: int, artifact_id: int) -> Response:
    """Delete an artifact; its bytes go with the last one that refers to them."""
    async with parts.database.write() as session:
        row = await _artifact(session, who, identifier, artifact_id)
        await session.delete(row)
        await session.flush()
        left = await session.scalar(select(func.count()).where(t.Artifact.sha256 == row.sha256))
        audit(session, who, "delete", "artifact", artifact_id)
    if not left:
        parts.store.remove(row.sha256)
    return Response(status_code=204)
