"""Who a datagram came from: the address, and who that is when DTLS has proved it."""

from typing import NamedTuple


class Peer(NamedTuple):
    """IPv4 address and UDP port; `identity` is the PSK identity of a DTLS session, None without DTLS.

    `controller_id` is the device whose tickets that identity may fetch, None for any. `session` is the DTLS session's
    number, 0 without: messages of two sessions never belong together (RFC 7252 section 9.1.1).
    """

    host: str
    port: int
    identity: str | None = None
    controller_id: str | None = None
    session: int = 0
