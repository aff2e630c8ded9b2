"""aiocoap's codec and ours read each other: all options, with values as RFC 7252 wants them, and hostile datagrams."""

from typing import Any

import aiocoap
from aiocoap import error as theirs
from aiocoap.message import Direction
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coap_wire import Block, Code, DecodeError, Message, Options, Type, decode, encode, encode_block, encode_uint
from coap_wire import options as option
from coap_wire.testing import hostile_datagrams

_UINTS = st.integers(0, 0xFFFFFFFF).map(encode_uint)
# aiocoap refuses a Uri-Path of `.` or `..` to be set, and normalises no text: any other comes back as it is.
_TEXTS = st.text(max_size=40).map(str.encode)
_BYTES = st.binary(max_size=300)
_BLOCKS = st.builds(Block, st.integers(0, (1 << 20) - 1), st.booleans(), st.integers(0, 6)).map(encode_block)
# What a value of each known option is; every other number is opaque to both.
_VALUES = {
    option.IF_MATCH: _BYTES,
    option.URI_HOST: _TEXTS,
    option.ETAG: _BYTES,
    option.IF_NONE_MATCH: st.just(b""),
    option.OBSERVE: _UINTS,
    option.URI_PORT: _UINTS,
    option.LOCATION_PATH: _TEXTS,
    option.URI_PATH: _TEXTS,
    option.CONTENT_FORMAT: st.integers(0, 0xFFFF).map(encode_uint),
    option.MAX_AGE: _UINTS,
    option.URI_QUERY: _TEXTS,
    option.HOP_LIMIT: _UINTS,
    option.ACCEPT: st.integers(0, 0xFFFF).map(encode_uint),
    option.LOCATION_QUERY: _TEXTS,
    option.BLOCK2: _BLOCKS,
    option.BLOCK1: _BLOCKS,
    option.SIZE2: _UINTS,
    option.PROXY_URI: _TEXTS,
    option.PROXY_SCHEME: _TEXTS,
    option.SIZE1: _UINTS,
    option.ECHO: _BYTES,
    option.NO_RESPONSE: _UINTS,
    option.REQUEST_TAG: _BYTES,
    # Nobody's: below 13, below 269 and above, where a delta takes none, one and two bytes more.
    2: _BYTES,
    199: _BYTES,
    2049: _BYTES,
    65_001: _BYTES,
}
_OPTIONS = st.lists(
    st.sampled_from(sorted(_VALUES)).flatmap(lambda number: st.tuples(st.just(number), _VALUES[number])), max_size=10
).map(lambda options: tuple(sorted(options, key=lambda one: one[0])))
_MESSAGES = st.builds(
    Message,
    type=st.sampled_from(Type),
    code=st.sampled_from([code for code in Code if code != Code.EMPTY]),
    mid=st.integers(0, 0xFFFF),
    token=st.binary(max_size=8),
    options=_OPTIONS,
    payload=st.binary(max_size=64),
)


def _options(message: Any) -> Options:
    return tuple((int(one.number), bytes(one.encode())) for one in message.opt.option_list())


@given(_MESSAGES)
@example(Message(Type.CON, Code.GET, 0, b"", ((13, b""), (269, b"x"), (538, b"y" * 13), (807, b"z" * 269))))
def test_aiocoap_reads_what_we_write(message: Message) -> None:
    read = aiocoap.Message.decode(encode(message))
    assert (int(read.mtype), int(read.code), read.mid, read.token) == (
        int(message.type),
        message.code,
        message.mid,
        message.token,
    )
    assert (_options(read), read.payload) == (message.options, message.payload)


@given(_MESSAGES)
def test_we_read_what_aiocoap_writes(message: Message) -> None:
    written = aiocoap.Message.decode(encode(message))
    written.direction = Direction.OUTGOING
    assert decode(written.encode()) == message


@settings(max_examples=60)
@given(st.integers(0, 1 << 32))
def test_hostile_datagrams_mean_the_same_to_both_or_are_refused_by_us(seed: int) -> None:
    for datagram in hostile_datagrams(seed, 30, good=[b"\x42\x01\x12\x34ab\xb1f\x03abc\xff{}"]):
        try:
            ours = decode(datagram)
        except DecodeError:
            continue
        try:
            read = aiocoap.Message.decode(datagram)
        except (theirs.UnparsableMessage, UnicodeDecodeError, ValueError):
            # aiocoap reads the values, too: text that is no UTF-8, blocks of a reserved size.
            continue
        assert (read.mid, read.token, read.payload) == (ours.mid, ours.token, ours.payload)
        assert [int(one.number) for one in read.opt.option_list()] == [number for number, _ in ours.options]
