"""Tickets in use: found in Redis once, counted block by block, reported in batches, forgotten when they are gone.

Several processes may serve one ticket, one after the other. Redis holds the sum: a report adds what its process has
counted since its last one, and takes over what others have reached; the script runs there as a whole, so that neither
the sum nor the events ever go backwards. When an answer of Redis is lost, a second of bytes may be counted twice; the
offset may not.
"""

import asyncio
import json
import logging
import secrets
import time
import uuid
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

import redis.asyncio as redis

from coap_http_proxy.blobs import Blob
from coap_http_proxy.fast_path import PREFIX_BYTES, AnyFastPath, prefix_of
from coap_http_proxy.limits import Buckets
from coap_http_proxy.mapping.requests import TICKET_BYTES, Refusal
from coap_http_proxy.peers import Peer
from coap_http_proxy.progress import Counted, restored, state_of
from coap_http_proxy.tickets import Ticket, Tickets, Unknown
from coap_wire import Code

logger = logging.getLogger(__name__)

PROGRESS_LIFETIME_SECONDS: Final = 7 * 86400
UPLINK: Final = "updraft:uplink"
UPLINK_MAXIMUM_ENTRIES: Final = 200_000
# Bytes a second that nobody reaches.
NO_PACE: Final = 1e15
NO_TICKET: Final = "no such ticket, or it has expired"
# A ticket in use is looked at with each report; this is for those that are not, which only take up memory.
SWEEP_SECONDS: Final = 10.0
# So many reports are made in one go; then others may have the loop.
CHUNK: Final = 500
# KEYS: sums, uplink, ticket. ARGV: lifetime, most entries, size, offset, what is to be added to the three counters, and
# the event without its last brace. Returns whether the ticket is still there, and the sums.
_MERGE: Final = """
local key, offset = KEYS[1], tonumber(ARGV[4])
if redis.call('HGET', key, 'size') ~= ARGV[3] then redis.call('DEL', key) end
offset = math.max(offset, tonumber(redis.call('HGET', key, 'offset') or '0'))
redis.call('HSET', key, 'size', ARGV[3], 'offset', string.format('%.0f', offset))
local on_air = redis.call('HINCRBY', key, 'bytesOnAir', ARGV[5])
local repeated = redis.call('HINCRBY', key, 'repeatedBytes', ARGV[6])
local restarts = redis.call('HINCRBY', key, 'restarts', ARGV[7])
redis.call('EXPIRE', key, ARGV[1])
local sums = string.format(',"size":%s,"offset":%.0f,"bytesOnAir":%.0f,"repeatedBytes":%.0f,"restarts":%.0f}',
  ARGV[3], offset, on_air, repeated, restarts)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[8] .. sums)
return {redis.call('EXISTS', KEYS[3]), offset}
"""


@dataclass(eq=False)
class Download:
    """A ticket in use. `told` is its state, and `told_at` the time (monotonic), of the last report.

    `short_name` is what the fast path knows it by: the ticket's token, or, when that is bound to an identity, twelve
    random characters, which no request on the wire can name. `blob` is what it is served from since the first block:
    held until its end, so that a cache too small for all that is in use does not fetch one image for each block.
    """

    ticket: Ticket
    progress: Counted
    told: dict[str, int]
    told_at: float
    short_name: str
    # Bytes on air that the ticket's pace was told of, and whether it had too many of them lately.
    weighed: int = 0
    slowed: bool = False
    blob: Blob | None = None


@dataclass
class Seen:
    """What was counted over several tickets."""

    retransmissions: int = 0
    restarts: int = 0
    rtt_count: int = 0
    rtt_sum: float = 0.0

    def add(self, progress: Counted) -> None:
        """Take over one ticket's counts."""
        self.retransmissions += progress.retransmissions
        self.restarts += progress.restarts
        self.rtt_count += progress.rtt_count
        self.rtt_sum += progress.rtt_sum


@dataclass(eq=False)
class Downloads:
    """The tickets in use in this process, and the fast path they are ready in."""

    tickets: Tickets
    client: "redis.Redis | None"
    fast_path: AnyFastPath
    open: dict[str, Download] = field(default_factory=dict)
    pace: Buckets = field(default_factory=lambda: Buckets(NO_PACE, NO_PACE))
    # Of tickets that are forgotten: so sums of all never fall.
    gone: Seen = field(default_factory=Seen)
    # Blocks that did not take the fast path, and how many a second were served of late.
    long_way: int = 0
    blocks_per_second: float = 0.0
    _swept: float = field(default_factory=time.monotonic)

    async def find(self, token: str, peer: Peer) -> Download:
        """The download of a ticket; raises Refusal when there is none for this peer, or nobody can tell now."""
        download = self.open.get(token) or await self._open(token)
        if not download.ticket.is_for(peer):
            raise Refusal(Code.NOT_FOUND, NO_TICKET)
        return download

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        """The reply to a request that came over DTLS, when its block lies ready and the peer may have it; or None."""
        start = 4 + (datagram[0] & 15) if datagram else 0
        end = start + PREFIX_BYTES
        download = self.open.get(datagram[end - TICKET_BYTES : end].decode("latin-1"))
        if download is None or not download.ticket.is_for(peer):
            return None
        if datagram[start:end] != prefix_of(download.ticket.token):
            return None
        if download.ticket.identity is not None:
            datagram = datagram[:start] + prefix_of(download.short_name) + datagram[end:]
        return self.fast_path.answer(datagram)

    async def _open(self, token: str) -> Download:
        try:
            found = await self.tickets.find(token)
        except Unknown as error:
            # Not 4.04: the device would give up although its ticket may be good in a minute.
            raise Refusal(Code.SERVICE_UNAVAILABLE, "tickets cannot be looked up now") from error
        if found is None:
            raise Refusal(Code.NOT_FOUND, NO_TICKET)
        if (download := self.open.get(token)) is not None:  # somebody else asked meanwhile
            return download
        ticket, state = found
        progress = restored(ticket.size, state, type(self.fast_path).new_progress)
        short_name = token if ticket.identity is None else secrets.token_urlsafe(9)
        download = self.open[token] = Download(
            ticket, progress, state_of(progress), time.monotonic(), short_name, weighed=progress.bytes_on_air
        )
        logger.info(
            "download opened",
            extra={
                "ticket": token[:4],
                "controller": ticket.controller_id,
                "sha256": ticket.sha256[:16],
                "offset": progress.offset,
            },
        )
        return download

    def ready(self, download: Download, blob: Blob) -> None:
        """The ticket's blob may be served: from now on by the fast path, unless it is to wait."""
        download.blob = blob
        if not download.slowed and self.open.get(download.ticket.token) is download:
            self.fast_path.admit(download.short_name, blob, download.progress)

    def served(self, download: Download, offset: int, length: int) -> None:
        """Note a block that went the long way."""
        self.long_way += 1
        self.fast_path.blocks += 1
        self.fast_path.bytes_on_air += length
        download.progress.served(offset, length, time.monotonic())

    def wait_of(self, token: str) -> float:
        """Seconds the next block of this ticket should wait, by what it had before."""
        return self.pace.take(token, 0, time.monotonic(), inf) if token in self.open else 0.0

    def slow_down(self, now: float) -> None:
        """Weigh what each ticket got; one that got more than its pace goes the long way, where it waits.

        The fast path knows no clock: a ticket may get more for as long as it takes until this is called again.
        """
        for token, download in self.open.items():
            on_air = download.progress.bytes_on_air
            if download.slowed or on_air != download.weighed:
                wait = self.pace.take(token, on_air - download.weighed, now, inf)
                download.weighed, download.slowed = on_air, wait > 0
                if download.slowed:
                    self.fast_path.revoke(download.short_name)

    def forget(self, token: str) -> None:
        """Serve a ticket no longer."""
        if (download := self.open.pop(token, None)) is not None:
            self.fast_path.revoke(download.short_name)
            self.gone.add(download.progress)

    async def report_for_ever(self, seconds: float) -> None:
        """Report progress once per `seconds`, and forget tickets that are gone."""
        at, blocks = time.monotonic(), self.fast_path.blocks
        while True:
            await asyncio.sleep(seconds)
            now, before = time.monotonic(), blocks
            blocks = self.fast_path.blocks
            self.blocks_per_second, at = (blocks - before) / max(now - at, 0.001), now
            self.slow_down(time.monotonic())
            try:
                await self.report()
                if time.monotonic() - self._swept >= SWEEP_SECONDS:
                    self._swept = time.monotonic()
                    for token in await self.tickets.gone(list(self.open)):
                        self.forget(token)
            except (redis.RedisError, OSError) as error:
                logger.warning("progress cannot be reported now, it will be: %s", type(error).__name__)

    async def report(self) -> None:
        """Send one event for each download that moved; those whose ticket was revoked end here."""
        if self.client is None:
            return
        merge = self.client.register_script(_MERGE)
        moved = [download for download in self.open.values() if download.progress.changed]
        for at in range(0, len(moved), CHUNK):
            pipe = self.client.pipeline(transaction=False)
            reports = [(download, _report_of(download)) for download in moved[at : at + CHUNK]]
            for download, (state, event) in reports:
                told, token = download.told, download.ticket.token
                added = [state[name] - told[name] for name in ("bytesOnAir", "repeatedBytes", "restarts")]
                keys = [f"updraft:proxy:download:{token}", UPLINK, f"updraft:ticket:{token}"]
                lasting = [PROGRESS_LIFETIME_SECONDS, UPLINK_MAXIMUM_ENTRIES]
                await merge([*keys], [*lasting, state["size"], state["offset"], *added, event], client=pipe)
            self._told(reports, await pipe.execute(raise_on_error=False))

    def _told(self, reports: "list[tuple[Download, tuple[dict[str, int], str]]]", answers: list[Any]) -> None:
        now = time.monotonic()
        for (download, (state, _)), answer in zip(reports, answers, strict=True):
            if isinstance(answer, Exception):
                logger.warning("progress was not taken: %s", answer)
                continue
            download.told, download.told_at = state, now
            there, offset = answer
            # Only now, for a report may be cut off anywhere; and not when blocks were served on its way.
            more = state_of(download.progress) != state
            download.progress.cover(0, min(int(offset), download.progress.size))
            # What others served and what was served here may have met: then it is more than was told.
            download.progress.changed = more or download.progress.offset > max(int(offset), state["offset"])
            if not there:
                self.forget(download.ticket.token)

    def seen(self) -> Seen:
        """What was counted over all tickets since the start."""
        total = replace(self.gone)
        for download in self.open.values():
            total.add(download.progress)
        return total


def _report_of(download: Download) -> tuple[dict[str, int], str]:
    """The state, and the event of the contract as JSON without its sums and last brace."""
    now, at = time.monotonic(), time.time()
    progress, ticket = download.progress, download.ticket
    state = state_of(progress)
    rate = max(0.0, (state["offset"] - download.told["offset"]) / max(now - download.told_at, 0.001))
    event = {
        "type": "progress",
        "id": uuid.uuid4().hex,
        "at": int(at * 1000),
        "tenant": ticket.tenant,
        "controllerId": ticket.controller_id,
        "actionId": ticket.action_id,
        "token": ticket.token,
        "sha256": ticket.sha256,
        "rateBytesPerSecond": round(rate),
        "lastBlockAt": int((at - (now - progress.last_block_at)) * 1000),
        "retransmissions": progress.retransmissions,
        "rttMilliseconds": round(progress.rtt_seconds * 1000, 1),
    }
    return state, json.dumps(event)[:-1]
