"""Records and fragments as strangers send them: cut anywhere, packed again, identities put together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtls import wire


def record(kind: int, body: bytes, epoch: int = 0, sequence: int = 0) -> bytes:
    """One record as it travels."""
    number = (epoch << 48 | sequence).to_bytes(8, "big")
    return bytes((kind,)) + wire.VERSION_BYTES + number + len(body).to_bytes(2, "big") + body


def fragment(kind: int, message: bytes, offset: int = 0, size: int | None = None, length: int | None = None) -> bytes:
    """A piece of a handshake message."""
    piece = message[offset : None if size is None else offset + size]
    head = bytes((kind,)) + (len(message) if length is None else length).to_bytes(3, "big") + b"\0\0"
    return head + offset.to_bytes(3, "big") + len(piece).to_bytes(3, "big") + piece


def key_exchange(identity: bytes) -> bytes:
    """The message that carries a PSK identity (RFC 4279 section 2)."""
    return len(identity).to_bytes(2, "big") + identity


@pytest.mark.rfc("6347 4.1.2.7")
def test_datagram_cut_anywhere_gives_the_records_before_the_cut() -> None:
    pieces = [record(22, b"a" * 20), record(20, b"\x01", sequence=1), record(22, b"c" * 40, epoch=1)]
    datagram = b"".join(pieces)
    for cut in range(len(datagram) + 1):
        whole = [one.raw for one in wire.records(datagram[:cut])]
        assert whole == [piece for number, piece in enumerate(pieces) if cut >= sum(map(len, pieces[: number + 1]))]


def test_record_tells_its_epoch_and_number() -> None:
    (one,) = wire.records(record(23, b"body", epoch=1, sequence=77))
    assert (one.kind, one.epoch, one.sequence, one.body) == (23, 1, 77, b"body")


def test_what_is_not_dtls_holds_no_records() -> None:
    assert wire.records(b"\x40\x01\x12\x34\xb1f\x0cAAAAAAAAAAAA") == []
    assert wire.records(b"\x16\x03\x03" + bytes(10)) == []


@given(st.lists(st.integers(0, 900), max_size=12), st.integers(100, 1300))
def test_packing_keeps_every_record_whole_and_in_order_within_the_mtu(sizes: list[int], mtu: int) -> None:
    pieces = [record(22, bytes(size), sequence=number) for number, size in enumerate(sizes)]
    datagrams = wire.packed(b"".join(pieces), mtu)
    assert b"".join(datagrams) == b"".join(pieces)
    for datagram in datagrams:
        inside = wire.records(datagram)
        assert b"".join(one.raw for one in inside) == datagram
        assert len(datagram) <= mtu or len(inside) == 1


@given(st.binary(max_size=300))
def test_reading_of_anything_never_raises(datagram: bytes) -> None:
    reader = wire.IdentityReader()
    for one in wire.records(b"\x16\xfe\xfd" + bytes(8) + len(datagram).to_bytes(2, "big") + datagram):
        assert list(wire.fragments(one)) is not None
        reader.read(one)
        wire.client_random(one)
        wire.is_bounded(one)


def test_identity_in_one_piece_is_read_at_once() -> None:
    (one,) = wire.records(record(22, fragment(16, key_exchange(b"urn:dev:1"))))
    assert wire.IdentityReader().read(one) == b"urn:dev:1"


@pytest.mark.rfc("6347-4.2.3-a")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 0, 2, 1), (2, 2, 0, 1)])
def test_identity_in_pieces_is_read_when_the_last_one_is_there_in_any_order(order: tuple[int, ...]) -> None:
    message = key_exchange(b"a-very-long-endpoint-name")
    pieces = [record(22, fragment(16, message, at, 9)) for at in (0, 9, 18)]
    reader = wire.IdentityReader()
    read = [reader.read(wire.records(pieces[number])[0]) for number in order]
    missing = next(number for number in range(len(order)) if set(order[: number + 1]) == {0, 1, 2})
    assert read[:missing] == [None] * missing
    assert read[missing] == b"a-very-long-endpoint-name"


@pytest.mark.parametrize(
    "message", [b"", b"\0", b"\0\x05abc", key_exchange(b"x" * 129), b"\xff\xff" + b"x" * 100], ids=lambda one: one[:6]
)
def test_identity_of_a_wrong_length_is_none(message: bytes) -> None:
    (one,) = wire.records(record(22, fragment(16, message)))
    assert wire.IdentityReader().read(one) is None


def test_message_that_claims_to_be_large_is_not_let_through() -> None:
    (small,) = wire.records(record(22, fragment(1, b"x" * 100)))
    (large,) = wire.records(record(22, fragment(1, b"x" * 100, length=100_000)))
    assert wire.is_bounded(small)
    assert not wire.is_bounded(large)


def test_only_a_whole_client_hello_has_a_random() -> None:
    hello = b"\xfe\xfd" + bytes(range(32)) + b"\0" * 20
    (whole,) = wire.records(record(22, fragment(1, hello)))
    (piece,) = wire.records(record(22, fragment(1, hello, 0, 40)))
    (encrypted,) = wire.records(record(22, fragment(1, hello), epoch=1))
    assert wire.client_random(whole) == bytes(range(32))
    (followed,) = wire.records(record(22, fragment(1, hello) + bytes(100)))
    (large,) = wire.records(record(22, fragment(1, hello + bytes(3000))))
    assert wire.client_random(piece) is None
    assert wire.client_random(followed) is None
    assert wire.client_random(large) is None
    assert wire.client_random(encrypted) is None
