"""Handshakes and sessions against OpenSSL as the client, whose record layer is its own."""

import time

import pytest

from dtls import Client, Limits, Psk, Server
from dtls.suites import SUITES, Suite
from dtls.testing import Wire, lose_once
from dtls.wire import records

HOME = ("192.0.2.1", 40000)
KEY = b"0123456789abcdef"


def wire(**limits: float) -> Wire:
    """A server that knows `device`, and the wire to it."""
    return Wire(Server(Limits(**limits)), {"device": Psk(KEY, "controller")})  # type: ignore[arg-type]


@pytest.mark.rfc("7252-9.1.3.1-a", "7925 4.2")
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.openssl)
def test_device_with_the_right_key_talks_both_ways(suite: Suite) -> None:
    line = wire()
    client = line.connect(Client("device", KEY, (suite,)), HOME)
    assert client.connected
    line.to_server(client.send(b"get"), HOME)
    ((plaintext, association),) = line.received
    assert (plaintext, association.identity, association.subject) == (b"get", "device", "controller")
    for number in range(70):
        answer = line.server.seal(b"block %d" % number, association)
        assert answer is not None
        client.receive(answer)
    assert client.heard == [b"block %d" % number for number in range(70)]


def test_foreign_suite_is_refused_and_leaves_nothing() -> None:
    line = wire()
    foreign = Suite("PSK-AES128-CBC-SHA", 16, 0, "sha1", SUITES[0].cipher)
    client = Client("device", KEY, (foreign,))
    assert line.connect(client, HOME).failed
    assert (line.server.half_open, line.server.sessions) == (0, 0)


def test_wrong_key_and_unknown_identity_look_the_same_and_get_no_session() -> None:
    seen = []
    for identity in ("device", "nobody"):
        line = wire()
        client = line.connect(Client(identity, b"f" * 16), HOME)
        assert not client.connected
        assert not line.opened
        assert line.server.sessions == 0
        seen.append([(one.kind, one.epoch, len(one.raw)) for sent, _ in line.sent for one in records(sent)])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("identity", ["a\tb", "\x7f", "line\nbreak"])
def test_identity_that_cannot_be_shown_is_never_looked_up(identity: str) -> None:
    line = wire()
    line.keys[identity] = Psk(KEY)
    assert not line.connect(Client(identity, KEY), HOME).connected
    assert not line.wanted


@pytest.mark.rfc("6347-4.2.1-a")
def test_nothing_is_kept_of_a_hello_without_a_cookie_and_its_answer_is_smaller() -> None:
    line = wire()
    for number in range(200):
        (hello,) = Client("device", KEY).start()
        line.to_server([hello], ("192.0.2.1", number))
        assert len(line.sent[-1][0]) < len(hello)
    assert len(line.sent) == 200
    assert line.server.half_open == 0


@pytest.mark.rfc("6347-4.2.1-b")
@pytest.mark.parametrize(
    ("address", "later", "counts"),
    [
        (HOME, 0.0, True),
        (HOME, 59.0, True),
        (HOME, 125.0, False),
        (("192.0.2.1", 1), 0.0, False),
        (("192.0.2.9", 40000), 0.0, False),
    ],
)
def test_cookie_counts_for_its_address_and_a_minute_or_two(
    address: tuple[str, int], later: float, counts: bool
) -> None:
    line = wire()
    client = Client("device", KEY)
    line.to_server(client.start(), HOME)
    (again,) = client.receive(line.sent[0][0])
    line.now += later
    line.to_server([again], address)
    assert line.server.half_open == counts


def test_many_handshakes_interleave_and_each_keeps_its_own_identity() -> None:
    line = Wire(Server(), {f"device-{n}": Psk(b"%016d" % n, f"controller-{n}") for n in range(60)}, hold_keys=True)
    clients = {(f"192.0.2.{n}", n): Client(f"device-{n}", b"%016d" % n) for n in range(60)}
    for address, client in clients.items():
        line.connect(client, address)
    assert len(line.wanted) == 60
    assert not line.opened
    for wanted in reversed(line.wanted):  # the keys come in another order than they were asked for
        psk = line.keys[wanted.identity]
        line.carry_out(line.server.provide(wanted.address, wanted.identity, psk, line.now))
    for address, client in clients.items():
        line.to_server(client.send(str(address[1]).encode()), address)
    assert len(line.received) == 60
    for plaintext, association in line.received:
        assert association.identity == f"device-{plaintext.decode()}"
        assert association.subject == f"controller-{plaintext.decode()}"


def test_key_for_another_identity_than_was_asked_for_is_not_taken() -> None:
    line = wire(handshake_seconds=30.0)
    line.hold_keys = True
    client = line.connect(Client("device", KEY), HOME)
    line.carry_out(line.server.provide(HOME, "somebody", Psk(KEY), line.now))
    line.carry_out(line.server.provide(("192.0.2.7", 1), "device", Psk(KEY), line.now))
    assert not client.connected
    line.carry_out(line.server.provide(HOME, "device", Psk(KEY), line.now))
    assert client.connected


@pytest.mark.rfc("6347-4.2.4-a")
def test_lost_flight_of_the_server_is_sent_again() -> None:
    line = wire()
    line.lose, lost = lose_once(lambda datagram, up: not up and len(datagram) > 60)
    client = line.connect(Client("device", KEY), HOME)
    assert lost and not client.connected
    deadline = time.monotonic() + 10
    while not client.connected and time.monotonic() < deadline:  # OpenSSL's timer has a clock of its own
        time.sleep(0.01)
        line.carry_out(line.server.tick(line.now))
    assert client.connected
    assert len(line.sent) == 4


@pytest.mark.rfc("6347-4.2.4-b", "6347-4.1-a")
def test_lost_last_flight_is_repeated_when_the_client_repeats_its_own() -> None:
    line = wire()
    line.lose, lost = lose_once(lambda datagram, up: not up and datagram[0] == 20)
    client = line.connect(Client("device", KEY), HOME)
    assert lost and line.opened and not client.connected
    deadline = time.monotonic() + 10
    while not client.connected and time.monotonic() < deadline:
        time.sleep(0.01)
        line.to_server(client.repeat(), HOME)
    assert client.connected
    line.to_server(client.send(b"get"), HOME)
    answer = line.server.seal(b"block", line.received[0][1])
    assert answer is not None
    client.receive(answer)
    assert client.heard == [b"block"]
    # OpenSSL used numbers for both flights; ours go on behind them, or a nonce would be used twice.
    numbers = [one.sequence for sent, _ in line.sent for one in records(sent) if one.epoch == 1]
    assert len(numbers) == len(set(numbers)) == 2
    assert records(answer)[0].sequence > max(numbers)


@pytest.mark.rfc("6347-4.1-a")
def test_once_we_number_records_ourselves_openssl_may_not_send_another_one() -> None:
    line = wire()
    line.lose, lost = lose_once(lambda datagram, up: not up and datagram[0] == 20)
    client = line.connect(Client("device", KEY), HOME)
    assert lost
    assert line.server.seal(b"unasked", line.opened[0]) is not None
    before, repeated, deadline = len(line.sent), list[bytes](), time.monotonic() + 10
    while not repeated and time.monotonic() < deadline:
        time.sleep(0.01)
        repeated = client.repeat()
    line.to_server(repeated, HOME)  # OpenSSL would answer with a number that was used
    assert len(line.sent) == before


@pytest.mark.rfc("6347-4.2.8-a", "6347-4.2.8-b")
def test_device_that_rebooted_gets_a_new_session_and_the_old_one_lives_until_then() -> None:
    line = wire()
    old = line.connect(Client("device", KEY), HOME)
    line.to_server(old.send(b"one"), HOME)
    line.hold_keys = True
    new = line.connect(Client("device", KEY), HOME)
    line.clients[HOME] = old
    line.to_server(old.send(b"two"), HOME)  # whoever began anew has not proved to be the device
    assert [plaintext for plaintext, _ in line.received] == [b"one", b"two"]
    line.clients[HOME] = new
    line.carry_out(line.server.provide(HOME, "device", Psk(KEY), line.now))
    assert new.connected
    first, second = line.opened
    assert line.closed == [first]
    line.to_server(new.send(b"three"), HOME)
    assert line.received[-1] == (b"three", second)
    assert line.server.seal(b"for the old one", first) is None
    line.to_server(old.send(b"four"), HOME)
    assert line.received[-1] == (b"three", second)


def test_half_a_handshake_from_a_devices_address_does_not_cost_it_the_session() -> None:
    line = wire(handshake_seconds=10.0)
    device = line.connect(Client("device", KEY), HOME)
    line.connect(Client("device", b"w" * 16), HOME)
    line.now += 11
    line.carry_out(line.server.tick(line.now))
    assert line.server.half_open == 0
    line.to_server(device.send(b"still here"), HOME)
    assert [plaintext for plaintext, _ in line.received] == [b"still here"]


@pytest.mark.rfc("5246 7.2.1")
def test_close_notify_is_answered_and_ends_the_session() -> None:
    line = wire()
    client = line.connect(Client("device", KEY), HOME)
    line.to_server(client.close(), HOME)
    assert line.closed == line.opened
    assert line.server.sessions == 0
    assert line.server.seal(b"late", line.opened[0]) is None


@pytest.mark.rfc("5246 7.2.1")
def test_server_that_closes_says_so() -> None:
    line = wire()
    client = line.connect(Client("device", KEY), HOME)
    for association in line.server.associations():
        line.carry_out(line.server.close(association))
    assert client.closed
    assert line.server.sessions == 0


@pytest.mark.parametrize(
    ("now", "stays"),
    [
        (Psk(KEY, "controller"), True),
        (Psk(b"n" * 16, "controller"), False),
        (Psk(KEY, "another"), False),
        (None, False),
    ],
    ids=["same", "new-key", "new-subject", "revoked"],
)
def test_session_lives_only_as_long_as_its_key(now: Psk | None, stays: bool) -> None:
    line = wire()
    line.keys["other"] = Psk(KEY)
    client = line.connect(Client("device", KEY), HOME)
    line.connect(Client("other", KEY), ("192.0.2.2", 1))
    assert line.server.identities() == ["device", "other"]
    line.carry_out(line.server.settle("device", now))
    assert client.closed is not stays
    assert line.server.sessions == 1 + stays


def test_idle_session_ends_and_one_in_use_stays() -> None:
    line = wire(idle_seconds=100.0)
    busy, idle = ("192.0.2.1", 1), ("192.0.2.1", 2)
    clients = {address: line.connect(Client("device", KEY), address) for address in (busy, idle)}
    for _ in range(3):
        line.now += 60
        line.to_server(clients[busy].send(b"here"), busy)
        line.carry_out(line.server.tick(line.now))
    assert [one.address for one in line.server.associations()] == [busy]
    assert clients[idle].closed


@pytest.mark.parametrize("limits", [{"sessions": 3}, {"sessions_per_identity": 3}], ids=str)
def test_when_there_are_too_many_the_longest_unused_one_ends(limits: dict[str, float]) -> None:
    line = wire(**limits)
    addresses = [("192.0.2.1", number) for number in range(4)]
    clients = [line.connect(Client("device", KEY), address) for address in addresses[:3]]
    line.to_server(clients[0].send(b"here"), addresses[0])
    line.connect(Client("device", KEY), addresses[3])
    assert [one.address for one in line.server.associations()] == [addresses[2], addresses[0], addresses[3]]
    assert clients[1].closed


def test_one_device_with_many_ports_pushes_out_itself_and_no_other() -> None:
    line = wire(sessions_per_identity=2)
    line.keys["other"] = Psk(KEY)
    line.connect(Client("other", KEY), ("192.0.2.2", 1))
    for number in range(5):
        line.connect(Client("device", KEY), ("192.0.2.1", number))
    assert sorted(one.identity for one in line.server.associations()) == ["device", "device", "other"]


@pytest.mark.parametrize("limits", [{"half_open": 5}, {"half_open_per_host": 5}], ids=str)
def test_handshakes_that_do_not_go_on_are_bounded_and_given_up(limits: dict[str, float]) -> None:
    line = wire(handshake_seconds=10.0, **limits)
    line.hold_keys = True
    for number in range(9):
        line.connect(Client("device", KEY), ("192.0.2.1", number))
    assert line.server.half_open == 5
    line.now += 11
    line.server.tick(line.now)
    assert line.server.half_open == 0
    line.hold_keys = False
    assert line.connect(Client("device", KEY), HOME).connected


def test_secrets_are_not_in_what_is_printed() -> None:
    line = wire()
    line.connect(Client("device", KEY), HOME)
    printed = repr(line.keys) + repr(line.server) + repr(line.opened)
    assert KEY.decode() not in printed
    assert KEY.hex() not in printed
