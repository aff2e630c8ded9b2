"""A package pushed by Block1, block by block without a socket: what is taken, what is answered, what is refused."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coap_wire import Block, Code, Message, Type, decode_block, decode_uint, encode_block, encode_uint
from coap_wire.options import BLOCK1, CONTENT_FORMAT, SIZE1
from lwm2m import tlv
from softdevice.profiles import PROFILES, Profile
from softdevice.push import IDLE_SECONDS, Piece, Push, Refused

PACKAGE = bytes(range(256)) * 5


def put(
    data: bytes, block: Block | None, content_format: int | None = 42, token: bytes = b"t", size: int | None = None
) -> Message:
    options = []
    if content_format is not None:
        options.append((CONTENT_FORMAT, encode_uint(content_format)))
    if block is not None:
        options.append((BLOCK1, encode_block(block)))
    if size is not None:
        options.append((SIZE1, encode_uint(size)))
    return Message(Type.CON, Code.PUT, 1, token, tuple(options), data)


def block_of(number: int, szx: int = 4, package: bytes = PACKAGE) -> tuple[bytes, Block]:
    size = 16 << szx
    return package[number * size :][:size], Block(number, (number + 1) * size < len(package), szx)


def push(client: str = "zephyr", limit: int = 10_000) -> Push:
    return Push(PROFILES[client], limit)


def refused(work: Push, request: Message, now: float = 0.0) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    with pytest.raises(Refused) as caught:
        work.receive(request, now)
    return caught.value.reply.code, caught.value.reply.options


def whole(work: Push, szx: int = 4, package: bytes = PACKAGE, content_format: int = 42) -> list[Piece]:
    pieces: list[Piece] = []
    number = 0
    while not pieces or not pieces[-1].last:
        pieces.append(work.receive(put(*block_of(number, szx, package), content_format, size=len(package)), 0.0))
        number += 1
    return pieces


@pytest.mark.rfc("7959 2.3")
def test_blocks_are_taken_in_order_each_answered_2_31_and_the_last_2_04() -> None:
    pieces = whole(push())
    assert b"".join(piece.data for piece in pieces) == PACKAGE
    assert [piece.reply.code for piece in pieces] == [Code.CONTINUE] * 4 + [Code.CHANGED]
    assert [decode_block(piece.reply.options[0][1]).num for piece in pieces] == [0, 1, 2, 3, 4]
    assert (pieces[0].first, pieces[0].size) == (True, len(PACKAGE))


def test_a_package_without_block1_is_whole() -> None:
    piece = push().receive(put(b"small", None), 0.0)
    assert (piece.data, piece.first, piece.last, piece.reply.code) == (b"small", True, True, Code.CHANGED)


@pytest.mark.parametrize(
    ("content_format", "wrap"),
    [(11542, lambda data: tlv.encode([tlv.Tlv(tlv.Kind.RESOURCE, 0, data)])), (60, cbor2.dumps)],
    ids=["TLV", "CBOR"],
)
@pytest.mark.parametrize("size", [1, 7, 8, 200, 300, 70_000])
def test_a_wrapped_package_is_unwrapped(content_format: int, wrap: object, size: int) -> None:
    data = bytes(size)
    pieces = whole(push("anjay", 100_000), 6, wrap(data), content_format)  # type: ignore[operator]
    assert b"".join(piece.data for piece in pieces) == data and pieces[0].size == size


def test_a_whole_wrapped_package_shorter_than_it_says_is_4_00() -> None:
    wrapped = tlv.encode([tlv.Tlv(tlv.Kind.RESOURCE, 0, bytes(100))])
    assert refused(push("anjay"), put(wrapped[:-1], None, 11542))[0] == Code.BAD_REQUEST


def test_a_block_that_skips_one_or_comes_without_a_beginning_is_4_08() -> None:
    work = push()
    assert refused(work, put(*block_of(1)))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    work.receive(put(*block_of(0)), 0.0)
    assert refused(work, put(*block_of(2)))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    # And at block 0 it begins anew.
    assert work.receive(put(*block_of(0)), 0.0).first
    assert work.receive(put(*block_of(1)), 0.0).data == PACKAGE[256:512]


def test_a_block_sent_twice_is_taken_once_and_answered_twice() -> None:
    work = push()
    work.receive(put(*block_of(0)), 0.0)
    first = work.receive(put(*block_of(1)), 0.0)
    again = work.receive(put(*block_of(1)), 0.0)
    assert (again.data, again.repeated, again.reply) == (b"", True, first.reply)


def test_a_transfer_that_rests_too_long_is_forgotten() -> None:
    work = push()
    work.receive(put(*block_of(0)), 0.0)
    assert refused(work, put(*block_of(1)), IDLE_SECONDS + 1)[0] == Code.REQUEST_ENTITY_INCOMPLETE


@pytest.mark.rfc("7959 2.9.3")
def test_zephyr_answers_a_block_larger_than_its_buffer_4_13_with_the_size_it_wants() -> None:
    code, options = refused(push("zephyr"), put(*block_of(0, 6)))
    assert code == Code.REQUEST_ENTITY_TOO_LARGE and decode_block(options[0][1]).szx == 5


def test_anjay_takes_a_block_of_1024_and_wakaama_as_well() -> None:
    for client in ("anjay", "wakaama"):
        assert len(push(client).receive(put(*block_of(0, 6)), 0.0).data) == 1024


@pytest.mark.rfc("7959 2.3")
def test_a_client_that_shrinks_blocks_takes_the_first_and_goes_on_in_its_own_size() -> None:
    small = Profile("small", "small", ("1.1",), block_size=64, shrinks_blocks=True)
    work = Push(small, 10_000)
    first = work.receive(put(PACKAGE[:256], Block(0, True, 4)), 0.0)
    assert decode_block(first.reply.options[0][1]).szx == 2
    # 256 bytes are four blocks of 64: number 4 is next.
    assert work.receive(put(PACKAGE[256:320], Block(4, True, 2)), 0.0).data == PACKAGE[256:320]


def test_a_package_that_says_it_is_too_large_is_4_13_with_the_limit() -> None:
    code, options = refused(push(limit=1000), put(*block_of(0), size=1001))
    assert code == Code.REQUEST_ENTITY_TOO_LARGE and options[0][0] == SIZE1 and decode_uint(options[0][1]) == 1000


def test_old_zephyr_knows_a_transfer_by_its_token_and_new_zephyr_does_not() -> None:
    for client, belongs in (("zephyr", True), ("zephyr-old", False)):
        work = push(client)
        work.receive(put(*block_of(0), token=b"one"), 0.0)
        if belongs:
            assert work.receive(put(*block_of(1), token=b"two"), 0.0).data
        else:
            assert refused(work, put(*block_of(1), token=b"two"))[0] == Code.REQUEST_ENTITY_INCOMPLETE


def test_formats_a_client_does_not_take_are_4_15() -> None:
    assert refused(push("zephyr"), put(b"x", None, 11542))[0] == Code.UNSUPPORTED_CONTENT_FORMAT
    assert refused(push("zephyr"), put(b"x", None, 110))[0] == Code.UNSUPPORTED_CONTENT_FORMAT
    assert push("zephyr").receive(put(b"x", None, None), 0.0).data == b"x"


@pytest.mark.parametrize("block", [Block(0, True, 4), Block(0, False, 0)], ids=["short", "long"])
def test_a_block_of_another_length_than_it_says_is_4_00(block: Block) -> None:
    assert refused(push(), put(PACKAGE[:100], block))[0] == Code.BAD_REQUEST


@given(
    st.sampled_from(sorted(PROFILES)),
    st.lists(
        st.tuples(
            st.binary(max_size=80),
            st.none() | st.binary(max_size=4),
            st.sampled_from([None, 42, 60, 11542, 110]),
            st.none() | st.binary(max_size=6),
        ),
        max_size=6,
    ),
)
def test_whatever_is_pushed_is_taken_or_refused(
    client: str, requests: list[tuple[bytes, bytes | None, int | None, bytes | None]]
) -> None:
    work = push(client)
    for payload, block1, content_format, size1 in requests:
        options = [] if content_format is None else [(CONTENT_FORMAT, encode_uint(content_format))]
        options += [] if block1 is None else [(BLOCK1, block1)]
        options += [] if size1 is None else [(SIZE1, size1)]
        try:
            piece = work.receive(Message(Type.CON, Code.PUT, 1, b"t", tuple(options), payload), 0.0)
            assert piece.reply.code in (Code.CONTINUE, Code.CHANGED)
        except Refused as refusal:
            assert refusal.reply.code >> 5 == 4
