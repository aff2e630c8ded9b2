"""Artifact downloads: whole, in ranges, under conditions, resumed; only for devices they are meant for."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from email.parser import BytesParser

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from update_manager.entrypoints.downloads import MAX_RANGES, wanted_ranges
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import Device, make_plain_set, make_targets, ok, serving

DATA = bytes(number * 7 % 251 for number in range(1000))
Fetch = Callable[..., Awaitable[httpx.Response]]
ETAG = f'"{hashlib.sha1(DATA).hexdigest()}"'


@pytest.fixture
async def url(operator: httpx.AsyncClient, gateway: httpx.AsyncClient) -> str:
    """Where a device fetches its file."""
    await make_targets(operator, "cam")
    release = await make_plain_set(operator, data=DATA)
    ok(await operator.post("/rest/v1/targets/cam/assignedDS", json={"id": release}))
    device = Device(gateway, "cam")
    answer = ok(await gateway.get(f"{device.base}/deploymentBase/{await device.assigned()}"))
    return str(answer["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download-http"]["href"])


@pytest.fixture
def fetch(gateway: httpx.AsyncClient, url: str) -> Fetch:
    async def get(method: str = "GET", **headers: str) -> httpx.Response:
        return await gateway.request(method, url, headers={name.replace("_", "-"): v for name, v in headers.items()})

    return get


async def test_the_whole_file_comes_with_all_that_a_client_needs_to_resume(fetch: Fetch) -> None:
    answer = await fetch()
    assert answer.status_code == 200 and answer.content == DATA
    headers = answer.headers
    assert headers["etag"] == ETAG and headers["accept-ranges"] == "bytes" and headers["content-length"] == "1000"
    assert headers["content-type"] == "application/octet-stream" and headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith("attachment;filename") and headers["last-modified"].endswith("GMT")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-999", 0, 999),
        ("bytes=100-", 100, 999),
        ("bytes=990-5000", 990, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-5000", 0, 999),
        ("Bytes=5-6", 5, 6),
        ("bytes=5-6,", 5, 6),
        ("bytes= 5-6 , 2000-", 5, 6),
    ],
)
async def test_a_range_is_answered_with_exactly_that(fetch: Fetch, asked: str, first: int, last: int) -> None:
    answer = await fetch(Range=asked)
    assert answer.status_code == 206 and answer.content == DATA[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/1000"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=1000-1001,2000-"])
async def test_a_range_beyond_the_end_cannot_be_satisfied(fetch: Fetch, asked: str) -> None:
    answer = await fetch(Range=asked)
    assert answer.status_code == 416 and answer.headers["content-range"] == "bytes */1000" and not answer.content


@pytest.mark.parametrize(
    "asked", ["bytes=-", "bytes=9-3", "lines=1-2", "bytes 0-5", "bytes=a-b", "bytes=", "bytes=٣-٤"]
)
async def test_a_range_that_makes_no_sense_is_ignored(
    fetch: Fetch, gateway: httpx.AsyncClient, url: str, asked: str
) -> None:
    answer = await gateway.get(url, headers=[(b"Range", asked.encode())])
    assert answer.status_code == 200 and answer.content == DATA


async def test_several_ranges_come_as_parts(fetch: Fetch) -> None:
    answer = await fetch(Range="bytes=0-9, 500-519, -3")
    assert answer.status_code == 206
    assert int(answer.headers["content-length"]) == len(answer.content)
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + answer.content)
    assert message.get_content_type() == "multipart/byteranges"
    parts = list(message.walk())[1:]
    got = [(part["Content-Range"], part.get_payload(decode=True)) for part in parts]
    assert got == [
        ("bytes 0-9/1000", DATA[:10]),
        ("bytes 500-519/1000", DATA[500:520]),
        ("bytes 997-999/1000", DATA[997:]),
    ]


async def test_ranges_that_ask_for_more_than_the_file_get_the_file(fetch: Fetch) -> None:
    assert (await fetch(Range="bytes=0-,0-,0-")).content == DATA
    many = ",".join(f"{number}-{number}" for number in range(MAX_RANGES + 1))
    answer = await fetch(Range=f"bytes={many}")
    assert answer.status_code == 200 and answer.content == DATA


async def test_if_match_guards_a_resume_against_another_file(fetch: Fetch) -> None:
    assert (await fetch(Range="bytes=5-", If_Match=ETAG)).status_code == 206
    assert (await fetch(Range="bytes=5-", If_Match=f'"other", {ETAG}')).status_code == 206
    assert (await fetch(If_Match="*")).status_code == 200
    for other in ('"other"', f"W/{ETAG}", '"a*b"'):
        assert (await fetch(Range="bytes=5-", If_Match=other)).status_code == 412


async def test_if_none_match_saves_a_download(fetch: Fetch) -> None:
    for same in (ETAG, f"W/{ETAG}", "*", f'"other", {ETAG}'):
        answer = await fetch(If_None_Match=same)
        assert answer.status_code == 304 and not answer.content and answer.headers["etag"] == ETAG
    assert (await fetch(If_None_Match='"other"')).status_code == 200


async def test_if_range_gives_the_rest_or_everything(fetch: Fetch) -> None:
    whole = await fetch()
    for same in (ETAG, whole.headers["last-modified"]):
        assert (await fetch(Range="bytes=5-", If_Range=same)).status_code == 206
    for other in ('"other"', "Sat, 01 Jan 2000 00:00:00 GMT", f"W/{ETAG}"):
        answer = await fetch(Range="bytes=5-", If_Range=other)
        assert answer.status_code == 200 and answer.content == DATA


async def test_head_tells_the_size_and_sends_nothing(fetch: Fetch) -> None:
    answer = await fetch("HEAD", Range="bytes=5-6")
    assert answer.status_code == 200 and not answer.content
    assert answer.headers["content-length"] == "1000" and answer.headers["etag"] == ETAG


async def test_a_file_whose_bytes_are_gone_or_short_is_reported_never_served(
    settings: UpdateManagerSettings, fetch: Fetch
) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    stored = settings.artifact_directory / digest[:2] / digest
    stored.write_bytes(DATA[:-1])
    for _ in range(2):
        answer = await fetch()
        assert answer.status_code == 410
        assert answer.json()["errorCode"] == "hawkbit.server.error.artifact.binaryDeleted"
        stored.unlink(missing_ok=True)


async def test_a_download_cut_at_any_byte_is_resumed_over_real_http(app: FastAPI, url: str) -> None:
    """As SWUpdate does it: keep what came, ask for the rest under If-Match, hash the whole."""
    token = "GatewayToken gateway-secret-of-the-tests"
    path = url.removeprefix("http://updraft")
    async with (
        serving(app) as base,
        httpx.AsyncClient(base_url=base, headers={"Authorization": token}, timeout=10) as http,
    ):
        for cut in (0, 1, 499, 998, 999):
            got = (await http.get(path, headers={"Range": f"bytes=0-{cut - 1}"})).content if cut else b""
            rest = await http.get(path, headers={"Range": f"bytes={cut}-", "If-Match": ETAG})
            assert hashlib.sha1(got + rest.content).hexdigest() == hashlib.sha1(DATA).hexdigest()
        answers = await asyncio.gather(*(http.get(path) for _ in range(20)))
        assert all(answer.content == DATA for answer in answers)


@given(st.integers(0, 2000), st.text(alphabet="0123456789-, ", max_size=30))
def test_whatever_is_asked_for_lies_within_the_file(size: int, specs: str) -> None:
    spans = wanted_ranges(f"bytes={specs}", size)
    if spans is not None:
        assert all(0 <= first <= last < size for first, last in spans)
        assert len(spans) <= 1 or sum(last - first + 1 for first, last in spans) <= size
        one = re.fullmatch(r" *(\d+)-(\d+) *", specs)
        if one and spans:
            assert spans == [(int(one[1]), min(int(one[2]), size - 1))]
