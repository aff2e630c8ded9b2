"""What a device answers to Read, Write, Execute, Discover and Observe, decided without a socket."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coap_wire import Code, Message, Type, decode, dotted, encode_uint
from coap_wire.options import ACCEPT, BLOCK1, BLOCK2, CONTENT_FORMAT, OBSERVE, URI_PATH, URI_QUERY
from lwm2m import content, links, senml
from lwm2m.paths import Path, parse
from lwm2m.registration import decode_objects
from softdevice import representations
from softdevice.management import CancelObserve, Decision, Execute, Observe, Write, decide
from softdevice.profiles import PROFILES, UPDRAFT
from softdevice.reply import Reply
from softdevice.resources import FIRMWARE_VERSION, Resources


def resources(client: str = "updraft") -> Resources:
    return Resources(
        serial="dev-1",
        model="m",
        version="1.2.3+4",
        lifetime_seconds=300,
        queue_mode=False,
        profile=PROFILES[client],
    )


def ask(
    code: int,
    path: str,
    payload: bytes = b"",
    *options: tuple[int, bytes],
    refuse: int | None = None,
    client: str = "updraft",
) -> Decision:
    segments = tuple((URI_PATH, part.encode()) for part in path.strip("/").split("/") if part)
    request = Message(Type.CON, code, 1, b"tok", (*segments, *options), payload)
    return decide(request, resources(client), lambda _: refuse, lambda _: Reply(Code.CONTINUE))


def accept(number: int) -> tuple[int, bytes]:
    return ACCEPT, encode_uint(number)


def test_single_resource_is_text_when_nothing_is_asked_for() -> None:
    reply = ask(Code.GET, "/3/0/3").reply
    assert reply.payload == b"1.2.3+4" and reply.options == ((CONTENT_FORMAT, b""),)


@pytest.mark.parametrize(
    ("client", "content_format"),
    [("updraft", 110), ("updraft", 112), ("updraft", 11542), ("zephyr-old", 11543), ("anjay", 11543)],
)
@pytest.mark.parametrize("path", ["/1", "/3", "/3/0", "/4/0", "/5/0", "/5/0/8", "/3/0/11", "/3/0/11/0", "/5/0/3"])
def test_reads_are_understood_by_the_server_side_codec(path: str, client: str, content_format: int) -> None:
    reply = ask(Code.GET, path, b"", accept(content_format), client=client).reply
    assert reply.code == Code.CONTENT, dotted(reply.code)
    found = content.decode(parse(path), reply.payload, content_format)
    expected = {}
    for resource, value in resources(client).read(parse(path)).items():
        entries = value.items() if not isinstance(value, int | str | bool | bytes | float) else [(None, value)]
        for index, entry in entries:
            expected[resource if index is None else resource.child(index)] = entry
    assert found == expected


def test_opaque_bytes_are_read_as_they_are_by_a_client_that_knows_opaque() -> None:
    assert dotted(ask(Code.GET, "/3/0/3", b"", accept(42), client="anjay").reply.code) == "4.06"
    own = resources("anjay")
    own.set(Path(5, 0, 7), b"\0\1")
    assert representations.encode(Path(5, 0, 7), own.read(Path(5, 0, 7)), 42) == b"\0\1"


def test_single_value_as_cbor() -> None:
    assert cbor2.loads(ask(Code.GET, "/3/0/9", b"", accept(60)).reply.payload) == 100


def test_discover_lists_what_is_there() -> None:
    reply = ask(Code.GET, "/5", b"", accept(40)).reply
    targets = [link.target for link in links.decode(reply.payload)]
    assert targets[:3] == ["/5", "/5/0", "/5/0/0"] and "/5/0/8" in targets and "/5/0/14" not in targets


@pytest.mark.parametrize(
    ("client", "optional"),
    [("updraft", {6, 7, 8, 10, 11, 12, 13}), ("zephyr", {8, 10}), ("zephyr-old", {8}), ("wakaama", {6, 7, 8})],
)
def test_each_client_has_its_own_optional_resources_of_object_5(client: str, optional: set[int]) -> None:
    reply = ask(Code.GET, "/5", b"", accept(40), client=client).reply
    found = {parse(link.target).ids[2] for link in links.decode(reply.payload) if len(parse(link.target).ids) == 3}
    assert found == {0, 1, 2, 3, 5, 9} | optional
    missing = {6, 7, 8, 10, 11, 12, 13} - optional
    assert {dotted(ask(Code.GET, f"/5/0/{number}", client=client).reply.code) for number in missing} <= {"4.04"}


def test_registration_body_is_understood_by_the_server_side_parser() -> None:
    root, formats, _, paths = decode_objects(representations.registration_links(UPDRAFT, resources().model).encode())
    assert root == "" and set(formats) == {60, 110, 112, 11542}
    assert paths == (Path(1, 0), Path(3, 0), Path(4, 0), Path(5, 0), Path(26250, 0))


@pytest.mark.parametrize(
    ("code", "path", "expected"),
    [
        (Code.GET, "/0", "4.01"),
        (Code.GET, "/0/0/5", "4.01"),
        (Code.GET, "/9", "4.04"),
        (Code.GET, "/3/1", "4.04"),
        (Code.GET, "/3/0/99", "4.04"),
        (Code.GET, "/3/0/11/7", "4.04"),
        (Code.GET, "/3/0/4", "4.05"),
        (Code.GET, "/5/0/0", "4.05"),
        (Code.GET, "/", "4.05"),
        (Code.GET, "/hello", "4.04"),
        (Code.GET, "/3/0/9/0/0", "4.04"),
        (Code.PUT, "/3/0/3", "4.05"),
        (Code.PUT, "/3", "4.05"),
        (Code.POST, "/3/0/3", "4.05"),
        (Code.POST, "/3", "4.05"),
        (Code.DELETE, "/3/0", "4.05"),
        (Code.FETCH, "/3/0", "4.05"),
        (Code.IPATCH, "/3/0", "4.05"),
    ],
)
def test_each_wrong_request_gets_its_own_code(code: int, path: str, expected: str) -> None:
    assert dotted(ask(code, path).reply.code) == expected


def test_formats_and_options_nobody_knows_are_refused_by_the_right_code() -> None:
    assert dotted(ask(Code.GET, "/3/0", b"", accept(11543)).reply.code) == "4.06"
    assert dotted(ask(Code.GET, "/3/0", b"", accept(0)).reply.code) == "4.06"
    assert dotted(ask(Code.PUT, "/1/0/1", b"60", (CONTENT_FORMAT, encode_uint(50))).reply.code) == "4.15"
    assert dotted(ask(Code.GET, "/3/0/3", b"", (2051, b"x")).reply.code) == "4.02"
    assert dotted(ask(Code.PUT, "/5/0/1", b"x", (BLOCK1, b"\x08")).reply.code) == "4.13"
    assert dotted(ask(Code.PUT, "/1/0/1", b"many", (CONTENT_FORMAT, b"")).reply.code) == "4.00"
    assert dotted(ask(Code.GET, "/3/0/3", b"", (BLOCK2, b"\x07")).reply.code) == "4.00"


def test_write_in_text_tlv_and_senml_arrives_as_the_same_effect() -> None:
    uri = "coap://192.0.2.1:5700/f/t/n"
    tlv = b"\xc8\x01" + bytes([len(uri)]) + uri.encode()
    record = senml.encode_cbor((senml.Record("/5/0/1", uri),))
    for number, payload, path in (
        (0, uri.encode(), "/5/0/1"),
        (11542, tlv, "/5/0/1"),
        (11542, tlv, "/5/0"),
        (112, record, "/5/0"),
    ):
        decision = ask(Code.PUT, path, payload, (CONTENT_FORMAT, encode_uint(number)))
        assert decision.effects == (Write(Path(5, 0, 1), uri),), (number, path)
        assert decision.reply.code == Code.CHANGED


def test_instance_write_may_not_smuggle_other_resources_in() -> None:
    outside = senml.encode_cbor((senml.Record("/1/0/1", 5),))
    assert dotted(ask(Code.POST, "/5/0", outside, (CONTENT_FORMAT, b"\x70")).reply.code) == "4.00"
    readonly = senml.encode_cbor((senml.Record("/5/0/3", 2),))
    assert dotted(ask(Code.POST, "/5/0", readonly, (CONTENT_FORMAT, b"\x70")).reply.code) == "4.05"


def test_execute_and_its_refusal() -> None:
    assert ask(Code.POST, "/5/0/2").effects == (Execute(Path(5, 0, 2)),)
    refused = ask(Code.POST, "/5/0/2", refuse=Code.METHOD_NOT_ALLOWED)
    assert dotted(refused.reply.code) == "4.05" and refused.effects == ()


def test_observe_and_cancel() -> None:
    assert ask(Code.GET, "/5/0/3", b"", (OBSERVE, b"")).effects == (Observe(Path(5, 0, 3), b"tok", 0),)
    assert ask(Code.GET, "/5/0/3", b"", (OBSERVE, b"\1")).effects == (CancelObserve(Path(5, 0, 3)),)


def test_write_attributes_are_accepted_when_they_are_known() -> None:
    assert ask(Code.PUT, "/5/0/3", b"", (URI_QUERY, b"pmin=1"), (URI_QUERY, b"pmax=60")).reply.code == Code.CHANGED
    assert ask(Code.PUT, "/5/0/3", b"", (URI_QUERY, b"colour=red")).reply.code == Code.BAD_REQUEST


def test_long_answers_can_be_read_in_blocks() -> None:
    whole = ask(Code.GET, "/3", b"", accept(110)).reply.payload
    first = ask(Code.GET, "/3", b"", accept(110), (BLOCK2, b"\x02")).reply
    second = ask(Code.GET, "/3", b"", accept(110), (BLOCK2, b"\x12")).reply
    assert first.payload + second.payload == whole[:128]


def test_version_text_is_the_images() -> None:
    assert resources()[FIRMWARE_VERSION] == "1.2.3+4"


@given(st.integers(1, 7), st.binary(max_size=60))
def test_no_request_breaks_a_device(code: int, rest: bytes) -> None:
    try:
        message = decode(bytes((0x40, code, 0, 1)) + rest)
    except ValueError:
        return
    assert decide(message, resources(), lambda _: None, lambda _: Reply(Code.CONTINUE)).reply.code >= 64
