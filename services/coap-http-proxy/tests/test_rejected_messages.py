"""What is no request, or wants no answer: reset, ignored, or left without one (RFC 7252, RFC 7967)."""

import pytest

from coap_http_proxy.exchanges import Exchanges, is_unwanted
from coap_http_proxy.peers import Peer
from coap_wire import Code, Message, Type, dotted, encode
from coap_wire import options as option

PEER = Peer("192.0.2.1", 5683)


MALFORMED = {
    "token length 9": b"\x49\x01\x12\x34" + bytes(9),
    "token length 15": b"\x4f\x01\x12\x34" + bytes(15),
    "a token cut short": b"\x44\x01\x12\x34ab",
    "a marker without payload": b"\x40\x01\x12\x34\xff",
    "option delta 15": b"\x40\x01\x12\x34\xf1x",
    "option length 15": b"\x40\x01\x12\x34\x1f" + bytes(15),
    "an option cut short": b"\x40\x01\x12\x34\xb5ab",
    "an empty message that carries something": b"\x40\x00\x12\x34x",
    "an empty message with a token": b"\x41\x00\x12\x34t",
}
OUT_OF_PLACE = {
    "a ping": b"\x40\x00\x12\x34",
    "a response nobody waits for": b"\x40\x45\x12\x34",
    **{f"reserved code {dotted(code)}": bytes((0x40, code, 0x12, 0x34)) for code in (32, 63, 192, 224, 255)},
}


@pytest.mark.rfc("7252-3-b", "7252-3-c", "7252-3.1-b", "7252-4.1-a", "7252-4.2-b", "7252-4.2-d")
@pytest.mark.parametrize("datagram", [*MALFORMED.values(), *OUT_OF_PLACE.values()], ids=[*MALFORMED, *OUT_OF_PLACE])
def test_what_is_confirmable_and_no_request_is_reset_by_no_more_bytes_than_it_had(datagram: bytes) -> None:
    sent: list[bytes] = []
    Exchanges(lambda reply, _: sent.append(reply), _never, 1.0, 64).received(datagram, PEER)
    assert sent == [b"\x70\x00\x12\x34"]
    assert len(sent[0]) <= len(datagram)


async def _never(request: Message, peer: Peer) -> Message:
    raise AssertionError("this must not be asked")


@pytest.mark.rfc("7252-4.3-c", "7252-4.2-e")
@pytest.mark.parametrize("kind", [Type.NON, Type.ACK, Type.RST])
@pytest.mark.parametrize("datagram", [*MALFORMED.values(), *OUT_OF_PLACE.values()], ids=[*MALFORMED, *OUT_OF_PLACE])
def test_the_same_of_another_type_is_ignored(datagram: bytes, kind: Type) -> None:
    sent: list[bytes] = []
    exchanges = Exchanges(lambda reply, _: sent.append(reply), _never, 1.0, 64)
    exchanges.received(bytes((datagram[0] | kind << 4,)) + datagram[1:], PEER)
    assert (sent, exchanges.waiting) == ([], 0)


@pytest.mark.rfc("7252-4.2-e")
@pytest.mark.parametrize("kind", [Type.ACK, Type.RST])
def test_a_request_in_an_acknowledgement_or_reset_is_none(kind: Type) -> None:
    sent: list[bytes] = []
    exchanges = Exchanges(lambda reply, _: sent.append(reply), _never, 1.0, 64)
    exchanges.received(encode(Message(kind, Code.GET, 1, b"t")), PEER)
    assert (sent, exchanges.waiting) == ([], 0)


@pytest.mark.rfc("7252-3-a")
@pytest.mark.parametrize("first", [0x00, 0x80, 0xC0])
def test_another_version_is_ignored_without_a_word(first: int) -> None:
    sent: list[bytes] = []
    Exchanges(lambda reply, _: sent.append(reply), _never, 1.0, 64).received(bytes((first, 1, 0x12, 0x34)), PEER)
    assert sent == []


@pytest.mark.parametrize("size", range(4))
def test_what_is_shorter_than_a_header_is_ignored(size: int) -> None:
    sent: list[bytes] = []
    Exchanges(lambda reply, _: sent.append(reply), _never, 1.0, 64).received(b"\x40\x01\x12"[:size], PEER)
    assert sent == []


INTEREST = [
    (None, ()),
    (b"", ()),
    (b"\x02", (2,)),
    (b"\x08", (4,)),
    (b"\x10", (5,)),
    (b"\x1a", (2, 4, 5)),
    (b"\x7f", (2, 4, 5)),
    (b"\x00\x02", ()),  # longer than it may be: an elective option that is not known
]


@pytest.mark.rfc("7967 2.1")
@pytest.mark.parametrize(("value", "unwanted"), INTEREST)
def test_no_response_names_the_classes_a_client_does_not_want(value: bytes | None, unwanted: tuple[int, ...]) -> None:
    options = () if value is None else ((option.NO_RESPONSE, value),)
    request = Message(Type.NON, Code.PUT, 1, b"t", options)
    assert tuple(kind for kind in (2, 4, 5) if is_unwanted(request, kind << 5 | 4)) == unwanted
