"""Whatever happens to a delta on its way, what comes of it is the right image or a refusal."""

import random
import tracemalloc
from hashlib import sha256

import pytest

from firmware_delta import HEADER_BYTES, Compression, DecodeError, Decoder, Unsupported, apply, decode_header
from firmware_delta.testing import Pair, make_pair


@pytest.fixture(params=list(Compression), ids=lambda it: it.name.lower())
def pair(request: pytest.FixtureRequest) -> Pair:
    """A small pair, in each compression."""
    return make_pair(200, 2, request.param)


def outcome(delta: bytes, pair: Pair) -> str:
    """`right`, `refused`, or `hash` where only the hash of the result refused; fails on everything else."""
    try:
        assert apply(delta, pair.base) == pair.target
    except DecodeError as error:
        return "hash" if "result is not" in str(error) else "refused"
    return "right"


def changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def test_no_single_byte_of_any_value_makes_a_wrong_image(pair: Pair) -> None:
    outcomes = [
        outcome(changed(pair.delta, at, value), pair)
        for at in range(len(pair.delta))
        for value in range(256)
        if value != pair.delta[at]
    ]
    assert len(outcomes) == 255 * len(pair.delta)
    # The header is covered whole; in the patch a few values do not matter, such as the last move's.
    assert outcomes[: 255 * HEADER_BYTES].count("right") == 0
    assert outcomes.count("right") < len(outcomes) // 50
    assert outcomes.count("hash") > 100


@pytest.mark.parametrize("compression", Compression)
def test_no_flipped_bit_of_a_large_patch_makes_a_wrong_image(compression: Compression) -> None:
    pair, dice = make_pair(60_000, 120, compression), random.Random(11)
    outcomes = []
    for _ in range(150):
        at = dice.randrange(HEADER_BYTES, len(pair.delta))
        outcomes.append(outcome(changed(pair.delta, at, pair.delta[at] ^ 1 << dice.randrange(8)), pair))
    # Among long runs of zeros it does not matter from which of them heatshrink copies: there a flip is harmless.
    assert outcomes.count("right") < 50
    assert "hash" in outcomes and "refused" in outcomes


def test_delta_cut_anywhere_is_refused(pair: Pair) -> None:
    assert {outcome(pair.delta[:length], pair) for length in range(len(pair.delta))} == {"refused"}


@pytest.mark.parametrize("surplus", [b"\x00", b"\xff", b"\x00" * 600])
def test_surplus_bytes_are_refused(pair: Pair, surplus: bytes) -> None:
    assert outcome(pair.delta + surplus, pair) == "refused"
    # Also when they come as a piece of their own, after all was complete.
    decoder = pair.decoder()
    assert decoder.feed(pair.patch) == pair.target
    decoder.finish()
    with pytest.raises(DecodeError):
        decoder.feed(surplus)


def test_wrong_base_is_refused_before_the_patch_is_read(pair: Pair) -> None:
    for base in (pair.target, pair.base[:-1], pair.base + b"\x00", b"", changed(pair.base, 7, pair.base[7] ^ 1)):
        with pytest.raises(DecodeError, match="another base"):
            apply(pair.delta, base)


def test_random_bytes_are_refused(pair: Pair) -> None:
    dice = random.Random(3)
    for size in range(300):
        for head in (b"", pair.delta[:HEADER_BYTES], pair.delta[: HEADER_BYTES + 5]):
            assert outcome(head + dice.randbytes(size), pair) == "refused"


@pytest.mark.parametrize("huge", ["extra", "diff", "run"])
def test_lies_about_sizes_cost_no_memory(huge: str) -> None:
    # A result of 4 GiB from a base as large: all numbers fit, and the patch of some twenty bytes could go on for ever.
    header = decode_header(
        b"UDLT\x01\x58\x00\x00" + b"\xff" * 8 + b"\x40\x00\x00\x00" + b"\x01\x00\x00\x00" + sha256(b"").digest() * 2
    )
    prefix = b"\x02" + b"\xbf\xff\xff\xff\x1f"
    stream = {
        "extra": b"\x00\x07" + b"\x00\x00\xbf\xff\xff\xff\x1f" + b"\x01\xff\xff\xff\xff\x0f",
        "diff": b"\x00\x06" + b"\x00\xbf\xff\xff\xff\x1f" + b"\x01\xff\xff\xff\xff\x0f",
        "run": b"\x00\x01\x00" + b"\x01\xff\xff\xff\xff\x0f\x00",
    }[huge]
    decoder = Decoder(header, lambda _, length: bytes(length))
    tracemalloc.start()
    try:
        # The run's byte does not come, or comes and gives nothing.
        if huge == "run":
            with pytest.raises(DecodeError, match="chunk of nothing"):
                decoder.feed(prefix + stream)
        else:
            assert decoder.feed(prefix + stream) == b""
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("error", [Unsupported("new"), DecodeError("broken")])
def test_both_sorts_of_refusal_are_one_to_catch(error: DecodeError) -> None:
    assert isinstance(error, DecodeError) and isinstance(error, ValueError)
