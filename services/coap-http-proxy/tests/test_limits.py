"""Pure rules behind the gate: pieces of an answer that fit, Echo values, buckets."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coap_http_proxy.echo import Echo
from coap_http_proxy.limits import MAX_BUCKETS, Buckets, sender_of
from coap_http_proxy.mapping.amplification import budget, fitted, hopeless
from coap_wire import Block, Code, Message, Type, decode_block, encode, encode_block
from coap_wire import options as option

ETAG = b"12345678"
ASKED = Message(Type.CON, Code.GET, 1, b"12345678", ((option.URI_PATH, b"fw"), (option.URI_PATH, b"a.bin")))


@given(
    st.integers(0, 8),
    st.integers(0, 120),
    st.integers(0, 6),
    st.integers(0, 2000),
    st.booleans(),
    st.binary(max_size=40),
)
@settings(max_examples=400, deadline=None)
def test_a_piece_is_a_true_piece_of_the_answer_whatever_the_sizes(
    token: int, path: int, szx: int, num: int, whole: bool, diagnostic: bytes
) -> None:
    request = Message(Type.CON, Code.GET, 1, bytes(token), ((option.URI_PATH, b"p" * path),))
    payload = bytes(range(256)) * 4
    payload = payload[: 16 << szx]
    blocks = () if whole else ((option.BLOCK2, encode_block(Block(num, True, szx))),)
    answer = Message(Type.ACK, Code.CONTENT, 0, options=((option.ETAG, ETAG), *blocks), payload=payload)
    cut = fitted(answer, request, bytes(8))
    assert len(encode(replace(cut, token=request.token))) <= max(budget(request), 4 + token)
    assert list(cut.options) == sorted(cut.options)
    if cut.code != Code.CONTENT:
        assert cut.code == Code.UNAUTHORIZED
        return
    value = cut.option(option.BLOCK2)
    start = 0 if whole else num << (szx + 4)
    if value is None:
        assert cut.payload == payload
        return
    block = decode_block(value)
    assert block.offset == start
    assert cut.payload == payload[: block.size]
    assert block.more == (len(cut.payload) < len(payload) or not whole)
    failed = Message(Type.ACK, Code.BAD_GATEWAY, 0, options=((option.MAX_AGE, b"\5"),), payload=diagnostic)
    assert fitted(failed, request, bytes(8)).code == Code.BAD_GATEWAY


def test_blocks_too_far_to_be_numbered_when_they_are_small_are_a_reason_to_ask_who_it_is() -> None:
    request = ASKED
    answer = Message(
        Type.ACK, Code.CONTENT, 0, options=((option.BLOCK2, encode_block(Block((1 << 20) - 1, True, 6))),),
        payload=bytes(1024),
    )  # fmt: skip
    assert fitted(answer, request, bytes(8)).code == Code.UNAUTHORIZED


def test_where_block_and_echo_do_not_fit_together_the_block_goes_alone() -> None:
    whole = Message(Type.ACK, Code.CONTENT, 0, options=((option.ETAG, ETAG),), payload=bytes(1024))
    shapes = set()
    for size in range(20):
        cut = fitted(whole, Message(Type.CON, Code.GET, 1, b"", ((option.URI_PATH, bytes(size)),)), bytes(8))
        shapes.add((len(cut.payload), cut.option(option.ECHO) is not None))
    assert {(0, True), (16, False), (16, True)} <= shapes


def test_a_request_too_short_for_any_block_is_asked_who_it_is_before_anything_is_fetched() -> None:
    assert hopeless(Message(Type.CON, Code.GET, 1, b"", ((option.URI_PATH, b"a"),)))
    assert not hopeless(ASKED)


def test_an_echo_is_known_in_two_slices_of_time_and_tells_no_secret() -> None:
    echo = Echo(b"s" * 32, slice_seconds=100)
    value = echo.value("192.0.2.1", 5683, 150)
    fresh = {now: echo.fresh(value, "192.0.2.1", 5683, now) for now in (100, 199, 299, 300, 1000)}
    assert fresh == {100: True, 199: True, 299: True, 300: False, 1000: False}
    assert "s" * 8 not in repr(echo)
    assert value != Echo(b"t" * 32, slice_seconds=100).value("192.0.2.1", 5683, 150)


def test_buckets_are_as_many_as_they_may_be_and_fill_up_again() -> None:
    buckets = Buckets(rate=100, burst=1000)
    assert buckets.take("a", 1000, 0.0) == 0
    assert buckets.take("a", 100, 0.0, 5.0) == 1.0
    assert buckets.take("a", 100, 11.0) == 0
    assert buckets.take("b", 1000, 11.0) == 0
    for number in range(2 * MAX_BUCKETS):
        buckets.take(str(number), 1, 12.0)
    assert len(buckets) == MAX_BUCKETS


def test_what_nobody_had_the_patience_for_was_not_taken() -> None:
    buckets = Buckets(rate=1, burst=10)
    assert buckets.take("a", 100, 0.0, patience=5) == 90
    assert buckets.take("a", 10, 0.0, patience=5) == 0


@pytest.mark.parametrize(
    ("host", "sender"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a name", "a name"),
    ],
)
def test_what_a_sender_can_choose_freely_counts_as_one(host: str, sender: str) -> None:
    assert sender_of(host) == ("address", sender)


def test_an_identity_that_is_spelled_like_an_address_is_another_sender() -> None:
    assert sender_of("192.0.2.9", "192.0.2.1") == ("identity", "192.0.2.1")
    assert sender_of("192.0.2.9", "192.0.2.1") != sender_of("192.0.2.1")


@pytest.mark.parametrize("code", [Code.GET, Code.FETCH, Code.PUT, Code.POST])
def test_a_body_in_blocks_takes_a_place_only_for_who_has_proved_to_be_there(code: int) -> None:
    block = (option.BLOCK1, encode_block(Block(0, True, 2)))
    assert hopeless(Message(Type.CON, code, 1, b"", (*ASKED.options, block), bytes(64)))
