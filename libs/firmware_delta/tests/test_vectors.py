"""The vectors all decoders share (firmware/vectors/deltas): each has its verdict, and each planted bug breaks one."""

import json
import sys
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import firmware_delta

ROOT = Path(__file__).resolve().parents[3]
SOURCES = Path(firmware_delta.__file__).parent


class Vector(NamedTuple):
    name: str
    base: bytes
    target: bytes
    delta: bytes
    result: int


def vectors() -> Iterator[Vector]:
    for path in sorted((ROOT / "firmware" / "vectors" / "deltas").glob("*.json")):
        for case in json.loads(path.read_text()):
            base, target, delta = (b64decode(case[key]) for key in ("base", "target", "delta"))
            yield Vector(case["name"], base, target, delta, case["result"])


VECTORS = tuple(vectors())


def byte_by_byte(library: Any, delta: bytes, base: bytes) -> bytes:
    """What a device makes of it that loses power after every byte."""

    def read_base(offset: int, length: int) -> bytes:
        assert offset >= 0 and length > 0 and offset + length <= len(base), "read outside the base"
        return base[offset : offset + length]

    header = library.decode_header(delta)
    if header.from_sha256 != sha256(base).digest() or header.from_size != len(base):
        raise library.DecodeError("made for another base")
    decoder, result = library.Decoder(header, read_base), b""
    for byte in delta[library.HEADER_BYTES :]:
        result += decoder.feed(bytes([byte]))
        decoder = library.Decoder.restore(header, read_base, decoder.dump())
    decoder.finish()
    if sha256(result).digest() != header.to_sha256:
        raise library.DecodeError("the result is not what the container says")
    return result


def verdicts(library: Any, vector: Vector) -> tuple[int, int]:
    """LwM2M's result (0: the target came out) in one piece, and byte by byte."""

    def verdict(result: Any) -> int:
        try:
            assert result() == vector.target
        except library.Unsupported:
            return 6
        except library.DecodeError:
            return 5
        return 0

    return (
        verdict(lambda: library.apply(vector.delta, vector.base)),
        verdict(lambda: byte_by_byte(library, vector.delta, vector.base)),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_every_vector_has_its_verdict(vector: Vector) -> None:
    assert verdicts(firmware_delta, vector) == (vector.result, vector.result)


BUGS = [
    ("container", "_BITS.get(compression) != (window, lookahead)", "compression not in _BITS"),
    ("container", "(version, size, flags, zero) != (VERSION, HEADER_BYTES, 0, 0)", "(version, size) != (VERSION, 88)"),
    ("container", 'raise Unsupported(f"compression', 'raise DecodeError(f"compression'),
    ("application", "(len(base), sha256(base).digest()) != (header.from_size, header.from_sha256)", "False"),
    ("application", "    decoder.finish()\n", ""),
    ("application", "sha256(result).digest() != header.to_sha256", "False"),
    ("sizes", "raw[0] & _SIGN and value == 0", "False"),
    ("sizes", "raw and raw[-1] == 0", "False"),
    ("sizes", "return -value if", "return value if"),
    ("sizes", "<< 7 * index", "<< 6 * index"),
    ("sizes", "_sevens(raw[1:]) << 7", "_sevens(raw[1:]) << 6"),
    ("heatshrink", "self._count > 7 or self._bits", "self._count > 7"),
    ("heatshrink", "self._count > 7 or self._bits", "self._bits"),
    ("heatshrink", "self._window = bytes(WINDOW_BYTES)", 'self._window = b"\\xff" * WINDOW_BYTES'),
    ("heatshrink", "bytes(out[-WINDOW_BYTES:])\n        yield", "bytes(out[:WINDOW_BYTES])\n        yield"),
    ("heatshrink", "del out[:-WINDOW_BYTES]", "del out[: -WINDOW_BYTES + 1]"),
    ("heatshrink", "seen if length <= distance else", "seen if length <= distance + 1 else"),
    ("crle", "if self._head or self._left:", "if self._left:"),
    ("crle", "if self._head or self._left:", "if self._head:"),
    ("crle", "if kind not in (_SCATTERED, _REPEATED):", "if False:"),
    ("crle", "if not self._left:\n                raise", "if False:\n                raise"),
    ("decoder", "if not patch.startswith(expected):", "if False:"),
    ("decoder", "self.consumed != self._header.patch_size or", ""),
    ("decoder", "or self._stage is not Stage.DONE", ""),
    ("decoder", "        self._stream.finish()\n", ""),
    ("decoder", 'raise DecodeError("bytes behind the end of the result")', "return"),
    ("decoder", "            if value:\n                raise", "            if False:\n                raise"),
    ("decoder", "if not 0 <= self._base <= self._header.from_size:", "if not 0 <= self._base:"),
    ("decoder", "if not 0 <= self._base <= self._header.from_size:", "if self._base > self._header.from_size:"),
    ("decoder", "if self._chunk == self.written and not value:", "if False:"),
    ("decoder", "self._base, self._chunk, self._number)", "self._base, 0, self._number)"),
    ("decoder", "min(self._header.to_size - self.written, end_of_base)", "end_of_base"),
    ("decoder", "min(self._header.to_size - self.written, end_of_base)", "self._header.to_size - self.written"),
    ("decoder", "        self._base += len(diff)\n", ""),
]


def with_bug(module: str, old: str, new: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """The library made anew from its source, with one place of it changed."""
    for name in ("errors", "sizes", "container", "heatshrink", "crle", "decoder", "application", "__init__"):
        source = (SOURCES / f"{name}.py").read_text()
        if name == module:
            assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {module}"
            source = source.replace(old, new)
        full = "firmware_delta" if name == "__init__" else f"firmware_delta.{name}"
        made = ModuleType(full)
        made.__path__ = []
        patch.setitem(sys.modules, full, made)
        exec(compile(source, full, "exec"), made.__dict__)
    return made


@pytest.mark.parametrize(("module", "old", "new"), BUGS, ids=lambda text: text.strip()[:40])
def test_every_planted_bug_is_caught_by_a_vector(
    module: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = with_bug(module, old, new, monkeypatch)

    def caught(vector: Vector) -> bool:
        try:
            return verdicts(library, vector) != (vector.result, vector.result)
        except Exception:
            return True

    assert any(caught(vector) for vector in VECTORS)
