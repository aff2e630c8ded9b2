"""Bytes and rows of artifacts and deltas: bytes are there before the row can be seen, and go after the last row.

Uploading and removing the same bytes at the same time would otherwise leave a row without bytes: a lock on the hash,
held to the end of the transaction, makes them take turns.
"""

from collections.abc import Iterable

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.artifact_store import ArtifactStore, Received
from update_manager.adapters.db.session import Database
from update_manager.adapters.db.tables import Artifact, Delta


async def keep(session: AsyncSession, store: ArtifactStore, received: Received) -> None:
    """Take an upload into the store; its row is in this transaction."""
    await _hold(session, received.sha256)
    store.keep(received)


async def drop_unreferenced(database: Database, store: ArtifactStore, hashes: Iterable[str]) -> None:
    """After rows were deleted and committed: remove bytes no row refers to. A crash before leaves bytes, not a lie."""
    for sha256 in sorted(set(hashes)):
        async with database.write() as session:
            await _hold(session, sha256)
            held = (select(row.id).where(row.sha256 == sha256).exists() for row in (Artifact, Delta))
            if not await session.scalar(select(or_(*held))):
                store.remove(sha256)


async def _hold(session: AsyncSession, sha256: str) -> None:
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(sha256, 0))))
