"""Seeds of the fuzzer: requests as real devices send them, and how several datagrams stand in one input.

byte 0      bit 0: from a stranger's address; bits 1 to 3: what the HTTP upstream does wrong
then        datagrams, each behind its length in two bytes; the last may be cut short
"""

from collections.abc import Iterator

from coap_wire import Block, Code, Message, Type, encode, encode_block, encode_uint
from coap_wire import options as option

TROUBLES = ("", "lie", "long", "short", "early", "no_range", "forbid", "zip")
MAX_DATAGRAMS = 6


def packed(mode: int, *datagrams: bytes) -> bytes:
    """One input of the fuzzer."""
    return bytes((mode,)) + b"".join(len(one).to_bytes(2, "big") + one for one in datagrams)


def unpacked(data: bytes) -> tuple[int, list[bytes]]:
    """Mode and datagrams of an input; any bytes are one."""
    found: list[bytes] = []
    at = 1
    while at < len(data) and len(found) < MAX_DATAGRAMS:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : end])
        at = end
    return (data[0] if data else 0), found


def seeds(token: str, base: str) -> Iterator[bytes]:
    """Inputs to begin with: firmware by ticket, Proxy-Uri, Proxy-Scheme, methods, blocks both ways, Echo, pings."""
    path = [(option.URI_PATH, part) for part in (b"f", token.encode(), b"fw.bin")]
    uri = [(option.PROXY_URI, f"{base}a".encode())]
    host, port = base.split("/")[2].rsplit(":", 1)
    split = [
        (option.PROXY_SCHEME, b"http"),
        (option.URI_HOST, host.encode()),
        (option.URI_PORT, encode_uint(int(port))),
        (option.URI_PATH, b"a"),
        (option.URI_QUERY, b"x=1"),
    ]
    own = [(option.URI_PATH, b"coap2coap"), (option.PROXY_URI, f"coap://127.0.0.1/f/{token}/a".encode())]
    core = [(option.URI_PATH, b".well-known"), (option.URI_PATH, b"core")]
    block = (option.BLOCK2, encode_block(Block(1, False, 2)))
    upload = [(option.BLOCK1, encode_block(Block(0, True, 0))), (option.CONTENT_FORMAT, b"\x32")]
    last = [(option.BLOCK1, encode_block(Block(1, False, 0))), (option.CONTENT_FORMAT, b"\x32")]
    extra = {
        "plain": [],
        "block": [block, (option.SIZE2, b"")],
        "etag": [(option.ETAG, b"12345678")],
        "match": [(option.IF_MATCH, b"")],
        "none": [(option.IF_NONE_MATCH, b"")],
        "accept": [(option.ACCEPT, b"\x2a")],
        "hop": [(option.HOP_LIMIT, b"\x02")],
        "echo": [(option.ECHO, b"x" * 20)],
        "tag": [(option.REQUEST_TAG, b"t")],
        "observe": [(option.OBSERVE, b"")],
    }
    number = 0
    for target in (path, uri, split, own, core):
        for more in extra.values():
            number += 1
            datagram = encode(Message(Type.CON, Code.GET, number, b"token", tuple(target + more)))
            yield packed(number & 1, datagram, datagram)
    for kind in Type:
        for code in (Code.EMPTY, Code.POST, Code.PUT, Code.DELETE, Code.FETCH, Code.PATCH, Code.IPATCH, Code.CONTENT):
            number += 1
            options, payload = ((), b"") if code == Code.EMPTY else (tuple(uri), b"body")
            yield packed(0, encode(Message(kind, code, number, b"", options, payload)))
    for code in (Code.POST, Code.PUT):
        first = encode(Message(Type.CON, code, 900, b"a", tuple(uri + upload), b"0123456789abcdef"))
        second = encode(Message(Type.CON, code, 901, b"b", tuple(uri + last), b"end"))
        yield packed(0, first, second)
        yield packed(0, second, first, second)
    for trouble in range(len(TROUBLES)):
        yield packed(trouble << 1, encode(Message(Type.CON, Code.GET, 950 + trouble, b"", tuple(uri))))
    yield packed(0, b"\x40\x00\x12\x34", b"\x50\x00\x12\x34", b"\x40\x01\x12\x35\xff", b"\x4f\x01\x12\x36")
