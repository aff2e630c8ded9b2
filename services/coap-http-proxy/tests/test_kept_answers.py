"""Kept answers have bounds of every kind, errors are forgotten, and bodies leave nothing behind."""

import os
from pathlib import Path

import pytest

from coap_http_proxy import cache as cache_module
from coap_http_proxy.cache import OVERHEAD_BYTES, TRANSFER_SECONDS, Representation, RepresentationCache
from coap_http_proxy.mapping.freshness import Freshness
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.spool import IN_MEMORY_BYTES, Body, Room, Spool, TooLarge, pieces
from coap_wire import Code


def spooled(folder: Path, data: bytes) -> Body:
    with Spool(folder, Room(1 << 30), 1 << 30) as spool:
        for at in range(0, len(data), 10_000):
            spool.write(data[at : at + 10_000])
        return spool.taken_out()


def one(data: Body, seconds: int = 10, uri: str = "coap://a/", stale: int = 0) -> Representation:
    made = Representation(Code.CONTENT, data, b"tag", freshness=Freshness(seconds, True, stale), uri=uri)
    made.received(0.0)
    return made


def test_the_least_recently_used_goes_first_when_memory_is_full() -> None:
    kept = RepresentationCache(3 * (1000 + OVERHEAD_BYTES), 0)
    for key in "abc":
        kept.put(key, one(bytes(1000)))
    kept.get("a")
    kept.put("d", one(bytes(1000)))
    assert [key for key in "abcd" if kept.get(key)] == ["a", "c", "d"]
    assert kept.memory_bytes == 3 * (1000 + OVERHEAD_BYTES)
    kept.put("d", one(b""))
    assert kept.memory_bytes == 2 * (1000 + OVERHEAD_BYTES) + OVERHEAD_BYTES


def test_what_lies_on_disk_has_a_bound_in_bytes_and_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    kept = RepresentationCache(1 << 20, 250_000)
    for number in range(5):
        kept.put(number, one(spooled(tmp_path, bytes(100_000))))
    assert (len(kept), kept.disk_bytes) == (2, 200_000)
    monkeypatch.setattr(cache_module, "MAX_FILES", 1)
    kept.put("last", one(spooled(tmp_path, bytes(100_000))))
    assert (len(kept), kept.disk_bytes) == (1, 100_000)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_larger_than_all_room_is_not_kept_and_pushes_nothing_out() -> None:
    kept = RepresentationCache(5000, 0)
    kept.put("a", one(bytes(1000)))
    kept.put("b", one(bytes(10_000)))
    assert kept.get("a") is not None and kept.get("b") is None
    kept.put("a", one(bytes(10_000)))
    assert (len(kept), kept.memory_bytes) == (0, 0)


def test_entries_and_errors_are_as_many_as_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_ENTRIES", 10)
    kept = RepresentationCache(1 << 30, 0)
    for number in range(30):
        kept.put(number, one(b""))
        kept.failed(number, Refusal(Code.NOT_FOUND, "gone"), 5.0)
    assert (len(kept), len(kept._failures)) == (10, 10)


def test_an_error_is_told_with_the_time_that_is_left_and_then_forgotten() -> None:
    kept = RepresentationCache(1 << 20, 0)
    kept.failed("a", Refusal(Code.NOT_FOUND, "gone"), 5.0)
    told = kept.failure("a", 2.0)
    assert told is not None
    assert (told.code, told.max_age_seconds) == (Code.NOT_FOUND, 3)
    assert kept.failure("a", 5.0) is None
    assert kept._failures == {}
    kept.failed("a", Refusal(Code.NOT_FOUND, "gone"), 5.0)
    kept.put("a", one(b"there"))
    assert kept.failure("a", 1.0) is None


def test_a_transfer_goes_on_with_what_it_began_with() -> None:
    answer = one(b"x", seconds=10)
    assert answer.serves(0, 9.0) and not answer.serves(0, 10.0)
    assert answer.serves(1, 10.0) and answer.serves(1, TRANSFER_SECONDS - 1)
    assert not answer.serves(1, TRANSFER_SECONDS + 1)
    answer.used_at = 50.0
    assert answer.serves(1, TRANSFER_SECONDS + 40)


@pytest.mark.parametrize(("seconds", "stale", "now", "max_age", "serves"), [
    (10, 20, 4.0, 6, True),
    (10, 20, 15.0, 5, True),
    (2, 20, 15.0, 2, True),
    (10, 20, 31.0, 5, False),
    (0, 0, 1.0, 0, False),
])  # fmt: skip
def test_what_is_stale_is_told_with_a_small_max_age_and_not_for_ever(
    seconds: int, stale: int, now: float, max_age: int, serves: bool
) -> None:
    answer = one(b"x", seconds, stale=stale)
    assert (answer.max_age(now), answer.serves_stale(now)) == (max_age, serves)


def test_a_change_makes_stale_what_is_kept_of_its_uri_only() -> None:
    kept = RepresentationCache(1 << 20, 0)
    kept.put(("GET", "coap://a/"), one(b"a", stale=60))
    kept.put(("GET", "coap://b/"), one(b"b", uri="coap://b/"))
    kept.failed((4, "coap://a/"), Refusal(Code.NOT_FOUND, "gone"), 5.0)
    kept.changed("coap://a/")
    first, second = kept.get(("GET", "coap://a/")), kept.get(("GET", "coap://b/"))
    assert first is not None and second is not None
    assert (first.serves(0, 1.0), first.serves_stale(1.0), second.serves(0, 1.0)) == (False, False, True)
    assert kept.failure((4, "coap://a/"), 1.0) is None


@pytest.mark.parametrize("size", [0, 1, IN_MEMORY_BYTES, IN_MEMORY_BYTES + 1, 300_000])
async def test_bytes_come_out_as_they_went_in_and_room_is_given_back(size: int, tmp_path: Path) -> None:
    data, room = os.urandom(size), Room(size)
    with Spool(tmp_path, room, size) as spool:
        for at in range(0, size, 9_999):
            spool.write(data[at : at + 9_999])
        body = spool.taken_out()
        assert isinstance(body, bytes) == (size <= IN_MEMORY_BYTES)
        assert room.taken == size
        with pytest.raises(TooLarge):
            spool.write(b"x")
    assert room.taken == 0
    assert bytes(body[:]) == data
    assert b"".join([piece async for piece in pieces(body)]) == data
    assert list(tmp_path.iterdir()) == []
