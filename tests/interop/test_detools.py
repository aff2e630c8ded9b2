"""detools, whose patch format is in our deltas: it applies ours, we apply its, on real firmware.

Compiled from its source package; its Python and C parts are one program there (the C decoder for devices is not in it).
"""

import random
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from strangers import detools

from firmware_delta import HEADER_BYTES, Compression, DecodeError, Header, apply, encode_header
from firmware_delta.creation import create
from firmware_delta.testing import Pair, firmware, make_pair, release
from updraft_local.firmware import Firmware

CODE = firmware(1, 30_000)
PAIRS = ["real update", "real way back", "generated", "turned", "one byte", "same", "from nothing", "nothing in common"]


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest, bench: Firmware) -> tuple[bytes, bytes]:
    """A base and a target; the real ones are two signed builds of Zephyr."""
    old, new = bench.old.read_bytes(), bench.new.read_bytes()
    return {
        "real update": (old, new),
        "real way back": (new, old),
        "generated": (CODE, release(CODE, 2, 60)),
        "turned": (CODE, CODE[9000:] + CODE[:9000]),
        "one byte": (CODE, CODE[:5000] + b"!" + CODE[5001:]),
        "same": (CODE, CODE),
        "from nothing": (b"", CODE[:2000]),
        "nothing in common": (CODE, bytes(range(256)) * 9),
    }[request.param]


def run_detools(folder: Path, command: list[str], one: bytes, other: bytes) -> bytes:
    """What detools makes of two files."""
    (folder / "one").write_bytes(one)
    (folder / "other").write_bytes(other)
    subprocess.run(
        [detools(), *command, "one", "other", "made"], cwd=folder, check=True, capture_output=True, timeout=60
    )
    return (folder / "made").read_bytes()


def its_patch(folder: Path, base: bytes, target: bytes, compression: Compression) -> bytes:
    """A sequential patch by detools; 8 and 7 are its own defaults for heatshrink."""
    return run_detools(folder, ["create_patch", "-c", compression.name.lower()], base, target)


@pytest.mark.parametrize("compression", Compression)
def test_detools_applies_our_patch(pair: tuple[bytes, bytes], compression: Compression, tmp_path: Path) -> None:
    base, target = pair
    patch = create(base, target, (compression,)).data[HEADER_BYTES:]
    assert run_detools(tmp_path, ["apply_patch"], base, patch) == target


@pytest.mark.parametrize("compression", Compression)
def test_we_apply_the_patch_of_detools(pair: tuple[bytes, bytes], compression: Compression, tmp_path: Path) -> None:
    base, target = pair
    patch = its_patch(tmp_path, base, target, compression)
    hashes = sha256(base).digest(), sha256(target).digest()
    header = Header(len(base), len(target), len(patch), compression, *hashes)
    assert apply(encode_header(header) + patch, base) == target


@pytest.mark.parametrize("compression", Compression)
def test_our_patch_is_no_larger_than_two_percent_over_that_of_detools(
    bench: Firmware, compression: Compression, tmp_path: Path
) -> None:
    base, target = bench.old.read_bytes(), bench.new.read_bytes()
    ours = create(base, target, (compression,)).header.patch_size
    its = len(its_patch(tmp_path, base, target, compression))
    assert ours <= its * 1.02, f"{compression.name}: {ours} bytes, detools {its}"


def test_detools_gives_something_else_for_a_wrong_base_and_we_refuse(bench: Firmware, tmp_path: Path) -> None:
    # Why there is a container: the patch alone is applied to anything.
    base, target = bench.old.read_bytes(), bench.new.read_bytes()
    made = create(base, target)
    wrong = base[:1000] + bytes([base[1000] ^ 1]) + base[1001:]
    assert run_detools(tmp_path, ["apply_patch"], wrong, made.data[HEADER_BYTES:]) != target
    lying = encode_header(replace(made.header, from_sha256=sha256(wrong).digest())) + made.data[HEADER_BYTES:]
    for delta in (made.data, lying):
        with pytest.raises(ValueError, match=r"another base|not what the container says"):
            apply(delta, wrong)


APPLY_ALL = """
import io, sys
from hashlib import sha256
from detools import apply_patch
base = bytes.fromhex(sys.stdin.readline())
for line in sys.stdin:
    made = io.BytesIO()
    apply_patch(io.BytesIO(base), io.BytesIO(bytes.fromhex(line)), made)
    print(sha256(made.getvalue()).hexdigest())
"""


def without_hashes(pair: Pair, patch: bytes) -> bytes | None:
    """What our decoder alone makes of a patch as long as the pair's; None when it refuses."""
    decoder = pair.decoder()
    try:
        result = decoder.feed(patch)
        decoder.finish()
    except DecodeError:
        return None
    return result


@pytest.mark.parametrize("compression", Compression)
def test_damaged_patches_that_our_decoder_lets_through_mean_the_same_to_detools(compression: Compression) -> None:
    # The hash would refuse them; that both make the same of them says that both read the format alike.
    pair, dice = make_pair(3000, 12, compression), random.Random(5)
    let_through = {}
    for _ in range(1500):
        patch = bytearray(pair.patch)
        for _ in range(dice.randrange(1, 3)):
            patch[dice.randrange(len(patch))] = dice.randrange(256)
        if (result := without_hashes(pair, bytes(patch))) is not None:
            let_through[bytes(patch)] = sha256(result).hexdigest()
    lines = "\n".join([pair.base.hex(), *(patch.hex() for patch in let_through)])
    python = str(Path(detools()).with_name("python"))
    said = subprocess.run(
        [python, "-c", APPLY_ALL], input=lines, check=True, capture_output=True, text=True, timeout=60
    )
    assert said.stdout.split() == list(let_through.values())
    assert len(let_through) > 200
