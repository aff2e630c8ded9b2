"""Strangers at the door: floods, mutated handshakes, replays, truncation. Nothing escapes, memory stays flat."""

import gc
import random
from pathlib import Path

import pytest

from dtls import Client, Limits, Psk, Server
from dtls.protection import Sealer
from dtls.testing import Wire, listen_in, lose_once
from dtls.wire import HANDSHAKE, VERSION_BYTES, records

HOME = ("192.0.2.1", 40000)
KEY = b"0123456789abcdef"
PAGE_KIB = 4


def resident_kib() -> int:
    """Memory of this process that is in use, KiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_KIB


def wire() -> Wire:
    """A server that knows `device`."""
    return Wire(Server(), {"device": Psk(KEY)})


def traffic() -> list[bytes]:
    """What a device sends in a good session, datagram by datagram."""
    line = wire()
    line.lose, sent = listen_in()
    client = line.connect(Client("device", KEY), HOME)
    line.to_server([*client.send(b"get"), *client.close()], HOME)
    return sent


def test_flood_of_hellos_from_ever_new_addresses_leaves_nothing_behind() -> None:
    line = wire()
    hellos = [Client("device", KEY).start()[0] for _ in range(20)]

    def flood(count: int) -> None:
        for number in range(count):
            address = (f"198.51.{number >> 8 & 255}.{number & 255}", number & 0xFFFF)
            for output in line.server.receive(hellos[number % 20], address, 1000.0):
                assert len(output.datagram) < len(hellos[0])  # type: ignore[union-attr]

    flood(2000)
    before = resident_kib()
    flood(20_000)
    assert resident_kib() - before < 2048
    assert (line.server.half_open, line.server.sessions) == (0, 0)
    assert line.connect(Client("device", KEY), HOME).connected


def test_flood_of_garbage_leaves_nothing_behind() -> None:
    line, dice = wire(), random.Random(3)
    device = line.connect(Client("device", KEY), HOME)

    def flood(count: int) -> None:
        for number in range(count):
            body = dice.randbytes(dice.choice((0, 1, 13, 60, 1400)))
            head = bytes((dice.choice((20, 21, 22, 23, 24, 25)),)) + VERSION_BYTES + bytes((0, number & 1))
            datagram = dice.choice((body, head + dice.randbytes(6) + len(body).to_bytes(2, "big") + body))
            line.carry_out(line.server.receive(datagram, dice.choice((HOME, ("192.0.2.2", number))), 1000.0))

    flood(2000)
    before = resident_kib()
    flood(20_000)
    assert resident_kib() - before < 2048
    line.to_server(device.send(b"still here"), HOME)
    assert line.received[-1][0] == b"still here"


@pytest.mark.parametrize("seed", range(8))
def test_mutated_handshakes_open_nothing_that_was_not_proven(seed: int) -> None:
    dice, line = random.Random(seed), wire()
    for number in range(60):
        address = ("192.0.2.3", number)
        line.lose, mutated = lose_once(lambda _, up: up and dice.random() < 0.4)
        client = Client("device", KEY)
        line.connect(client, address)
        line.lose = lambda _datagram, _up: False
        line.clients.pop(address)
        for datagram in mutated:
            broken = bytearray(datagram)
            for _ in range(dice.randint(1, 4)):
                match dice.randrange(4):
                    case 0:
                        broken[dice.randrange(len(broken))] = dice.randrange(256)
                    case 1:
                        del broken[dice.randrange(len(broken)) :]
                        broken += b"\0"
                    case 2:
                        at = dice.randrange(len(broken))
                        broken[at:at] = dice.randbytes(dice.randint(1, 30))
                    case _:
                        broken += broken[: dice.randrange(len(broken))]
            line.to_server([bytes(broken)], address)
    assert all(one.identity == "device" for one in line.opened)
    assert not line.received
    line.now += 60
    line.server.tick(line.now)
    assert line.server.half_open == 0
    assert line.connect(Client("device", KEY), HOME).connected


def test_refused_hellos_leave_nothing_that_reaches_the_next_client() -> None:
    line, dice = wire(), random.Random(11)
    for number in range(1500):
        hello = bytearray(Client("device", KEY).start()[0])
        for _ in range(dice.randint(1, 3)):
            hello[dice.randrange(25, len(hello))] = dice.randrange(256)
        line.to_server([bytes(hello)], ("198.51.100.1", number))
        if number % 100 == 0:
            assert line.connect(Client("device", KEY), ("192.0.2.5", number)).connected
    assert len(line.sent) > 300
    assert line.server.half_open == 0


def test_recorded_session_played_again_opens_nothing_and_says_nothing() -> None:
    sent = traffic()
    assert len(sent) == 5
    line = wire()
    for _ in range(3):
        line.to_server(sent, HOME)
    assert not line.opened
    assert not line.received
    assert line.server.half_open == 0


@pytest.mark.rfc("6347-4.1.2.6-a")
def test_replayed_record_is_heard_once() -> None:
    line = wire()
    device = line.connect(Client("device", KEY), HOME)
    (datagram,) = device.send(b"get")
    line.to_server([datagram] * 50, HOME)
    assert len(line.received) == 1


@pytest.mark.rfc("6347-4.1.2.7-a")
def test_truncated_and_forged_records_are_discarded_silently_and_the_session_goes_on() -> None:
    line = wire()
    device = line.connect(Client("device", KEY), HOME)
    (datagram,) = device.send(b"get")
    before = len(line.sent)
    for cut in range(len(datagram)):
        line.to_server([datagram[:cut]], HOME)
    for epoch in (0, 2, 65535):
        line.to_server([datagram[:3] + epoch.to_bytes(2, "big") + datagram[5:]], HOME)
    line.to_server([b"\x15" + VERSION_BYTES + bytes(8) + b"\x00\x02\x02\x28"], HOME)  # an alert nobody signed
    assert (len(line.sent), line.received, line.closed) == (before, [], [])
    line.to_server([datagram], HOME)
    assert [plaintext for plaintext, _ in line.received] == [b"get"]


def test_peer_with_a_proven_address_cannot_make_the_server_keep_much() -> None:
    """Fragments that belong to messages of 100 KB, records of the next epoch, by the thousand."""
    line = Wire(Server(Limits(half_open=16)), {})
    addresses = [("192.0.2.4", number) for number in range(16)]
    for address in addresses:
        client = Client("device", KEY)
        (first,) = client.start()
        line.to_server([first], address)
        line.to_server(client.receive(line.sent[-1][0]), address)
    assert line.server.half_open == 16
    before = resident_kib()
    for number in range(400):
        body = b"\x0b\x01\x86\xa0" + (number % 8 + 2).to_bytes(2, "big") + bytes(3) + b"\x00\x04\xb0" + bytes(1200)
        sequence = (number + 5).to_bytes(6, "big")
        large = bytes((HANDSHAKE,)) + VERSION_BYTES + b"\0\0" + sequence + len(body).to_bytes(2, "big") + body
        early = b"".join(
            bytes((HANDSHAKE,))
            + VERSION_BYTES
            + b"\0\1"
            + (number * 20 + one).to_bytes(6, "big")
            + b"\x04\xb0"
            + bytes(1200)
            for one in range(20)
        )
        for address in addresses:
            line.server.receive(large, address, line.now)
            line.server.receive(early, address, line.now)
    assert line.server.half_open == 16
    assert resident_kib() - before < 4096


@pytest.mark.rfc("5746 4.5")
def test_renegotiation_is_refused_and_the_session_goes_on() -> None:
    line = wire()
    device = line.connect(Client("device", KEY), HOME)
    line.to_server(device.send(b"one"), HOME)
    (hello,) = Client("device", KEY).start()
    # OpenSSL as a client would not do it: sealed with the device's keys, as its record number 50.
    opener = line.server._sessions[HOME].opener
    asked = Sealer(opener._cipher, opener._salt, 50).seal(HANDSHAKE, records(hello)[0].body)
    before = len(line.sent)
    line.clients.pop(HOME)
    line.to_server([asked], HOME)
    assert len(line.sent) == before + 1
    assert line.sent[-1][0][0] == 21
    line.to_server(device.send(b"two"), HOME)
    assert line.received[-1][0] == b"two"
    assert not line.closed
