"""What allowed URIs stand for: from the cache while fresh, else asked once however many ask, checked rather than
fetched again, and told again although stale when the upstream fails.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from coap_http_proxy.cache import Representation, RepresentationCache
from coap_http_proxy.mapping import methods, uris
from coap_http_proxy.mapping.questions import Question
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.mapping.reverse import Route
from coap_http_proxy.peers import Peer
from coap_http_proxy.spool import Body
from coap_http_proxy.upstream.coap import CoapOrigin
from coap_http_proxy.upstream.flights import Flights
from coap_http_proxy.upstream.http import HttpOrigin
from coap_wire import Block, Code

logger = logging.getLogger(__name__)

# To one origin: one that is silent keeps nobody from another.
MAX_AT_ONCE: Final = 64
# Errors that say the upstream is in trouble, not the question: an old answer is better (RFC 5861 section 4).
TROUBLE: Final = frozenset(
    {Code.INTERNAL_SERVER_ERROR, Code.BAD_GATEWAY, Code.SERVICE_UNAVAILABLE, Code.GATEWAY_TIMEOUT}
)
# Longer than the limit inside, which knows what to do about it.
GRACE_SECONDS: Final = 5.0


@dataclass
class Representations:
    """Answers to questions whose URI the allow-list holds."""

    http: HttpOrigin
    coap: CoapOrigin
    cache: RepresentationCache
    timeout_seconds: float
    clock: Callable[[], float] = time.monotonic
    _flights: Flights[Hashable, Representation] = field(init=False)
    _turns: "WeakValueDictionary[tuple[str, str, int], asyncio.Semaphore]" = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        self._flights = Flights(self.timeout_seconds + GRACE_SECONDS, self.http.stats)

    async def answer(
        self,
        asked: Question,
        body: Body,
        peer: Peer,
        block: Block,
        route: Route | None = None,
        *,
        in_blocks: bool = False,
    ) -> Representation:
        """The answer of which `block` is wanted; `in_blocks`: that is how the request came. Raises Refusal."""
        if in_blocks or not block.num:
            # It is asked anew: further blocks, and a last block that is sent again, are of this answer or of none.
            self.cache.drop(_own(asked, peer))
        if block.num:
            for kept in (self.cache.get(_own(asked, peer)), self.cache.get(_key(asked, body))):
                if kept is not None and kept.serves(block.num, self.clock()):
                    kept.used_at = self.clock()
                    return kept
        if asked.method in methods.CACHEABLE:
            read = self._under_condition if asked.conditional else self._read
            return await read(asked, body, peer, block, route)
        if block.num:
            # A second try would do it twice.
            raise Refusal(Code.REQUEST_ENTITY_INCOMPLETE, "that answer is no longer here")
        one = await self._changed(asked, body, route)
        if in_blocks or one.size > block.size:
            # For its further blocks, and for a last block of the request that is sent again.
            self.cache.put(_own(asked, peer), one)
        return one

    def repeated(self, asked: Question, peer: Peer) -> Representation | None:
        """The answer this peer got to the same request a short time ago."""
        kept = self.cache.get(_own(asked, peer))
        return kept if kept is not None and kept.serves(1, self.clock()) else None

    async def _read(self, asked: Question, body: Body, peer: Peer, block: Block, route: Route | None) -> Representation:
        key = _key(asked, body)
        stored = self.cache.get(key)
        if stored is not None and self.clock() < stored.fresh_until:
            self.cache.hits += 1
            stored.used_at = self.clock()
            return stored
        if failure := self.cache.failure(key, self.clock()):
            self.cache.hits += 1
            raise failure
        # Where a proxy is its own upstream, the question that comes round must not wait for itself.
        flight = key, asked.hop_limit
        follows = flight in self._flights
        one = await self._flights.join(flight, lambda: self._refreshed(key, asked, body, route))
        if not one.freshness.shared and follows:
            # What somebody else was told in private is not ours to tell: ask alone.
            one = await self._timed(asked, body, None, route)
            one.received(self.clock())
        if one.size > block.size and (asked.method != Code.GET or not one.freshness.shared):
            self.cache.put(_own(asked, peer), one)
        return one

    async def _refreshed(self, key: Hashable, asked: Question, body: Body, route: Route | None) -> Representation:
        stored = self.cache.get(key)
        try:
            one = await self._timed(asked, body, stored, route)
        except Refusal as refusal:
            now = self.clock()
            if stored is not None and refusal.code in TROUBLE and stored.serves_stale(now):
                logger.warning("an upstream fails, its last answer is told again: %s", refusal)
                return stored
            if refusal.max_age_seconds is not None:
                self.cache.failed(key, refusal, now + refusal.max_age_seconds)
            raise
        one.received(self.clock())
        if not one.freshness.shared:
            self.cache.drop(key)  # also what still holds, but is nobody else's any more
        elif one is not stored:
            self.cache.put(key, one)
        return one

    async def _under_condition(
        self, asked: Question, body: Body, peer: Peer, block: Block, route: Route | None
    ) -> Representation:
        """RFC 7252 section 5.10.8: If-Match and If-None-Match on what only reads."""
        try:
            one = await self._read(asked.unconditional(), body, peer, block, route)
        except Refusal as refusal:
            if refusal.code == Code.NOT_FOUND and asked.if_match:
                raise Refusal(Code.PRECONDITION_FAILED, "there is nothing that could match") from refusal
            raise
        if asked.if_none_match or not (b"" in asked.if_match or one.etag in asked.if_match):
            raise Refusal(Code.PRECONDITION_FAILED, "the condition does not hold")
        return one

    async def _changed(self, asked: Question, body: Body, route: Route | None) -> Representation:
        """A method that changes something: asked once, whatever happens."""
        key = asked.cache_key()
        if failure := self.cache.failure(key, self.clock()):
            raise failure
        tag = None
        if asked.if_match and b"" not in asked.if_match and asked.scheme in ("http", "https"):
            tag = await self._tag_to_match(asked, route)
        try:
            one = await self._timed(asked, body, None, route, tag)
        except Refusal as refusal:
            if refusal.code == Code.TOO_MANY_REQUESTS:
                # RFC 8516 section 4: the same is not asked again before its time.
                self.cache.failed(key, refusal, self.clock() + (refusal.max_age_seconds or 1))
            raise
        one.received(self.clock())
        for uri in (asked.uri, one.location):
            self.cache.changed(uri)
        return one

    async def _tag_to_match(self, asked: Question, route: Route | None) -> str:
        """The HTTP tag of what the device's ETag names; ours are of the content, so the content is looked at first."""
        get = asked.as_get()
        key = get.cache_key()
        try:
            now = await self._flights.join((key, get.hop_limit), lambda: self._refreshed(key, get, b"", route))
        except Refusal as refusal:
            if refusal.code == Code.NOT_FOUND:
                raise Refusal(Code.PRECONDITION_FAILED, "there is nothing that could match") from refusal
            raise
        if now.etag not in asked.if_match:
            raise Refusal(Code.PRECONDITION_FAILED, "it is another representation now")
        if now.http_etag is None:
            raise Refusal(Code.NOT_IMPLEMENTED, "the upstream has no strong tags to match")
        return now.http_etag

    async def _timed(
        self,
        asked: Question,
        body: Body,
        stored: Representation | None,
        route: Route | None,
        if_match: str | None = None,
    ) -> Representation:
        try:
            turn = self._turns.setdefault(uris.origin(asked.uri), asyncio.Semaphore(MAX_AT_ONCE))
            async with asyncio.timeout(self.timeout_seconds), turn:
                if asked.scheme in ("http", "https"):
                    return await self.http.ask(asked, body, stored, route, if_match)
                return await self.coap.ask(asked, body, stored)
        except TimeoutError as error:
            raise Refusal(Code.GATEWAY_TIMEOUT, "the upstream took too long", 2) from error

    def close(self) -> None:
        """Give up what is under way."""
        self._flights.cancel()


def _key(asked: Question, body: Body) -> Hashable:
    return asked.cache_key(hashlib.sha256(body).digest() if asked.method == Code.FETCH else b"")


def _own(asked: Question, peer: Peer) -> Hashable:
    """Under this an answer is kept for one peer's further blocks, which it asks for without payload and its format."""
    return peer, asked.method, asked.uri, asked.accept
