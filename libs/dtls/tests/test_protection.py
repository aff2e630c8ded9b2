"""The record layer: known vectors, every suite, replays, and nonces that are never used twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtls import SequenceExhausted
from dtls.protection import WINDOW, Opener, Sealer, prf, session_keys
from dtls.suites import SUITES, Suite

# Published on the IETF's TLS list for implementers of RFC 5246 (April 2009), for SHA-256 and SHA-384.
PRF_SHA256 = (
    "9bbe436ba940f017b17652849a71db35",
    "a0ba9f936cda311827a6f796ffd5198c",
    "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
    "6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab"
    "4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701"
    "87347b66",
)


def pair(suite: Suite = SUITES[0]) -> tuple[Sealer, Opener]:
    """Both ends of one direction."""
    keys = session_keys(suite, b"m" * 48, b"c" * 32, b"s" * 32)
    sealer = Sealer(suite.cipher(keys.server_key), keys.server_salt)
    return sealer, Opener(suite.cipher(keys.server_key), keys.server_salt, suite.tag_bytes)


@pytest.mark.rfc("5246 5")
def test_pseudorandom_function_gives_the_published_bytes() -> None:
    secret, seed, output = map(bytes.fromhex, PRF_SHA256)
    assert prf(secret, b"test label", seed, len(output), "sha256") == output


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.openssl)
def test_sealed_record_opens_and_nothing_else_does(suite: Suite) -> None:
    sealer, opener = pair(suite)
    raw = sealer.seal(23, b"a block of firmware")
    assert len(raw) == 13 + 8 + len(b"a block of firmware") + suite.tag_bytes
    for at in range(len(raw)):
        broken = bytearray(raw)
        broken[at] ^= 1
        assert opener.open(bytes(broken)) is None, at
        assert opener.open(raw[:at]) is None
    assert opener.open(raw) == b"a block of firmware"


def test_directions_have_keys_of_their_own() -> None:
    keys = session_keys(SUITES[0], b"m" * 48, b"c" * 32, b"s" * 32)
    assert len({keys.client_key, keys.server_key}) == len({keys.client_salt, keys.server_salt}) == 2


@pytest.mark.rfc("6347-4.1.2.6-a", "6347-4.1.2.6-b")
@given(st.lists(st.integers(0, 200), max_size=120))
def test_record_is_opened_once_in_any_order_unless_it_is_older_than_the_window(order: list[int]) -> None:
    sealer, opener = pair()
    sent = [sealer.seal(23, str(number).encode()) for number in range(201)]
    seen: set[int] = set()
    for number in order:
        fresh = number not in seen and number > max(seen, default=-1) - WINDOW
        assert opener.open(sent[number]) == (str(number).encode() if fresh else None)
        if fresh:
            seen.add(number)


@pytest.mark.rfc("6347-4.1.2.6-c")
def test_forged_record_with_a_high_number_does_not_move_the_window() -> None:
    sealer, opener = pair()
    raw = sealer.seal(23, b"true")
    forged = raw[:5] + b"\0\0\0\0\xff\xff" + raw[11:]
    assert opener.open(forged) is None
    assert opener.open(raw) == b"true"


@pytest.mark.rfc("6347-4.1-a")
def test_every_record_has_a_number_of_its_own_and_the_last_one_is_refused() -> None:
    sealer, _ = pair()
    assert len({sealer.seal(23, b"x")[3:21] for _ in range(1000)}) == 1000
    sealer.sequence = 1 << 48
    with pytest.raises(SequenceExhausted):
        sealer.seal(23, b"x")
