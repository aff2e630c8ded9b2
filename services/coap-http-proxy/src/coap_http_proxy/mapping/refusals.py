"""What a refusal looks like as a message: its code, a short diagnostic, and when to come again."""

from typing import Final

from coap_http_proxy.mapping.requests import Refusal
from coap_wire import Message, Type, encode_uint
from coap_wire.options import MAX_AGE

MAX_DIAGNOSTIC_BYTES: Final = 96
# Without Max-Age an error would be kept for 60 s by whoever caches (RFC 7252 section 5.10.5): long after it is mended.
COME_AGAIN_SECONDS: Final = 5


class Unheard(Exception):
    """No answer is the answer: a device that is one repeats its message, a forged address gets nothing."""


def refused(refusal: Refusal) -> Message:
    """The error answer; type, message id and token are for the message layer to fill in."""
    wait = COME_AGAIN_SECONDS if refusal.max_age_seconds is None else refusal.max_age_seconds
    text = refusal.diagnostic.encode()[:MAX_DIAGNOSTIC_BYTES].decode(errors="ignore")
    options = sorted((*refusal.options, (MAX_AGE, encode_uint(wait))))
    return Message(Type.ACK, refusal.code, 0, options=tuple(options), payload=text.encode())
