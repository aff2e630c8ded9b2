"""What a request gets: firmware by ticket, a representation by Proxy-Uri, the directory; and what is reported of it."""

import asyncio
import json
import logging
import time
import uuid
from dataclasses import dataclass, field

import redis.asyncio as redis

from coap_http_proxy.blobs import Blob, blob_of
from coap_http_proxy.fast_path import FastPath
from coap_http_proxy.mapping import requests
from coap_http_proxy.mapping.pacing import Pacing
from coap_http_proxy.mapping.requests import Directory, Proxied, Refusal, Ticketed
from coap_http_proxy.peers import Peer
from coap_http_proxy.progress import Progress, restored
from coap_http_proxy.tickets import Ticket, Tickets
from coap_http_proxy.upstream import Upstream
from coap_wire import Block, Code, Message, Type, decode_block, encode_block, encode_uint
from coap_wire import options as option

logger = logging.getLogger(__name__)

PROGRESS_LIFETIME_SECONDS = 7 * 86400
UPLINK_MAXIMUM_ENTRIES = 200_000
TICKET_SWEEP_SECONDS = 10.0
# Waiting is kinder than 4.29, which ends a Zephyr download; but not longer than a device waits for a separate answer.
LONGEST_PAUSE_SECONDS = 5.0
_DIRECTORY = blob_of(b'</f>;rt="firmware";ct=42,</coap2http>;rt="proxy",</coap2coap>;rt="proxy"', 40)


@dataclass(eq=False)
class Download:
    """A ticket in use."""

    ticket: Ticket
    progress: Progress


@dataclass(eq=False)
class ProxyService:
    """Answers requests and keeps the books; the transport and the message layer call it."""

    tickets: Tickets
    upstream: Upstream
    client: "redis.Redis | None"
    fast_path: FastPath = field(default_factory=FastPath)
    downloads: dict[str, Download] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)
    pacing: Pacing = field(default_factory=Pacing)

    async def respond(self, request: Message, peer: Peer) -> Message:
        """The answer to one request; raises Refusal."""
        try:
            answer = await self._respond(request, peer.host)
        except Refusal as refusal:
            self._count(refusal.code)
            raise
        self._count(answer.code)
        return answer

    def _count(self, code: int) -> None:
        self.answers[code] = self.answers.get(code, 0) + 1

    async def _respond(self, request: Message, address: str) -> Message:
        what = requests.wanted(request)
        block = requests.block_of(request)
        match what:
            case Ticketed(token):
                return await self._firmware(request, token, block)
            case Proxied(uri):
                if own := self._own_ticket(uri):
                    return await self._firmware(request, own, block)
                answer = representation(request, await self.upstream.representation(uri), block)
                await self._pause(address, len(answer.payload))
                return answer
            case Directory():
                return representation(request, _DIRECTORY, block)

    async def _pause(self, address: str, size: int) -> None:
        seconds = self.pacing.take(address, size, time.monotonic())
        if seconds > LONGEST_PAUSE_SECONDS:
            self.pacing.give_back(address, size)
            raise Refusal(Code.TOO_MANY_REQUESTS, "too much at once for an address without a ticket")
        if seconds:
            await asyncio.sleep(seconds)

    def _own_ticket(self, uri: str) -> str | None:
        """A Package URI of ours that came back in Proxy-Uri (Zephyr's proxy build) is served here, never asked for."""
        parts = uri.split("/")
        if len(parts) == 6 and parts[0] in ("coap:", "http:") and parts[3] == "f":
            return parts[4]
        return None

    async def _firmware(self, request: Message, token: str, block: Block) -> Message:
        download = self.downloads.get(token)
        if download is None:
            download = await self._open(token)
        blob = await self.upstream.artifact(download.ticket)
        if token in self.downloads:
            self.fast_path.admit(token, blob, download.progress)
        answer = representation(request, blob, block)
        if answer.code == Code.CONTENT:
            self.fast_path.blocks += 1
            self.fast_path.bytes_on_air += len(answer.payload)
            download.progress.served(_offset_of(answer), len(answer.payload))
        return answer

    async def _open(self, token: str) -> Download:
        try:
            ticket = await self.tickets.find(token)
            state = await self.tickets.progress(token) if ticket else None
        except redis.RedisError as error:
            # Not 4.04: the device would give up although its ticket may be good in a minute.
            raise Refusal(Code.SERVICE_UNAVAILABLE, "tickets cannot be looked up now") from error
        if ticket is None:
            raise Refusal(Code.NOT_FOUND, "no such ticket, or it has expired")
        download = self.downloads.setdefault(token, Download(ticket, restored(ticket.size, state)))
        logger.info(
            "download opened",
            extra={
                "controller": ticket.controller_id,
                "sha256": ticket.sha256[:16],
                "offset": download.progress.offset,
            },
        )
        return download

    async def report_for_ever(self, seconds: float) -> None:
        """Report progress once per `seconds`, and forget tickets that are gone."""
        swept = time.monotonic()
        last: dict[str, tuple[float, int]] = {}
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.report(last)
                if time.monotonic() - swept >= TICKET_SWEEP_SECONDS:
                    swept = time.monotonic()
                    for token in await self.tickets.gone(list(self.downloads)):
                        self.fast_path.revoke(token)
                        self.downloads.pop(token, None)
                        last.pop(token, None)
            except (redis.RedisError, OSError) as error:
                logger.warning("progress cannot be reported now, it will be: %s", type(error).__name__)

    async def report(self, last: dict[str, tuple[float, int]]) -> None:
        """Send one event for each download that moved; `last` holds time and offset of the report before."""
        moved = [(token, download) for token, download in self.downloads.items() if download.progress.changed]
        if not moved or self.client is None:
            return
        now = time.time()
        pipe = self.client.pipeline(transaction=False)
        for token, download in moved:
            before_at, before_offset = last.get(token, (now - 1.0, download.progress.offset))
            rate = max(0.0, (download.progress.offset - before_offset) / max(now - before_at, 0.001))
            state = download.progress.state()
            ticket = download.ticket
            event = {
                "type": "progress",
                "id": uuid.uuid4().hex,
                "at": int(now * 1000),
                "tenant": ticket.tenant,
                "controllerId": ticket.controller_id,
                "actionId": ticket.action_id,
                "token": token,
                "sha256": ticket.sha256,
                "rateBytesPerSecond": round(rate),
                **state,
            }
            pipe.set(f"updraft:proxy:progress:{token}", json.dumps(state), ex=PROGRESS_LIFETIME_SECONDS)
            pipe.xadd("updraft:uplink", {"event": json.dumps(event)}, maxlen=UPLINK_MAXIMUM_ENTRIES, approximate=True)
            last[token] = (now, download.progress.offset)
            download.progress.changed = False
        try:
            await pipe.execute()
        except (redis.RedisError, OSError):
            for _, download in moved:
                download.progress.changed = True
            raise


def _offset_of(answer: Message) -> int:
    value = answer.option(option.BLOCK2)
    return decode_block(value).offset if value is not None else 0


def representation(request: Message, blob: Blob, block: Block) -> Message:
    """2.05 with the block asked for, or 2.03 when the client's ETag still holds; raises Refusal past the end."""
    if blob.etag in request.options_of(option.ETAG):
        return Message(Type.ACK, Code.VALID, 0, options=((option.ETAG, blob.etag),))
    send = requests.fitting(block, blob.size)
    whole = blob.size <= send.size and request.option(option.BLOCK2) is None
    options = [
        (option.ETAG, blob.etag),
        (option.CONTENT_FORMAT, encode_uint(blob.content_format)),
        (option.SIZE2, encode_uint(blob.size)),
    ]
    if not whole:
        options.append((option.BLOCK2, encode_block(send)))
    payload = bytes(blob.data[send.offset : send.offset + send.size])
    return Message(Type.ACK, Code.CONTENT, 0, options=tuple(sorted(options)), payload=payload)
