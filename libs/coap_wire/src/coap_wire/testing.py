"""For tests: datagrams nobody should send, from a seed, so that a bad one can be sent again."""

import random
from collections.abc import Iterator, Sequence

from coap_wire import options as option
from coap_wire.codes import Code, Type
from coap_wire.message import Message, encode

_TEXTS = (
    b"f",
    b"rd",
    b".well-known",
    b"core",
    b"..",
    b"",
    b"\xff\xfe",
    "ü".encode(),
    b"<b>",
    b"a/b",
    b"\0",
    b"x" * 255,
)
_NUMBERS = tuple(
    value for name, value in vars(option).items() if name.isupper() and isinstance(value, int) and name != "NO_RESPONSE"
)


def hostile_datagrams(seed: int, count: int, good: Sequence[bytes] = ()) -> Iterator[bytes]:
    """`count` datagrams: noise, broken headers and options, well-formed nonsense, and spoilt copies of `good` ones."""
    dice = random.Random(seed)
    kinds = [_noise, _broken_header, _broken_option, _nonsense, _nonsense]
    for _ in range(count):
        if good and dice.random() < 0.4:
            yield _spoilt(dice, dice.choice(good))
        else:
            yield dice.choice(kinds)(dice)


def _noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.choice((0, 1, 2, 3, 4, 5, 12, 60, 1400)))


def _broken_header(dice: random.Random) -> bytes:
    """Token lengths 9 to 15, versions 0, 2 and 3, tokens cut short, empty messages that carry something."""
    kind = dice.randrange(4)
    if kind == 0:
        head = bytes((0x40 | dice.randrange(9, 16), dice.randrange(256)))
    elif kind == 1:
        head = bytes((dice.choice((0x00, 0x80, 0xC0)) | dice.randrange(64), dice.randrange(256)))
    elif kind == 2:
        return bytes((0x48, 1)) + dice.randbytes(2 + dice.randrange(8))
    else:
        head = b"\x40\x00"
    return head + dice.randbytes(2) + dice.choice((b"\xff", b"\xffx", dice.randbytes(9)))


def _broken_option(dice: random.Random) -> bytes:
    """Reserved nibbles, extensions cut short, lengths past the end, numbers past 65535, a marker without payload."""
    head = b"\x40\x01" + dice.randbytes(2)
    tails = (
        b"\xf0",
        b"\x0f",
        b"\xd0",
        b"\xe0\x01",
        b"\x0d",
        b"\x0e\xff",
        b"\xbdx",
        b"\xb5ab",
        b"\xe0\xff\xff\xe0\xff\xff",
    )
    return head + dice.choice((b"", b"\xb1f", b"\xb2rd")) + dice.choice((*tails, b"\xff", b"\x00" * 1300))


def _nonsense(dice: random.Random) -> bytes:
    """Well-formed, and means nothing: any code and type, any options, repeated, far too long, not UTF-8."""
    options = []
    for _ in range(dice.randrange(8)):
        number = dice.choice((*_NUMBERS, option.URI_PATH, option.URI_PATH, dice.randrange(0x10000)))
        sizes = (0, 1, 2, 3, 4, 9, 40, 300, 3000)
        value = dice.choice((dice.choice(_TEXTS), dice.randbytes(dice.choice(sizes)), b"\xff" * dice.choice(sizes)))
        options.append((number, value))
    code = dice.choice((*Code, *Code, dice.randrange(256)))
    options = [] if code == Code.EMPTY else options
    token = b"" if code == Code.EMPTY else dice.randbytes(dice.randrange(9))
    payload = b"" if code == Code.EMPTY else dice.choice((b"", b"x", dice.randbytes(dice.randrange(1200))))
    return encode(Message(dice.choice(tuple(Type)), code, dice.randrange(65536), token, tuple(options), payload))


def _spoilt(dice: random.Random, good: bytes) -> bytes:
    """Cut at a byte, a byte changed, bytes put in or taken out."""
    at = dice.randrange(len(good))
    kind = dice.randrange(4)
    if kind == 0:
        return good[:at]
    if kind == 1:
        return good[:at] + bytes((good[at] ^ 1 << dice.randrange(8),)) + good[at + 1 :]
    if kind == 2:
        return good[:at] + dice.randbytes(dice.randrange(1, 5)) + good[at:]
    return good[:at] + good[at + dice.randrange(1, 4) :]
