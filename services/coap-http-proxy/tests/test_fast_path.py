"""The fast path says exactly what the long way says, or nothing; progress counts without gaps."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coap_http_proxy.blobs import BlobStore, blob_of
from coap_http_proxy.fast_path import FastPath
from coap_http_proxy.mapping import requests, uris
from coap_http_proxy.mapping.codes import coap_code
from coap_http_proxy.progress import Progress, restored
from coap_http_proxy.service import representation
from coap_wire import Block, Code, Message, Type, decode, encode, encode_block
from coap_wire import options as option

BLOB = blob_of(secrets.token_bytes(5000))
TOKEN = "abcdefghijkl"


def request(num: int, szx: int, token: bytes, mid: int, name: bytes) -> Message:
    """A request for one block, as Zephyr sends it."""
    path = tuple((option.URI_PATH, part) for part in (b"f", TOKEN.encode(), name))
    blocks = ((option.BLOCK2, encode_block(Block(num, False, szx))), (option.SIZE2, b""))
    return Message(Type.CON, Code.GET, mid, token, path + blocks)


@given(
    st.integers(0, 400),
    st.integers(0, 6),
    st.binary(max_size=8),
    st.integers(0, 65535),
    st.binary(max_size=12),
)
def test_fast_and_long_way_agree(num: int, szx: int, token: bytes, mid: int, name: bytes) -> None:
    fast = FastPath()
    fast.admit(TOKEN, BLOB, Progress(BLOB.size))
    asked = request(num, szx, token, mid, name)
    reply = fast.answer(encode(asked))
    if num * (16 << szx) >= BLOB.size:
        assert reply is None
        return
    assert reply is not None
    expected = representation(asked, BLOB, requests.block_of(asked))
    assert decode(reply) == Message(Type.ACK, expected.code, mid, token, expected.options, expected.payload)
    assert fast.answer(encode(asked)) == reply


@given(st.binary(max_size=64))
def test_other_datagrams_are_left_alone(datagram: bytes) -> None:
    fast = FastPath()
    fast.admit(TOKEN, BLOB, Progress(BLOB.size))
    reply = fast.answer(datagram)
    assert reply is None or decode(datagram).code == Code.GET
    mutated = bytearray(encode(request(1, 5, b"t", 1, b"a")))
    for at, byte in enumerate(datagram[: len(mutated)]):
        mutated[at] ^= byte
    fast.answer(bytes(mutated))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coap_http_proxy.fast_path.MAX_REMEMBERED_BYTES", 4000)
    blob = blob_of(secrets.token_bytes(5000))
    fast = FastPath()
    fast.admit(TOKEN, blob, Progress(blob.size))
    for num in range(9):
        assert fast.answer(encode(request(num, 5, b"", num, b"a"))) is not None
        assert sum(map(len, blob.answers.values())) <= 4000


@given(st.lists(st.integers(0, 30), max_size=80))
def test_progress_never_goes_back_and_counts_every_byte(order: list[int]) -> None:
    progress = Progress(31 * 64)
    seen: set[int] = set()
    before = 0
    for num in order:
        progress.served(num * 64, 64)
        seen.add(num)
        contiguous = next(n for n in range(32) if n not in seen)
        assert progress.offset == contiguous * 64 >= before
        before = progress.offset
    assert progress.bytes_on_air == 64 * len(order)
    assert progress.repeated_bytes == 64 * (len(order) - len(seen))


def test_odd_state_in_redis_starts_from_nothing() -> None:
    for state in (None, {}, {"size": 9}, {"size": 5, "offset": "x"}, {"size": 5, "offset": -1}):
        assert restored(5, state).offset == 0
    good = Progress(5, 3, 7, 1, 1)
    assert restored(5, good.state()).state() == good.state()


def test_what_a_killed_proxy_served_and_could_not_note_is_counted_by_the_next() -> None:
    left = Progress(1000)
    left.served(0, 100)
    progress = restored(1000, left.state())
    for offset in range(300, 1000, 100):
        progress.served(offset, 100)
    assert (progress.offset, progress.bytes_on_air, progress.restarts) == (1000, 1000, 0)
    # Only the first block may be ahead: later ones are no witness for what is before them.
    progress = restored(1000, left.state())
    progress.served(100, 100)
    progress.served(500, 100)
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
            kept[0].last_used += 10
    assert store.get(kept[1].sha256) is None
    assert store.get(kept[0].sha256) is not None


@pytest.mark.parametrize(
    ("status", "code"), [(200, 69), (304, 67), (404, 132), (418, 128), (301, 162), (502, 162), (599, 162), (429, 157)]
)
def test_http_status_becomes_a_coap_code(status: int, code: int) -> None:
    assert coap_code(status) == code


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
