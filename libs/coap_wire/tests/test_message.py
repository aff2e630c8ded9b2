"""Messages survive the wire both ways, and nonsense raises DecodeError only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coap_wire import (
    Block,
    DecodeError,
    EncodeError,
    Message,
    Type,
    decode,
    decode_block,
    encode,
    encode_block,
    szx_for,
)
from coap_wire.options import URI_PATH, encode_uint

OPTIONS = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=300)), max_size=8).map(
    lambda options: tuple(sorted(options, key=lambda option: option[0]))
)
MESSAGES = st.builds(
    Message,
    type=st.sampled_from(Type),
    code=st.integers(1, 255),
    mid=st.integers(0, 0xFFFF),
    token=st.binary(max_size=8),
    options=OPTIONS,
    payload=st.binary(max_size=64),
)


@given(MESSAGES)
def test_decode_undoes_encode(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_datagram_is_a_message_or_a_decode_error(datagram: bytes) -> None:
    try:
        message = decode(datagram)
    except DecodeError:
        return
    assert decode(encode(message)).options == message.options


def test_a_message_cut_anywhere_never_escapes() -> None:
    whole = encode(Message(Type.CON, 2, 7, b"tok", ((URI_PATH, b"rd"), (300, b"x" * 280)), b"payload"))
    for cut in range(len(whole)):
        try:
            decode(whole[:cut])
        except DecodeError:
            continue


@pytest.mark.parametrize(
    ("datagram", "offset"),
    [
        (b"", 0),
        (b"\x40\x01\x00", 3),
        (b"\x80\x01\x00\x00", 0),
        (b"\x49\x01\x00\x00", 0),
        (b"\x41\x01\x00\x00", 4),
        (b"\x40\x00\x00\x00\x00", 4),
        (b"\x40\x01\x00\x00\xff", 4),
        (b"\x40\x01\x00\x00\xf0", 5),
        (b"\x40\x01\x00\x00\x0f", 5),
        (b"\x40\x01\x00\x00\xd0", 5),
        (b"\x40\x01\x00\x00\x05ab", 4),
        (b"\x40\x01\x00\x00\xe0\xff\xff", 4),
    ],
)
def test_format_errors_name_their_byte(datagram: bytes, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(datagram)
    assert caught.value.offset == offset


def test_nonsense_of_ours_is_an_encode_error() -> None:
    for message in (
        Message(Type.CON, 1, 1, b"123456789"),
        Message(Type.CON, 1, 70000),
        Message(Type.CON, 256, 1),
        Message(Type.CON, 1, 1, b"", ((70000, b""),)),
    ):
        with pytest.raises(EncodeError):
            encode(message)


def test_text_options_must_be_utf8() -> None:
    with pytest.raises(DecodeError):
        _ = Message(Type.CON, 1, 1, b"", ((URI_PATH, b"\xff"),)).uri_path


@given(st.integers(0, (1 << 20) - 1), st.booleans(), st.integers(0, 6))
def test_blocks_survive_the_wire(num: int, more: bool, szx: int) -> None:
    block = Block(num, more, szx)
    assert decode_block(encode_block(block)) == block
    assert block.offset == num * block.size


@given(st.integers(1, 100_000), st.integers(0, 6))
def test_blocks_cover_a_representation_exactly_once(size: int, szx: int) -> None:
    step = 16 << szx
    covered = 0
    for num in range((size + step - 1) // step):
        block = Block(num, (num + 1) * step < size, szx)
        assert block.offset == covered
        covered = min(size, covered + block.size)
    assert covered == size


def test_reserved_and_oversized_block_options_are_refused() -> None:
    for value in (b"\x07", b"\x00\x00\x00\x01"):
        with pytest.raises(DecodeError):
            decode_block(value)
    for block in (Block(1 << 20, False, 0), Block(0, False, 7)):
        with pytest.raises(EncodeError):
            encode_block(block)


@pytest.mark.parametrize(("size", "szx"), [(1, 0), (16, 0), (63, 1), (64, 2), (1024, 6), (4096, 6)])
def test_the_exponent_fits_the_size_asked_for(size: int, szx: int) -> None:
    assert szx_for(size) == szx
    assert encode_uint(0) == b""
