"""Who gets how much: stands before the service, asks senders who they are, and slows down those who ask too much.

shows a ticket            any size, at the ticket's pace; waiting is kinder than 4.29, which ends a Zephyr download
trusted network           any size, any pace
DTLS identity, or echoed  any size, at the address's pace
anybody else              at most three times what was sent, at the address's pace; nothing but GET (RFC 9175)
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from math import ceil

from coap_http_proxy.echo import Echo
from coap_http_proxy.limits import Buckets, Sender, UnderWay, sender_of
from coap_http_proxy.mapping.addresses import Network, leads_to, literal
from coap_http_proxy.mapping.amplification import challenge, fitted, hopeless
from coap_http_proxy.mapping.refusals import Unheard, refused
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_wire import Code, Message, is_success
from coap_wire import options as option

Respond = Callable[[Message, Peer], Awaitable[Message]]

# Longer than this no device waits for a separate answer.
PATIENCE_SECONDS = 5.0
# A client that asks for one block after the other is slowed down by waiting: 4.29 would end its download.
PAUSE_SECONDS = 1.0
# One echo is good for so long; NAT may give the address to somebody else later.
ECHOED_SECONDS = 600.0
MAX_ECHOED = 16384
# Refusals have a bucket too: a flood from a forged address must not become a flood to it.
REFUSALS_PER_SECOND = 1.0
REFUSALS_BURST = 20.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sender may have. Rates in units a second; bursts are two seconds' worth of them."""

    trusted: tuple[Network, ...]
    address_requests: float
    address_bytes: float
    exchanges: int
    exchanges_per_address: int


@dataclass(slots=True)
class GateCounts:
    """What the gate did, for metrics."""

    challenged: int = 0
    echoed: int = 0
    shortened: int = 0
    limited: int = 0
    unheard: int = 0
    delayed: int = 0


@dataclass(eq=False)
class Gate:
    """Wraps `inner`. `shows_ticket`: whether a request names one, cheaply. `ticket_wait`: seconds its block waits."""

    inner: Respond
    shows_ticket: Callable[[Message], bool]
    ticket_wait: Callable[[str], float]
    limits: Limits
    echo: Echo
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    counts: GateCounts = field(default_factory=GateCounts)
    under_way: UnderWay = field(default_factory=UnderWay)
    tickets_under_way: UnderWay = field(default_factory=UnderWay)
    # When the proof ends, by address; the oldest first.
    _echoed: "OrderedDict[Peer, float]" = field(default_factory=OrderedDict)
    _requests: Buckets = field(init=False)
    _bytes: Buckets = field(init=False)
    _refusals: Buckets = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self._requests = Buckets(limits.address_requests, 2 * limits.address_requests)
        self._bytes = Buckets(limits.address_bytes, 2 * limits.address_bytes)
        self._refusals = Buckets(REFUSALS_PER_SECOND, REFUSALS_BURST)

    async def respond(self, request: Message, peer: Peer) -> Message:
        """The answer to one request, of type NON when it must not be repeated; raises Unheard."""
        trusted = self._trusted(peer)
        known = trusted or self._known(request, peer)
        if self.shows_ticket(request):
            return await self._ticketed(request, peer, known)
        if trusted:
            return await self._ask(request, peer)
        if not known and hopeless(request):
            self.counts.challenged += 1
            return challenge(request, self._value(peer))
        return await self._paced(request, peer, known)

    def _trusted(self, peer: Peer) -> bool:
        address = literal(peer.host)
        return address is not None and any(leads_to(address) in network for network in self.limits.trusted)

    def _known(self, request: Message, peer: Peer) -> bool:
        """Whether the sender is at its address: DTLS says so, or it sent back what was sent there."""
        if peer.identity is not None:
            return True
        now = self.clock()
        value = request.option(option.ECHO)
        if value is not None and self.echo.fresh(value, peer.host, peer.port, now):
            self.counts.echoed += 1
            self._echoed[peer] = now + ECHOED_SECONDS
            self._echoed.move_to_end(peer)
            while len(self._echoed) > MAX_ECHOED:
                self._echoed.popitem(last=False)
            return True
        return self._echoed.get(peer, 0.0) > now

    def _value(self, peer: Peer) -> bytes:
        return self.echo.value(peer.host, peer.port, self.clock())

    async def _ask(self, request: Message, peer: Peer) -> Message:
        # The Echo was for this proxy: it is not passed on (RFC 9175 section 2.3).
        if request.option(option.ECHO) is not None:
            options = tuple(pair for pair in request.options if pair[0] != option.ECHO)
            request = replace(request, options=options)
        try:
            return await self.inner(request, peer)
        except Refusal as refusal:
            return refused(refusal)

    async def _ticketed(self, request: Message, peer: Peer, known: bool) -> Message:
        token, under_way = _token_of(request), self.tickets_under_way
        if under_way.of(token) >= self.limits.exchanges_per_address:
            self.counts.unheard += 1
            raise Unheard
        under_way.begin(token)
        try:
            answer = await self._ask(request, peer)
            if is_success(answer.code):
                if wait := min(self.ticket_wait(token), PATIENCE_SECONDS):
                    self.counts.delayed += 1
                    await self.sleep(wait)
            elif not known:
                # Anybody can make up a ticket: only a good one proves something.
                return fitted(answer, request, self._value(peer))
            return answer
        finally:
            under_way.end(token)

    async def _paced(self, request: Message, peer: Peer, known: bool) -> Message:
        sender = sender_of(peer.host, peer.identity)
        limits, under_way = self.limits, self.under_way
        wait = self._requests.take(sender, 1, self.clock(), PAUSE_SECONDS)
        if under_way.of(sender) >= limits.exchanges_per_address or under_way.total >= limits.exchanges:
            wait = max(wait, PATIENCE_SECONDS)
        if wait > PAUSE_SECONDS:
            return self._limited(request, peer, known, sender, wait)
        under_way.begin(sender)
        try:
            if wait:
                self.counts.delayed += 1
                await self.sleep(wait)
            answer = await self._ask(request, peer)
            if not known:
                answer = self._shortened(answer, request, peer)
            wait = self._bytes.take(sender, len(answer.payload), self.clock(), PATIENCE_SECONDS)
            if wait > PATIENCE_SECONDS:
                return self._limited(request, peer, known, sender, wait)
            if wait:
                self.counts.delayed += 1
                await self.sleep(wait)
            return answer
        finally:
            under_way.end(sender)

    def _shortened(self, answer: Message, request: Message, peer: Peer) -> Message:
        shorter = fitted(answer, request, self._value(peer))
        if shorter.code == Code.UNAUTHORIZED != answer.code:
            self.counts.challenged += 1
        elif len(shorter.payload) < len(answer.payload):
            self.counts.shortened += 1
        return shorter

    def _limited(self, request: Message, peer: Peer, known: bool, sender: Sender, wait: float) -> Message:
        """4.29 that says when to come again (RFC 8516 section 3); raises Unheard when that too is asked too often."""
        if self._refusals.take(sender, 1, self.clock()):
            self.counts.unheard += 1
            raise Unheard
        self.counts.limited += 1
        answer = refused(Refusal(Code.TOO_MANY_REQUESTS, "too much at once from this address", ceil(wait)))
        return answer if known else fitted(answer, request, self._value(peer))


def _token_of(request: Message) -> str:
    """The ticket of `/f/<token>/<name>`, also as it stands in a Proxy-Uri."""
    uri = request.option(option.PROXY_URI)
    segments = request.options_of(option.URI_PATH) if uri is None else tuple(uri.split(b"/")[3:])
    return segments[1].decode(errors="replace") if len(segments) > 1 else ""
