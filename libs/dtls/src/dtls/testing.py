"""For tests: a wire between a server and clients, whose record layer is OpenSSL's own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dtls.client import Client
from dtls.cookies import Address
from dtls.outputs import Association, Closed, KeyWanted, Opened, Psk, Received, Transmit
from dtls.server import Server

Lose = Callable[[bytes, bool], bool]


def lose_once(wanted: Lose) -> tuple[Lose, list[bytes]]:
    """Loses the first datagram that is `wanted`; and where it ends up."""
    lost: list[bytes] = []

    def lose(datagram: bytes, to_server: bool) -> bool:
        if lost or not wanted(datagram, to_server):
            return False
        lost.append(datagram)
        return True

    return lose, lost


def listen_in() -> tuple[Lose, list[bytes]]:
    """Loses nothing; and what clients send."""
    heard: list[bytes] = []

    def lose(datagram: bytes, to_server: bool) -> bool:
        if to_server:
            heard.append(datagram)
        return False

    return lose, heard


@dataclass
class Wire:
    """Carries datagrams between a server and clients at addresses of their own, as long as there are any.

    `keys` answers KeyWanted; `lose(datagram, to_server)` may drop datagrams.
    """

    server: Server
    keys: dict[str, Psk]
    now: float = 1000.0
    clients: dict[Address, Client] = field(default_factory=dict)
    received: list[tuple[bytes, Association]] = field(default_factory=list)
    opened: list[Association] = field(default_factory=list)
    closed: list[Association] = field(default_factory=list)
    wanted: list[KeyWanted] = field(default_factory=list)
    sent: list[tuple[bytes, Address]] = field(default_factory=list)
    hold_keys: bool = False
    lose: Lose = lambda _datagram, _to_server: False

    def connect(self, client: Client, address: Address) -> Client:
        """Let a client shake hands from this address."""
        self.clients[address] = client
        self.to_server(client.start(), address)
        return client

    def to_server(self, datagrams: list[bytes], address: Address) -> None:
        """Send datagrams of a client, and carry out all that follows."""
        for datagram in datagrams:
            if not self.lose(datagram, True):
                self.carry_out(self.server.receive(datagram, address, self.now))

    def carry_out(self, outputs: Any) -> None:
        """Do what the server wants done."""
        for output in outputs:
            match output:
                case Transmit(datagram, address):
                    self.sent.append((datagram, address))
                    client = self.clients.get(address)
                    if client is not None and not self.lose(datagram, False):
                        self.to_server(client.receive(datagram), address)
                case KeyWanted(address, identity):
                    self.wanted.append(output)
                    if not self.hold_keys:
                        self.carry_out(self.server.provide(address, identity, self.keys.get(identity), self.now))
                case Opened(association):
                    self.opened.append(association)
                case Received(plaintext, association):
                    self.received.append((plaintext, association))
                case Closed(association):
                    self.closed.append(association)
