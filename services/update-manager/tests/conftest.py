"""The update manager under test: the real application on a real PostgreSQL and Redis, clean for each test."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import redis.asyncio as redis
from fastapi import FastAPI
from pydantic import SecretStr

from softdevice.images import SigningKey, new_key
from update_manager.adapters.db.migrate import migrate
from update_manager.adapters.db.session import Database
from update_manager.entrypoints.app import assemble, create_app
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import GATEWAY_TOKEN, TENANT, TOKEN, clean


@pytest.fixture(scope="session")
def migrated_url(database_url: str) -> str:
    """A database at this release, migrated once per test process."""
    migrate(database_url, TENANT)
    return database_url


@pytest.fixture(scope="session")
def signing_key() -> SigningKey:
    """The vendor's key of this test run."""
    return new_key()


@pytest.fixture(scope="session")
def foreign_key() -> SigningKey:
    """Somebody else's key."""
    return new_key()


@pytest.fixture
def settings(migrated_url: str, redis_url: str, tmp_path: Path) -> UpdateManagerSettings:
    return UpdateManagerSettings(
        database_url=SecretStr(migrated_url),
        redis_url=SecretStr(redis_url),
        artifact_directory=tmp_path / "artifacts",
        gateway_token=SecretStr(GATEWAY_TOKEN),
        max_artifact_bytes=1024 * 1024,
        database_pool_size=5,
    )


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """A connection beside the application's, to a database that holds the operator and nothing else."""
    database = Database(migrated_url, 5)
    await clean(database)
    yield database
    await database.close()


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator["redis.Redis"]:
    """Redis without a trace of earlier tests."""
    client = redis.Redis.from_url(redis_url)
    if keys := await client.keys("updraft:*"):
        await client.delete(*keys)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def built_app(migrated_url: str) -> FastAPI:
    """The application once per test process: describing a hundred routes takes longer than most tests."""
    return create_app(UpdateManagerSettings(database_url=SecretStr(migrated_url)))


@pytest.fixture
async def app(
    built_app: FastAPI, settings: UpdateManagerSettings, database: Database, redis_client: "redis.Redis"
) -> AsyncIterator[FastAPI]:
    """The application, started with connections and a store of its own."""
    built_app.state.parts = assemble(settings)
    async with built_app.router.lifespan_context(built_app):
        yield built_app


def _client(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://updraft", headers=headers, timeout=30)


@pytest.fixture
async def operator(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """An operator who has signed in."""
    async with _client(app, Authorization=f"Bearer {TOKEN}") as client:
        yield client


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without credentials."""
    async with _client(app) as client:
        yield client


@pytest.fixture
async def gateway(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway: speaks DDI for any device."""
    async with _client(app, Authorization=f"GatewayToken {GATEWAY_TOKEN}") as client:
        yield client


@pytest.fixture
def stored_files(settings: UpdateManagerSettings) -> Callable[[], list[Path]]:
    """Every file in the artifact store, those on their way included."""
    return lambda: sorted(path for path in settings.artifact_directory.rglob("*") if path.is_file())
