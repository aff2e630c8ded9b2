"""The fast path says exactly what the long way says, or nothing; progress counts without gaps."""

import os
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coap_http_proxy.blobs import Blob, BlobStore, blob_of
from coap_http_proxy.fast_path import AnyFastPath, CompiledFastPath, FastPath
from coap_http_proxy.mapping import requests, uris
from coap_http_proxy.mapping.blocks import sliced
from coap_http_proxy.progress import Counted, Progress, restored, state_of
from coap_wire import Block, Code, Message, Type, decode, encode, encode_block
from coap_wire import options as option
from coap_wire.testing import hostile_datagrams

BLOB = blob_of(secrets.token_bytes(5000))
TOKEN = "abcdefghijkl"


def request(num: int, szx: int, token: bytes, mid: int, name: bytes) -> Message:
    """A request for one block, as Zephyr sends it."""
    path = tuple((option.URI_PATH, part) for part in (b"f", TOKEN.encode(), name))
    blocks = ((option.BLOCK2, encode_block(Block(num, False, szx))), (option.SIZE2, b""))
    return Message(Type.CON, Code.GET, mid, token, path + blocks)


PATHS: dict[str, Callable[..., AnyFastPath]] = {"python": FastPath, "compiled": CompiledFastPath}
both = pytest.mark.parametrize("kind", PATHS)
COUNTED = ("offset", "bytes_on_air", "repeated_bytes", "restarts", "retransmissions", "rtt_count", "rtt_sum")
COUNTED_MORE = (*COUNTED, "rtt_seconds", "last_block_at", "changed")


def path(kind: str, blob: Blob = BLOB, clock: Callable[[], float] = time.monotonic) -> AnyFastPath:
    """A fast path with one ticket."""
    fast = PATHS[kind](clock=clock)
    fast.admit(TOKEN, blob, type(fast).new_progress(blob.size))
    return fast


def counting(kind: str, size: int, **more: Any) -> Counted:
    """A ticket's progress, counted in Python or in C."""
    return PATHS[kind].new_progress(size, **more)  # type: ignore[attr-defined, no-any-return]


@both
@given(
    st.integers(0, 400),
    st.integers(0, 6),
    st.binary(max_size=8),
    st.integers(0, 65535),
    st.binary(max_size=12),
)
def test_fast_and_long_way_agree(kind: str, num: int, szx: int, token: bytes, mid: int, name: bytes) -> None:
    fast = path(kind)
    asked = request(num, szx, token, mid, name)
    reply = fast.answer(encode(asked))
    if num * (16 << szx) >= BLOB.size:
        assert reply is None
        return
    assert reply is not None
    expected = sliced(asked, BLOB, requests.block_of(asked))
    assert decode(reply) == Message(Type.ACK, expected.code, mid, token, expected.options, expected.payload)
    assert fast.answer(encode(asked)) == reply
    assert (fast.blocks, fast.bytes_on_air) == (2, 2 * len(expected.payload))


@both
@given(st.binary(max_size=64))
def test_other_datagrams_are_left_alone(kind: str, datagram: bytes) -> None:
    fast = path(kind)
    reply = fast.answer(datagram)
    assert reply is None or decode(datagram).code == Code.GET
    mutated = bytearray(encode(request(1, 5, b"t", 1, b"a")))
    for at, byte in enumerate(datagram[: len(mutated)]):
        mutated[at] ^= byte
    fast.answer(bytes(mutated))


@given(st.integers(0, 1 << 32))
@settings(max_examples=100, deadline=None)
def test_both_say_and_count_the_same_of_any_datagram(seed: int) -> None:
    now = [0.0]
    python, compiled = (path(kind, clock=lambda: now[0]) for kind in PATHS)
    counts = [fast.new_progress(BLOB.size) for fast in (python, compiled)]
    for fast, progress in zip((python, compiled), counts, strict=True):
        fast.admit(TOKEN, BLOB, progress)
    good = [encode(request(num, szx, b"12345678", 7, b"fw.bin")) for num in (0, 1, 2, 9) for szx in (0, 3, 6)]
    for datagram in (*hostile_datagrams(seed, 150, good), *good):
        now[0] += 0.25
        assert python.answer(datagram) == compiled.answer(datagram), datagram
    for name in COUNTED_MORE:
        assert getattr(counts[0], name) == getattr(counts[1], name), name
    assert (python.blocks, python.bytes_on_air) == (compiled.blocks, compiled.bytes_on_air)
    assert python.blocks >= len(good) - 3


@both
def test_a_revoked_ticket_is_answered_no_longer_and_others_still_are(kind: str) -> None:
    fast = path(kind)
    tokens = [f"ticket-{number:05}" for number in range(500)]
    for token in tokens:
        fast.admit(token, BLOB, type(fast).new_progress(BLOB.size))
    fast.revoke(TOKEN)
    fast.revoke(TOKEN)
    assert fast.answer(encode(request(0, 5, b"", 1, b"a"))) is None
    for token in tokens:
        asked = encode(request(0, 5, b"", 1, b"a")).replace(TOKEN.encode(), token.encode())
        assert fast.answer(asked) is not None
        fast.revoke(token)
        assert fast.answer(asked) is None


@both
def test_tickets_of_one_artifact_count_for_themselves(kind: str) -> None:
    fast = path(kind)
    other = type(fast).new_progress(BLOB.size)
    fast.admit("another-one-", BLOB, other)
    asked = encode(request(0, 5, b"", 1, b"a"))
    first, second = fast.answer(asked), fast.answer(asked.replace(TOKEN.encode(), b"another-one-"))
    assert first == second and first is not None
    assert (other.offset, fast.blocks) == (512, 2)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coap_http_proxy.fast_path.MAX_REMEMBERED_BYTES", 4000)
    blob = blob_of(secrets.token_bytes(5000))
    fast = FastPath()
    fast.admit(TOKEN, blob, Progress(blob.size))
    for num in range(9):
        assert fast.answer(encode(request(num, 5, b"", num, b"a"))) is not None
        assert sum(len(rest) for ready in fast._answers.values() for rest, _, _ in ready.values()) <= 4000


@both
@given(st.lists(st.integers(0, 30), max_size=80))
def test_progress_never_goes_back_and_counts_every_byte(kind: str, order: list[int]) -> None:
    progress = counting(kind, 31 * 64)
    seen: set[int] = set()
    before = 0
    for num in order:
        progress.served(num * 64, 64, 0.0)
        seen.add(num)
        contiguous = next(n for n in range(32) if n not in seen)
        assert progress.offset == contiguous * 64 >= before
        before = progress.offset
    assert progress.bytes_on_air == 64 * len(order)
    assert progress.repeated_bytes == 64 * (len(order) - len(seen))


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 6), st.floats(0, 9)), max_size=120),
    st.integers(0, 4000),
    st.booleans(),
    st.integers(0, 1),
)
def test_python_and_c_count_alike(blocks: list[tuple[int, int, float]], start: int, resumed: bool, sent: int) -> None:
    size, now = 5000, 0.0
    python, compiled = (
        counting(kind, size, offset=start, bytes_on_air=start * sent, resumed=resumed) for kind in PATHS
    )
    for num, szx, later in blocks:
        now += later
        offset = num << (szx + 4)
        if offset < size:
            for one in (python, compiled):
                one.served(offset, min(16 << szx, size - offset), now)
        else:
            assert python.cover(num, num + szx) == compiled.cover(num, num + szx)
        assert all(getattr(python, name) == getattr(compiled, name) for name in COUNTED_MORE)
        assert 0 <= python.offset <= size and python.repeated_bytes <= python.bytes_on_air


@both
def test_a_download_that_goes_on_here_is_as_far_as_its_first_block_says(kind: str) -> None:
    progress = restored(1000, None, PATHS[kind].new_progress)  # type: ignore[attr-defined]
    for offset in (400, 500):
        progress.served(offset, 100, 0.0)
    # Who served the first 400 bytes, and whether by this ticket, nobody noted: they are not counted as sent.
    assert (progress.offset, progress.bytes_on_air, progress.restarts) == (600, 200, 0)


@both
def test_a_block_asked_for_twice_in_a_row_is_a_retransmission_and_tells_no_time(kind: str) -> None:
    progress = counting(kind, 1000)
    for at, offset in ((10.0, 0), (12.0, 100), (14.5, 100), (15.0, 200), (19.0, 300)):
        progress.served(offset, 100, at)
    # The times 0 to 100 and 200 to 300 count: 2 s and 4 s; what lies around the repeat does not.
    assert (progress.retransmissions, progress.rtt_count, progress.rtt_sum) == (1, 2, 6.0)
    assert progress.rtt_seconds == 2.0 + (4.0 - 2.0) / 8
    assert (progress.last_block_at, progress.repeated_bytes, progress.restarts) == (19.0, 100, 0)


@both
def test_block_0_later_on_is_a_download_begun_anew_but_not_twice(kind: str) -> None:
    progress = counting(kind, 1000)
    for offset in (0, 0, 100, 200, 0, 0, 100):
        progress.served(offset, 100, 0.0)
    assert (progress.restarts, progress.retransmissions, progress.offset) == (1, 2, 300)


@both
def test_blocks_that_overlap_in_part_are_repeated_in_part(kind: str) -> None:
    progress = counting(kind, 4096)
    progress.served(0, 512, 0.0)
    progress.served(1024, 1024, 0.0)
    progress.served(0, 1024, 0.0)  # the client took a larger block size: half of it is new
    assert (progress.offset, progress.repeated_bytes, progress.bytes_on_air) == (2048, 512, 2560)


@both
def test_what_another_process_served_is_no_gap_here(kind: str) -> None:
    progress = counting(kind, 1000)
    progress.served(0, 100, 0.0)
    progress.served(300, 100, 0.0)
    assert progress.offset == 100
    assert progress.cover(0, 300) == 200
    assert progress.offset == 400


@both
def test_odd_state_in_redis_starts_from_nothing(kind: str) -> None:
    new = PATHS[kind].new_progress  # type: ignore[attr-defined]
    odd = {"size": 5, "offset": 3, "bytesOnAir": 1 << 64, "repeatedBytes": 0, "restarts": 0}
    for state in (None, {}, {"size": 9}, {"size": 5, "offset": "x"}, {"size": 5, "offset": -1}, odd):
        assert restored(5, state, new).offset == 0
    good = counting(kind, 5, offset=3, bytes_on_air=7, repeated_bytes=1, restarts=1)
    assert state_of(restored(5, state_of(good), new)) == state_of(good)


@both
def test_what_a_killed_proxy_served_and_could_not_note_is_counted_by_the_next(kind: str) -> None:
    new = PATHS[kind].new_progress  # type: ignore[attr-defined]
    left = new(1000)
    left.served(0, 100, 0.0)
    progress = restored(1000, state_of(left), new)
    for offset in range(300, 1000, 100):
        progress.served(offset, 100, 0.0)
    assert (progress.offset, progress.bytes_on_air, progress.restarts) == (1000, 1000, 0)
    # Only the first block may be ahead: later ones are no witness for what is before them.
    progress = restored(1000, state_of(left), new)
    progress.served(100, 100, 0.0)
    progress.served(500, 100, 0.0)
    assert progress.offset == 200


def test_the_least_recently_used_blob_goes_first(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = BlobStore(tmp_path, 2500)
    kept = []
    for _ in range(3):
        blob = blob_of(secrets.token_bytes(1000))
        part = store.part(blob.sha256)
        part.write_bytes(bytes(blob.data))
        kept.append(store.keep(part, blob.sha256))
        if len(kept) == 2:
            assert store.get(kept[0].sha256) is not None
            os.utime(tmp_path / kept[1].sha256, (1, 1))
    assert store.get(kept[1].sha256) is None
    assert store.get(kept[0].sha256) is not None


@given(st.text(max_size=60))
def test_any_text_is_refused_or_allowed_never_an_error(text: str) -> None:
    bases = uris.parse_bases("http://127.0.0.1:8080/DEFAULT, https://files.example")
    for candidate in (text, "http://127.0.0.1:8080/" + text):
        try:
            base = uris.allowed(candidate, bases)
        except uris.ForbiddenUri:
            continue
        assert base.path == "/DEFAULT/"
        assert candidate.startswith("http://127.0.0.1:8080/DEFAULT")
