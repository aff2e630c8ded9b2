"""The handshake, which OpenSSL does: everything that touches pyOpenSSL, and the few names below its public face.

pyOpenSSL does not offer the PSK callbacks; cryptography's binding holds them so that they can be set on a Context
(pyopenssl issue 704). Those names are asserted when a stack is made, and both packages are pinned.
"""

import secrets
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from dtls.cookies import Address, Cookies
from dtls.errors import UnusableStack
from dtls.protection import Opener, Sealer, session_keys
from dtls.suites import BY_NAME, SUITES, Suite
from dtls.wire import IdentityReader, Record, is_bounded, records

_BINDING: Final = Binding()
_LIB: Final[Any] = _BINDING.lib
_FFI: Final[Any] = _BINDING.ffi
_DTLS_1_2: Final = 0xFEFD
_CLIENT_CALLBACK: Final = "unsigned int (*)(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)"
_SERVER_CALLBACK: Final = "unsigned int (*)(SSL *, const char *, unsigned char *, unsigned int)"

# Datagrams of a peer whose key is being looked up.
MAX_PARKED_DATAGRAMS: Final = 4
READ_BYTES: Final = 16 << 10


def require_stack() -> None:
    """Raise UnusableStack unless all is there that this library needs of OpenSSL."""
    names = ("SSL_CTX_set_psk_server_callback", "SSL_CTX_set_psk_client_callback", "DTLSv1_listen", "SSL_set_mtu")
    if missing := [name for name in names if not hasattr(_LIB, name)]:
        raise UnusableStack(f"OpenSSL as linked in lacks {', '.join(missing)}")


def psk_context(suites: tuple[Suite, ...] = SUITES) -> SSL.Context:
    """A context for DTLS 1.2 with these suites and nothing else."""
    require_stack()
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_max_proto_version(_DTLS_1_2)
    # A tag of 8 bytes is only allowed at level 0; what else that level allows is not on the list.
    names = ":".join(suite.openssl for suite in suites)
    context.set_cipher_list(f"{names}:@SECLEVEL=0".encode())
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_NO_QUERY_MTU
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | SSL.OP_NO_COMPRESSION
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def offer_psk(context: SSL.Context, key: Callable[[], bytes | None]) -> Any:
    """Make a server's context ask for the key of whom it hears. The result must live as long as the context."""

    def callback(_: Any, _identity: Any, target: Any, room: int) -> int:
        found = key()
        if found is None or len(found) > room:
            return 0
        _FFI.memmove(target, found, len(found))
        return len(found)

    held = _FFI.callback(_SERVER_CALLBACK, callback, error=0)
    _LIB.SSL_CTX_set_psk_server_callback(context._context, held)
    return held


def show_psk(context: SSL.Context, identity: bytes, key: bytes) -> Any:
    """Make a client's context use this identity and key. The result must live as long as the context."""
    name = identity + b"\0"

    def callback(_ssl: Any, _hint: Any, target: Any, room: int, secret: Any, key_room: int) -> int:
        if len(name) > room or len(key) > key_room:
            return 0
        _FFI.memmove(target, name, len(name))
        _FFI.memmove(secret, key, len(key))
        return len(key)

    held = _FFI.callback(_CLIENT_CALLBACK, callback, error=0)
    _LIB.SSL_CTX_set_psk_client_callback(context._context, held)
    return held


class Handshake:
    """One peer on its way: its address is proven by a cookie, its identity not yet.

    `identity` is known as soon as `wants_key` is true; then `provide` has to be called. After `done`, `protection`
    gives the keys, and the object is kept for a while to repeat its last flight.
    """

    def __init__(self, connection: SSL.Connection, client_random: bytes, started: float) -> None:
        self._connection = connection
        self.client_random = client_random
        self.started = started
        self.identity: bytes | None = None
        self.done = False
        self.dead = False
        # Whether somebody is looking for the key.
        self.asked = False
        self._key: bytes | None = None
        self._reader = IdentityReader()
        self._parked: list[list[Record]] = []
        # The number the next record of ours in epoch 1 has to have: OpenSSL has used those before.
        self._next_sequence = 0

    @property
    def wants_key(self) -> bool:
        """Whether it cannot go on before `provide`."""
        return self.identity is not None and self._key is None

    @property
    def key(self) -> bytes | None:
        """What was provided. Whatever identity OpenSSL read, a Finished made with this key proves ours."""
        return self._key

    def receive(self, arrived: list[Record], feed: Callable[["Handshake"], None]) -> bytes:
        """Take the records of one datagram; returns what OpenSSL wants sent, a run of records."""
        if self.dead or not all(map(is_bounded, arrived)):
            return b""
        if self.identity is None:
            for record in arrived:
                self.identity = self.identity or self._reader.read(record)
        if self.wants_key:
            if len(self._parked) < MAX_PARKED_DATAGRAMS:
                self._parked.append(arrived)
            return b""
        return self._feed(arrived, feed)

    def provide(self, key: bytes | None, feed: Callable[["Handshake"], None]) -> bytes:
        """Go on with the key; None for an identity nobody knows.

        A made-up key then takes its place: a stranger cannot tell an unknown identity from a wrong key (RFC 4279
        section 2), as both end in a Finished that cannot be opened.
        """
        self._key = secrets.token_bytes(16) if key is None else key
        parked, self._parked = self._parked, []
        return b"".join(self._feed(arrived, feed) for arrived in parked)

    def _feed(self, arrived: list[Record], feed: Callable[["Handshake"], None]) -> bytes:
        # Record by record, so that one that is refused does not take the others of its datagram along.
        for record in arrived:
            self._connection.bio_write(record.raw)
            feed(self)
        return self._outgoing()

    def advance(self) -> None:
        """Let OpenSSL read what lies there; to be called with the context's callbacks pointing here."""
        try:
            if self.done:
                self._connection.recv(READ_BYTES)  # a repeated Finished makes OpenSSL repeat its last flight
            else:
                self._connection.do_handshake()
                self.done = True
        except SSL.WantReadError:
            return
        except SSL.Error:
            self.dead = not self.done

    def repeat(self) -> bytes:
        """What has to be sent again because an answer is overdue (RFC 6347 section 4.2.4), mostly nothing."""
        if self.dead or self.done:
            return b""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:  # a dozen times in vain
            self.dead = True
        return self._outgoing()

    def protection(self) -> tuple[Opener, Sealer]:
        """The record layer from here on: what the peer sends and what we send."""
        suite = BY_NAME[str(self._connection.get_cipher_name())]
        master, client, server = (
            self._connection.master_key(),
            self._connection.client_random(),
            self._connection.server_random(),
        )
        assert master is not None and client is not None and server is not None
        keys = session_keys(suite, master, client, server)
        return (
            Opener(suite.cipher(keys.client_key), keys.client_salt, suite.tag_bytes),
            Sealer(suite.cipher(keys.server_key), keys.server_salt, self._next_sequence),
        )

    def _outgoing(self) -> bytes:
        flight = drained(self._connection)
        for record in records(flight):
            if record.epoch == 1:
                self._next_sequence = max(self._next_sequence, record.sequence + 1)
        return flight

    @property
    def next_sequence(self) -> int:
        """The number of our next record in epoch 1."""
        return self._next_sequence


class Listener:
    """Answers ClientHellos without keeping anything, until one shows the cookie its address was given."""

    def __init__(self, mtu: int, suites: tuple[Suite, ...] = SUITES) -> None:
        self._cookies = Cookies()
        self._mtu = mtu
        self._asking: tuple[Address, float] = ("", 0), 0.0
        self._handshake: Handshake | None = None
        self._context = psk_context(suites)
        self._context.set_cookie_generate_callback(lambda _: self._cookies.make(*self._asking))
        self._context.set_cookie_verify_callback(lambda _, cookie: self._cookies.holds(cookie, *self._asking))
        self._held = offer_psk(self._context, self._key)
        self._spare = self._connection()

    def _connection(self) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        connection.set_ciphertext_mtu(self._mtu)
        return connection

    def _key(self) -> bytes | None:
        return None if self._handshake is None else self._handshake.key

    def hello(self, raw: bytes, client_random: bytes, address: Address, now: float) -> tuple[bytes, Handshake | None]:
        """Answer one record with a ClientHello: what is to be sent, and the handshake when the cookie was right."""
        self._asking = address, now
        connection = self._spare
        _LIB.ERR_clear_error()
        try:
            connection.bio_write(raw)
            connection.DTLSv1_listen()
        except SSL.Error:
            # The same object serves again: DTLSv1_listen clears it first, and it has read all there was.
            return drained(connection), None
        self._spare = self._connection()
        handshake = Handshake(connection, client_random, now)
        self.feed(handshake)
        return handshake._outgoing(), handshake

    def feed(self, handshake: Handshake) -> None:
        """Advance a handshake; OpenSSL's callbacks meanwhile ask for its key."""
        self._handshake = handshake
        # SSL_get_error(3): the thread's queue of errors has to be empty before, and pyOpenSSL does not see to it.
        _LIB.ERR_clear_error()
        try:
            handshake.advance()
        finally:
            self._handshake = None


def drained(connection: SSL.Connection) -> bytes:
    """Everything a connection wants sent."""
    pieces = []
    while True:
        try:
            pieces.append(connection.bio_read(READ_BYTES))
        except SSL.WantReadError:
            return b"".join(pieces)
