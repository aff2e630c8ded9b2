"""Packs what Python and the C core must agree on into one file that a microcontroller can read.

    records u32, then for each: kind u8, verdict u8, bytes of the name u16, bytes of three parts u32 each, name, parts

    kind 1  an image: image, what the parser found
    kind 2  a delta: base, delta, result
    kind 3  an image, each bit of it turned around in its turn: image, verdicts
    kind 4  the same of a delta: base, delta, verdicts
    kind 5  a package for a device: running image, package, image that must be in secondary
    kind 6  object 5's moves: a byte for each pair of states, 1 where a device may go from the one to the other

Verdicts are results of object 5. They are Python's own: what `mcuboot_image` and `firmware_delta` say of the bytes.
All numbers are little endian, all names end with a zero byte.
"""

import gzip
import hashlib
import json
import struct
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_delta import Compression, DecodeError, Unsupported, apply, decode_header
from firmware_delta.creation import create
from firmware_delta.testing import firmware, release
from lwm2m.firmware import TRANSITIONS, State
from mcuboot_image import DecodeError as ImageError
from mcuboot_image import VerificationError, image_hash, parse
from mcuboot_image.image import (
    DEPENDENCY,
    ECDSA,
    ED25519,
    KEYHASH,
    PROTECTED_ONLY,
    RSA2048,
    RSA3072,
    SECURITY_COUNTER,
    SHA256,
    Image,
)
from softdevice import images

VECTORS: Final = Path(__file__).resolve().parent.parent / "firmware" / "vectors"
IMAGE, DELTA, IMAGE_FLIPS, DELTA_FLIPS, PACKAGE, MOVES = range(1, 7)
GOOD, NOT_ENOUGH_FLASH, INTEGRITY, UNSUPPORTED = 0, 2, 5, 6
# What the strict flash of the C tests has room for (firmware/core/tests/flash_model.h).
ROOM_BYTES: Final = 160 * 1024
VENDOR: Final = 0xA0
SIGNATURES: Final = (ECDSA, ED25519, RSA2048, RSA3072)


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to be judged; `parts` are up to three."""

    kind: int
    verdict: int
    name: str
    parts: tuple[bytes, ...]

    def encode(self) -> bytes:
        """As the file holds it."""
        name = self.name.encode() + b"\0"
        parts = (*self.parts, b"", b"")[:3]
        return struct.pack("<BBH3I", self.kind, self.verdict, len(name), *map(len, parts)) + name + b"".join(parts)


def encode(records: list[Record]) -> bytes:
    """The whole file."""
    return struct.pack("<I", len(records)) + b"".join(record.encode() for record in records)


def image_verdict(data: bytes) -> tuple[int, bytes]:
    """What a device may say of an image, and the facts of a good one: `verify` without the signature's arithmetic."""
    try:
        image = parse(data)
        algorithm, _ = image_hash(image)
    except (ImageError, VerificationError):
        return INTEGRITY, b""
    whole = image.total_size == len(data) and any(tlv.type in SIGNATURES for tlv in image.tlvs)
    loose = any(tlv.type in (*PROTECTED_ONLY, VENDOR) and not tlv.protected for tlv in image.tlvs)
    return (GOOD, facts(image)) if whole and not loose and algorithm == "sha256" else (INTEGRITY, b"")


def facts(image: Image) -> bytes:
    """What both parsers must have found."""
    header, version = image.header, image.header.version
    wanted = (SHA256,), (KEYHASH,), SIGNATURES, (SECURITY_COUNTER,), (DEPENDENCY,), (VENDOR,)
    has = sum(any(tlv.type in kinds for tlv in image.tlvs) << bit for bit, kinds in enumerate(wanted))
    key_hash = image.tlv(KEYHASH)
    return struct.pack(
        "<11I32s",
        *(version.major, version.minor, version.revision, version.build),
        *(header.header_size, header.image_size, image.hashed_size, image.total_size, header.flags),
        *(image.security_counter or 0, has),
        key_hash.value if key_hash else b"",
    )


def delta_verdict(delta: bytes, base: bytes) -> int:
    """What a device must say of a delta on this base."""
    if not delta.startswith(b"UDLT"):
        return UNSUPPORTED
    try:
        header = decode_header(delta)
        if header.from_sha256 == hashlib.sha256(base).digest() and header.to_size > ROOM_BYTES:
            return NOT_ENOUGH_FLASH
        apply(delta, base)
    except Unsupported:
        return UNSUPPORTED
    except DecodeError:
        return INTEGRITY
    return GOOD


def flipped(data: bytes) -> Iterator[bytes]:
    """`data` with each of its bits turned around, one at a time."""
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def mcuboot_images() -> Iterator[Record]:
    """The images that MCUboot itself was recorded with, whole, cut and with something behind them."""
    recorded = json.loads(gzip.decompress((VECTORS / "mcuboot" / "images.json.gz").read_bytes()))
    for name, entry in recorded["images"].items():
        whole = b64decode(entry["base64"])
        for what, data in (("", whole), ("/cut", whole[:-1]), ("/longer", whole + b"\xff"), ("/body", _worn(whole))):
            verdict, found = image_verdict(data)
            yield Record(IMAGE, verdict, name + what, (data, found))


def _worn(image: bytes) -> bytes:
    return image[:100] + bytes([image[100] ^ 0x80]) + image[101:]


def deltas() -> Iterator[Record]:
    """The deltas of firmware/vectors/deltas, and some of them with every bit turned around."""
    for path in sorted((VECTORS / "deltas").glob("*.json")):
        for case in json.loads(path.read_text()):
            base, target, delta = (b64decode(case[key]) for key in ("base", "target", "delta"))
            # A device tells a delta by its magic: anything else is of no kind it knows.
            verdict = case["result"] if delta.startswith(b"UDLT") else UNSUPPORTED
            yield Record(DELTA, verdict, case["name"], (base, delta, target))
            if case["name"] in ("release-crle", "release-heatshrink"):
                verdicts = bytes(delta_verdict(changed, base) for changed in flipped(delta))
                yield Record(DELTA_FLIPS, GOOD, case["name"] + "/flips", (base, delta, verdicts))


def built_image(body: bytes, version: int) -> bytes:
    """An image that is right for everybody who does not check signatures: the same bytes in every run."""
    protected = struct.pack("<HHHHIHH6s", 0x6908, 22, SECURITY_COUNTER, 4, version, VENDOR, 6, b"normal")
    header = struct.pack("<IIHHIIBBHII", 0x96F3B83D, 0, 32, len(protected), len(body), 0, version, 0, 0, 0, 0)
    hashed = header + body + protected
    entries = struct.pack(
        "<HH32sHH32sHH70s", SHA256, 32, hashlib.sha256(hashed).digest(), KEYHASH, 32, b"", ECDSA, 70, b""
    )
    return hashed + struct.pack("<HH", 0x6907, 4 + len(entries)) + entries


def packages() -> Iterator[Record]:
    """Whole updates: made ones, and the step between two real Zephyr builds, signed by imgtool."""
    small = built_image(b"nothing much", 1)
    verdicts = bytes(image_verdict(changed)[0] for changed in flipped(small))
    yield Record(IMAGE_FLIPS, GOOD, "built/flips", (small, verdicts))
    body = firmware(7, 6000)
    key = images.new_key()
    real = [images.sign(images.zephyr_payload(name), "1.0.0", key) for name in images.ZEPHYR_PACKAGES]
    pairs = (("built", built_image(body, 1), built_image(release(body, 7, 20), 2)), ("zephyr", real[0], real[1]))
    for name, base, target in pairs:
        assert image_verdict(base)[0] == image_verdict(target)[0] == GOOD
        yield Record(PACKAGE, GOOD, f"{name}/full", (base, target, target))
        for compression in Compression:
            delta = create(base, target, (compression,)).data
            yield Record(PACKAGE, GOOD, f"{name}/{compression.name.lower()}", (base, delta, target))
        yield Record(PACKAGE, INTEGRITY, f"{name}/other-base", (target, delta, b""))


def moves() -> Record:
    """What the server expects a device to do (`lwm2m.firmware`)."""
    return Record(MOVES, GOOD, "moves", (bytes(to in TRANSITIONS[state] for state in State for to in State),))


def write(path: Path) -> int:
    """Write the file; returns how many records it has."""
    records = [*mcuboot_images(), *deltas(), *packages(), moves()]
    path.write_bytes(encode(records))
    return len(records)


def seeds() -> Iterator[bytes]:
    """Inputs a fuzzer may begin with: two bytes that choose door and pieces, then an image or a delta."""
    yield b"\x00\x00" + built_image(b"nothing much", 1)
    yield b"\x01\x0f" + built_image(firmware(3, 500), 1)
    yield b"\x05\x00" + bytes([0, 8, 5, 12, 15, 0, 9, 5, 6, 2, 1, 10, 1, 7])
    for record in deltas():
        if record.kind == DELTA and len(record.parts[1]) < 500:
            yield b"\x02\x10" + record.parts[1]
