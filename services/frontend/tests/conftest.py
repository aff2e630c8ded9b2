"""A console without a network: the real application over the shipped fake of the update manager."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from frontend.app import create_app
from frontend.settings import FrontendSettings
from frontend.testing import PASSWORD, USERNAME, FakeManager

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def manager() -> FakeManager:
    return FakeManager(steps=2, step_seconds=0)


@pytest.fixture
def app(manager: FakeManager) -> FastAPI:
    return create_app(FrontendSettings(), transport=httpx.ASGITransport(manager.app))


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has not signed in."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console", headers=SAME_SITE) as client:
        yield client


@pytest.fixture
async def browser(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A browser of a signed-in operator."""
    answer = await stranger.post("/sign-in", data={"username": USERNAME, "password": PASSWORD})
    assert answer.status_code == 303
    return stranger
