"""A patch comes in pieces of any size, with power cuts between them, and always gives the same image."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_delta import MAX_DUMP_BYTES, Compression, DecodeError, Decoder, apply, decode_header
from firmware_delta.creation import create
from firmware_delta.testing import Pair, make_pair

IMAGES = st.binary(max_size=300)
EDITS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40), st.binary(max_size=40)), max_size=5)


@pytest.fixture(params=list(Compression), ids=lambda it: it.name.lower())
def pair(request: pytest.FixtureRequest) -> Pair:
    """A small pair, in each compression."""
    return make_pair(400, 3, request.param)


@given(IMAGES, IMAGES, st.sampled_from(Compression))
def test_delta_between_any_two_images_gives_the_second(base: bytes, target: bytes, compression: Compression) -> None:
    assert apply(create(base, target, (compression,)).data, base) == target


@given(st.binary(min_size=200, max_size=600), EDITS, st.sampled_from(Compression))
def test_delta_between_related_images_gives_the_second(
    base: bytes, edits: list[tuple[int, int, bytes]], compression: Compression
) -> None:
    target = bytearray(base * 2)
    for at, removed, inserted in edits:
        target[at : at + removed] = inserted
    assert apply(create(base, bytes(target), (compression,)).data, base) == target


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize(
    ("base", "target"),
    [
        (b"", b""),
        (b"", b"a"),
        (b"a", b""),
        (b"a", b"a"),
        (b"a" * 5000, b"a" * 5000),
        (b"a" * 5000, b"a" * 90_000),
        (bytes(70_000), b"\xff" * 70_000),
        (bytes(range(256)) * 40, bytes(reversed(range(256))) * 40),
    ],
    ids=lambda image: f"{len(image)}x{image[:1].hex()}",
)
def test_odd_pairs_survive(base: bytes, target: bytes, compression: Compression) -> None:
    assert apply(create(base, target, (compression,)).data, base) == target


def test_every_cut_in_two_gives_the_same_image(pair: Pair) -> None:
    for cut in range(len(pair.patch) + 1):
        decoder = pair.decoder()
        result = decoder.feed(pair.patch[:cut]) + decoder.feed(pair.patch[cut:])
        decoder.finish()
        assert result == pair.target


def test_patch_may_come_byte_by_byte(pair: Pair) -> None:
    decoder = pair.decoder()
    result = b"".join(decoder.feed(bytes([byte])) for byte in pair.patch)
    decoder.finish()
    assert result == pair.target
    assert (decoder.consumed, decoder.written) == (len(pair.patch), len(pair.target))


@given(st.data())
@settings(max_examples=50)
def test_patch_may_come_in_any_pieces(data: st.DataObject) -> None:
    base = bytes(range(200)) * 3
    delta = create(base, base[100:] + b"new" * 50 + base[:300]).data
    header, patch = decode_header(delta), delta[88:]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(patch)), max_size=8)))
    decoder = Decoder(header, lambda offset, length: base[offset : offset + length])
    result = b"".join(decoder.feed(patch[start:end]) for start, end in pairwise([0, *cuts, len(patch)]))
    decoder.finish()
    assert result == apply(delta, base)


def test_power_may_fail_after_every_byte(pair: Pair) -> None:
    decoder, result = pair.decoder(), b""
    for byte in pair.patch:
        dump = decoder.dump()
        assert len(dump) <= MAX_DUMP_BYTES
        decoder = Decoder.restore(pair.header, pair.read_base, dump)
        assert decoder.dump() == dump
        result += decoder.feed(bytes([byte]))
        assert decoder.written == len(result)
    decoder = Decoder.restore(pair.header, pair.read_base, decoder.dump())
    decoder.finish()
    assert result == pair.target


@pytest.mark.parametrize("compression", Compression)
def test_real_size_comes_in_blocks_with_a_power_cut_at_each(compression: Compression) -> None:
    pair = make_pair(120_000, 150, compression)
    decoder, result = pair.decoder(), b""
    for start in range(0, len(pair.patch), 512):
        decoder = Decoder.restore(pair.header, pair.read_base, decoder.dump())
        result += decoder.feed(pair.patch[start : start + 512])
    decoder.finish()
    assert result == pair.target


def test_damaged_state_is_refused(pair: Pair) -> None:
    decoder = pair.decoder()
    decoder.feed(pair.patch[: len(pair.patch) // 2])
    dump = decoder.dump()
    damaged = [dump[:at] + bytes([dump[at] ^ 1 << bit]) + dump[at + 1 :] for at in range(len(dump)) for bit in range(8)]
    torn = [dump[:length] for length in range(len(dump))]
    for state in (*damaged, *torn, dump + b"\x00", random.Random(1).randbytes(len(dump))):
        with pytest.raises(DecodeError):
            Decoder.restore(pair.header, pair.read_base, state)


def test_state_of_another_delta_is_refused() -> None:
    one, other = (make_pair(size, 3, Compression.HEATSHRINK) for size in (400, 500))
    with pytest.raises(DecodeError, match="another delta"):
        Decoder.restore(other.header, other.read_base, one.decoder().dump())


def test_decoder_that_refused_refuses_for_ever(pair: Pair) -> None:
    decoder = pair.decoder()
    decoder.feed(pair.patch[:10])
    with pytest.raises(DecodeError):
        decoder.feed(pair.patch)
    for call in (lambda: decoder.feed(pair.patch[10:]), decoder.finish, decoder.dump):
        with pytest.raises(DecodeError, match="refused before"):
            call()


def test_base_that_ends_early_is_refused(pair: Pair) -> None:
    decoder = Decoder(pair.header, lambda offset, length: pair.base[offset : offset + length][:-1])
    with pytest.raises(DecodeError, match="base ends early"):
        decoder.feed(pair.patch)
