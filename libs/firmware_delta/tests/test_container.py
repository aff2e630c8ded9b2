"""The 88 bytes before a patch: one layout, read back whole, and refused in two sorts."""

from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firmware_delta import HEADER_BYTES, Compression, DecodeError, Header, Unsupported, decode_header, encode_header

HEADER = Header(
    from_size=0x00012345,
    to_size=0x00023456,
    patch_size=0x00000678,
    compression=Compression.HEATSHRINK,
    from_sha256=sha256(b"base").digest(),
    to_sha256=sha256(b"result").digest(),
)
WIRE = (
    bytes.fromhex("55444c54 01 58 0000 45230100 56340200 78060000 02 08 07 00")
    + sha256(b"base").digest()
    + sha256(b"result").digest()
)
SIZES = st.integers(0, 0xFFFFFFFF)
HASHES = st.binary(min_size=32, max_size=32)


def test_layout_is_the_documented_one() -> None:
    assert encode_header(HEADER) == WIRE
    assert len(WIRE) == HEADER_BYTES
    assert decode_header(WIRE) == HEADER


@given(st.builds(Header, SIZES, SIZES, SIZES, st.sampled_from(Compression), HASHES, HASHES))
def test_header_is_read_back_as_it_was_written(header: Header) -> None:
    assert decode_header(encode_header(header)) == header


@pytest.mark.parametrize("at", [4, 5, 6, 7, 20, 21, 22, 23])
def test_every_other_form_is_unsupported(at: int) -> None:
    for value in range(256):
        if value != WIRE[at]:
            with pytest.raises(Unsupported):
                decode_header(WIRE[:at] + bytes([value]) + WIRE[at + 1 :])


@given(st.binary(max_size=100))
@example(WIRE[:-1])
@example(b"UDLT")
@example(b"")
def test_what_is_no_header_is_refused_as_damaged(data: bytes) -> None:
    with pytest.raises(DecodeError) as refusal:
        decode_header(data)
    assert not isinstance(refusal.value, Unsupported)


@given(st.binary(min_size=84, max_size=84))
def test_any_bytes_behind_the_magic_are_a_header_or_refused(data: bytes) -> None:
    wire = b"UDLT" + data
    try:
        assert encode_header(decode_header(wire)) == wire
    except DecodeError:
        pass
