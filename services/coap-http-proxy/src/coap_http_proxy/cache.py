"""Answers of upstreams, kept: fresh ones for every device, others so that the blocks of a transfer agree.

Bounded in entries and in bytes, of memory and of disk; what was used longest ago goes first.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from coap_http_proxy.mapping.freshness import Freshness
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.spool import Body
from coap_wire import Code, Options

MAX_ENTRIES: Final = 4096
# Each mapping of a file costs a file descriptor.
MAX_FILES: Final = 128
# What an entry costs besides its bytes.
OVERHEAD_BYTES: Final = 1024
# A transfer goes on with what it began with, fresh or not, until it has been silent for so long: the longest time a
# confirmable exchange takes (MAX_TRANSMIT_WAIT, RFC 7252 section 4.8.2).
TRANSFER_SECONDS: Final = 93.0
# Told with an answer that is served although it is stale: soon ask again.
STALE_MAX_AGE_SECONDS: Final = 5


@dataclass(eq=False, slots=True)
class Representation:
    """An answer, whole. `validator` is the header name and value (HTTP) that asks whether it still holds; `http_etag`
    the upstream's strong tag. Times are seconds of the cache's clock."""

    code: int
    data: Body = b""
    etag: bytes = b""
    content_format: int | None = None
    options: Options = ()
    validator: tuple[str, str] | None = None
    http_etag: str | None = None
    freshness: Freshness = field(default_factory=lambda: Freshness(0, shared=False))
    fresh_until: float = 0.0
    used_at: float = 0.0
    uri: str = ""
    # Where something was made or changed besides, absolute.
    location: str = ""

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return len(self.data)

    def received(self, now: float) -> None:
        """Its time runs from now on."""
        self.fresh_until, self.used_at = now + self.freshness.seconds, now

    def max_age(self, now: float) -> int:
        """Max-Age to tell with it now, seconds."""
        left = int(self.fresh_until - now)
        return left if left > 0 else min(STALE_MAX_AGE_SECONDS, self.freshness.seconds)

    def serves(self, num: int, now: float) -> bool:
        """True when block `num` may come from it: fresh, or the next one of a transfer that has begun."""
        return now < self.fresh_until or (num > 0 and now < self.used_at + TRANSFER_SECONDS)

    def serves_stale(self, now: float) -> bool:
        """True when it may be served because the upstream fails."""
        return self.code == Code.CONTENT and now < self.fresh_until + self.freshness.stale_seconds


@dataclass(eq=False)
class RepresentationCache:
    """By cache key; `max_memory_bytes` and `max_disk_bytes` bound what lies where."""

    max_memory_bytes: int
    max_disk_bytes: int
    memory_bytes: int = 0
    disk_bytes: int = 0
    hits: int = 0
    _files: int = 0
    _kept: OrderedDict[Hashable, Representation] = field(default_factory=OrderedDict)
    _failures: OrderedDict[Hashable, tuple[float, Refusal]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Representation | None:
        """What is kept, fresh or not."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: Hashable, one: Representation) -> None:
        """Keep an answer in place of the one before, unless it alone is larger than all room."""
        self.drop(key)
        self._failures.pop(key, None)
        in_memory = isinstance(one.data, bytes)
        if one.size > (self.max_memory_bytes - OVERHEAD_BYTES if in_memory else self.max_disk_bytes):
            return
        self._kept[key] = one
        self._weigh(one, 1)
        while self._kept and (
            len(self._kept) > MAX_ENTRIES
            or self._files > MAX_FILES
            or self.memory_bytes > self.max_memory_bytes
            or self.disk_bytes > self.max_disk_bytes
        ):
            self.drop(next(iter(self._kept)))

    def drop(self, key: Hashable) -> None:
        """Forget an answer; whoever still sends it keeps its bytes alive."""
        if (gone := self._kept.pop(key, None)) is not None:
            self._weigh(gone, -1)

    def changed(self, uri: str) -> None:
        """What is kept for a URI is no longer fresh: something was changed there (RFC 7252 section 5.9.1)."""
        for one in self._kept.values():
            if one.uri == uri:
                one.fresh_until, one.freshness = 0.0, Freshness(0)
        for key in [key for key in self._failures if isinstance(key, tuple) and uri in key]:
            del self._failures[key]

    def failed(self, key: Hashable, refusal: Refusal, until: float) -> None:
        """Remember an error for a short time, so that a crowd does not ask for it one by one."""
        self._failures[key] = (until, refusal)
        self._failures.move_to_end(key)
        while len(self._failures) > MAX_ENTRIES:
            self._failures.popitem(last=False)

    def failure(self, key: Hashable, now: float) -> Refusal | None:
        """The error to tell again, with the time that is left; None when it is over."""
        until, refusal = self._failures.get(key, (now, None))
        if refusal is None or until <= now:
            self._failures.pop(key, None)
            return None
        return Refusal(refusal.code, refusal.diagnostic, max(1, int(until - now)), refusal.options)

    def _weigh(self, one: Representation, sign: int) -> None:
        self.memory_bytes += sign * OVERHEAD_BYTES
        if isinstance(one.data, bytes):
            self.memory_bytes += sign * one.size
        else:
            self.disk_bytes += sign * one.size
            self._files += sign
