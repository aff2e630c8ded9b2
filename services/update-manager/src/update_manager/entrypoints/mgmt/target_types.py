"""Target types (products) and the public keys that sign their images."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from mcuboot_image import load_public_key
from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db import tables as t
from update_manager.application import products
from update_manager.application.principal import Principal, audit
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.entrypoints.mgmt.fields import AsList, Body, Colour, Description, Key, Name, Reference
from update_manager.entrypoints.mgmt.reading import one, paged
from update_manager.errors import AlreadyExists, ConstraintViolation

router = APIRouter(prefix="/targettypes", tags=["Target types"])


class TypeBody(Body):
    """A product; absent means unchanged."""

    name: Name | None = None
    key: Key | None = None
    description: Description | None = None
    colour: Colour | None = None
    max_image_bytes: int | None = Field(None, alias="maxImageBytes", ge=1, le=2**63 - 1)
    compatible: list[Reference] = Field(default_factory=list, alias="compatibledistributionsettypes", max_length=50)


class KeyBody(Body):
    """A public key in PEM."""

    name: Name
    public_key_pem: str = Field(alias="publicKeyPem", max_length=8192)


async def _find(session: AsyncSession, who: Principal, identifier: int) -> t.TargetType:
    return await one(session, who, t.TargetType, identifier, "target type")


async def _add(session: AsyncSession, who: Principal, row: t.TargetType | t.SigningKey, taken: str) -> None:
    row.tenant_id, row.created_by, row.last_modified_by = who.tenant_id, who.username, who.username
    session.add(row)
    await _flush(session, taken)


async def _flush(session: AsyncSession, taken: str) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        raise AlreadyExists(taken) from error


@router.get("")
async def list_types(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Products."""
    fields = rsql_sql.plain(t.TargetType, key=t.TargetType.key, description=t.TargetType.description)
    mine = t.TargetType.tenant_id == who.tenant_id
    async with parts.database.read() as session:
        rows, total = await paged(
            session, select(t.TargetType), t.TargetType, page, fields, t.TargetType.id.asc(), mine
        )
        return listing([shapes.target_type(row) for (row,) in rows], total)


@router.post("", status_code=201)
async def create_types(
    who: Operator, parts: PartsDep, body: Annotated[list[TypeBody], AsList, Field(max_length=100)]
) -> list[dict[str, Any]]:
    """Create products, all or none; devices that named one before it was there become its own."""
    async with parts.database.write() as session:
        rows = []
        for new in body:
            name = new.name or new.key
            if name is None:
                raise ConstraintViolation("a target type needs a name or a key")
            row = t.TargetType(
                key=new.key or name[:64],
                name=name,
                description=new.description,
                colour=new.colour,
                max_image_bytes=new.max_image_bytes,
            )
            await _add(session, who, row, f"there is a target type {name!r} already; nothing was created")
            await _add_compatible(session, who, row.id, new.compatible)
            await products.adopt(session, row)
            audit(session, who, "create", "targettype", row.id, name)
            rows.append(row)
        return [shapes.target_type(row) for row in rows]


async def _add_compatible(session: AsyncSession, who: Principal, type_id: int, wanted: list[Reference]) -> None:
    for reference in wanted:
        await one(session, who, t.DistributionSetType, reference.id, "distribution set type")
        values = {"target_type_id": type_id, "distribution_set_type_id": reference.id}
        await session.execute(insert(t.target_type_distribution_set_type).values(**values).on_conflict_do_nothing())


@router.get("/{identifier}")
async def get_type(who: Operator, parts: PartsDep, identifier: int) -> dict[str, Any]:
    """One product."""
    async with parts.database.read() as session:
        return shapes.target_type(await _find(session, who, identifier))


@router.put("/{identifier}")
async def change_type(who: Operator, parts: PartsDep, identifier: int, body: TypeBody) -> dict[str, Any]:
    """Change what is given."""
    async with parts.database.write() as session:
        row = await _find(session, who, identifier)
        for name in ("name", "description", "colour", "max_image_bytes"):
            if (value := getattr(body, name)) is not None:
                setattr(row, name, value)
        row.last_modified_by = who.username
        audit(session, who, "change", "targettype", identifier)
        await _flush(session, f"there is a target type {body.name!r} already")
        await session.refresh(row)
        return shapes.target_type(row)


@router.delete("/{identifier}", status_code=204)
async def delete_type(who: Operator, parts: PartsDep, identifier: int) -> Response:
    """Delete a product nobody uses; 409 otherwise."""
    async with parts.database.write() as session:
        row = await _find(session, who, identifier)
        await session.delete(row)
        await _flush(session, "targets or releases use this target type; it cannot be deleted")
        audit(session, who, "delete", "targettype", identifier)
    return Response(status_code=204)


@router.get("/{identifier}/compatibledistributionsettypes")
async def list_compatible(who: Operator, parts: PartsDep, identifier: int) -> list[dict[str, Any]]:
    """Set types that fit; none means all."""
    link = t.target_type_distribution_set_type
    async with parts.database.read() as session:
        await _find(session, who, identifier)
        rows = await session.scalars(
            select(t.DistributionSetType)
            .join(link, link.c.distribution_set_type_id == t.DistributionSetType.id)
            .where(link.c.target_type_id == identifier)
        )
        return [shapes.distribution_set_type(row) for row in rows]


@router.post("/{identifier}/compatibledistributionsettypes", status_code=204)
async def add_compatible(
    who: Operator, parts: PartsDep, identifier: int, body: Annotated[list[Reference], AsList, Field(max_length=50)]
) -> Response:
    """Add set types that fit."""
    async with parts.database.write() as session:
        await _find(session, who, identifier)
        await _add_compatible(session, who, identifier, body)
    return Response(status_code=204)


@router.delete("/{identifier}/compatibledistributionsettypes/{type_id}", status_code=204)
async def remove_compatible(who: Operator, parts: PartsDep, identifier: int, type_id: int) -> Response:
    """A set type fits no more."""
    link = t.target_type_distribution_set_type
    async with parts.database.write() as session:
        await _find(session, who, identifier)
        await session.execute(
            delete(link).where(link.c.target_type_id == identifier, link.c.distribution_set_type_id == type_id)
        )
        audit(session, who, "change", "targettype", identifier)
    return Response(status_code=204)


def _key_shape(row: t.SigningKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "algorithm": row.algorithm,
        "fingerprint": row.fingerprint,
        "createdAt": shapes.millis(row.created_at),
        "createdBy": row.created_by,
    }


@router.get("/{identifier}/signingkeys")
async def list_keys(who: Operator, parts: PartsDep, identifier: int) -> list[dict[str, Any]]:
    """Public keys images of this product may be signed with."""
    async with parts.database.read() as session:
        await _find(session, who, identifier)
        rows = await session.scalars(
            select(t.SigningKey).where(t.SigningKey.target_type_id == identifier).order_by(t.SigningKey.id)
        )
        return [_key_shape(row) for row in rows]


@router.post("/{identifier}/signingkeys", status_code=201)
async def add_key(who: Operator, parts: PartsDep, identifier: int, body: KeyBody) -> dict[str, Any]:
    """Trust a public key; 400 with advice for anything else, a private key above all."""
    try:
        key = load_public_key(body.public_key_pem.encode())
    except ValueError as error:
        raise ConstraintViolation(str(error), where="publicKeyPem") from error
    async with parts.database.write() as session:
        await _find(session, who, identifier)
        row = t.SigningKey(
            target_type_id=identifier,
            name=body.name,
            algorithm=key.algorithm,
            public_key_pem=body.public_key_pem,
            fingerprint=key.fingerprint,
        )
        await _add(session, who, row, "this product trusts that key already")
        audit(session, who, "trust", "signingkey", row.id, key.fingerprint)
        await session.refresh(row)
        return _key_shape(row)


@router.delete("/{identifier}/signingkeys/{key_id}", status_code=204)
async def remove_key(who: Operator, parts: PartsDep, identifier: int, key_id: int) -> Response:
    """Trust a key no more; releases that were accepted stay."""
    async with parts.database.write() as session:
        await _find(session, who, identifier)
        await session.execute(
            delete(t.SigningKey).where(t.SigningKey.id == key_id, t.SigningKey.target_type_id == identifier)
        )
        audit(session, who, "distrust", "signingkey", key_id)
    return Response(status_code=204)
