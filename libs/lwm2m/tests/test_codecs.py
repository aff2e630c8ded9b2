"""Codecs: vectors both ways, cut at every byte, properties; decode raises nothing but DecodeError."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m import content, links, senml, tlv
from lwm2m.errors import DecodeError, EncodeError
from lwm2m.paths import Path, parse
from lwm2m.tlv import Kind, Tlv

# Core 1.0.2 section 6.4.3.2: a Read of the Device object, as the specification prints it.
DEVICE = bytes.fromhex(
    "c800144f70656e204d6f62696c6520416c6c69616e6365"
    "c801164c69676874776569676874204d324d20436c69656e74"
    "c80209333435303030313233"
    "c303312e30"
    "86064100014101 05".replace(" ", "")
    + "88070842000ed8420113 88".replace(" ", "")
    + "8708410 07d42010384".replace(" ", "")
    + "c10964c10a0f830b410000c40d5182428f c60e2b30323a3030c11055".replace(" ", "")
)


def test_the_specifications_device_object_both_ways() -> None:
    entries = tlv.decode(DEVICE)
    values = content.decode(Path(3, 0), DEVICE, 11542)
    assert values[Path(3, 0, 0)] == "Open Mobile Alliance"
    assert values[Path(3, 0, 3)] == "1.0"
    assert values[Path(3, 0, 9)] == 100
    assert values[Path(3, 0, 7, 0)] == 3800
    assert values[Path(3, 0, 7, 1)] == 5000
    assert values[Path(3, 0, 13)] == 1367491215
    assert tlv.encode(entries) == DEVICE


def test_cut_at_every_byte_tlv_raises_decode_error_only() -> None:
    for cut in range(len(DEVICE)):
        try:
            tlv.decode(DEVICE[:cut])
        except DecodeError as error:
            assert error.offset <= cut


LEAVES = st.builds(Tlv, st.just(Kind.RESOURCE), st.integers(0, 65535), st.binary(max_size=300))
RESOURCES = st.one_of(
    LEAVES,
    st.builds(
        Tlv,
        st.just(Kind.MULTIPLE_RESOURCE),
        st.integers(0, 65535),
        st.lists(
            st.builds(Tlv, st.just(Kind.RESOURCE_INSTANCE), st.integers(0, 65535), st.binary(max_size=9)), max_size=4
        ).map(tuple),
    ),
)
INSTANCES = st.builds(
    Tlv, st.just(Kind.OBJECT_INSTANCE), st.integers(0, 65535), st.lists(RESOURCES, max_size=4).map(tuple)
)


@given(st.lists(st.one_of(RESOURCES, INSTANCES), max_size=5).map(tuple))
def test_tlv_decode_undoes_encode(entries: tuple[Tlv, ...]) -> None:
    assert tlv.decode(tlv.encode(entries)) == entries


@given(st.binary(max_size=300), st.sampled_from([None, 0, 40, 42, 60, 110, 112, 11542, 11543, 1542, 99]))
def test_any_payload_is_content_or_a_decode_error(payload: bytes, content_format: int | None) -> None:
    for path in (Path(3), Path(3, 0), Path(3, 0, 9)):
        try:
            content.decode(path, payload, content_format)
        except DecodeError:
            continue


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_survive(value: int) -> None:
    assert tlv.decode_integer(tlv.encode_integer(value)) == value


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(EncodeError):
        tlv.encode_integer(2**63)
    with pytest.raises(EncodeError):
        tlv.encode([Tlv(Kind.RESOURCE, 70000, b"")])
    with pytest.raises(DecodeError):
        tlv.decode_integer(b"")


def test_wrapped_and_bare_instances_read_alike() -> None:
    bare = tlv.encode([Tlv(Kind.RESOURCE, 3, b"1.0")])
    wrapped = tlv.encode([Tlv(Kind.OBJECT_INSTANCE, 0, (Tlv(Kind.RESOURCE, 3, b"1.0"),))])
    expected = {Path(3, 0, 3): "1.0"}
    for path in (Path(3), Path(3, 0)):
        assert content.decode(path, bare, 11542) == expected
        assert content.decode(path, wrapped, 11542) == expected
    assert content.decode(Path(3, 0, 3), bare, 11542) == expected


def test_a_client_that_writes_words_where_numbers_belong_is_still_read() -> None:
    payload = tlv.encode([Tlv(Kind.RESOURCE, 9, b"_unreadable_"), Tlv(Kind.RESOURCE, 3, b"2.0")])
    assert content.decode(Path(3, 0), payload, 11542) == {Path(3, 0, 9): "_unreadable_", Path(3, 0, 3): "2.0"}


VALUES = st.one_of(st.integers(-(2**53), 2**53), st.booleans(), st.text(max_size=20), st.binary(max_size=20))


@given(st.lists(st.builds(senml.Record, st.just("/3/0/1"), VALUES), max_size=5).map(tuple))
def test_senml_survives_in_both_coats(records: tuple[senml.Record, ...]) -> None:
    assert senml.decode_cbor(senml.encode_cbor(records)) == records
    as_json = senml.decode_json(senml.encode_json(records))
    assert [record.name for record in as_json] == [record.name for record in records]
    assert senml.encode_json(as_json) == senml.encode_json(records)


def test_base_names_carry_on() -> None:
    pack = json.dumps([{"bn": "/3/0/", "n": "0", "vs": "ACME"}, {"n": "9", "v": 80}]).encode()
    assert content.decode(Path(3, 0), pack, 110) == {Path(3, 0, 0): "ACME", Path(3, 0, 9): 80}


def test_lwm2m_json_and_single_values() -> None:
    document = b'{"bn":"/3/0/","e":[{"n":"0","sv":"ACME"},{"n":"9","v":80}]}'
    assert content.decode(Path(3, 0), document, 11543) == {Path(3, 0, 0): "ACME", Path(3, 0, 9): 80}
    assert content.decode(Path(3, 0, 9), b"80", 0) == {Path(3, 0, 9): 80}
    assert content.decode(Path(3, 0, 9), b"\x18\x50", 60) == {Path(3, 0, 9): 80}
    with pytest.raises(DecodeError):
        content.decode(Path(3, 0, 9), b"many", 0)


@given(st.lists(st.integers(0, 65535), max_size=4))
def test_paths_survive(ids: list[int]) -> None:
    path = Path(*ids)
    assert parse(str(path)) == path
    assert Path().covers(path)


@pytest.mark.parametrize("text", ["", "3/0", "/3//0", "/70000", "/1/2/3/4/5", "/-1", "/٣", "/a", "/3/"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse(text)


def test_links_both_ways() -> None:
    text = '</>;rt="oma.lwm2m";ct="60 110";hb,</1/0>,</5>;ver=1.1,</x>;t="a \\"q\\", b"'
    parsed = links.decode(text.encode())
    assert parsed[0].attributes == {"rt": "oma.lwm2m", "ct": "60 110", "hb": None}
    assert parsed[3].attributes == {"t": 'a "q", b'}
    assert links.decode(links.encode(parsed).encode()) == parsed


@pytest.mark.parametrize("text", ["</1", "1/0", "</1/0>,", "</1>x", '</1>;a="b', "</1>;=3", "</1/0> ,</2>"])
def test_bad_links_name_their_offset(text: str) -> None:
    with pytest.raises(DecodeError):
        links.decode(text.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_links_or_a_decode_error(payload: bytes) -> None:
    try:
        links.decode(payload)
    except DecodeError:
        return
