"""Connections and transactions: read sessions that never write, write sessions that commit once at the edge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine

# How long a process that stands by waits before it asks again.
LEAD_SECONDS = 1.0


def sqlalchemy_url(database_url: str) -> str:
    """The same URL with the driver this house uses (psycopg 3)."""
    scheme, rest = database_url.split("://", 1)
    if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ValueError(f"DATABASE_URL starts with postgresql://, not {scheme}://")
    return f"postgresql+psycopg://{rest}"


class Leadership:
    """Held as long as its connection is."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def require(self) -> None:
        """Raise SQLAlchemyError when it was lost with the connection."""
        await self._connection.execute(text("SELECT 1"))


class Database:
    """One pool per process; a connection that died with the server is noticed before it is used."""

    def __init__(self, database_url: str, pool_size: int = 10) -> None:
        self.engine = create_async_engine(
            sqlalchemy_url(database_url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "options": "-c timezone=UTC"},
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session whose transaction cannot write."""
        async with self._sessions() as session:
            await session.execute(text("SET TRANSACTION READ ONLY"))
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session that commits when the block ends well and rolls back when it does not."""
        async with self._sessions() as session, session.begin():
            yield session

    @asynccontextmanager
    async def lead(self, key: int) -> AsyncIterator["Leadership"]:
        """Be the only one with `key` among all processes; waits for it. PostgreSQL takes it back from the dead."""
        async with self.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
                await asyncio.sleep(LEAD_SECONDS)
            try:
                yield Leadership(connection)
            finally:
                # The lock hangs on the connection: one that went back into the pool would keep it.
                await connection.invalidate()

    async def close(self) -> None:
        """Let all connections go."""
        await self.engine.dispose()
