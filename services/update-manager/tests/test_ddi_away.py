"""PostgreSQL or Redis gone for a while: a clear 503, nothing half done, and all is well when they are back."""

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from update_manager.adapters.db.session import Database
from update_manager.entrypoints.app import create_app
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import Cable, Device, make_plain_set, ok


@pytest.fixture
async def postgres_cable(migrated_url: str) -> AsyncIterator[Cable]:
    cable = Cable(migrated_url)
    await cable.plug()
    yield cable
    await cable.pull()


@pytest.fixture
async def redis_cable(redis_url: str) -> AsyncIterator[Cable]:
    cable = Cable(redis_url)
    await cable.plug()
    yield cable
    await cable.pull()


@pytest.fixture
async def app(
    settings: UpdateManagerSettings, database: Database, postgres_cable: Cable, redis_cable: Cable
) -> AsyncIterator[FastAPI]:
    """The application, whose servers can be pulled away from it."""
    settings.database_url = SecretStr(postgres_cable.through)
    settings.redis_url = SecretStr(redis_cable.through)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


async def test_without_postgresql_both_apis_say_so_and_go_on_when_it_is_back(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, stranger: httpx.AsyncClient, postgres_cable: Cable
) -> None:
    device = Device(gateway, "buoy")
    await device.links()
    release = await make_plain_set(operator)
    ok(await operator.post("/rest/v1/targets/buoy/assignedDS", json={"id": release}))
    action = await device.assigned()
    assert action is not None
    await postgres_cable.pull()
    began = time.monotonic()
    for answer in (
        await gateway.get(device.base),
        await device.feedback(action, "closed", "success"),
        await operator.get("/rest/v1/targets"),
        await operator.post(
            "/rest/v1/rollouts", json={"name": "x", "targetFilterQuery": "name==*", "distributionSetId": 1}
        ),
    ):
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"].isdecimal()
        problem = answer.json()
        assert problem["errorCode"] == "hawkbit.server.error.serviceUnavailable"
        assert "nothing was changed, try again" in problem["message"]
    assert time.monotonic() - began < 5, "a device is not kept waiting"
    health = await stranger.get("/healthz")
    assert health.status_code == 503 and set(health.json()["checks"]) == {"postgresql"}
    await postgres_cable.plug()
    assert (await stranger.get("/healthz")).status_code == 200
    ok(await device.feedback(action, "closed", "success"), 200)
    assert ok(await operator.get("/rest/v1/targets/buoy"))["updateStatus"] == "in_sync"


async def test_without_redis_devices_and_operators_go_on_only_health_says_so(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, stranger: httpx.AsyncClient, redis_cable: Cable
) -> None:
    device = Device(gateway, "buoy")
    await device.links()
    release = await make_plain_set(operator)
    await redis_cable.pull()
    began = time.monotonic()
    ok(await operator.post("/rest/v1/targets/buoy/assignedDS", json={"id": release}), 200)  # its hint is lost, no more
    assert time.monotonic() - began < 15
    assert await device.finish() > 0
    health = await stranger.get("/healthz")
    assert health.status_code == 503 and set(health.json()["checks"]) == {"redis"}
    await redis_cable.plug()
    assert (await stranger.get("/healthz")).status_code == 200
