"""Uploads: streamed to disk, hashed on the way, kept once; what goes wrong leaves no row, no file, no half of one."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.testing import TOKEN, make_plain_set, make_targets, ok, serving

MODULES = "/rest/v1/softwaremodules"
Files = Callable[[], list[Path]]


@pytest.fixture
async def module(operator: httpx.AsyncClient) -> str:
    """Path of a software module's artifacts."""
    [made] = ok(await operator.post(MODULES, json=[{"name": "app", "version": "1", "type": "os"}]), 201)
    return f"{MODULES}/{made['id']}/artifacts"


async def rows(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(t.Artifact)) or 0


def part(data: bytes, name: str = "app.bin") -> dict[str, Any]:
    return {"file": (name, data)}


async def test_a_file_is_kept_with_its_three_hashes_and_comes_back_byte_equal(
    operator: httpx.AsyncClient, module: str, stored_files: Files
) -> None:
    data = bytes(range(256)) * 2000
    made = ok(await operator.post(module, files=part(data)), 201)
    assert made["size"] == len(data) and made["providedFilename"] == "app.bin"
    assert made["hashes"] == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "sha1": hashlib.sha1(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
    }
    [file] = stored_files()
    assert file.name == made["hashes"]["sha256"] and file.read_bytes() == data
    assert (await operator.get(f"{module}/{made['id']}/download")).content == data


async def test_the_same_bytes_lie_once_however_often_they_are_uploaded(
    operator: httpx.AsyncClient, module: str, stored_files: Files, database: Database
) -> None:
    first = ok(await operator.post(module, files=part(b"same")), 201)
    second = ok(await operator.post(module, files=part(b"same", "other.bin")), 201)
    assert len(stored_files()) == 1 and await rows(database) == 2
    assert (await operator.delete(f"{module}/{first['id']}")).status_code == 204
    assert len(stored_files()) == 1, "somebody still needs them"
    assert (await operator.get(f"{module}/{second['id']}/download")).content == b"same"
    assert (await operator.delete(f"{module}/{second['id']}")).status_code == 204
    assert stored_files() == []


async def test_a_module_that_goes_takes_its_bytes_with_it(
    operator: httpx.AsyncClient, module: str, stored_files: Files
) -> None:
    ok(await operator.post(module, files=part(b"mine")), 201)
    assert (await operator.delete(module.removesuffix("/artifacts"))).status_code == 204
    assert stored_files() == []


async def test_removing_and_uploading_the_same_bytes_at_once_never_leaves_a_row_without_bytes(
    operator: httpx.AsyncClient, module: str, stored_files: Files, database: Database
) -> None:
    for turn in range(8):
        old = ok(await operator.post(module, files=part(b"contested", f"{turn}-old")), 201)
        removed, added = await asyncio.gather(
            operator.delete(f"{module}/{old['id']}"),
            operator.post(module, files=part(b"contested", f"{turn}-new")),
        )
        assert removed.status_code == 204
        new = ok(added, 201)
        assert (await operator.get(f"{module}/{new['id']}/download")).content == b"contested"
        ok(await operator.delete(f"{module}/{new['id']}"), 204)
    assert stored_files() == [] and await rows(database) == 0


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize("where", ["params", "data"])
async def test_a_hash_the_sender_names_is_checked(
    operator: httpx.AsyncClient,
    module: str,
    stored_files: Files,
    database: Database,
    algorithm: str,
    where: str,
) -> None:
    right = hashlib.new(algorithm, b"data").hexdigest()
    wrong: dict[str, Any] = {where: {f"{algorithm}sum": hashlib.new(algorithm, b"tada").hexdigest()}}
    answer = await operator.post(module, files=part(b"data"), **wrong)
    assert answer.status_code == 400
    assert answer.json()["errorCode"] == f"hawkbit.server.error.artifact.uploadFailed.checksum.{algorithm}.match"
    assert right in answer.json()["message"]
    assert stored_files() == [] and await rows(database) == 0
    good: dict[str, Any] = {where: {f"{algorithm}sum": right.upper(), "filename": "named.bin"}}
    assert ok(await operator.post(module, files=part(b"data"), **good), 201)["providedFilename"] == "named.bin"


async def test_a_file_name_is_taken_once_per_module(
    operator: httpx.AsyncClient, module: str, stored_files: Files
) -> None:
    ok(await operator.post(module, files=part(b"one")), 201)
    answer = await operator.post(module, files=part(b"two"))
    assert answer.status_code == 409 and "app.bin" in answer.json()["message"]
    assert len(stored_files()) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.bin", "c:\\x\\..\\b.bin"])
async def test_a_path_in_the_file_name_loses_its_folders(operator: httpx.AsyncClient, module: str, name: str) -> None:
    made = ok(await operator.post(module, files=part(b"x", name)), 201)
    assert made["providedFilename"] in ("passwd", "b.bin")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\\b", "nul\0.bin", "esc\x1b.bin", "x" * 257])
async def test_a_file_name_asked_for_by_query_must_be_one(
    operator: httpx.AsyncClient, module: str, name: str, stored_files: Files
) -> None:
    answer = await operator.post(module, files=part(b"x"), params={"filename": name})
    assert answer.status_code == 400
    assert stored_files() == []


async def test_a_file_over_the_limit_is_refused_while_it_streams(
    app: FastAPI, operator: httpx.AsyncClient, module: str, stored_files: Files, database: Database
) -> None:
    limit = app.state.parts.settings.max_artifact_bytes
    ok(await operator.post(module, files=part(bytes(limit), "fits.bin")), 201)

    async def big() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
        for _ in range(100):
            yield bytes(64 * 1024)
            assert sum(path.stat().st_size for path in stored_files()) <= 2 * limit

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Authorization": f"Bearer {TOKEN}"}
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as client:
        answer = await client.post(url + module, content=big(), headers=headers)
    assert answer.status_code == 429
    assert answer.json()["errorCode"] == "hawkbit.server.error.quota.fileSizeExceeded"
    assert answer.json()["info"] == {"limit": limit}
    assert len(stored_files()) == 1 and await rows(database) == 1


async def test_a_sender_little_over_the_limit_hears_the_reason(app: FastAPI, module: str, stored_files: Files) -> None:
    data = bytes(app.state.parts.settings.max_artifact_bytes + 1)
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as client:
        answer = await client.post(url + module, files=part(data), headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 429
    assert stored_files() == []


async def test_an_upload_cut_off_half_way_leaves_nothing(
    app: FastAPI, operator: httpx.AsyncClient, module: str, stored_files: Files, database: Database
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="cut.bin"\r\n\r\n'
    request = (
        f"POST {module} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 900000\r\n\r\n"
    ).encode()
    async with serving(app) as url:
        port = int(url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request + head + bytes(400_000))
        await writer.drain()
        while not any(path.stat().st_size > 100_000 for path in stored_files()):
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while stored_files():
            await asyncio.sleep(0.01)
    assert await rows(database) == 0
    assert ok(await operator.get(module)) == []


async def test_a_stranger_cannot_make_the_server_store_a_byte(app: FastAPI, module: str, stored_files: Files) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(20):
            yield bytes(64 * 1024)
            assert stored_files() == []

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as client:
        assert (await client.post(url + module, content=body(), headers=headers)).status_code == 401
    assert stored_files() == []


FORMS: dict[str, tuple[bytes, str, int]] = {
    "no file part": (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n', "b", 400),
    "two files": (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="b"\r\n\r\nx\r\n--b--\r\n',
        "b",
        400,
    ),
    "no end": (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf', "b", 400),
    "other boundary": (b"--c\r\n\r\nx\r\n--c--\r\n", "b", 400),
    "no form at all": (b"\x00\x01\x02", "b", 400),
    "empty": (b"", "b", 400),
    "many parts": (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * 40 + b"--b--\r\n", "b", 400),
    "long field": (
        b'--b\r\nContent-Disposition: form-data; name="sha1sum"\r\n\r\n' + b"x" * 5000 + b"\r\n--b--\r\n",
        "b",
        400,
    ),
    "long header": (b"--b\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n\r\n--b--\r\n", "b", 400),
    "no boundary": (b"x", "", 400),
}


@pytest.mark.parametrize("case", FORMS)
async def test_a_broken_form_is_refused_and_leaves_nothing(
    operator: httpx.AsyncClient, module: str, stored_files: Files, database: Database, case: str
) -> None:
    body, boundary, status = FORMS[case]
    kind = f"multipart/form-data; boundary={boundary}" if boundary else "multipart/form-data"
    answer = await operator.post(module, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert stored_files() == [] and await rows(database) == 0


async def test_a_json_body_is_no_upload(operator: httpx.AsyncClient, module: str) -> None:
    assert (await operator.post(module, json={"file": "x"})).status_code == 415


async def test_an_empty_file_is_a_file(operator: httpx.AsyncClient, module: str) -> None:
    made = ok(await operator.post(module, files=part(b"")), 201)
    assert made["size"] == 0 and made["hashes"]["sha256"] == hashlib.sha256(b"").hexdigest()
    assert (await operator.get(f"{module}/{made['id']}/download")).content == b""


async def test_what_was_assigned_cannot_be_changed_any_more(
    operator: httpx.AsyncClient, stored_files: Files, database: Database
) -> None:
    set_id = await make_plain_set(operator)
    await make_targets(operator, "one")
    ok(await operator.post("/rest/v1/targets/one/assignedDS", json={"id": set_id}))
    [module] = ok(await operator.get(f"/rest/v1/distributionsets/{set_id}/assignedSM"))["content"]
    assert module["locked"] is True
    path = f"{MODULES}/{module['id']}/artifacts"
    [artifact] = ok(await operator.get(path))
    for answer in (
        await operator.post(path, files=part(b"late", "late.bin")),
        await operator.delete(f"{path}/{artifact['id']}"),
        await operator.post(f"/rest/v1/distributionsets/{set_id}/assignedSM", json=[{"id": module["id"]}]),
        await operator.delete(f"/rest/v1/distributionsets/{set_id}/assignedSM/{module['id']}"),
    ):
        assert answer.status_code == 423 and answer.json()["errorCode"] == "hawkbit.server.error.locked"
    assert len(stored_files()) == 1 and await rows(database) == 1
    # What has been used is hidden, not forgotten: the device still gets its bytes.
    assert (await operator.delete(f"{MODULES}/{module['id']}")).status_code == 204
    assert (await operator.delete(f"/rest/v1/distributionsets/{set_id}")).status_code == 204
    assert len(stored_files()) == 1 and await rows(database) == 1
    assert (await operator.get(f"/rest/v1/distributionsets/{set_id}")).status_code == 404


async def test_bytes_that_were_lost_are_reported_never_served_wrong(
    operator: httpx.AsyncClient, module: str, stored_files: Files
) -> None:
    made = ok(await operator.post(module, files=part(b"precious")), 201)
    [file] = stored_files()
    file.write_bytes(b"short")
    answer = await operator.get(f"{module}/{made['id']}/download")
    assert answer.status_code == 410
    assert answer.json()["errorCode"] == "hawkbit.server.error.artifact.binaryDeleted"
    file.unlink()
    assert (await operator.get(f"{module}/{made['id']}/download")).status_code == 410
    ok(await operator.post(module, files=part(b"precious", "again.bin")), 201)
    assert (await operator.get(f"{module}/{made['id']}/download")).content == b"precious", "an upload heals it"


async def test_a_store_that_cannot_be_written_is_the_servers_fault_and_said_so(
    app: FastAPI, operator: httpx.AsyncClient, module: str, stored_files: Files, database: Database
) -> None:
    incoming = app.state.parts.settings.artifact_directory / "incoming"
    incoming.rmdir()
    incoming.write_text("a file where the folder should be")
    answer = await operator.post(module, files=part(b"x"))
    assert answer.status_code == 507
    assert answer.json()["errorCode"] == "hawkbit.server.error.quota.storageExceeded"
    assert await rows(database) == 0
