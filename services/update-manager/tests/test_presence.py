"""Presence is one truth: the overview counts, the filter finds and each row shows the same word for the same device."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import update

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.presence import PRESENCES
from update_manager.adapters.db.session import Database
from update_manager.testing import make_targets, ok

NOW: Final = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
# Each way the three columns can stand to each other, and the word for it.
STORIES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "made-by-hand": ("never", {}),
    "expected-but-never-heard": ("never", {"expected_by": PAST}),
    "polls-over-ddi": ("online", {"last_controller_request_at": PAST}),
    "registered": ("online", {"presence_state": "online"}),
    "registered-and-awaited": ("online", {"presence_state": "online", "expected_by": FUTURE}),
    "silent-past-its-lifetime": ("late", {"presence_state": "online", "expected_by": PAST}),
    "silent-but-polled-once": (
        "late",
        {"presence_state": "online", "expected_by": PAST, "last_controller_request_at": PAST},
    ),
    "went-offline": ("offline", {"presence_state": "offline"}),
    "went-offline-long-ago": ("offline", {"presence_state": "offline", "expected_by": PAST}),
}


def told(word: str) -> set[str]:
    return {name for name, (expected, _) in STORIES.items() if expected == word}


@pytest.fixture
async def fleet(operator: httpx.AsyncClient, database: Database) -> httpx.AsyncClient:
    """A device for each story."""
    await make_targets(operator, *STORIES)
    async with database.write() as session:
        for name, (_, columns) in STORIES.items():
            if columns:
                await session.execute(update(t.Target).where(t.Target.controller_id == name).values(**columns))
    return operator


async def found(client: httpx.AsyncClient, query: str) -> dict[str, str]:
    page = ok(await client.get("/rest/v1/targets", params={"q": query}))
    assert page["total"] == len(page["content"])
    return {target["controllerId"]: target["presence"]["state"] for target in page["content"]}


@pytest.mark.parametrize("word", PRESENCES)
async def test_count_of_the_overview_is_the_length_of_the_list_it_leads_to(fleet: httpx.AsyncClient, word: str) -> None:
    counts = ok(await fleet.get("/rest/v1/overview"))["presence"]
    assert await found(fleet, f"presence=={word}") == dict.fromkeys(told(word), word)
    assert counts[word] == len(told(word)) > 0 and sum(counts.values()) == len(STORIES)


async def test_presence_is_compared_and_joined_like_any_other_word(fleet: httpx.AsyncClient) -> None:
    assert set(await found(fleet, "presence==ONLINE")) == told("online")
    assert set(await found(fleet, "presence=in=(late,never)")) == told("late") | told("never")
    assert set(await found(fleet, "presence=out=(late,never)")) == told("online") | told("offline")
    assert set(await found(fleet, "presence!=online")) == set(STORIES) - told("online")
    assert set(await found(fleet, "presence==o*;controllerid==went*")) == told("offline")
    assert await found(fleet, "presence==asleep") == {}
    assert await found(fleet, "presence==''") == {}


async def test_filter_on_presence_may_be_saved(fleet: httpx.AsyncClient) -> None:
    saved = await fleet.post("/rest/v1/targetfilters", json={"name": "reachable", "query": "presence==online"})
    assert ok(saved)["query"] == "presence==online"
