"""Releases: an uploaded image becomes software module, artifact and distribution set at once, or nothing at all."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from mcuboot_image import PublicKey, load_public_key
from update_manager.adapters.artifact_store import ArtifactStore, Received
from update_manager.adapters.db.tables import (
    Action,
    Artifact,
    DistributionSet,
    DistributionSetType,
    Rollout,
    SigningKey,
    SoftwareModule,
    SoftwareModuleType,
    Target,
    TargetFilter,
    TargetType,
    distribution_set_module,
)
from update_manager.application import artifacts
from update_manager.application.principal import Principal, audit
from update_manager.domain.images import Inspected, inspect, require_fits
from update_manager.errors import AlreadyExists, IncompleteDistributionSet, NotFound

# The module and set type of MCUboot images; files of other types are their devices' business.
FIRMWARE: Final = "firmware"
# Each holds a whole image in memory.
_INSPECTORS: Final = ThreadPoolExecutor(2, "inspector")


async def product_of(session: AsyncSession, who: Principal, key_or_id: str) -> TargetType:
    """The product with that key or id; raises NotFound."""
    same: ColumnElement[bool] = TargetType.key == key_or_id
    if key_or_id.isascii() and key_or_id.isdigit() and len(key_or_id) < 18:
        same = same | (TargetType.id == int(key_or_id))
    found = await session.scalar(select(TargetType).where(TargetType.tenant_id == who.tenant_id, same))
    if found is None:
        raise NotFound(f"there is no product {key_or_id[:64]!r}", hint="products are listed under /rest/v1/targettypes")
    return found


async def trusted_keys(session: AsyncSession, product: TargetType) -> list[PublicKey]:
    """The product's public keys."""
    rows = await session.scalars(select(SigningKey.public_key_pem).where(SigningKey.target_type_id == product.id))
    return [load_public_key(pem.encode()) for pem in rows]


async def judge(session: AsyncSession, who: Principal, received: Received) -> dict[str, Any]:
    """Inspect a file that was put into a firmware module, whose product only the signature tells; columns of its row.

    Raises ImageRefused when no product trusts it, or none that does takes an image so large.
    """
    rows = await session.execute(
        select(TargetType, SigningKey.fingerprint, SigningKey.public_key_pem)
        .join(SigningKey, SigningKey.target_type_id == TargetType.id)
        .where(TargetType.tenant_id == who.tenant_id)
        .order_by(TargetType.id)
    )
    trusting = [(product, fingerprint, load_public_key(pem.encode())) for product, fingerprint, pem in rows]
    image = await _inspected(received, [key for _, _, key in trusting], "this installation", None)
    theirs = [product for product, fingerprint, _ in trusting if fingerprint == image.facts["keyHash"]]
    roomiest = max(theirs, key=lambda product: product.max_image_bytes or sys.maxsize)
    require_fits(received.size, roomiest.name, roomiest.max_image_bytes)
    return _columns(image)


async def _inspected(received: Received, keys: list[PublicKey], whose: str, most: int | None) -> Inspected:
    # In a thread: reading and hashing an image takes long, and other requests must not wait for it.
    def work() -> Inspected:
        return inspect(received.path.read_bytes(), keys, whose, most)

    return await asyncio.get_running_loop().run_in_executor(_INSPECTORS, work)


async def publish(
    session: AsyncSession,
    store: ArtifactStore,
    who: Principal,
    received: Received,
    filename: str,
    product_key: str,
    name: str | None,
    description: str | None,
) -> int:
    """Inspect an upload and make it a release; returns the distribution set's id.

    Raises ImageRefused, NotFound, AlreadyExists; the caller discards the upload then.
    """
    product = await product_of(session, who, product_key)
    keys = await trusted_keys(session, product)
    image = await _inspected(received, keys, product.name, product.max_image_bytes)
    title = (name or product.name).strip()[:128]
    version = image.version[:64]
    taken = select(DistributionSet.id).where(
        DistributionSet.tenant_id == who.tenant_id, DistributionSet.name == title, DistributionSet.version == version
    )
    if await session.scalar(taken) is not None:
        raise _taken(title, version)
    types = {
        kind: await session.scalar(select(kind.id).where(kind.tenant_id == who.tenant_id, kind.key == FIRMWARE))
        for kind in (SoftwareModuleType, DistributionSetType)
    }
    mine = {"tenant_id": who.tenant_id, "created_by": who.username, "last_modified_by": who.username}
    module = SoftwareModule(
        **mine, type_id=types[SoftwareModuleType], name=title, version=version, description=description
    )
    release = DistributionSet(
        **mine,
        type_id=types[DistributionSetType],
        name=title,
        version=version,
        description=description,
        target_type_id=product.id,
    )
    session.add_all([module, release])
    try:
        await session.flush()
    except IntegrityError as error:
        raise _taken(title, version) from error
    session.add(_artifact(mine, module.id, received, filename, image))
    await session.execute(
        distribution_set_module.insert().values(distribution_set_id=release.id, software_module_id=module.id)
    )
    audit(session, who, "publish", "distributionset", release.id, f"{title} {version} for {product.key}")
    await session.flush()
    await artifacts.keep(session, store, received)
    return release.id


def _taken(name: str, version: str) -> AlreadyExists:
    hint = "raise the version in the build and sign again, or give the release another name"
    return AlreadyExists(f"{name} {version} exists already", hint=hint)


def _artifact(mine: dict[str, Any], module_id: int, got: Received, filename: str, image: Inspected) -> Artifact:
    return Artifact(
        **mine,
        software_module_id=module_id,
        filename=filename,
        size=got.size,
        sha256=got.sha256,
        sha1=got.sha1,
        md5=got.md5,
        **_columns(image),
    )


def _columns(image: Inspected) -> dict[str, Any]:
    return {"image_facts": {"facts": image.facts, "tlvs": image.tlvs}, "image_sha256": image.image_sha256}


def _rows() -> Any:
    return (
        select(DistributionSet, TargetType, Artifact)
        .join(TargetType, TargetType.id == DistributionSet.target_type_id)
        .join(distribution_set_module, distribution_set_module.c.distribution_set_id == DistributionSet.id)
        .join(Artifact, Artifact.software_module_id == distribution_set_module.c.software_module_id)
        .where(~DistributionSet.deleted, Artifact.image_facts.is_not(None))
    )


async def list_releases(session: AsyncSession, who: Principal, offset: int, limit: int) -> tuple[list[Any], int]:
    """A page, newest first, and how many there are."""
    query = _rows().where(DistributionSet.tenant_id == who.tenant_id)
    total = await session.scalar(select(func.count()).select_from(query.subquery()))
    page = await session.execute(query.order_by(DistributionSet.id.desc()).offset(offset).limit(limit))
    return list(page), total or 0


async def one_release(session: AsyncSession, who: Principal, identifier: int) -> Any:
    """One release's rows; raises NotFound."""
    query = _rows().where(DistributionSet.tenant_id == who.tenant_id, DistributionSet.id == identifier)
    row = (await session.execute(query)).first()
    if row is None:
        raise NotFound(f"there is no release {identifier}")
    return row


async def freeze(session: AsyncSession, who: Principal, set_id: int) -> None:
    """Before its first assignment: the set must be complete; from now on nobody changes it, its modules or their files.

    What a group of devices has, the next one must get too. Raises NotFound or IncompleteDistributionSet.
    """
    query = (
        select(DistributionSet)
        .where(DistributionSet.tenant_id == who.tenant_id, DistributionSet.id == set_id, ~DistributionSet.deleted)
        .options(
            selectinload(DistributionSet.type).selectinload(DistributionSetType.mandatory),
            selectinload(DistributionSet.modules),
        )
    )
    row: DistributionSet | None = await session.scalar(query)
    if row is not None and not row.locked:
        # Not a plain FOR UPDATE: the engine's new actions hold a key share on the set while they wait for targets.
        fresh = query.with_for_update(of=DistributionSet, key_share=True)
        row = await session.scalar(fresh.execution_options(populate_existing=True))
    if row is None:
        raise NotFound(f"there is no distribution set {set_id}")
    if not row.complete:
        lacking = {kind.key for kind in row.type.mandatory if kind.id not in {one.type_id for one in row.modules}}
        raise IncompleteDistributionSet(
            f"{row.name} {row.version} is incomplete: it has no module of type {', '.join(sorted(lacking)) or 'any'}"
        )
    row.locked = True
    for module in row.modules:
        module.locked = True


async def withdraw(session: AsyncSession, row: DistributionSet) -> list[str]:
    """Delete a set nothing refers to, and the modules made with it as a release; hide one that was used.

    Returns hashes of bytes that may have lost their last row. `row.modules` must be loaded.
    """
    references = (Action, Rollout)
    used = [select(one.id).where(one.distribution_set_id == row.id).exists() for one in references]
    held = or_(Target.assigned_distribution_set_id == row.id, Target.installed_distribution_set_id == row.id)
    filters = TargetFilter.auto_assign_distribution_set_id == row.id
    used += [select(Target.id).where(held).exists(), select(TargetFilter.id).where(filters).exists()]
    if await session.scalar(select(or_(*used))):
        row.deleted = True
        return []
    ids = [module.id for module in row.modules] if row.target_type_id is not None else []
    await session.delete(row)
    await session.flush()
    elsewhere = select(distribution_set_module.c.software_module_id)
    alone = list(
        await session.scalars(
            select(SoftwareModule.id).where(SoftwareModule.id.in_(ids), SoftwareModule.id.not_in(elsewhere))
        )
    )
    hashes = list(await session.scalars(select(Artifact.sha256).where(Artifact.software_module_id.in_(alone))))
    await session.execute(delete(SoftwareModule).where(SoftwareModule.id.in_(alone)))
    return hashes
