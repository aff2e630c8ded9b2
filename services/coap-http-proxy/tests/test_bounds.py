"""What the block server remembers has a size and an end: ready answers, open files."""

import os
from pathlib import Path

import pytest

from coap_http_proxy.blobs import BlobStore, blob_of
from coap_http_proxy.fast_path import FastPath
from coap_http_proxy.progress import Progress
from coap_wire import Block, Code, Message, Type, encode, encode_block
from coap_wire import options as option


def asked(token: str, num: int) -> bytes:
    """One block, as Zephyr asks."""
    path = tuple((option.URI_PATH, part) for part in (b"f", token.encode(), b"a"))
    return encode(Message(Type.CON, Code.GET, num, b"", (*path, (option.BLOCK2, encode_block(Block(num, False, 5))))))


def test_answers_of_a_blob_no_ticket_leads_to_any_more_go_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coap_http_proxy.fast_path.MAX_REMEMBERED_BYTES", 6000)
    fast = FastPath()
    blobs = [blob_of(os.urandom(5000)) for _ in range(6)]
    for blob in blobs:
        fast.admit("abcdefghijkl", blob, Progress(blob.size))
        for num in range(9):
            assert fast.answer(asked("abcdefghijkl", num)) is not None
        fast.revoke("abcdefghijkl")
        assert fast.answer(asked("abcdefghijkl", 0)) is None
        assert sum(len(rest) for ready in fast._answers.values() for rest, _, _ in ready.values()) <= 6000


def test_any_number_of_artifacts_keeps_a_bounded_number_of_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coap_http_proxy.blobs.MAX_OPEN_BLOBS", 8)
    store = BlobStore(tmp_path, 1 << 20)
    before = len(os.listdir("/proc/self/fd"))
    digests = []
    for number in range(40):
        blob = blob_of(b"artifact %d" % number)
        part = store.part(blob.sha256)
        part.write_bytes(bytes(blob.data))
        digests.append(store.keep(part, blob.sha256).sha256)
    assert len(os.listdir("/proc/self/fd")) - before <= 9
    first = store.get(digests[0])
    assert first is not None and bytes(first.data) == b"artifact 0"
