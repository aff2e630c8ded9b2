"""A DTLS 1.2 server without I/O: datagrams, keys and the time go in, what is to be done comes out.

    ClientHello             ->   HelloVerifyRequest          nothing is kept
    ClientHello + cookie    ->   ServerHello, ...Done        half-open: bounded in number, per host and in time
    ClientKeyExchange       ->   KeyWanted                   the handshake waits for `provide`
    Finished                ->   Finished, Opened            a session: its keys, a window, some 2 KiB
    application data        ->   Received                    OpenSSL's object goes with the first one

A new handshake from an address that has a session leaves that alone until it is complete (RFC 6347 section 4.2.8).
What is malformed, forged or repeated is discarded and counted.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dtls.cookies import Address
from dtls.openssl import Handshake, Listener
from dtls.outputs import Association, Closed, KeyWanted, Opened, Output, Psk, Received, Transmit
from dtls.protection import Opener, Sealer
from dtls.wire import (
    ALERT,
    APPLICATION_DATA,
    CLIENT_HELLO,
    HANDSHAKE,
    Record,
    client_random,
    is_one_record,
    packed,
    records,
)

# Alerts (RFC 5246 section 7.2).
_FATAL: Final = 2
_CLOSE_NOTIFY: Final = b"\x01\x00"
_NO_RENEGOTIATION: Final = b"\x01\x64"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server; `mtu` is the largest UDP payload of a handshake's datagram, bytes."""

    half_open: int = 1024
    # Many devices may share an address behind a translator, but none needs more than a moment for its handshake.
    half_open_per_host: int = 256
    handshake_seconds: float = 30.0
    sessions: int = 10_000
    # What one key can take of those: else a single device could push all others out.
    sessions_per_identity: int = 1000
    idle_seconds: float = 3600.0
    mtu: int = 1232


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    hellos: int = 0
    opened: int = 0
    abandoned: int = 0
    discarded: int = 0


@dataclass(slots=True)
class _Session:
    association: Association
    psk: Psk
    opener: Opener
    sealer: Sealer
    used: float
    # Kept to repeat our last flight, until the client has shown that it got it.
    handshake: Handshake | None


@dataclass(slots=True)
class Server:
    """All sessions of one UDP port. `receive`, `provide`, `tick` and `close` return what is to be done, in order."""

    limits: Limits = field(default_factory=Limits)
    counters: Counters = field(default_factory=Counters)
    _listener: Listener = field(init=False)
    _half_open: OrderedDict[Address, Handshake] = field(default_factory=OrderedDict)
    _half_open_of: Counter[str] = field(default_factory=Counter)
    _psks: dict[Address, Psk | None] = field(default_factory=dict, repr=False)
    # Least recently used first.
    _sessions: OrderedDict[Address, _Session] = field(default_factory=OrderedDict)
    _of_identity: dict[str, OrderedDict[Address, None]] = field(default_factory=dict)
    _lingering: set[Address] = field(default_factory=set)
    _numbers: int = 0

    def __post_init__(self) -> None:
        self._listener = Listener(self.limits.mtu)

    @property
    def half_open(self) -> int:
        """Handshakes that are not complete."""
        return len(self._half_open)

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        return len(self._sessions)

    def associations(self) -> list[Association]:
        """All sessions that are open, the longest unused first."""
        return [session.association for session in self._sessions.values()]

    def identities(self) -> list[str]:
        """Whose sessions are open."""
        return list(self._of_identity)

    def receive(self, datagram: bytes, address: Address, now: float) -> list[Output]:
        """Take one datagram; `now` in seconds of a steady clock."""
        session = self._sessions.get(address)
        if session is not None and is_one_record(datagram, APPLICATION_DATA):
            return self._data(session, datagram, now)
        arrived = records(datagram)
        if not arrived:
            self.counters.discarded += 1
            return []
        half = self._half_open.get(address)
        if (random := client_random(arrived[0])) is not None:
            if half is None or half.client_random != random:
                return self._hello(arrived[0], random, address, now)
            # A repeated one: our own flight was lost or is late, and that has a timer. What follows may be news.
            arrived = arrived[1:]
        outputs: list[Output] = []
        if half is not None:
            # Data cannot be of a handshake that is not complete; OpenSSL would keep it.
            flight = half.receive([one for one in arrived if one.kind != APPLICATION_DATA], self._listener.feed)
            outputs += self._transmit(flight, address)
            outputs += self._progressed(half, address, now)
        if session is None:
            if half is None:
                self.counters.discarded += 1
            return outputs
        # The session that was there before, if a new handshake did not end just now.
        if self._sessions.get(address) is session:
            for record in arrived:
                outputs += self._record(session, record, now)
        return outputs

    def provide(self, address: Address, identity: str, psk: Psk | None, now: float) -> list[Output]:
        """The answer to KeyWanted: None for an identity nobody knows."""
        half = self._half_open.get(address)
        if half is None or not half.wants_key or _text(half.identity) != identity:
            return []  # the handshake was given up meanwhile
        return self._resume(half, address, psk, now)

    def seal(self, plaintext: bytes, association: Association) -> bytes | None:
        """The datagram for application data on a session; None when that session is over."""
        session = self._sessions.get(association.address)
        if session is None or session.association.number != association.number:
            return None
        self._take_over(session)
        return session.sealer.seal(APPLICATION_DATA, plaintext)

    def tick(self, now: float) -> list[Output]:
        """Repeat overdue flights, give up handshakes, let idle sessions go: to be called a few times a second."""
        outputs: list[Output] = []
        for address, half in list(self._half_open.items()):
            if half.dead or now - half.started > self.limits.handshake_seconds:
                self._give_up(address)
            else:
                outputs += self._transmit(half.repeat(), address)
        for address in list(self._lingering):
            session = self._sessions[address]
            if session.handshake is not None and now - session.handshake.started > self.limits.handshake_seconds:
                self._take_over(session)
        for session in self._idle(now):
            outputs += self._end(session, say=True)
        return outputs

    def settle(self, identity: str, psk: Psk | None) -> list[Output]:
        """End the sessions of an identity that were made with another key than it has now, or for another subject."""
        sessions = [self._sessions[address] for address in self._of_identity.get(identity, ())]
        return [output for session in sessions if session.psk != psk for output in self._end(session, say=True)]

    def close(self, association: Association) -> list[Output]:
        """End a session and tell its peer."""
        session = self._sessions.get(association.address)
        if session is None or session.association.number != association.number:
            return []
        return self._end(session, say=True)

    def _idle(self, now: float) -> Iterator[_Session]:
        for session in list(self._sessions.values()):
            if now - session.used <= self.limits.idle_seconds:
                return
            yield session

    def _hello(self, hello: Record, random: bytes, address: Address, now: float) -> list[Output]:
        self.counters.hellos += 1
        answer, handshake = self._listener.hello(hello.raw, random, address, now)
        if handshake is None or handshake.dead:
            return self._transmit(answer, address)
        if address in self._half_open:
            self._give_up(address)
        limits = self.limits
        if len(self._half_open) >= limits.half_open or self._half_open_of[address[0]] >= limits.half_open_per_host:
            self.counters.abandoned += 1
            return []
        self._half_open[address] = handshake
        self._half_open_of[address[0]] += 1
        return self._transmit(answer, address)

    def _progressed(self, half: Handshake, address: Address, now: float) -> list[Output]:
        if half.dead:
            self._give_up(address)
            return []
        if half.wants_key:
            if half.asked:
                return []
            half.asked = True
            identity = _text(half.identity)
            # What is no text is nobody's identity, and takes the way of one that nobody knows.
            return self._resume(half, address, None, now) if identity is None else [KeyWanted(address, identity)]
        return self._open(half, address, now) if half.done else []

    def _resume(self, half: Handshake, address: Address, psk: Psk | None, now: float) -> list[Output]:
        self._psks[address] = psk
        flight = half.provide(psk.key if psk else None, self._listener.feed)
        return [*self._transmit(flight, address), *self._progressed(half, address, now)]

    def _open(self, half: Handshake, address: Address, now: float) -> list[Output]:
        identity, psk = _text(half.identity), self._psks.get(address)
        assert identity is not None and psk is not None  # else it had a made-up key
        outputs: list[Output] = []
        self._forget(address)
        if (old := self._sessions.get(address)) is not None:
            outputs += self._end(old, say=False)
        self._numbers += 1
        association = Association(self._numbers, address, identity, psk.subject)
        peers = self._of_identity.setdefault(identity, OrderedDict())
        if len(peers) >= self.limits.sessions_per_identity:
            outputs += self._end(self._sessions[next(iter(peers))], say=True)
        if len(self._sessions) >= self.limits.sessions:
            outputs += self._end(next(iter(self._sessions.values())), say=True)
        opener, sealer = half.protection()
        self._sessions[address] = _Session(association, psk, opener, sealer, now, half)
        self._of_identity.setdefault(identity, OrderedDict())[address] = None
        self._lingering.add(address)
        self.counters.opened += 1
        return [*outputs, Opened(association)]

    def _data(self, session: _Session, raw: bytes, now: float) -> list[Output]:
        plaintext = session.opener.open(raw)
        if plaintext is None:
            self.counters.discarded += 1
            return []
        self._take_over(session)
        session.used = now
        address = session.association.address
        self._sessions.move_to_end(address)
        self._of_identity[session.association.identity].move_to_end(address)
        return [Received(plaintext, session.association)]

    def _record(self, session: _Session, record: Record, now: float) -> list[Output]:
        if record.kind == APPLICATION_DATA:
            return self._data(session, record.raw, now)
        if session.handshake is not None and record.kind == HANDSHAKE:
            # A repeated Finished: ours was lost. OpenSSL knows it, and says it again.
            flight = session.handshake.receive([record], self._listener.feed)
            session.sealer.sequence = session.handshake.next_sequence
            return self._transmit(flight, session.association.address)
        plaintext = session.opener.open(record.raw)
        if plaintext is None:
            self.counters.discarded += 1
            return []
        if record.kind == ALERT and len(plaintext) == 2 and (plaintext[0] == _FATAL or plaintext == _CLOSE_NOTIFY):
            return self._end(session, say=plaintext == _CLOSE_NOTIFY)
        if record.kind == HANDSHAKE and plaintext[:1] == bytes((CLIENT_HELLO,)):
            # Nobody renegotiates here (RFC 5746 section 4.5 and RFC 5246 section 7.2.2).
            sealed = session.sealer.seal(ALERT, _NO_RENEGOTIATION)
            return [Transmit(sealed, session.association.address)]
        return []

    def _take_over(self, session: _Session) -> None:
        """From here on records are numbered here: OpenSSL may not send another one, or a nonce would be used twice."""
        if session.handshake is not None:
            session.handshake = None
            self._lingering.discard(session.association.address)

    def _end(self, session: _Session, *, say: bool) -> list[Output]:
        association = session.association
        del self._sessions[association.address]
        self._lingering.discard(association.address)
        peers = self._of_identity[association.identity]
        del peers[association.address]
        if not peers:
            del self._of_identity[association.identity]
        notice = [Transmit(session.sealer.seal(ALERT, _CLOSE_NOTIFY), association.address)] if say else []
        return [*notice, Closed(association)]

    def _give_up(self, address: Address) -> None:
        self.counters.abandoned += 1
        self._forget(address)

    def _forget(self, address: Address) -> None:
        self._half_open.pop(address, None)
        self._psks.pop(address, None)
        self._half_open_of[address[0]] -= 1
        if not self._half_open_of[address[0]]:
            del self._half_open_of[address[0]]

    def _transmit(self, flight: bytes, address: Address) -> list[Output]:
        return [Transmit(datagram, address) for datagram in packed(flight, self.limits.mtu)]


def _text(identity: bytes | None) -> str | None:
    """An identity is UTF-8 (RFC 4279 section 5.1), and printable here, as it ends in logs and keys; else None."""
    try:
        text = (identity or b"").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() else None
