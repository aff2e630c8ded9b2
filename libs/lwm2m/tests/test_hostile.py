"""Codecs under noise: whatever a device sends is values or a DecodeError, soon and small."""

import json
import random
import time

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m import content, links, registration, senml, tlv
from lwm2m.errors import DecodeError
from lwm2m.paths import Path

FORMATS = (None, 0, 40, 42, 60, 110, 112, 1541, 1542, 1543, 1544, 11542, 11543, 11544, 65535)
PATHS = (Path(3), Path(3, 0), Path(3, 0, 9), Path(3, 0, 3), Path(5, 0, 3), Path(5, 0, 3, 1), Path(4, 0, 8), Path())
GOOD = (
    bytes.fromhex("08 00 0a c1 03 02 c1 05 00 c8 00 01 41"),
    b'[{"bn":"/3/0/","n":"0","vs":"ACME"},{"n":"9","v":80},{"n":"2","vd":"AAEC"}]',
    cbor2.dumps([{-2: "/3/0/", 0: "0", 3: "ACME"}, {0: "9", 2: 80}, {0: "2", 8: b"\0"}]),
    b'{"bn":"/3/0/","e":[{"n":"0","sv":"ACME"},{"n":"9","v":80}]}',
    b'</>;rt="oma.lwm2m";ct="110 112",</1/0>,</3/0>;ver=1.1,</5>',
    b"12345",
)


def spoilt(seed: int) -> bytes:
    """A good payload with a few bytes changed, cut or doubled, or plain noise."""
    dice = random.Random(seed)
    data = bytearray(dice.choice(GOOD) if dice.random() < 0.8 else dice.randbytes(dice.randrange(200)))
    for _ in range(dice.randrange(5)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(4):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = dice.randbytes(dice.randrange(1, 4))
            case 2:
                data[at : at + 1] = dice.randbytes(1)
            case _:
                data += data[at:]
    return bytes(data[:4000])


@given(st.integers(0, 1 << 40))
@settings(max_examples=300, deadline=None)
def test_every_payload_in_every_format_is_values_or_a_decode_error(seed: int) -> None:
    for offset in range(40):
        payload = spoilt(seed + offset)
        for content_format in FORMATS:
            for path in PATHS:
                try:
                    values = content.decode(path, payload, content_format)
                except DecodeError:
                    continue
                for where, value in values.items():
                    assert isinstance(value, int | float | str | bytes), (payload, where)
                    assert len(str(value)) <= 4 * len(payload) + 40


@given(st.integers(0, 1 << 40), st.lists(st.text(max_size=12), max_size=6))
@settings(max_examples=500, deadline=None)
def test_every_register_is_taken_or_refused(seed: int, query: list[str]) -> None:
    try:
        taken = registration.decode_register([*query, "ep=a"], spoilt(seed))
    except DecodeError:
        return
    assert taken.endpoint == "a" or any(item.startswith("ep=") for item in query)
    assert taken.alternate_path == "" or taken.alternate_path.startswith("/")


@pytest.mark.parametrize(
    ("content_format", "payload"),
    [
        (60, cbor2.dumps(1 << 20_000)),
        (60, cbor2.dumps(-(1 << 64))),
        (112, cbor2.dumps([{0: "/3/0/9", 2: 1 << 20_000}])),
        (110, b'[{"n":"/3/0/9","v":' + b"9" * 40 + b"}]"),
        (110, b'[{"n":"/3/0/9","v":' + b"9" * 5000 + b"}]"),
        (110, b'[{"n":"/3/0/9","v":1e999}]'),
        (11543, b'{"e":[{"n":"/3/0/9","v":' + b"9" * 40 + b"}]}"),
        (0, b"9" * 40),
        (0, b"9" * 6000),
        (11542, b"\xc8\x09\x09" + bytes(9)),
    ],
)
def test_integers_end_at_64_bits(content_format: int, payload: bytes) -> None:
    if content_format == 11542:
        # Nine bytes are no integer: kept as they came rather than lose the whole read.
        assert content.decode(Path(3, 0), payload, 11542) == {Path(3, 0, 9): "\0" * 9}
        return
    with pytest.raises(DecodeError):
        content.decode(Path(3, 0, 9), payload, content_format)


def test_integers_at_the_edge_are_read() -> None:
    assert content.decode(Path(3, 0, 9), str((1 << 64) - 1).encode(), 0) == {Path(3, 0, 9): (1 << 64) - 1}
    assert content.decode(Path(3, 0, 9), cbor2.dumps(-(1 << 63)), 60) == {Path(3, 0, 9): -(1 << 63)}


def test_nesting_and_number_of_entries_have_an_end() -> None:
    deep = b"\xc0\x00"
    for _ in range(3):
        deep = bytes((0x08 | 0x00, 0, len(deep))) + deep
    with pytest.raises(DecodeError, match="nested"):
        tlv.decode(deep)
    with pytest.raises(DecodeError, match="entries"):
        tlv.decode(b"\xc0\x00" * (tlv.MAX_ENTRIES + 1))
    with pytest.raises(DecodeError):
        senml.decode_json(b"[" * 100_000)
    with pytest.raises(DecodeError):
        senml.decode_json(json.dumps([{"n": "/1/0"}] * (senml.MAX_RECORDS + 1)).encode())
    with pytest.raises(DecodeError):
        senml.decode_cbor(b"\x81" * 10_000)
    with pytest.raises(DecodeError):
        content.decode(Path(3, 0), b'{"e":' + b"[" * 100_000, 11543)
    with pytest.raises(DecodeError):
        links.decode(b"</1/0>," * links.MAX_LINKS + b"</1/0>")
    with pytest.raises(DecodeError):
        links.decode(b"<" + b"a" * links.MAX_BYTES + b">")


@pytest.mark.parametrize(
    "payload",
    [
        b"<" * 32_000,
        b"</1/0>" + b";a" * 16_000,
        b"</1/0>" + b";a=" * 10_000,
        b'</1/0>;a="' + b"\\" * 32_000,
        b"</1/0>" + b" " * 32_000,
        b"<a>," * 8_000,
    ],
)
def test_hostile_links_cost_no_more_than_their_bytes(payload: bytes) -> None:
    began = time.process_time()
    with pytest.raises(DecodeError):
        links.decode(payload + b",")
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize(
    ("endpoint", "good"),
    [("urn:imei:490154203237518", True), ("a.b", True), ("...", True), ("..", False), ("a/b", False), ("a\\b", False)],
)
def test_an_endpoint_name_is_one_segment_of_a_path(endpoint: str, good: bool) -> None:
    if good:
        assert registration.decode_register([f"ep={endpoint}"], b"").endpoint == endpoint
        return
    with pytest.raises(DecodeError, match="slash"):
        registration.decode_register([f"ep={endpoint}"], b"")


@pytest.mark.parametrize("root", ["/lwm2m", "/a/b", "/", "/...", "/.a"])
def test_an_alternate_path_is_a_plain_path(root: str) -> None:
    taken = registration.decode_register(["ep=a"], f'<{root}>;rt="oma.lwm2m",<{root.rstrip("/")}/3/0>'.encode())
    assert taken.alternate_path == root.rstrip("/")
    assert taken.paths == (Path(3, 0),)


@pytest.mark.parametrize(
    "root", ["//e.example", "@e", ":1", "0", "/a?b", "/a#b", "/a b", "/../a", "/.", "/" + "a" * 99]
)
def test_a_root_that_would_lead_elsewhere_is_refused(root: str) -> None:
    with pytest.raises(DecodeError, match="no path"):
        registration.decode_register(["ep=a"], f'<{root}>;rt="oma.lwm2m",</3/0>'.encode())
