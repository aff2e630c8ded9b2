"""For tests: a DTLS client whose record layer is OpenSSL's own, and a wire between it and a server."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from OpenSSL import SSL

from dtls.cookies import Address
from dtls.openssl import _FFI, _LIB, drained, psk_context
from dtls.outputs import Association, Closed, KeyWanted, Opened, Psk, Received, Transmit
from dtls.server import Server
from dtls.suites import SUITES, Suite
from dtls.wire import packed

_CLIENT_CALLBACK: Final = "unsigned int (*)(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)"


class Client:
    """OpenSSL as a client with one pre-shared key, datagrams in and out."""

    def __init__(self, identity: str, key: bytes, suites: tuple[Suite, ...] = SUITES, mtu: int = 1232) -> None:
        name = identity.encode() + b"\0"

        def callback(_ssl: Any, _hint: Any, target: Any, _room: int, secret: Any, _key_room: int) -> int:
            _FFI.memmove(target, name, len(name))
            _FFI.memmove(secret, key, len(key))
            return len(key)

        context = psk_context(suites)
        self._held = _FFI.callback(_CLIENT_CALLBACK, callback, error=0)
        _LIB.SSL_CTX_set_psk_client_callback(context._context, self._held)
        self._mtu = mtu
        self.connection = SSL.Connection(context, None)
        self.connection.set_connect_state()
        self.connection.set_ciphertext_mtu(mtu)
        self.connected = False
        self.closed = False
        self.heard: list[bytes] = []

    def start(self) -> list[bytes]:
        """The first ClientHello."""
        return self._go_on()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram; returns what it answers."""
        self.connection.bio_write(datagram)
        return self._go_on()

    def send(self, plaintext: bytes) -> list[bytes]:
        """Application data as datagrams."""
        self.connection.send(plaintext)
        return packed(drained(self.connection), self._mtu)

    def close(self) -> list[bytes]:
        """Say close_notify."""
        self.connection.shutdown()
        return packed(drained(self.connection), self._mtu)

    def repeat(self) -> list[bytes]:
        """What OpenSSL repeats when its timer has run out."""
        self.connection.DTLSv1_handle_timeout()
        return packed(drained(self.connection), self._mtu)

    def _go_on(self) -> list[bytes]:
        try:
            if not self.connected:
                self.connection.do_handshake()
                self.connected = True
            while True:
                self.heard.append(self.connection.recv(16 << 10))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        return packed(drained(self.connection), self._mtu)


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
