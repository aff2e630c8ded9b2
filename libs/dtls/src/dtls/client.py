"""A DTLS 1.2 client with one pre-shared key, without I/O; OpenSSL does all of it, records too.

A client has few sessions and short ones, so it need not save what servers must.
"""

from typing import Any, Final

from OpenSSL import SSL

from dtls.openssl import drained, psk_context, show_psk
from dtls.suites import SUITES, Suite
from dtls.wire import packed

READ_BYTES: Final = 16 << 10


class Client:
    """One session. All methods return datagrams to send; `heard` collects what the server said, record by record.

    `connected` once the server has proved to know the key, `closed` when either side has ended the session, `failed`
    when the handshake came to an end without one.
    """

    def __init__(self, identity: str, key: bytes, suites: tuple[Suite, ...] = SUITES, mtu: int = 1232) -> None:
        context = psk_context(suites)
        self._held: Any = show_psk(context, identity.encode(), key)
        self._mtu = mtu
        self._connection = SSL.Connection(context, None)
        self._connection.set_connect_state()
        self._connection.set_ciphertext_mtu(mtu)
        self.connected = self.closed = self.failed = False
        self.heard: list[bytes] = []

    def start(self) -> list[bytes]:
        """The first ClientHello."""
        return self._go_on()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram of the server's, whatever it holds."""
        self._connection.bio_write(datagram)
        return self._go_on()

    def send(self, plaintext: bytes) -> list[bytes]:
        """Application data as one record; nothing before `connected` or after `closed`."""
        if not self.connected or self.closed:
            return []
        self._connection.send(plaintext)
        return self._outgoing()

    def close(self) -> list[bytes]:
        """Say close_notify."""
        if not self.connected or self.closed:
            return []
        self.closed = True
        self._connection.shutdown()
        return self._outgoing()

    def repeat(self) -> list[bytes]:
        """What has to be sent again because no answer came; to be called a few times a second until `connected`."""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self.failed = True
        return self._outgoing()

    def _go_on(self) -> list[bytes]:
        try:
            if not self.connected:
                self._connection.do_handshake()
                self.connected = True
            while True:
                self.heard.append(self._connection.recv(READ_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error:
            self.failed, self.closed = not self.connected, True
        return self._outgoing()

    def _outgoing(self) -> list[bytes]:
        return packed(drained(self._connection), self._mtu)
