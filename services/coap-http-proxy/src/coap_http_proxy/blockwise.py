"""Large requests, put together from their blocks (RFC 7959 sections 2.5 and 2.9): bounded in number, bytes and time.

Blocks come in order; one that was here already is answered again and changes nothing. Two transfers of one device to
one URI are kept apart by Request-Tag (RFC 9175 section 3).
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from coap_http_proxy.limits import Sender, sender_of
from coap_http_proxy.mapping.questions import Question
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.peers import Peer
from coap_http_proxy.spool import Body, Room, Spool, TooLarge
from coap_wire import Block, Code, DecodeError, Message, decode_block, encode_uint
from coap_wire import options as option

MAX_UPLOADS: Final = 512
MAX_UPLOADS_PER_PEER: Final = 4
# A host has many ports, and a NAT many devices.
MAX_UPLOADS_PER_SENDER: Final = 32
MAX_REQUEST_TAGS: Final = 4
# Silence after which the rest will not come: the longest a confirmable exchange takes (RFC 7252 section 4.8.2).
SILENCE_SECONDS: Final = 93.0

Key = tuple[Peer, int, str, tuple[bytes, ...]]


@dataclass(eq=False, slots=True)
class _Upload:
    spool: Spool
    content_format: bytes | None
    heard_at: float
    sender: Sender


@dataclass(frozen=True, slots=True)
class Continue:
    """More blocks are wanted."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The last block of a transfer that is complete: whoever sent it did not hear the answer."""


@dataclass(frozen=True, slots=True)
class Complete:
    """All of it."""

    body: Body


@dataclass(eq=False)
class Uploads:
    """Requests that are still arriving; each at most `max_bytes`."""

    folder: Path
    room: Room
    max_bytes: int
    clock: Callable[[], float] = time.monotonic
    _arriving: OrderedDict[Key, _Upload] = field(default_factory=OrderedDict)
    # Where those that are complete ended, until nobody can repeat their last block.
    _complete: OrderedDict[Key, tuple[float, int]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._arriving)

    def received(self, request: Message, asked: Question, peer: Peer) -> Continue | Repeated | Complete:
        """Take one block in; raises Refusal (4.00, 4.08, 4.13, 5.03)."""
        block = block1_of(request)
        tags = request.options_of(option.REQUEST_TAG)
        if len(tags) > MAX_REQUEST_TAGS or any(len(tag) > 8 for tag in tags):
            raise Refusal(Code.BAD_REQUEST, "too many or too long Request-Tags")
        if block.more and len(request.payload) != block.size:
            raise Refusal(Code.BAD_REQUEST, f"a block that is not the last has {block.size} bytes")
        if len(request.payload) > block.size:
            raise Refusal(Code.BAD_REQUEST, f"the block is larger than its {block.size} bytes")
        key = (peer, asked.method, asked.uri, tags)
        self._forget_silent()
        announced = request.uint(option.SIZE1)
        if block.offset + len(request.payload) > self.max_bytes or (announced or 0) > self.max_bytes:
            self._drop(key)
            raise too_large(self.max_bytes)
        upload = self._arriving.get(key)
        if block.num == 0:
            # RFC 7959 section 2.5: the first block begins anew.
            upload = self._begun(key, request)
        elif upload is None:
            if self._complete.get(key, (0.0, -1))[1] == block.offset + len(request.payload) and not block.more:
                return Repeated()
            raise Refusal(Code.REQUEST_ENTITY_INCOMPLETE, "the blocks before this one are not here")
        self._add(key, upload, request, block)
        if block.more:
            return Continue()
        del self._arriving[key]
        with upload.spool as spool:
            self._complete[key] = (self.clock(), spool.size)
            self._complete.move_to_end(key)
            while len(self._complete) > MAX_UPLOADS:
                self._complete.popitem(last=False)
            return Complete(spool.taken_out())

    def _begun(self, key: Key, request: Message) -> _Upload:
        self._drop(key)
        self._complete.pop(key, None)
        peer = key[0]
        sender = sender_of(peer.host, peer.identity)
        if self._full_for(peer, sender):
            raise Refusal(Code.SERVICE_UNAVAILABLE, "too many requests are arriving in blocks")
        spool = Spool(self.folder, self.room, self.max_bytes)
        upload = _Upload(spool, request.option(option.CONTENT_FORMAT), self.clock(), sender)
        self._arriving[key] = upload
        return upload

    def _full_for(self, peer: Peer, sender: Sender) -> bool:
        return (
            len(self._arriving) >= MAX_UPLOADS
            or sum(key[0] == peer for key in self._arriving) >= MAX_UPLOADS_PER_PEER
            or sum(upload.sender == sender for upload in self._arriving.values()) >= MAX_UPLOADS_PER_SENDER
        )

    def _add(self, key: Key, upload: _Upload, request: Message, block: Block) -> None:
        upload.heard_at = self.clock()
        self._arriving.move_to_end(key)
        if request.option(option.CONTENT_FORMAT) != upload.content_format:
            self._drop(key)
            raise Refusal(Code.REQUEST_ENTITY_INCOMPLETE, "the blocks are of different formats")
        if block.more and block.offset + len(request.payload) <= upload.spool.size:
            return  # sent again because the answer was lost
        if block.offset != upload.spool.size:
            raise Refusal(Code.REQUEST_ENTITY_INCOMPLETE, f"byte {upload.spool.size} is the next one wanted")
        try:
            upload.spool.write(request.payload)
        except TooLarge as error:
            self._drop(key)
            raise too_large(self.max_bytes) from error
        except Refusal:
            self._drop(key)
            raise

    def _forget_silent(self) -> None:
        before = self.clock() - SILENCE_SECONDS
        while self._arriving and next(iter(self._arriving.values())).heard_at < before:
            self._drop(next(iter(self._arriving)))
        while self._complete and next(iter(self._complete.values()))[0] < before:
            self._complete.popitem(last=False)

    def _drop(self, key: Key) -> None:
        if (gone := self._arriving.pop(key, None)) is not None:
            gone.spool.close()

    def close(self) -> None:
        """Let go of everything."""
        while self._arriving:
            self._drop(next(iter(self._arriving)))


def block1_of(request: Message) -> Block:
    """The block a request is; raises Refusal for a malformed option."""
    try:
        return decode_block(request.option(option.BLOCK1) or b"")
    except DecodeError as error:
        raise Refusal(Code.BAD_REQUEST, error.reason) from error


def too_large(max_bytes: int) -> Refusal:
    """4.13, with the size that would do (RFC 7959 section 4)."""
    return Refusal(
        Code.REQUEST_ENTITY_TOO_LARGE,
        f"requests over {max_bytes} bytes are not proxied",
        options=((option.SIZE1, encode_uint(max_bytes)),),
    )
