"""The vectors all decoders share (firmware/vectors/deltas), in one piece and byte by byte."""

import json
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from firmware_delta import HEADER_BYTES, DecodeError, Decoder, Unsupported, apply, decode_header
from firmware_delta.testing import Pair

FOLDER = Path(__file__).resolve().parents[3] / "firmware" / "vectors" / "deltas"


def vectors() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.json")):
        for case in json.loads(path.read_text()):
            binary = (b64decode(case[key]) for key in ("base", "target", "delta"))
            yield pytest.param(*binary, case["result"], id=case["name"])


def byte_by_byte(delta: bytes, base: bytes) -> bytes:
    """What a device makes of it that loses power after every byte."""
    header, read_base = decode_header(delta), Pair(base, b"", delta).read_base
    if header.from_sha256 != sha256(base).digest() or header.from_size != len(base):
        raise DecodeError("made for another base")
    decoder, result = Decoder(header, read_base), b""
    for byte in delta[HEADER_BYTES:]:
        result += decoder.feed(bytes([byte]))
        decoder = Decoder.restore(header, read_base, decoder.dump())
    decoder.finish()
    if sha256(result).digest() != header.to_sha256:
        raise DecodeError("the result is not what the container says")
    return result


def verdict(attempt: Any, delta: bytes, base: bytes, target: bytes) -> int:
    try:
        assert attempt(delta, base) == target
    except Unsupported:
        return 6
    except DecodeError:
        return 5
    return 0


@pytest.mark.parametrize(("base", "target", "delta", "result"), list(vectors()))
def test_every_vector_has_its_verdict(base: bytes, target: bytes, delta: bytes, result: int) -> None:
    assert verdict(apply, delta, base, target) == result
    assert verdict(byte_by_byte, delta, base, target) == result
