"""What gateways report becomes rows: each event once, in order, bounded, whatever a device puts into it."""

import json
import random
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event as sql_event
from sqlalchemy import select, text

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.application import uplink
from update_manager.testing import TENANT, make_fleet, make_plain_set, make_targets, ok

NOW = int(time.time() * 1000)


def event(kind: str, at: int, controller: str = "probe", **more: Any) -> dict[str, Any]:
    """An event as it lies in the stream; `at` in seconds from the test's beginning, also its id."""
    common = {"type": kind, "tenant": TENANT, "controllerId": controller, "at": NOW + at * 1000}
    return {**common, "id": f"{controller}-{kind}-{at}", **more}


async def deliver(database: Database, *events: dict[str, Any]) -> set[int]:
    """One batch."""
    async with database.write() as session:
        return await uplink.store(session, [uplink.parse(json.dumps(one).encode()) for one in events])


async def target(database: Database, name: str = "probe") -> t.Target:
    async with database.read() as session:
        found = await session.scalar(select(t.Target).where(t.Target.controller_id == name))
        assert found is not None
        return found


async def history(database: Database) -> list[tuple[str, str]]:
    async with database.read() as session:
        rows = await session.execute(select(t.TargetEvent.kind, t.TargetEvent.text).order_by(t.TargetEvent.at))
        return [(row.kind, row.text) for row in rows]


@pytest.fixture
async def action(operator: httpx.AsyncClient) -> int:
    """An action of the device `probe`."""
    await make_targets(operator, "probe", "other")
    release = await make_plain_set(operator)
    made = ok(await operator.post("/rest/v1/targets/probe/assignedDS", json={"id": release}))
    return int(made["assignedActions"][0]["id"])


async def picture(database: Database) -> list[str]:
    """All that uplink events write."""
    queries = (
        "SELECT controller_id, presence_state, last_seen_at, expected_by, queue_mode, telemetry, address FROM target",
        "SELECT id, phase, cause, cause_text, download FROM action",
        "SELECT id, target_id, action_id, at, kind, text, details FROM target_event",
    )
    async with database.read() as session:
        return [str(tuple(row)) for query in queries for row in await session.execute(text(f"{query} ORDER BY 1"))]


async def test_presence_is_kept_and_told_once_per_change(
    operator: httpx.AsyncClient, database: Database, action: int
) -> None:
    online: dict[str, Any] = {"state": "online", "queueMode": True, "address": "10.0.0.7:5683", "lwm2mVersion": "1.1"}
    await deliver(database, event("presence", 1, expectedBy=NOW + 60_000, **online))
    await deliver(database, event("presence", 2, **online), event("presence", 3, state="offline"))
    now = await target(database)
    assert (now.presence_state, now.queue_mode, now.address) == ("offline", False, "coap://10.0.0.7:5683")
    assert now.last_seen_at is not None and now.last_seen_at.timestamp() * 1000 == pytest.approx(NOW + 3000)
    assert await history(database) == [("presence", "came online"), ("presence", "went offline")]
    shown = ok(await operator.get("/rest/v1/targets/probe"))
    assert shown["lastModifiedBy"] == "operator", "a device that is heard of modifies nothing"


async def test_news_that_arrives_late_does_not_undo_what_is_newer(database: Database, action: int) -> None:
    await deliver(database, event("presence", 5, state="online"))
    await deliver(database, event("presence", 4, state="offline"))
    assert (await target(database)).presence_state == "online"
    assert await history(database) == [("presence", "came online")]


async def test_telemetry_is_merged_and_a_new_version_is_a_line_of_history(database: Database, action: int) -> None:
    await deliver(database, event("telemetry", 1, resources={"/3/0/3": "1.0", "/3/0/0": "ACME"}))
    await deliver(database, event("telemetry", 2, resources={"/3/0/3": "2.0", "/4/0/2": -71}))
    assert (await target(database)).telemetry == {"/3/0/3": "2.0", "/3/0/0": "ACME", "/4/0/2": "-71"}
    assert await history(database) == [("firmware", "firmware changed from 1.0 to 2.0")]


async def test_telemetry_is_bounded(database: Database, action: int) -> None:
    for number in range(12):
        told = {f"/{number}/0/{one}": "v" * 1000 for one in range(100)}
        await deliver(database, event("telemetry", number, resources=told))
    kept = (await target(database)).telemetry
    assert len(kept) <= uplink.MAX_TELEMETRY * 4 and max(map(len, kept.values())) == 128


async def test_phases_tell_the_journey_and_the_first_cause_stays(database: Database, action: int) -> None:
    await deliver(
        database,
        event("phase", 1, actionId=action, phase="downloading", text="block 1", state=1, result=0),
        event("phase", 2, actionId=action, phase="failed", text="out of flash", cause="not_enough_flash"),
        event("phase", 3, actionId=action, phase="failed", text="later story", cause="device_silent"),
        event("phase", 4, actionId=action + 1, phase="failed", text="no such action"),
        event("phase", 5, controller="other", actionId=action, phase="failed", text="not its own"),
    )
    async with database.read() as session:
        row = await session.get_one(t.Action, action)
        assert (row.phase, row.cause, row.cause_text) == ("failed", "not_enough_flash", "out of flash")
        first = await session.scalar(select(t.TargetEvent.details).where(t.TargetEvent.id == "probe-phase-1"))
    assert first == {"phase": "downloading", "state": 1, "result": 0}
    assert [line for _, line in await history(database)] == ["block 1", "out of flash", "later story"]


async def test_a_phase_told_once_more_does_not_come_back(database: Database, action: int) -> None:
    first = event("phase", 1, actionId=action, phase="downloading", text="begins")
    await deliver(database, first)
    await deliver(database, event("phase", 2, actionId=action, phase="verifying", text="reboots"))
    await deliver(database, first)
    async with database.read() as session:
        assert (await session.get_one(t.Action, action)).phase == "verifying"
    assert [line for _, line in await history(database)] == ["begins", "reboots"]


async def test_a_download_never_goes_backwards_on_the_screen(database: Database, action: int) -> None:
    common: dict[str, Any] = {"actionId": action, "size": 1000}
    await deliver(database, event("progress", 2, offset=500, bytesOnAir=700, restarts=1, **common))
    await deliver(database, event("progress", 1, offset=300, bytesOnAir=400, **common))
    async with database.read() as session:
        row = await session.get_one(t.Action, action)
    assert row.download == {
        "offset": 500, "size": 1000, "bytesOnAir": 700, "repeatedBytes": 0, "restarts": 1, "percent": 50,
    }  # fmt: skip
    await deliver(database, event("progress", 3, actionId=action, size=2000, offset=100))
    async with database.read() as session:
        row = await session.get_one(t.Action, action)
    assert row.download is not None and row.download["percent"] == 5, "another file begins anew"


async def test_traces_are_kept_to_the_newest_of_each_device(database: Database, action: int) -> None:
    lines = [event("trace", number, text=f"line {number}") for number in range(uplink.TRACES_KEPT + 40)]
    grown = await deliver(database, *lines, event("trace", 1, controller="other", text="alone", direction="out"))
    assert grown == {(await target(database)).id, (await target(database, "other")).id}
    async with database.write() as session:
        assert await uplink.trim(session, grown) == 40
    kept = [line for _, line in await history(database)]
    assert len(kept) == uplink.TRACES_KEPT + 1 and "line 39" not in kept and "line 40" in kept and "alone" in kept


async def test_device_that_never_rests_fills_no_disk_and_pushes_no_attempt_out(database: Database, action: int) -> None:
    most = uplink.LINES_KEPT
    await deliver(database, *(event("phase", at, actionId=action, phase="offered", text="p") for at in range(most + 5)))
    grown: set[int] = set()
    for start in range(0, most + 30, 10):
        restless = []
        for at in range(start, start + 10):
            version = {"/3/0/3": f"{at % 2}.0"}
            restless.append(event("presence", at * 2, state="online" if at % 2 else "offline"))
            restless.append(event("telemetry", at * 2 + 1, resources=version))
        grown |= await deliver(database, *restless)
    assert grown == {(await target(database)).id}
    before = [kind for kind, _ in await history(database)]
    assert len(before) - before.count("phase") > 2 * most
    async with database.write() as session:
        assert await uplink.trim(session, grown) == len(before) - 2 * most
    kept = [kind for kind, _ in await history(database)]
    assert kept.count("phase") == most and {"presence", "firmware"} < set(kept)
    assert kept[-2:] == before[-2:], "the newest stay"
    async with database.write() as session:
        assert await uplink.trim(session, grown) == 0


async def test_events_of_strangers_and_other_tenants_are_dropped(database: Database, action: int) -> None:
    stranger = event("presence", 1, controller="nobody", state="online")
    foreign = {**event("presence", 1, state="online"), "tenant": "OTHER"}
    before = await picture(database)
    await deliver(database, stranger, foreign)
    assert await picture(database) == before


@pytest.mark.parametrize("seed", range(2))
async def test_however_events_are_batched_and_repeated_the_end_is_the_same(
    database: Database, action: int, seed: int
) -> None:
    dice = random.Random(seed)
    events = []
    for at in range(120):
        name = dice.choice(["probe", "other"])
        kind = dice.choice(["presence", "telemetry", "phase", "progress", "trace"])
        events.append(
            event(
                kind, at, name, state=dice.choice(["online", "offline"]), actionId=action, text=f"at {at}",
                phase=dice.choice(["downloading", "failed"]), cause=dice.choice([None, "update_failed"]),
                resources={"/3/0/3": str(at // 40)}, offset=at, size=200, bytesOnAir=at * 2,
            )
        )  # fmt: skip
    for one in events:
        await deliver(database, one)
    expected = await picture(database)
    async with database.write() as session:
        await session.execute(text("DELETE FROM target_event"))
        await session.execute(text("UPDATE action SET phase = NULL, cause = NULL, cause_text = NULL, download = NULL"))
        await session.execute(
            text(
                "UPDATE target SET presence_state = NULL, last_seen_at = NULL, expected_by = NULL, telemetry = '{}', "
                "queue_mode = false, address = NULL"
            )
        )
    position = 0
    while position < len(events):
        size = dice.randint(1, 40)
        await deliver(database, *events[position : position + size])
        if dice.random() < 0.5:  # written, not acknowledged: the same batch comes once more
            await deliver(database, *events[position : position + size])
        position += size
    assert await picture(database) == expected


async def test_a_batch_of_two_hundred_events_is_a_handful_of_statements(database: Database) -> None:
    await make_fleet(database, 200, "d")
    sent: list[str] = []

    def note(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: bool) -> None:
        sent.append(statement)

    sql_event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    await deliver(database, *(event("presence", 1, f"d-{number:06d}", state="online") for number in range(1, 201)))
    sql_event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert len(sent) <= 6
    assert len(await history(database)) == 200


NASTY: list[Any] = [None, True, -1, 2**70, 1e308, "", "nul\0", "half \ud800", "x" * 5000, "<b>"]
NASTY += [[], [[]], {"a": {"b": 1}}, {"\0": "\ud800"}]


async def test_no_member_of_an_event_can_break_its_batch(
    operator: httpx.AsyncClient, database: Database, action: int
) -> None:
    names: tuple[str, ...] = (
        "state",
        "expectedBy",
        "queueMode",
        "address",
        "lwm2mVersion",
        "resources",
        "actionId",
        "phase",
        "text",
    )
    names += (
        "result",
        "cause",
        "offset",
        "size",
        "bytesOnAir",
        "restarts",
        "direction",
        "ok",
        "at",
        "id",
        "controllerId",
    )
    good = {"actionId": action, "phase": "offered", "text": "t", "offset": 1, "size": 2, "resources": {}}
    number = 0
    for name in names:
        batch = []
        for value in NASTY:
            for kind in sorted(uplink.KINDS):
                number += 1
                batch.append({**event(kind, number), **good, name: value})
        parsed = []
        for one in batch:
            try:
                parsed.append(uplink.parse(json.dumps(one).encode()))
            except uplink.Malformed:
                assert name in ("at", "id"), f"{name} = {one[name]!r} is no reason to drop an event"
        async with database.write() as session:
            await uplink.store(session, parsed)
    # And nothing that was kept breaks a page.
    for path in ("overview", "targets/probe/timeline", "targets/probe/events", f"actions/{action}", "targets"):
        ok(await operator.get(f"/rest/v1/{path}"), 200)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
NAMES = st.sampled_from(["type", "at", "id", "tenant", "controllerId", "x"])
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(NAMES, inner)))


@given(st.one_of(st.binary(max_size=200), VALUES.map(lambda value: json.dumps(value).encode())))
def test_parse_raises_nothing_but_malformed(raw: bytes) -> None:
    try:
        assert set(uplink.parse(raw)) >= {"type", "at", "id", "controllerId", "tenant"}
    except uplink.Malformed:
        pass


async def test_what_a_device_runs_and_takes_follows_its_telemetry(database: Database, action: int) -> None:
    async def known() -> tuple[str | None, int]:
        now = await target(database)
        return now.image_sha256, now.delta_formats

    told: dict[str, Any] = {"/26250/0/0": "ab" * 32, "/26250/0/3": "3"}
    await deliver(database, event("telemetry", 1, resources={"/3/0/3": "1.0"}), event("telemetry", 2, resources=told))
    assert await known() == ("ab" * 32, 3)
    await deliver(database, event("telemetry", 3, resources={"/3/0/9": "80"}))
    assert await known() == ("ab" * 32, 3), "what says nothing of it changes nothing"
    await deliver(database, event("telemetry", 1, id="late", resources={**told, "/26250/0/0": "cd" * 32}))
    assert await known() == ("ab" * 32, 3), "late news is no news"
    await deliver(database, event("telemetry", 4, resources={"/3/0/3": "2.0"}))
    assert await known() == (None, 0), "another version is another image"
    for at, nonsense in enumerate(({"/26250/0/0": "ab", "/26250/0/3": "many"}, {"/26250/0/0": 7, "/26250/0/3": -1}), 5):
        await deliver(database, event("telemetry", at, resources=nonsense))
        assert await known() == (None, 0)


async def test_an_offer_and_what_was_sent_of_it_are_kept_with_the_action(
    operator: httpx.AsyncClient, database: Database, action: int
) -> None:
    delta = {"kind": "delta", "size": 160, "fullSize": 1000, "sha256": "ef" * 32, "from": "cd" * 32}
    mine: dict[str, Any] = {"actionId": action, "phase": "offered", "text": "offered"}
    progress: dict[str, Any] = {"actionId": action, "sha256": "ef" * 32, "offset": 160, "size": 160, "bytesOnAir": 170}
    await deliver(database, event("phase", 1, **mine, delivery=delta), event("progress", 2, **progress))
    await deliver(database, event("phase", 3, **{**mine, "phase": "downloaded"}), event("phase", 4, **mine, delivery=7))
    [attempt] = ok(await operator.get("/rest/v1/targets/probe/timeline"))["attempts"]
    shape = {"kind": "delta", "size": 160, "fullSize": 1000, "from": "cd" * 32}
    assert attempt["delivery"] == {**shape, "deltaSize": 160, "deltaSha256": "ef" * 32}
    assert (attempt["download"]["bytesOnAir"], attempt["download"]["deltaBytesOnAir"]) == (170, 170)
