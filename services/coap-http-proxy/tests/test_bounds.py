"""What the block server remembers has a size and an end: duplicates, ready answers, open files."""

import asyncio
import os
from pathlib import Path

import pytest

from coap_http_proxy import exchanges as message_layer
from coap_http_proxy.blobs import BlobStore, blob_of
from coap_http_proxy.exchanges import EXCHANGE_LIFETIME_SECONDS, Exchanges
from coap_http_proxy.fast_path import FastPath
from coap_http_proxy.peers import Peer
from coap_http_proxy.progress import Progress
from coap_wire import Block, Code, Message, Type, decode, encode, encode_block
from coap_wire import options as option

PEER = Peer("192.0.2.1", 5683)


class Desk:
    """A message layer with a clock to turn, that counts what it was asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.sent: list[Message] = []
        self.exchanges = Exchanges(
            lambda datagram, _: self.sent.append(decode(datagram)), self._respond, 1.0, 4096, lambda: self.now
        )

    async def _respond(self, request: Message, _: object) -> Message:
        self.asked += 1
        return Message(Type.ACK, Code.CONTENT, 0, payload=str(self.asked).encode())

    async def ask(self, mid: int, token: bytes, kind: Type = Type.CON) -> Message | None:
        """The answer to a GET, or None."""
        self.sent.clear()
        self.exchanges.received(encode(Message(kind, Code.GET, mid, token)), PEER)
        for _ in range(6):
            await asyncio.sleep(0)
        return self.sent[-1] if self.sent else None


async def test_a_duplicate_gets_the_same_answer_and_is_not_asked_twice() -> None:
    desk = Desk()
    assert await desk.ask(7, b"a") == await desk.ask(7, b"a")
    assert (desk.asked, desk.exchanges.duplicates) == (1, 1)


async def test_a_message_id_is_new_again_after_its_lifetime() -> None:
    desk = Desk()
    await desk.ask(7, b"a")
    desk.now = EXCHANGE_LIFETIME_SECONDS + 1
    answer = await desk.ask(7, b"a")
    assert answer is not None and answer.payload == b"2"


async def test_a_device_that_rebooted_and_counts_from_the_start_is_heard() -> None:
    desk = Desk()
    await desk.ask(1, b"before")
    answer = await desk.ask(1, b"after")
    assert answer is not None
    assert (answer.token, answer.payload) == (b"after", b"2")


async def test_remembered_replies_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_layer, "REMEMBERED_REPLIES", 50)
    desk = Desk()
    for mid in range(200):
        await desk.ask(mid, b"t", Type.CON if mid % 2 else Type.NON)
    assert len(desk.exchanges._seen) == 50
    desk.now = EXCHANGE_LIFETIME_SECONDS + 1
    await desk.ask(999, b"t")
    assert len(desk.exchanges._seen) == 1


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
