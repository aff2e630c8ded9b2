"""DTLS 1.2 with pre-shared keys, without I/O: handshakes by OpenSSL, a server's records and bookkeeping here."""

from dtls.client import Client
from dtls.cookies import Address
from dtls.errors import SequenceExhausted, UnusableStack
from dtls.outputs import Association, Closed, KeyWanted, Opened, Output, Psk, Received, Transmit
from dtls.server import Counters, Limits, Server

__all__ = [
    "Address",
    "Association",
    "Client",
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
