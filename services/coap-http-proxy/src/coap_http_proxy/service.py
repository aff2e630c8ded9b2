"""What a request gets: firmware by ticket, a representation by Proxy-Uri, the directory."""

import asyncio
import time
from dataclasses import dataclass, field

from coap_http_proxy.blobs import Blob, blob_of
from coap_http_proxy.downloads import Downloads
from coap_http_proxy.mapping import requests
from coap_http_proxy.mapping.pacing import Pacing
from coap_http_proxy.mapping.requests import Directory, Proxied, Refusal, Ticketed
from coap_http_proxy.peers import Peer
from coap_http_proxy.upstream import Upstream
from coap_wire import Block, Code, Message, Type, decode_block, encode_block, encode_uint
from coap_wire import options as option

# Waiting is kinder than 4.29, which ends a Zephyr download; but not longer than a device waits for a separate answer.
LONGEST_PAUSE_SECONDS = 5.0
_DIRECTORY = blob_of(b'</f>;rt="firmware";ct=42,</coap2http>;rt="proxy",</coap2coap>;rt="proxy"', 40)


@dataclass(eq=False)
class ProxyService:
    """Answers requests and keeps the books; the transport and the message layer call it."""

    downloads: Downloads
    upstream: Upstream
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
        download = await self.downloads.find(token)
        blob = await self.upstream.artifact(download.ticket)
        self.downloads.ready(download, blob)
        answer = representation(request, blob, block)
        if answer.code == Code.CONTENT:
            self.downloads.served(download, _offset_of(answer), len(answer.payload))
        return answer


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
