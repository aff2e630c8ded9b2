"""The worker's side of deltas: make one that is wanted, forget those nobody uses, hash images that came before hashes.

A builder holds the row locked for as long as it works (`FOR UPDATE SKIP LOCKED`), so two workers never make the same
pair at once, and what a killed one leaves behind is still `wanted` for the next.
"""

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from mcuboot_image import DecodeError
from update_manager.adapters import delta_process
from update_manager.adapters.artifact_store import ArtifactStore
from update_manager.adapters.db.session import Database
from update_manager.adapters.db.tables import Artifact, Delta
from update_manager.application import artifacts
from update_manager.application.deltas import images
from update_manager.domain.deltas import DeltaStatus, Limits, Refusal, refusal

logger = logging.getLogger(__name__)

# Images stored before their hash was kept get it when things are tidied, so many at a time.
HASHED_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: DeltaStatus
    reason: str | None = None
    made: delta_process.Made | None = None


async def build_one(database: Database, store: ArtifactStore, limits: Limits, timeout_seconds: float) -> bool:
    """Make one wanted delta; False when none is wanted that nobody works on."""
    async with database.write() as session:
        row = await session.scalar(
            select(Delta)
            .where(Delta.status == DeltaStatus.WANTED)
            .order_by(Delta.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if row is None:
            return False
        outcome = await _outcome(session, store, row, limits, timeout_seconds)
        row.status, row.reason, row.judged_at = outcome.status, outcome.reason, func.now()
        row.size = None
        if outcome.made is not None:
            row.size, row.format = len(outcome.made.data), outcome.made.header.compression
            row.creation_milliseconds = outcome.made.milliseconds
        said = {"delta": row.id, "status": str(row.status), "reason": row.reason, "size": row.size}
        logger.info("delta of %s to %s", row.from_sha256[:12], row.to_sha256[:12], extra=said)
    return True


async def _outcome(
    session: AsyncSession, store: ArtifactStore, row: Delta, limits: Limits, timeout_seconds: float
) -> _Outcome:
    try:
        outcome = await _made(session, store, row, limits, timeout_seconds)
        if outcome.made is not None and outcome.status == DeltaStatus.READY:
            row.sha256 = await _keep(session, store, outcome.made.data)
    except SQLAlchemyError:
        raise
    except Exception:
        # Whatever it was, it must not keep the pairs behind this one waiting.
        logger.exception("delta of %s to %s stumbled", row.from_sha256[:12], row.to_sha256[:12])
        return _Outcome(DeltaStatus.FAILED, "it could not be made or stored; the worker's log says why")
    return outcome


async def _keep(session: AsyncSession, store: ArtifactStore, data: bytes) -> str:
    incoming = store.begin()
    try:
        incoming.write(data)
        received = incoming.finish()
    except BaseException:
        incoming.abandon()
        raise
    await artifacts.keep(session, store, received)
    return received.sha256


async def _made(
    session: AsyncSession, store: ArtifactStore, row: Delta, limits: Limits, timeout_seconds: float
) -> _Outcome:
    known = await images(session, row.tenant_id, (row.from_sha256, row.to_sha256))
    wanted = known.get(row.to_sha256)
    if wanted is None:
        return _Outcome(DeltaStatus.FAILED, "the image it leads to was deleted")
    if (why := refusal(known.get(row.from_sha256), wanted, limits)) is not None:
        return _Outcome(DeltaStatus.REFUSED, why)
    paths = [store.path(await _file_of(session, row.tenant_id, one)) for one in (row.from_sha256, row.to_sha256)]
    if not all(path.is_file() for path in paths):
        return _Outcome(DeltaStatus.FAILED, "the bytes of an image are missing from the artifact store")
    try:
        made = await delta_process.make(paths[0], paths[1], row.formats, timeout_seconds)
    except delta_process.CannotMakeDelta as error:
        return _Outcome(DeltaStatus.FAILED, str(error))
    names = (made.header.from_sha256.hex(), made.header.to_sha256.hex())
    if names != (row.from_sha256, row.to_sha256):
        return _Outcome(DeltaStatus.FAILED, "the stored images are not what their rows say")
    if not limits.worth(len(made.data), row.full_size):
        return _Outcome(DeltaStatus.REFUSED, Refusal.OVER_THRESHOLD, made)
    return _Outcome(DeltaStatus.READY, None, made)


async def _file_of(session: AsyncSession, tenant_id: int, image_sha256: str) -> str:
    """Hash of a file that holds the image; its padding, if it has any, does not matter."""
    found = await session.scalar(
        select(Artifact.sha256)
        .where(Artifact.tenant_id == tenant_id, Artifact.image_sha256 == image_sha256)
        .order_by(Artifact.id)
        .limit(1)
    )
    assert found is not None
    return found


async def tidy(database: Database, store: ArtifactStore, unused: timedelta) -> None:
    """Forget deltas nobody has asked for in a while, and those to images that are gone; hash older images."""
    target_there = select(Artifact.id).where(
        Artifact.tenant_id == Delta.tenant_id, Artifact.image_sha256 == Delta.to_sha256
    )
    async with database.write() as session:
        stale = select(Delta.id).where(or_(Delta.last_used_at < func.now() - unused, ~target_there.exists()))
        gone = delete(Delta).where(Delta.id.in_(stale.with_for_update(skip_locked=True))).returning(Delta.sha256)
        hashes = [one for one in await session.scalars(gone) if one]
    await artifacts.drop_unreferenced(database, store, hashes)
    async with database.write() as session:
        unhashed = await session.scalars(
            select(Artifact)
            .where(Artifact.image_facts["facts"]["keyHash"].astext.is_not(None), Artifact.image_sha256.is_(None))
            .order_by(Artifact.id)
            .limit(HASHED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        for artifact in unhashed:
            artifact.image_sha256 = await asyncio.to_thread(_hash_of, store, artifact.sha256)


def _hash_of(store: ArtifactStore, sha256: str) -> str:
    try:
        return hashlib.sha256(delta_process.image_of(store.path(sha256))).hexdigest()
    except (OSError, DecodeError):
        # Its bytes are gone or spoilt: no delta comes of it, and nobody looks at it every time.
        return sha256
