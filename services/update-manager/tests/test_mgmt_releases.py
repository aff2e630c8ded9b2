"""Releases: a signed image becomes module, artifact and set at once; a bad one is refused and nothing is stored."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from softdevice.images import SigningKey, real_images, small_image
from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.application import releases
from update_manager.domain.images import inspect
from update_manager.testing import make_product, make_rollout, make_targets, ok, publish

RELEASES = "/rest/v1/releases"
Files = Callable[[], list[Path]]


async def kept(database: Database) -> dict[str, int]:
    """Rows of what a release is made of, and audit entries about publishing."""
    counts = {}
    async with database.read() as session:
        for entity in (t.SoftwareModule, t.Artifact, t.DistributionSet):
            counts[entity.__tablename__] = await session.scalar(select(func.count()).select_from(entity)) or 0
        published = select(func.count()).where(t.AuditEntry.verb == "publish")
        counts["published"] = await session.scalar(published) or 0
    return counts


NOTHING = {"software_module": 0, "artifact": 0, "distribution_set": 0, "published": 0}
ONE = dict.fromkeys(NOTHING, 1)


async def upload(client: httpx.AsyncClient, data: bytes, product: str = "sensor", **form: str) -> httpx.Response:
    files = {"file": ("zephyr.signed.bin", data)}
    return await client.post(RELEASES, files=files, data={"targetType": product, **form})


async def test_a_real_zephyr_image_becomes_a_release(
    operator: httpx.AsyncClient, signing_key: SigningKey, stored_files: Files, database: Database
) -> None:
    first, second = real_images(signing_key, ("3.1.0", "3.2.0+5"))
    product = await make_product(operator, signing_key.public_pem, maxImageBytes=0x76000)
    made = ok(await upload(operator, first, name="Sensor firmware", description="first"), 201)
    assert made["version"] == "3.1.0" and made["name"] == "Sensor firmware"
    assert made["targetType"] == {"id": product, "key": "sensor", "name": "sensor"}
    assert made["artifact"]["size"] == len(first) and made["artifact"]["filename"] == "zephyr.signed.bin"
    assert made["facts"]["keyHash"] == signing_key.public.fingerprint
    assert [file.read_bytes() for file in stored_files()] == [first]
    newer = await publish(operator, second)
    assert newer["version"] == "3.2.0+5" and newer["name"] == "sensor", "named after the product when nobody says"
    listed = ok(await operator.get(RELEASES))
    assert [one["version"] for one in listed["content"]] == ["3.2.0+5", "3.1.0"] and listed["total"] == 2
    assert ok(await operator.get(f"{RELEASES}/{made['distributionSetId']}")) == made
    release = ok(await operator.get(f"/rest/v1/distributionsets/{made['distributionSetId']}"))
    assert release["complete"] is True and release["type"] == "firmware"
    module = release["modules"][0]
    [artifact] = ok(await operator.get(f"/rest/v1/softwaremodules/{module['id']}/artifacts"))
    assert (await operator.get(artifact["_links"]["download"]["href"])).content == first


async def test_others_are_answered_while_an_image_is_inspected(
    operator: httpx.AsyncClient, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_product(operator, signing_key.public_pem)
    began, answered = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        began.set()
        assert answered.wait(10), "nobody was answered"
        return inspect(*arguments)

    monkeypatch.setattr(releases, "inspect", slow)
    uploading = asyncio.create_task(upload(operator, small_image(signing_key, "1.0.0")))
    await asyncio.to_thread(began.wait, 10)
    ok(await operator.get(RELEASES), 200)
    answered.set()
    ok(await uploading, 201)


def flipped(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda image: flipped(image), "hash_mismatch"),
        (lambda image: image[:-1], "malformed"),
        (lambda image: image[: len(image) // 2], "malformed"),
        (lambda image: b"", "malformed"),
        (lambda image: b"\x7fELF" + image[4:], "malformed"),
        (lambda image: b":020000040800F2\n", "malformed"),
    ],
)
async def test_a_spoilt_image_is_refused_and_nothing_is_stored(
    operator: httpx.AsyncClient,
    signing_key: SigningKey,
    stored_files: Files,
    database: Database,
    spoil: Callable[[bytes], bytes],
    reason: str,
) -> None:
    await make_product(operator, signing_key.public_pem)
    answer = await upload(operator, spoil(small_image(signing_key, "1.0.0")))
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["errorCode"] == "hawkbit.server.error.artifact.imageRefused"
    assert problem["info"]["reason"] == reason and problem["info"]["hint"] and problem["message"]
    assert await kept(database) == NOTHING and stored_files() == []


async def _foreign(client: httpx.AsyncClient, own: SigningKey, other: SigningKey) -> httpx.Response:
    await make_product(client, own.public_pem)
    return await upload(client, small_image(other, "1.0.0"))


async def _wrong_product(client: httpx.AsyncClient, own: SigningKey, other: SigningKey) -> httpx.Response:
    await make_product(client, own.public_pem, "sensor")
    await make_product(client, other.public_pem, "valve")
    return await upload(client, small_image(own, "1.0.0"), "valve")


async def _oversized(client: httpx.AsyncClient, own: SigningKey, other: SigningKey) -> httpx.Response:
    await make_product(client, own.public_pem, maxImageBytes=4096)
    return await upload(client, small_image(own, "1.0.0", 6000))


async def _no_keys(client: httpx.AsyncClient, own: SigningKey, other: SigningKey) -> httpx.Response:
    ok(await client.post("/rest/v1/targettypes", json=[{"key": "sensor", "name": "Sensor"}]), 201)
    return await upload(client, small_image(own, "1.0.0"))


Story = Callable[[httpx.AsyncClient, SigningKey, SigningKey], Awaitable[httpx.Response]]


@pytest.mark.parametrize(
    ("story", "reason"),
    [(_foreign, "foreign_key"), (_wrong_product, "foreign_key"), (_oversized, "oversized"), (_no_keys, "no_keys")],
)
async def test_an_image_the_product_may_not_run_is_refused_and_nothing_is_stored(
    operator: httpx.AsyncClient,
    signing_key: SigningKey,
    foreign_key: SigningKey,
    stored_files: Files,
    database: Database,
    story: Story,
    reason: str,
) -> None:
    answer = await story(operator, signing_key, foreign_key)
    assert answer.status_code == 400 and answer.json()["info"]["reason"] == reason
    assert await kept(database) == NOTHING and stored_files() == []


async def test_a_product_nobody_knows_and_one_nobody_names(
    operator: httpx.AsyncClient, signing_key: SigningKey, stored_files: Files, database: Database
) -> None:
    image = small_image(signing_key, "1.0.0")
    assert (await upload(operator, image, "ghost")).status_code == 404
    assert (await upload(operator, image, "")).status_code == 400
    assert (await upload(operator, image, "esc\x1b")).status_code == 400
    assert await kept(database) == NOTHING and stored_files() == []


async def test_the_same_name_and_version_again_is_a_conflict_that_says_what_to_do(
    operator: httpx.AsyncClient, signing_key: SigningKey, stored_files: Files, database: Database
) -> None:
    await make_product(operator, signing_key.public_pem)
    image = small_image(signing_key, "1.0.0")
    await publish(operator, image)
    again = await upload(operator, small_image(signing_key, "1.0.0", 5000))
    assert again.status_code == 409
    assert again.json()["message"] == "sensor 1.0.0 exists already"
    assert "raise the version" in again.json()["info"]["hint"]
    assert await kept(database) == ONE and len(stored_files()) == 1
    await publish(operator, image, name="another name")
    assert len(stored_files()) == 1, "the same bytes under another name lie there once"


async def test_a_release_over_the_stores_limit_is_refused(
    app: FastAPI, operator: httpx.AsyncClient, signing_key: SigningKey, stored_files: Files, database: Database
) -> None:
    await make_product(operator, signing_key.public_pem)
    answer = await upload(operator, bytes(app.state.parts.settings.max_artifact_bytes + 1))
    assert answer.status_code == 429
    assert await kept(database) == NOTHING and stored_files() == []


async def test_a_release_never_used_goes_wholly_and_may_come_again(
    operator: httpx.AsyncClient, signing_key: SigningKey, stored_files: Files, database: Database
) -> None:
    await make_product(operator, signing_key.public_pem)
    image = small_image(signing_key, "1.0.0")
    made = await publish(operator, image)
    path = f"/rest/v1/distributionsets/{made['distributionSetId']}"
    assert (await operator.delete(path)).status_code == 204
    assert stored_files() == [] and await kept(database) == {**NOTHING, "published": 1}
    assert (await operator.get(f"{RELEASES}/{made['distributionSetId']}")).status_code == 404
    await publish(operator, image)


async def test_a_release_that_was_rolled_out_stays_in_the_history(
    operator: httpx.AsyncClient, signing_key: SigningKey, stored_files: Files
) -> None:
    await make_product(operator, signing_key.public_pem)
    image = small_image(signing_key, "1.0.0")
    made = await publish(operator, image)
    await make_targets(operator, "one")
    rollout = await make_rollout(operator, made["distributionSetId"])
    assert (await operator.delete(f"/rest/v1/distributionsets/{made['distributionSetId']}")).status_code == 204
    assert len(stored_files()) == 1
    assert (await operator.get(f"{RELEASES}/{made['distributionSetId']}")).status_code == 404
    assert (await upload(operator, image)).status_code == 409
    assert ok(await operator.get(f"/rest/v1/rollouts/{rollout}"))["distributionSetId"] == made["distributionSetId"]
