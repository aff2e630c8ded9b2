"""The HTTP application: both APIs over one set of parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi_offline import FastAPIOffline
from sqlalchemy import text

from update_manager.adapters.artifact_store import ArtifactStore
from update_manager.adapters.db.session import Database
from update_manager.entrypoints import ddi, problems
from update_manager.entrypoints.dependencies import Parts, PartsDep, require_operator
from update_manager.entrypoints.manners import Manners
from update_manager.entrypoints.mgmt import (
    actions,
    deltas,
    distribution_sets,
    filters,
    overview,
    releases,
    rollouts,
    sessions,
    software_modules,
    tags,
    target_types,
    targets,
    timeline,
)
from update_manager.settings import UpdateManagerSettings

GUARDED = (
    actions,
    deltas,
    distribution_sets,
    filters,
    overview,
    releases,
    rollouts,
    software_modules,
    tags,
    target_types,
    targets,
    timeline,
)

health = APIRouter()


@health.get("/healthz", include_in_schema=False)
async def healthz(parts: PartsDep, response: Response) -> dict[str, object]:
    """200 when PostgreSQL and Redis answer."""
    checks: dict[str, str] = {}
    try:
        async with parts.database.read() as session:
            await session.execute(text("SELECT 1"))
    except Exception as error:  # whatever it is, the answer is the same: not healthy
        checks["postgresql"] = type(error).__name__
    try:
        await parts.redis.ping()
    except (redis.RedisError, OSError) as error:
        checks["redis"] = type(error).__name__
    if checks:
        response.status_code = 503
        return {"status": "error", "checks": checks}
    return {"status": "ok"}


def assemble(settings: UpdateManagerSettings) -> Parts:
    """What handlers are given; nothing is connected before it is used."""
    return Parts(
        settings,
        Database(settings.database_url.get_secret_value(), settings.database_pool_size),
        ArtifactStore(settings.artifact_directory, settings.max_artifact_bytes),
        redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=3),
    )


def create_app(settings: UpdateManagerSettings) -> FastAPI:
    """Build the application; connections are opened when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts: Parts = app.state.parts
        parts.store.prepare()
        yield
        await parts.database.close()
        await parts.redis.aclose()

    # The pages' scripts are served from here: no other host, so they work in a closed network too.
    app = FastAPIOffline(
        title="Updraft",
        description="hawkBit's Management API and device API (DDI), with Updraft's extensions.",
        version="0.1.0",
        lifespan=lifespan,
        openapi_url="/rest/v1/openapi",
        docs_url="/rest/v1/docs",
        redoc_url=None,
        static_url="/rest/v1/docs-files",
    )
    app.state.parts = assemble(settings)
    problems.install(app)
    app.add_middleware(Manners)
    app.include_router(health)
    app.include_router(sessions.router, prefix="/rest/v1")
    for module in GUARDED:
        app.include_router(module.router, prefix="/rest/v1", dependencies=[Depends(require_operator)])
    app.include_router(ddi.router)
    return app
