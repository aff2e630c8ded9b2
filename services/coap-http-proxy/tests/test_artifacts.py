"""Artifacts on disk and on their way there: fetched once by all processes, resumed, and never half of one and half of
another."""

import asyncio
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

import httpx
import pytest

from coap_http_proxy.blobs import LEFTOVER_SECONDS, Blob, BlobStore
from coap_http_proxy.credentials import Credentials
from coap_http_proxy.mapping import uris
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.tickets import Ticket
from coap_http_proxy.upstream.artifacts import MAX_FETCHES, Artifacts
from coap_http_proxy.upstream.flights import UpstreamStats
from coap_wire import Code

IMAGE = os.urandom(200_000)
SHA256 = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coap_http_proxy.upstream.artifacts.RETRY_SECONDS", (0.01, 0.01, 0.01))


class Origin:
    """An upstream that answers by script: one entry a request, the last one for ever.

    Entries: how many bytes come before the connection breaks (None: all), and the entity tag of what it has then.
    """

    def __init__(
        self, *script: tuple[int | None, str], body: bytes = IMAGE, obeys_range: bool = True, shifts: int = 0
    ) -> None:
        self.script, self.body, self.obeys_range, self.shifts = script, body, obeys_range, shifts
        self.asked: list[dict[str, str]] = []
        self.sent = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        self.asked.append(headers)
        room, etag = self.script[min(len(self.asked), len(self.script)) - 1]
        start = int(headers["range"][6:-1]) if "range" in headers and self.obeys_range else 0
        if headers.get("if-range", etag) != etag:
            start = 0
        if start:
            start += self.shifts
        body = self.body[start:]
        lines = [f"HTTP/1.1 {'206 Partial' if start else '200 OK'}", f"Content-Length: {len(body)}", f"ETag: {etag}"]
        if start:
            lines.append(f"Content-Range: bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        writer.write(("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode() + body[:room])
        self.sent += len(body[:room])
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(origin: Origin) -> AsyncIterator[str]:
    server = await asyncio.start_server(origin.answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a"
    server.close()


@asynccontextmanager
async def artifacts(folder: Path, url: str) -> AsyncIterator[Artifacts]:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        yield Artifacts(
            client, BlobStore(folder, 1 << 30), uris.parse_bases(url), Credentials(), 1 << 30, 20.0, UpstreamStats()
        )


def ticket(url: str) -> Ticket:
    return Ticket("abcdefghijkl", url, SHA256, len(IMAGE), "DEFAULT", "device", 1)


@pytest.mark.rfc("9110 14.2", "9110 13.1.5")
async def test_a_broken_connection_costs_no_byte_twice(tmp_path: Path) -> None:
    origin = Origin((70_000, '"one"'), (70_000, '"one"'), (None, '"one"'))
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        assert bytes((await up.artifact(ticket(url))).data) == IMAGE
        assert (origin.sent, up.stats.bytes) == (len(IMAGE), len(IMAGE))
    assert [one.get("range") for one in origin.asked] == [None, "bytes=70000-", "bytes=140000-"]
    assert [one.get("if-range") for one in origin.asked] == [None, '"one"', '"one"']


@pytest.mark.rfc("9110 13.1.5")
async def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(tmp_path: Path) -> None:
    origin = Origin((70_000, '"one"'), (None, '"two"'))
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        assert bytes((await up.artifact(ticket(url))).data) == IMAGE
    assert origin.sent == 70_000 + len(IMAGE)


@pytest.mark.rfc("9110 8.8.1")
async def test_a_weak_tag_says_nothing_of_bytes_and_is_not_used(tmp_path: Path) -> None:
    origin = Origin((70_000, 'W/"one"'), (None, 'W/"one"'))
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        assert bytes((await up.artifact(ticket(url))).data) == IMAGE
    assert "if-range" not in origin.asked[1] and origin.asked[1]["range"] == "bytes=70000-"


async def test_an_upstream_without_ranges_is_asked_for_all_again(tmp_path: Path) -> None:
    origin = Origin((70_000, '"one"'), (None, '"one"'), obeys_range=False)
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        assert bytes((await up.artifact(ticket(url))).data) == IMAGE
    assert origin.sent == 70_000 + len(IMAGE)


@pytest.mark.rfc("9110 15.3.7")
async def test_a_part_that_was_not_asked_for_is_not_taken_for_the_one_that_was(tmp_path: Path) -> None:
    origin = Origin((70_000, '"one"'), (None, '"one"'), shifts=1000)
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        assert bytes((await up.artifact(ticket(url))).data) == IMAGE
    assert [one.get("range") for one in origin.asked] == [None, "bytes=70000-", None]


async def test_what_a_killed_process_left_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / f"part-{SHA256}").write_bytes(IMAGE[:150_000])
    origin = Origin((None, '"one"'))
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        assert bytes((await up.artifact(ticket(url))).data) == IMAGE
        assert up.stats.bytes == 50_000
    assert [path.name for path in tmp_path.iterdir()] == [SHA256]


@pytest.mark.parametrize("left", [bytes(150_000), IMAGE + b"x", bytes(len(IMAGE))], ids=["zeros", "longer", "whole"])
async def test_what_was_left_and_is_not_what_it_seems_is_thrown_away(tmp_path: Path, left: bytes) -> None:
    (tmp_path / f"part-{SHA256}").write_bytes(left)
    origin = Origin((None, '"one"'))
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        assert bytes((await up.artifact(ticket(url))).data) == IMAGE
    assert "range" not in origin.asked[-1]
    assert [path.name for path in tmp_path.iterdir()] == [SHA256]


async def test_two_halves_of_different_files_are_never_one_artifact(tmp_path: Path) -> None:
    """An upstream that ignores If-Range, and whose file changed under one tag."""
    origin = Origin((70_000, '"one"'), (None, '"one"'))
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        fetching = asyncio.ensure_future(up.artifact(ticket(url)))
        while len(origin.asked) < 1:
            await asyncio.sleep(0)
        origin.body = bytes(len(IMAGE))
        with pytest.raises(Refusal) as refusal:
            await fetching
        assert refusal.value.code == Code.BAD_GATEWAY
    assert list(tmp_path.iterdir()) == []


async def test_another_tickets_broken_url_is_no_answer_for_a_good_one(tmp_path: Path) -> None:
    wrong, good = Origin((None, '"one"'), body=bytes(len(IMAGE))), Origin((None, '"one"'))
    async with serving(wrong) as other, serving(good) as url, artifacts(tmp_path, f"{other},{url}") as up:
        fetched = await asyncio.gather(
            *(up.artifact(ticket(one)) for one in (other, url, other, url)), return_exceptions=True
        )
    assert [bytes(one.data) == IMAGE for one in fetched if isinstance(one, Blob)] == [True, True]
    assert [one.code for one in fetched if isinstance(one, Refusal)] == [Code.BAD_GATEWAY] * 2
    assert (len(wrong.asked), len(good.asked)) == (1, 1)


async def test_tickets_of_many_broken_urls_cost_a_few_fetches_and_are_told_to_come_again(tmp_path: Path) -> None:
    wrong = Origin((None, '"one"'), body=bytes(len(IMAGE)))
    async with serving(wrong) as url, artifacts(tmp_path, url) as up:
        refused = await asyncio.gather(
            *(up.artifact(ticket(f"{url}?{number}")) for number in range(20)), return_exceptions=True
        )
    codes = [one.code for one in refused if isinstance(one, Refusal)]
    assert len(wrong.asked) == MAX_FETCHES
    assert sorted(codes) == [Code.BAD_GATEWAY] * MAX_FETCHES + [Code.SERVICE_UNAVAILABLE] * (20 - MAX_FETCHES)


async def test_several_processes_fetch_an_artifact_once(tmp_path: Path) -> None:
    origin = Origin((100_000, '"one"'), (None, '"one"'))
    async with serving(origin) as url:
        results = await asyncio.gather(*(_in_a_process_of_its_own(tmp_path, url) for _ in range(4)))
        assert results == [SHA256] * 4
    assert origin.sent == len(IMAGE), "each byte came once, although the connection broke"


_FETCH = """
import asyncio, hashlib, sys, httpx
from pathlib import Path
from coap_http_proxy.blobs import BlobStore
from coap_http_proxy.credentials import Credentials
from coap_http_proxy.mapping import uris
from coap_http_proxy.tickets import Ticket
from coap_http_proxy.upstream.artifacts import Artifacts
from coap_http_proxy.upstream.flights import UpstreamStats

async def fetch(folder, url, sha256, size):
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        store = BlobStore(Path(folder), 1 << 30)
        up = Artifacts(client, store, uris.parse_bases(url), Credentials(), 1 << 30, 20.0, UpstreamStats())
        blob = await up.artifact(Ticket("abcdefghijkl", url, sha256, int(size), "DEFAULT", "device", 1))
        print(hashlib.sha256(blob.data).hexdigest())

asyncio.run(fetch(*sys.argv[1:]))
"""


async def _in_a_process_of_its_own(folder: Path, url: str) -> str:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FETCH, str(folder), url, SHA256, str(len(IMAGE)), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(child.communicate(), 30)
    return said.decode().strip()


async def test_who_waits_for_another_process_takes_over_when_that_fails(tmp_path: Path) -> None:
    origin = Origin((None, '"one"'))
    other = BlobStore(tmp_path, 1 << 30)
    async with serving(origin) as url, artifacts(tmp_path, url) as up:
        held = other.take_part(SHA256)
        assert held is not None
        held.write(IMAGE[:10])
        waiting = asyncio.ensure_future(up.artifact(ticket(url)))
        await asyncio.sleep(0.2)
        assert not origin.asked and not waiting.done()
        held.close()  # as the kernel does for a process that dies
        assert bytes((await waiting).data) == IMAGE
        assert up.stats.bytes == len(IMAGE) - 10


def test_a_part_that_was_taken_away_before_it_was_locked_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, lock = BlobStore(tmp_path, 1000), fcntl.flock

    def too_late(file: FileIO, how: int) -> None:
        store.part(SHA256).rename(tmp_path / SHA256)  # another process has finished
        lock(file, how)

    monkeypatch.setattr("coap_http_proxy.blobs.fcntl.flock", too_late)
    assert store.take_part(SHA256) is None


def _store(store: BlobStore, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    part = store.take_part(digest)
    assert part is not None
    with part:
        part.write(data)
        store.keep(store.part(digest), digest)
    return digest


def test_eviction_counts_what_other_processes_use_and_keeps_what_they_used_last(tmp_path: Path) -> None:
    one, two = BlobStore(tmp_path, 3500), BlobStore(tmp_path, 3500)
    digests = [_store(one, os.urandom(1000)) for _ in range(3)]
    for age, digest in enumerate(digests):
        os.utime(tmp_path / digest, (1000 + age, 1000 + age))
    served = two.get(digests[0])  # the oldest, but the other process serves it: now it is the youngest
    assert served is not None
    newest = _store(one, os.urandom(1000))
    assert {path.name for path in tmp_path.iterdir()} == {digests[0], digests[2], newest}
    _store(one, os.urandom(3000))
    assert hashlib.sha256(served.data).hexdigest() == digests[0], "evicted, and served on to the end"
    assert BlobStore(tmp_path, 3500).get(digests[0]) is None


def test_eviction_touches_nothing_that_is_no_artifact(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 1000)
    (tmp_path / "spool").mkdir()
    (tmp_path / "notes.txt").write_bytes(bytes(5000))
    (tmp_path / f"part-{SHA256}").write_bytes(bytes(5000))
    kept = _store(store, os.urandom(900))
    assert {path.name for path in tmp_path.iterdir()} == {"spool", "notes.txt", f"part-{SHA256}", kept}


def test_leftovers_go_after_an_hour_unless_somebody_writes_them(tmp_path: Path) -> None:
    old, busy, young = (hashlib.sha256(name).hexdigest() for name in (b"old", b"busy", b"young"))
    for digest in (old, busy, young):
        (tmp_path / f"part-{digest}").write_bytes(b"left")
    writer = BlobStore(tmp_path, 1000).take_part(busy)
    past = time.time() - LEFTOVER_SECONDS - 1
    for digest in (old, busy):
        os.utime(tmp_path / f"part-{digest}", (past, past))
    BlobStore(tmp_path, 1000)
    assert {path.name for path in tmp_path.iterdir()} == {f"part-{busy}", f"part-{young}"}
    assert writer is not None
    writer.close()


def test_a_file_that_rotted_on_disk_is_removed_and_not_served(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 10_000)
    digest = _store(store, os.urandom(1000))
    (tmp_path / digest).write_bytes(bytes(1000))
    later = BlobStore(tmp_path, 10_000)
    assert later.get(digest) is None
    assert list(tmp_path.iterdir()) == []
