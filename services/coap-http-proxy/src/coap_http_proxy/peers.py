"""Who a datagram came from: the address, and who that is when DTLS has proved it."""

from typing import NamedTuple


class Peer(NamedTuple):
    """IPv4 address and UDP port; `identity` is the PSK identity of a DTLS session, None without DTLS."""

    host: str
    port: int
    identity: str | None = None
