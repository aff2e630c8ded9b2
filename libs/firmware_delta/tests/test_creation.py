"""Making deltas: the same bytes every time, the smallest kept, in detools' spelling."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_delta import Compression, DecodeError, crle
from firmware_delta.creation import create
from firmware_delta.crle import Crle
from firmware_delta.sizes import is_complete, pack_signed, pack_unsigned, unpack_signed, unpack_unsigned
from firmware_delta.testing import firmware, make_pair

# Taken from detools 0.53's own packer.
SPELLINGS = [
    (0, "00"),
    (1, "01"),
    (63, "3f"),
    (64, "8001"),
    (8191, "bf7f"),
    (8192, "808001"),
    (-1, "41"),
    (-64, "c001"),
    (-1000, "e80f"),
]


@pytest.mark.parametrize(("value", "spelling"), SPELLINGS)
def test_numbers_are_spelled_as_detools_does(value: int, spelling: str) -> None:
    assert pack_signed(value).hex() == spelling
    assert unpack_signed(bytes.fromhex(spelling)) == value


@given(st.integers(-(1 << 33), 1 << 33))
def test_numbers_are_read_back(value: int) -> None:
    packed = pack_signed(value)
    assert [is_complete(packed[:length]) for length in range(len(packed) + 1)] == [False] * len(packed) + [True]
    assert unpack_signed(packed) == value
    assert unpack_unsigned(pack_unsigned(abs(value))) == abs(value)


def test_number_that_does_not_end_is_refused_at_its_fifth_byte() -> None:
    assert not any(is_complete(b"\x80" * length) for length in range(5))
    with pytest.raises(DecodeError, match="more than 5 bytes"):
        is_complete(b"\x80" * 5)


@given(st.binary(min_size=1, max_size=6))
def test_every_number_has_one_spelling(raw: bytes) -> None:
    for pack, unpack in ((pack_signed, unpack_signed), (pack_unsigned, unpack_unsigned)):
        try:
            if is_complete(raw) and not any(is_complete(raw[:length]) for length in range(len(raw))):
                assert pack(unpack(raw)) == raw
        except DecodeError:
            pass


@given(st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 20)), max_size=20))
def test_runs_are_packed_and_unpacked(parts: list[tuple[bytes, int]]) -> None:
    data = b"".join(part * count for part, count in parts)
    stream = Crle()
    assert b"".join(stream.decompress(crle.compress(data))) == data
    stream.finish()


def test_smallest_packing_is_kept() -> None:
    base = firmware(1, 20_000)
    one_place = base[:9000] + b"\x00new\x00" + base[9005:]
    # As when a function grew and all that calls what lies behind it changed by the same amount.
    many_alike = bytes((byte + (at % 40 == 0)) & 0xFF for at, byte in enumerate(base))
    for target, smallest in ((one_place, Compression.CRLE), (many_alike, Compression.HEATSHRINK)):
        made = create(base, target)
        assert made.header.compression is smallest
        assert made.data == min((create(base, target, (each,)).data for each in Compression), key=len)


def test_every_process_makes_the_same_bytes() -> None:
    pair = make_pair(5_000, 10, Compression.HEATSHRINK)
    program = (
        "import sys\nfrom firmware_delta.creation import create\n"
        "base, target = (bytes.fromhex(line) for line in sys.stdin)\nprint(create(base, target).data.hex())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=f"{pair.base.hex()}\n{pair.target.hex()}",
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert made == {create(pair.base, pair.target).data.hex()}


def test_delta_of_a_near_image_is_a_small_part_of_it() -> None:
    pair = make_pair(60_000, 100, Compression.HEATSHRINK)
    assert len(pair.delta) < len(pair.target) // 10
