"""DTLS 1.2 with pre-shared keys for servers, without I/O: handshake by OpenSSL, record layer and bookkeeping here."""

from dtls.cookies import Address
from dtls.errors import SequenceExhausted, UnusableStack
from dtls.outputs import Association, Closed, KeyWanted, Opened, Output, Psk, Received, Transmit
from dtls.server import Counters, Limits, Server

__all__ = [
    "Address",
    "Association",
    "Closed",
    "Counters",
    "KeyWanted",
    "Limits",
    "Opened",
    "Output",
    "Psk",
    "Received",
    "SequenceExhausted",
    "Server",
    "Transmit",
    "UnusableStack",
]
