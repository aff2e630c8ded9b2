"""Deltas on the server: asked, made, refused, forgotten; over 400 lines because one pair of images serves all."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text, update

from firmware_delta import apply
from softdevice.images import SigningKey, sign
from update_manager.adapters import delta_process
from update_manager.adapters.artifact_store import ArtifactStore
from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.application import delta_builds, uplink
from update_manager.application.deltas import limits_of
from update_manager.domain.deltas import Limits
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import Device, make_product, make_rollout, make_targets, ok, publish, step_all

CODE = b"".join(hashlib.sha256(bytes((number,))).digest() for number in range(200)) * 2
OLD, NEW = CODE, CODE[:3000] + b"a better way" + CODE[3000:]
SECONDS = 30.0


def hash_of(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


@pytest.fixture
def limits(settings: UpdateManagerSettings) -> Limits:
    return limits_of(settings)


@pytest.fixture
def store(app: FastAPI) -> ArtifactStore:
    found: ArtifactStore = app.state.parts.store
    return found


@pytest.fixture(scope="module")
def versions(signing_key: SigningKey) -> tuple[bytes, bytes]:
    """Two images of one line."""
    return sign(OLD, "1.0.0", signing_key), sign(NEW, "1.1.0", signing_key)


@pytest.fixture
async def release(operator: httpx.AsyncClient, signing_key: SigningKey, versions: tuple[bytes, bytes]) -> int:
    """The set with the newer image; the older one is uploaded too, and `probe` has the newer one assigned."""
    await make_product(operator, signing_key.public_pem)
    await publish(operator, versions[0])
    made = await publish(operator, versions[1])
    await make_targets(operator, "probe")
    ok(await operator.post("/rest/v1/targets/probe/assignedDS", json={"id": made["distributionSetId"]}))
    return int(made["distributionSetId"])


@pytest.fixture
async def link(gateway: httpx.AsyncClient, release: int) -> str:
    """Where a delta to the assigned image is asked for."""
    device = Device(gateway, "probe")
    answer = ok(await gateway.get(f"{device.base}/deploymentBase/{await device.assigned()}"))
    return str(answer["deployment"]["chunks"][0]["artifacts"][0]["_links"]["delta"]["href"])


async def runs(database: Database, image: str | None, formats: int = 3, name: str = "probe") -> None:
    """What a device reports of itself."""
    async with database.write() as session:
        reported = {"image_sha256": image, "delta_formats": formats}
        await session.execute(update(t.Target).where(t.Target.controller_id == name).values(**reported))


async def made(database: Database) -> list[t.Delta]:
    async with database.read() as session:
        return list(await session.scalars(select(t.Delta).order_by(t.Delta.id)))


async def build_all(database: Database, store: ArtifactStore, limits: Limits) -> int:
    made = 0
    while await delta_builds.build_one(database, store, limits, SECONDS):
        made += 1
    return made


async def test_a_delta_is_built_when_somebody_asks_and_gives_the_image(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    old, new = versions
    question: dict[str, str | int] = {"from": hash_of(old), "formats": 3}
    waiting = await gateway.get(link, params=question)
    assert (waiting.status_code, waiting.headers["retry-after"]) == (202, "1")
    assert await build_all(database, store, limits) == 1
    found = ok(await gateway.get(link, params=question), 200)
    assert (found["from"], found["fullSize"]) == (hash_of(old), len(new))
    assert found["size"] * 5 < len(new) and found["format"] in (1, 2)
    fetched = await gateway.get(found["_links"]["download-http"]["href"])
    assert hash_of(fetched.content) == found["sha256"] and len(fetched.content) == found["size"]
    assert apply(fetched.content, old) == new
    part = await gateway.get(found["_links"]["download-http"]["href"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, fetched.content[10:20])
    assert part.headers["etag"] == f'"{found["sha256"]}"'
    [row] = await made(database)
    assert (row.status, row.uses) == ("ready", 1) and row.creation_milliseconds is not None
    assert await build_all(database, store, limits) == 0, "made once"
    ok(await gateway.get(link, params=question), 200)
    assert (await made(database))[0].uses == 2


async def test_the_same_pair_gives_the_same_bytes_and_each_mask_its_own_format(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    for formats in (1, 2):
        await gateway.get(link, params={"from": hash_of(versions[0]), "formats": formats})
    await build_all(database, store, limits)
    first = await made(database)
    assert [row.format for row in first] == [1, 2], "a device that takes one format is never given the other"
    async with database.write() as session:
        await session.execute(text("DELETE FROM delta"))
    for formats in (1, 2):
        await gateway.get(link, params={"from": hash_of(versions[0]), "formats": formats})
    await build_all(database, store, limits)
    assert [row.sha256 for row in await made(database)] == [row.sha256 for row in first]


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"from": "ab" * 32}, 404),
        ({"from": "AB" * 32}, 400),
        ({"from": "ab"}, 400),
        ({}, 400),
        ({"from": "ab" * 32, "formats": "0"}, 400),
        ({"from": "ab" * 32, "formats": "many"}, 400),
    ],
)
async def test_a_question_about_an_image_nobody_uploaded_leaves_no_trace(
    gateway: httpx.AsyncClient, database: Database, link: str, question: dict[str, str], status: int
) -> None:
    assert (await gateway.get(link, params=question)).status_code == status
    assert await made(database) == []


async def test_strangers_and_other_devices_get_no_delta(
    stranger: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    question = {"from": hash_of(versions[0])}
    assert (await stranger.get(link, params=question)).status_code == 401
    await make_targets(operator, "other")
    assert (await gateway.get(link.replace("/probe/", "/other/"), params=question)).status_code == 404
    token = ok(await operator.get("/rest/v1/targets/probe"))["securityToken"]
    mine = await stranger.get(link, params=question, headers={"Authorization": f"TargetToken {token}"})
    assert mine.status_code == 202, "a device that speaks DDI itself may ask, too"


async def test_a_delta_that_is_not_worth_it_is_refused_with_its_size_and_offered_when_the_threshold_rises(
    app: FastAPI,
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
    stored_files: Callable[[], list[Path]],
) -> None:
    question = {"from": hash_of(versions[0])}
    await gateway.get(link, params=question)
    before = stored_files()
    await build_all(database, store, replace(limits, threshold_percent=1))
    [row] = await made(database)
    assert (row.status, row.reason) == ("refused", "over_threshold") and row.size is not None and row.sha256 is None
    assert stored_files() == before, "its bytes are not kept"
    app.state.parts.settings = app.state.parts.settings.model_copy(update={"delta_threshold_percent": 1})
    async with database.write() as session:
        await session.execute(text("UPDATE delta SET judged_at = judged_at - interval '11 minutes'"))
    assert (await gateway.get(link, params=question)).status_code == 404, "the same images would give the same delta"
    assert await build_all(database, store, limits) == 0
    app.state.parts.settings = app.state.parts.settings.model_copy(update={"delta_threshold_percent": 50})
    assert (await gateway.get(link, params=question)).status_code == 202
    await build_all(database, store, limits)
    assert (await gateway.get(link, params=question)).status_code == 200


async def test_deltas_are_switched_off_by_a_threshold_of_nothing(
    app: FastAPI, gateway: httpx.AsyncClient, database: Database, link: str, versions: tuple[bytes, bytes]
) -> None:
    parts = app.state.parts
    parts.settings = parts.settings.model_copy(update={"delta_threshold_percent": 0})
    assert (await gateway.get(link, params={"from": hash_of(versions[0])})).status_code == 404
    assert await made(database) == []


async def test_images_of_different_keys_make_no_pair(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    release: int,
    link: str,
    foreign_key: SigningKey,
) -> None:
    await make_product(operator, foreign_key.public_pem, "pump")
    strange = sign(OLD, "0.9.0", foreign_key)
    await publish(operator, strange, "pump")
    assert (await gateway.get(link, params={"from": hash_of(strange)})).status_code == 404
    assert await made(database) == [], "what a rule forbids takes no place"
    await runs(database, hash_of(strange))
    [shown] = ok(await operator.get(f"/rest/v1/distributionsets/{release}/deltas"))["content"]
    assert (shown["status"], shown["reason"], shown["targets"]) == ("refused", "other_key", 1)


async def test_a_delta_that_cannot_be_made_is_a_failure_with_its_reason_and_blocks_nobody(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    for formats in (1, 2):
        await gateway.get(link, params={"from": hash_of(versions[0]), "formats": formats})
    assert await delta_builds.build_one(database, store, limits, 0.001)
    store.path(hash_of(versions[0])).unlink()
    assert await delta_builds.build_one(database, store, limits, SECONDS)
    late, spoilt = await made(database)
    assert (late.status, late.reason) == ("failed", "it took longer than 0.001 s")
    missing = "the bytes of an image are missing from the artifact store"
    assert (spoilt.status, spoilt.reason) == ("failed", missing)
    assert (await gateway.get(link, params={"from": hash_of(versions[0])})).status_code == 202, "mask 3 is another pair"


async def test_a_delta_that_cannot_be_stored_rests_and_the_next_one_is_made(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    for formats in (1, 2):
        await gateway.get(link, params={"from": hash_of(versions[0]), "formats": formats})
    incoming = store.path("ab").parents[1] / "incoming"
    shutil.rmtree(incoming)
    incoming.touch()  # nothing can be written into it, by root neither
    assert await delta_builds.build_one(database, store, limits, SECONDS)
    incoming.unlink()
    assert await delta_builds.build_one(database, store, limits, SECONDS)
    assert [row.status for row in await made(database)] == ["failed", "ready"]
    again = await gateway.get(link, params={"from": hash_of(versions[0]), "formats": 1})
    assert again.status_code == 404 and await build_all(database, store, limits) == 0, "it rests"
    async with database.write() as session:
        await session.execute(text("UPDATE delta SET judged_at = judged_at - interval '11 minutes'"))
    again = await gateway.get(link, params={"from": hash_of(versions[0]), "formats": 1})
    assert again.status_code == 202 and await build_all(database, store, limits) == 1


async def test_a_failure_is_told_without_the_paths_of_the_server(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await gateway.get(link, params={"from": hash_of(versions[0])})
    folder = store.path(hash_of(versions[0]))
    folder.write_bytes(b"no image")
    await build_all(database, store, limits)
    [row] = await made(database)
    assert row.status == "failed" and row.reason is not None and "/" not in row.reason and "Error" not in row.reason
    assert "DecodeError" in caplog.text


async def test_a_delta_of_bytes_that_changed_in_the_store_is_not_offered(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    signing_key: SigningKey,
    versions: tuple[bytes, bytes],
) -> None:
    await gateway.get(link, params={"from": hash_of(versions[0])})
    store.path(hash_of(versions[0])).write_bytes(sign(OLD, "1.0.1", signing_key))
    await build_all(database, store, limits)
    [row] = await made(database)
    assert (row.status, row.reason) == ("failed", "the stored images are not what their rows say")


async def test_a_delta_whose_bytes_were_lost_is_made_once_more(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    question = {"from": hash_of(versions[0])}
    await gateway.get(link, params=question)
    await build_all(database, store, limits)
    [row] = await made(database)
    assert row.sha256 is not None
    store.path(row.sha256).unlink()
    assert (await gateway.get(link, params=question)).status_code == 202
    assert await build_all(database, store, limits) == 1
    found = ok(await gateway.get(link, params=question), 200)
    assert (await gateway.get(found["_links"]["download-http"]["href"])).status_code == 200


async def test_two_builders_never_make_one_pair_at_once_and_a_killed_one_leaves_it_to_the_next(
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await gateway.get(link, params={"from": hash_of(versions[0])})
    begun, go_on = asyncio.Event(), asyncio.Event()
    make = delta_process.make

    async def slow(*arguments: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await make(*arguments)

    monkeypatch.setattr(delta_process, "make", slow)
    first = asyncio.create_task(delta_builds.build_one(database, store, limits, SECONDS))
    await begun.wait()
    assert not await delta_builds.build_one(database, store, limits, SECONDS), "somebody is at it"
    asked = await asyncio.wait_for(gateway.get(link, params={"from": hash_of(versions[0])}), 5)
    assert asked.status_code == 202, "who asks does not wait for the builder"
    first.cancel()  # as a worker that dies: its transaction is rolled back
    await asyncio.gather(first, return_exceptions=True)
    assert [row.status for row in await made(database)] == ["wanted"]
    go_on.set()
    assert await delta_builds.build_one(database, store, limits, SECONDS)
    assert [row.status for row in await made(database)] == ["ready"]


async def test_what_nobody_uses_is_forgotten_with_its_bytes_and_what_an_artifact_shares_stays(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
    stored_files: Callable[[], list[Path]],
) -> None:
    await gateway.get(link, params={"from": hash_of(versions[0])})
    await build_all(database, store, limits)
    await delta_builds.tidy(database, store, timedelta(days=1))
    [row] = await made(database)
    assert row.sha256 is not None and store.path(row.sha256) in stored_files()
    async with database.write() as session:
        await session.execute(text("UPDATE delta SET last_used_at = last_used_at - interval '25 hours'"))
    await delta_builds.tidy(database, store, timedelta(days=1))
    assert await made(database) == [] and len(stored_files()) == 2, "both images are still there"


async def test_the_bytes_of_a_delta_are_not_taken_away_with_an_artifact_that_has_the_same(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    await gateway.get(link, params={"from": hash_of(versions[0])})
    await build_all(database, store, limits)
    [row] = await made(database)
    assert row.sha256 is not None
    [module] = ok(await operator.post("/rest/v1/softwaremodules", json=[{"name": "m", "version": "1", "type": "os"}]))
    path = f"/rest/v1/softwaremodules/{module['id']}"
    ok(await operator.post(f"{path}/artifacts", files={"file": ("a.bin", store.path(row.sha256).read_bytes())}), 201)
    ok(await operator.delete(path))
    assert store.path(row.sha256).is_file()


async def test_an_image_older_than_deltas_is_known_by_what_a_device_reports(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    signing_key: SigningKey,
) -> None:
    image = sign(OLD, "0.8.0", signing_key)
    await publish(operator, image)
    async with database.write() as session:
        await session.execute(update(t.Artifact).where(t.Artifact.sha256 == hash_of(image)).values(image_sha256=None))
    question = {"from": hash_of(image)}
    assert (await gateway.get(link, params=question)).status_code == 404
    await delta_builds.tidy(database, store, timedelta(days=1))
    assert (await gateway.get(link, params=question)).status_code == 202
    await build_all(database, store, limits)
    assert [row.status for row in await made(database)] == ["ready"]


async def test_a_rollout_asks_for_what_its_population_really_runs_and_shows_what_it_saves(
    operator: httpx.AsyncClient,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    release: int,
    versions: tuple[bytes, bytes],
) -> None:
    old, new = versions
    await make_targets(operator, "incapable", "silent", "updated", "odd")
    for name, image, formats in (
        ("probe", hash_of(old), 3),
        ("incapable", hash_of(old), 0),
        ("updated", hash_of(new), 3),
        ("odd", "cd" * 32, 3),
    ):
        await runs(database, image, formats, name)
    body = {"name": "campaign", "targetFilterQuery": "name==*", "distributionSetId": release}
    before = ok(await operator.post("/rest/v1/rollouts/preview", json=body))
    assert before["forecast"] == {
        "byDelta": 0,
        "byFull": 2,
        "unknown": 2,
        "bytesFull": 4 * len(new),
        "bytesPlanned": 4 * len(new),
    }
    rollout = await make_rollout(operator, release)
    assert [(row.from_sha256, row.formats) for row in await made(database)] == [(hash_of(old), 3)]
    await build_all(database, store, limits)
    [row] = await made(database)
    assert row.size is not None
    shown = ok(await operator.post("/rest/v1/rollouts/preview", json=body))
    planned = 3 * len(new) + row.size
    assert shown["forecast"] == {**before["forecast"], "byDelta": 1, "unknown": 1, "bytesPlanned": planned}
    assert shown["bytesOnAir"] == planned
    await step_all(database)
    await runs(database, hash_of(old), 2, "silent")
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    assert (hash_of(old), 2) in [(row.from_sha256, row.formats) for row in await made(database)], "seen at the start"
    listed = ok(await operator.get(f"/rest/v1/distributionsets/{release}/deltas"))["content"]
    assert {(one["formats"], one["targets"], one["status"], one.get("reason")) for one in listed} == {
        (0, 1, "none", None),
        (2, 1, "wanted", None),
        (3, 1, "ready", None),
        (3, 1, "refused", "unknown_base"),
    }
    [ready] = [one for one in listed if one["status"] == "ready"]
    assert ready["from"] == {"sha256": hash_of(old), "versions": ["1.0.0"]}
    assert ready["savedBytes"] == len(new) - row.size and ready["ratio"] == round(row.size / len(new), 4)


async def test_a_release_keeps_a_bounded_number_of_pairs(
    operator: httpx.AsyncClient,
    gateway: httpx.AsyncClient,
    app: FastAPI,
    database: Database,
    store: ArtifactStore,
    limits: Limits,
    link: str,
    versions: tuple[bytes, bytes],
) -> None:
    parts = app.state.parts
    parts.settings = parts.settings.model_copy(update={"max_deltas_per_release": 2})
    answers = []
    for formats in (1, 2, 3):
        asked = await gateway.get(link, params={"from": hash_of(versions[0]), "formats": formats})
        answers.append(asked.status_code)
    assert answers == [202, 202, 404] and len(await made(database)) == 2
    await build_all(database, store, replace(limits, threshold_percent=1))
    third = await gateway.get(link, params={"from": hash_of(versions[0]), "formats": 3})
    assert third.status_code == 202, "what came to nothing takes no delta's place"


async def test_a_rollout_shows_what_was_sent_and_what_deltas_saved(
    operator: httpx.AsyncClient, database: Database, release: int, versions: tuple[bytes, bytes]
) -> None:
    full = len(versions[1])
    await make_targets(operator, "delta", "fallback", "full", "half")
    rollout = await make_rollout(operator, release)
    await step_all(database)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"), 204)
    await step_all(database)
    async with database.read() as session:
        ids = select(t.Target.controller_id, t.Action.id).join(t.Action, t.Action.target_id == t.Target.id)
        rows = await session.execute(ids.where(t.Action.rollout_id == rollout))
        mine: dict[str, int] = {row.controller_id: row.id for row in rows}
    offer = {"kind": "delta", "size": 160, "fullSize": full, "sha256": "ef" * 32, "from": "cd" * 32}
    whole = {"kind": "full", "size": full, "fullSize": full, "sha256": "ab" * 32}
    events: list[dict[str, Any]] = []

    def tell(name: str, kind: str, **more: Any) -> None:
        common = {"id": f"event-{len(events)}", "tenant": "DEFAULT", "controllerId": name, "at": 1000 * len(events)}
        events.append({"type": kind, "actionId": mine[name], **common, **more})

    def sent(name: str, what: dict[str, Any], offset: int, on_air: int) -> None:
        tell(name, "phase", phase="offered", text="offered", delivery=what)
        tell(name, "progress", sha256=what["sha256"], size=what["size"], offset=offset, bytesOnAir=on_air)

    sent("delta", offer, 160, 200)
    tell("delta", "phase", phase="downloaded", text="there")
    sent("fallback", offer, 100, 120)
    sent("fallback", whole, full, full + 50)
    tell("fallback", "phase", phase="succeeded", text="there")
    sent("full", whole, full, full)
    sent("half", offer, 80, 90)
    async with database.write() as session:
        await uplink.store(session, [uplink.parse(json.dumps(one).encode()) for one in events])
    shown = ok(await operator.get(f"/rest/v1/rollouts/{rollout}/progress"))
    assert shown["bytesOnAir"] == 200 + 120 + full + 50 + full + 90
    assert shown["delivery"] == {
        "bytesByDelta": 200 + 120 + 90,
        "bytesByFull": full + 50 + full,
        "bytesSaved": full - 200 - 120,
        "arrivedByDelta": 1,
        "fellBackToFull": 1,
    }
    assert shown["forecast"]["unknown"] == 5 and shown["forecast"]["bytesPlanned"] == 5 * full
