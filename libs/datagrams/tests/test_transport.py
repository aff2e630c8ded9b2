"""One socket, two readers: what each of them gets, in Python and compiled, whatever arrives."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from datagrams import Transport, udp_socket
from datagrams.batch import Artifact, Batch, Progress, library_path

PREFIX = b"\xb1f\x0cticket-00001"
BODY = os.urandom(5000)
REQUEST = b"\x41\x01\x00\x07t" + PREFIX + b"\x01a\xc1\x16"  # block 1 of 1024 bytes
ANSWER = b"\x61\x45\x00\x07t" + b"\xb1\x1e" + b"\x52\x13\x88\xff" + BODY[1024:2048]

both = pytest.mark.parametrize("kind", ["python", "compiled"])


@dataclass
class Bench:
    """A transport, what its slow reader got, and a client's socket."""

    transport: Transport
    client: socket.socket
    slow: list[tuple[bytes, tuple[str, int]]] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until it holds."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    async def received(self, count: int) -> list[bytes]:
        """So many datagrams at the client."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            return [await loop.sock_recv(self.client, 65535) for _ in range(count)]


@asynccontextmanager
async def bench(kind: str) -> AsyncIterator[Bench]:
    opened = udp_socket("127.0.0.1", 0)
    slow: list[tuple[bytes, tuple[str, int]]] = []
    batch = Batch(8)
    progress = Progress(len(BODY))
    assert batch.admit(PREFIX, Artifact(BODY, b"", b"\x52\x13\x88\xff"), progress)
    transport = Transport(
        opened,
        lambda datagram: batch.answer(datagram, 0.0),
        lambda datagram, peer: slow.append((datagram, peer)),
        batch if kind == "compiled" else None,
    )
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    client.setblocking(False)
    client.connect(("127.0.0.1", transport.port))
    transport.start()
    yield Bench(transport, client, slow)
    transport.close()
    client.close()


def test_the_compiled_part_is_built_here() -> None:
    assert library_path().exists(), "tools/build_compiled.py makes it; `make .venv/ready-dev` calls that"


@both
async def test_the_fast_reader_comes_first_and_the_slow_one_gets_the_rest_with_its_sender(kind: str) -> None:
    async with bench(kind) as b:
        b.client.send(b"something else")
        b.client.send(REQUEST)
        assert await b.received(1) == [ANSWER]
        await b.until(lambda: bool(b.slow))
        assert b.slow == [(b"something else", b.client.getsockname())]
        b.transport.send(b"reply", b.slow[0][1])
        assert await b.received(1) == [b"reply"]
        assert b.transport.received == 2


@both
@pytest.mark.parametrize("size", [0, 1, 3, 18, 19, 1472, 9000, 65507])
async def test_a_datagram_of_any_size_arrives_whole(kind: str, size: int) -> None:
    async with bench(kind) as b:
        sent = os.urandom(size)
        b.client.send(sent)
        await b.until(lambda: bool(b.slow))
        assert b.slow[0][0] == sent


@both
async def test_a_burst_larger_than_a_batch_is_answered_to_the_last_one(kind: str) -> None:
    async with bench(kind) as b:
        for number in range(300):
            b.client.send(REQUEST if number % 3 else number.to_bytes(2, "big"))
        assert await b.received(200) == [ANSWER] * 200
        await b.until(lambda: len(b.slow) == 100)
        assert [datagram for datagram, _ in b.slow] == [n.to_bytes(2, "big") for n in range(0, 300, 3)]


@both
async def test_a_flood_does_not_keep_the_loop_from_others(kind: str) -> None:
    async with bench(kind) as b:
        turns = []
        for _ in range(1000):
            b.client.send(b"x")
        while len(b.slow) < 1000:
            turns.append(len(b.slow))
            await asyncio.sleep(0)
        steps = [after - before for before, after in pairwise(turns)]
        assert max(steps) <= 256


@both
async def test_a_sender_that_is_gone_is_nobodys_trouble(kind: str) -> None:
    async with bench(kind) as b:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.connect(("127.0.0.1", b.transport.port))
            for _ in range(5):
                gone.send(REQUEST)
        b.client.send(REQUEST)
        assert await b.received(1) == [ANSWER]


def test_several_sockets_share_a_port_only_when_they_say_so() -> None:
    first = udp_socket("127.0.0.1", 0, share_port=True)
    port = first.getsockname()[1]
    second = udp_socket("127.0.0.1", port, share_port=True)
    with pytest.raises(OSError):
        udp_socket("127.0.0.1", port)
    for one in (first, second):
        one.close()


def test_a_full_table_says_so_and_what_is_in_it_goes_on() -> None:
    batch, artifact = Batch(2), Artifact(BODY, b"", b"\xff")
    names = [b"\xb1f\x0cticket-%05d" % number for number in range(3)]
    counts = [Progress(len(BODY)) for _ in names]
    assert [batch.admit(name, artifact, one) for name, one in zip(names, counts, strict=True)] == [True, True, False]
    batch.revoke(names[0])
    assert len(batch) == 1
    assert batch.admit(names[2], artifact, counts[2])


def test_what_c_has_no_room_for_is_refused_before_c_sees_it() -> None:
    with pytest.raises(ValueError):
        Artifact(BODY, bytes(25), b"")
    with pytest.raises(ValueError):
        Artifact(BODY, b"", bytes(9))
    with pytest.raises(ValueError):
        Batch(1).admit(b"short", Artifact(BODY, b"", b""), Progress(len(BODY)))
    assert not Batch(1).admit(PREFIX, Artifact(BODY, b"", b""), Progress(1)), "a progress of another size"
