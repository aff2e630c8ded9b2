"""Writes firmware/vectors/deltas/: deltas that are right and deltas that lie, for every decoder of the house.

Python and C read the same files, so both have one opinion of every delta. Deterministic: a test writes them again and
compares.
"""

import json
import random
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from firmware_delta import HEADER_BYTES, Compression, DecodeError, apply, encode_header
from firmware_delta.creation import create, pack
from firmware_delta.sizes import pack_signed
from firmware_delta.testing import firmware, release

FOLDER: Final = Path(__file__).resolve().parent.parent / "firmware" / "vectors" / "deltas"
CRLE, HEATSHRINK = Compression.CRLE, Compression.HEATSHRINK
# LwM2M's results for a package (OMA-TS-LightweightM2M_Core, object 5, resource 5); 0 here is "applied".
GOOD, INTEGRITY, UNSUPPORTED = 0, 5, 6


@dataclass(frozen=True, slots=True)
class Case:
    """One delta and what must become of it."""

    name: str
    about: str
    base: bytes
    target: bytes
    delta: bytes
    result: int = GOOD

    def as_json(self) -> dict[str, Any]:
        """As the files hold it."""
        binary = {key: b64encode(getattr(self, key)).decode() for key in ("base", "target", "delta")}
        return {"name": self.name, "about": self.about, "result": self.result, **binary}


BASE: Final = firmware(4, 400)
NEXT: Final = release(BASE, 5, 4)
PATCHED: Final = BASE[:300] + bytes([BASE[300] ^ 1]) + BASE[301:]


def good() -> Iterator[Case]:
    """Deltas to be applied."""
    pairs = (
        ("release", "a few edits, as between two versions", BASE, NEXT),
        ("one-byte", "one byte changed", BASE, PATCHED),
        ("same", "base and result are equal", BASE, BASE),
        ("empty-base", "nothing to start from: all of it is extra", b"", firmware(6, 300)),
        ("turned", "the halves exchanged: the base is read forwards and backwards", BASE, BASE[150:] + BASE[:150]),
        ("shorter", "a shorter result", BASE, BASE[60:260]),
        (
            "longer",
            "three times the base, and a run longer than any buffer, its size of three bytes",
            BASE,
            BASE * 3 + b"\xff" * 17_000 + NEXT,
        ),
        ("foreign", "nothing in common", BASE, random.Random(7).randbytes(200)),
        ("one", "one byte", b"", b"\x55"),
    )
    for name, about, base, target in pairs:
        for compression in Compression:
            made = create(base, target, (compression,))
            yield Case(f"{name}-{compression.name.lower()}", about, base, target, made.data)
    # As bits: 0, one byte back, two bytes | then literals. Encoders do write such copies.
    bits = "0" + f"{0:08b}" + f"{1:07b}" + "".join(f"1{byte:08b}" for byte in b"\x03abc\x00")
    stream = int(bits + "0" * (-len(bits) % 8), 2).to_bytes((len(bits) + 7) // 8, "big")
    about = "a copy from the window as it is before anything was written"
    yield Case("zeros-before-the-stream", about, b"", b"abc", packed(b"", b"abc", HEATSHRINK, stream))


def packed(base: bytes, target: bytes, compression: Compression, stream: bytes) -> bytes:
    """The delta of a stream that is compressed already."""
    empty = pack(base, target, b"", compression)
    header = replace(empty.header, patch_size=empty.header.patch_size + len(stream))
    return encode_header(header) + empty.data[HEADER_BYTES:] + stream


def lying_containers() -> Iterator[Case]:
    """A good patch in a container that is not its own."""
    for compression in Compression:
        made = create(BASE, NEXT, (compression,))
        header, patch = made.header, made.data[HEADER_BYTES:]
        word = compression.name.lower()

        def case(name: str, about: str, delta: bytes, result: int = INTEGRITY, *, word: str = word) -> Case:
            return Case(f"{name}-{word}", about, BASE, NEXT, delta, result)

        def byte(at: int, value: int, *, data: bytes = made.data) -> bytes:
            return data[:at] + bytes([value]) + data[at + 1 :]

        yield case("version-2", "a version nobody knows", byte(4, 2), UNSUPPORTED)
        yield case("header-of-89", "a header of another length", byte(5, 89), UNSUPPORTED)
        yield case("flag", "a flag nobody knows", byte(6, 1), UNSUPPORTED)
        yield case("high-flag", "a flag nobody knows", byte(7, 0x80), UNSUPPORTED)
        yield case("compression-0", "a compression nobody knows", byte(20, 0), UNSUPPORTED)
        yield case("compression-3", "a compression nobody knows", byte(20, 3), UNSUPPORTED)
        yield case("window", "another window", byte(21, 9), UNSUPPORTED)
        yield case("lookahead", "another lookahead", byte(22, 4), UNSUPPORTED)
        yield case("reserved", "the reserved byte is not 0", byte(23, 1), UNSUPPORTED)
        other = replace(header, compression=CRLE if compression is HEATSHRINK else HEATSHRINK)
        yield case("other-compression", "the patch is packed otherwise", encode_header(other) + patch)
        for name, about, lie in (
            ("base-longer", "one byte more of base", {"from_size": header.from_size + 1}),
            ("base-shorter", "one byte less of base", {"from_size": header.from_size - 1}),
            ("base-other", "the hash of another base", {"from_sha256": bytes(32)}),
            ("result-longer", "one byte more of result", {"to_size": header.to_size + 1}),
            ("result-shorter", "one byte less of result", {"to_size": header.to_size - 1}),
            ("result-other", "the hash of another result", {"to_sha256": bytes(32)}),
            ("patch-longer", "one byte more of patch than comes", {"patch_size": header.patch_size + 1}),
            ("patch-shorter", "one byte less of patch than comes", {"patch_size": header.patch_size - 1}),
        ):
            yield case(name, about, encode_header(replace(header, **lie)) + patch)
        yield case("cut-in-header", "the header is not complete", made.data[: HEADER_BYTES - 1])
        yield case("no-patch", "the header alone", made.data[:HEADER_BYTES])
        yield case("cut-in-half", "half of the patch", made.data[: HEADER_BYTES + len(patch) // 2])
        yield case("cut-by-one", "all but the last byte", made.data[:-1])
        yield case("surplus", "one byte behind the end", made.data + b"\x00")
        more = encode_header(replace(header, patch_size=header.patch_size + 1))
        yield case("announced-surplus", "one byte behind the end, and the container says so", more + patch + b"\x00")
        yield case("in-place", "an in-place patch, says its first byte", byte(HEADER_BYTES, patch[0] | 0x10))
        yield case("lzma", "packed by lzma, says its first byte", byte(HEADER_BYTES, 1))
        yield case("other-size", "the patch names another size of result", byte(HEADER_BYTES + 1, patch[1] ^ 1))
        for at in range(HEADER_BYTES, len(made.data), max(1, len(patch) // 12)):
            flipped = byte(at, made.data[at] ^ 1 << at % 8)
            # Some bits do not matter, such as those of the last move: then the result is right, and good.
            yield case(f"flip-at-{at}", "one bit", flipped, INTEGRITY if refused(flipped) else GOOD)
        if compression is HEATSHRINK:
            yield case("bits", "the patch names another lookahead", byte(HEADER_BYTES + 3, 0x43))


def refused(delta: bytes) -> bool:
    """Whether nothing comes of a delta from BASE."""
    try:
        apply(delta, BASE)
    except DecodeError:
        return True
    return False


def lying_streams() -> Iterator[Case]:
    """Honest containers and packing around a stream that is wrong; base and result are both `abcdefgh`."""
    n, text = pack_signed, b"abcdefgh"
    keep = n(8) + bytes(8)  # a diff that gives the base again
    streams = (
        ("data-format", "a data format follows", n(1) + n(0) + b"\x00" + keep + n(0) + n(0)),
        ("negative-format", "a data format of less than nothing", n(-1) + keep + n(0) + n(0)),
        ("negative-diff", "a diff of less than nothing", n(0) + n(-1) + n(8) + text + n(0)),
        ("negative-extra", "an extra of less than nothing", n(0) + keep + n(-1) + n(0)),
        ("diff-behind-base", "a diff that reads behind the base", n(0) + n(0) + n(0) + n(1) + keep + n(0) + n(0)),
        ("move-before-base", "a move to before the base", n(0) + n(4) + bytes(4) + n(4) + b"efgh" + n(-5)),
        ("move-behind-base", "a move to behind the base", n(0) + keep + n(0) + n(1)),
        ("extra-behind-result", "an extra longer than the result", n(0) + n(0) + n(9) + text + b"i" + n(0)),
        ("diff-behind-result", "more than the result in two chunks", n(0) + n(4) + bytes(4) + n(0) + n(-4) + keep),
        ("huge-extra", "an extra of 8 GiB", n(0) + n(0) + n(1 << 33) + text + n(0)),
        ("chunk-of-nothing", "a chunk that neither gives nor moves", n(0) + n(0) * 3 + keep + n(0) + n(0)),
        (
            "later-chunk-of-nothing",
            "the same behind a chunk that gave",
            n(0) + n(0) + n(3) + b"abc" + n(3) + n(0) * 3 + n(5) + bytes(5) + n(0) * 2,
        ),
        ("many-chunks-of-nothing", "a million of them in few bytes", n(0) + n(0) * 3_000_000 + keep + n(0) + n(0)),
        ("long-number", "a number of six bytes", n(0) + b"\x88\x80\x80\x80\x80\x00" + bytes(8) + n(0) + n(0)),
        ("idle-byte", "a number with a byte it does not need", n(0) + b"\x88\x00" + bytes(8) + n(0) + n(0)),
        ("minus-zero", "a number with a sign and no value", n(0) + keep + n(0) + b"\x40"),
        ("no-last-move", "the last move is missing", n(0) + keep + n(0)),
        ("ends-early", "the stream ends inside a diff", n(0) + n(8) + bytes(5)),
        ("goes-on", "a byte behind the end of the stream", n(0) + keep + n(0) + n(0) + b"\x00"),
        ("no-stream", "no stream at all", b""),
        ("wrong-byte", "all is well but for one byte of the result", n(0) + n(0) + n(8) + b"abcdefgH" + n(0)),
    )
    for name, about, stream in streams:
        for compression in Compression:
            # Three million bytes would make heatshrink's packing 47 KB.
            if compression is HEATSHRINK and len(stream) > 10_000:
                continue
            delta = pack(text, text, stream, compression).data
            yield Case(f"{name}-{compression.name.lower()}", about, text, text, delta, INTEGRITY)
    whole = n(0) + keep + n(0) + n(0)
    segments = (
        ("kind-2", "a segment of a kind nobody knows", b"\x02" + bytes([len(whole)]) + whole),
        ("segment-of-nothing", "a segment of no bytes", b"\x00\x00\x00" + bytes([len(whole)]) + whole),
        ("segment-goes-on", "a segment longer than the patch", b"\x00" + bytes([len(whole) + 1]) + whole),
        ("run-too-long", "a run longer than the result", b"\x00\x02\x00\x08" + b"\x01\xff\xff\xff\xff\x0f\x00"),
        ("long-size", "a size of six bytes", b"\x00" + b"\x8c\x80\x80\x80\x80\x00" + whole),
    )
    for name, about, raw in segments:
        yield Case(f"{name}-crle", about, text, text, packed(text, text, CRLE, raw), INTEGRITY)
    delta = pack(text, text, whole, HEATSHRINK).data
    about = "a one among the bits that fill the last byte"
    yield Case("padding-heatshrink", about, text, text, delta[:-1] + bytes([delta[-1] | 1]), INTEGRITY)


def files() -> dict[str, str]:
    """Name and content of every file."""
    groups = {"good": good(), "lying-containers": lying_containers(), "lying-streams": lying_streams()}
    return {
        f"{name}.json": json.dumps([case.as_json() for case in cases], indent=1) + "\n"
        for name, cases in groups.items()
    }


def main() -> None:
    """Write them."""
    for name, content in files().items():
        (FOLDER / name).write_text(content)
        sys.stdout.write(f"{name}: {len(json.loads(content))} deltas, {len(content)} bytes\n")


if __name__ == "__main__":
    main()
