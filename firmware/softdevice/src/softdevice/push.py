"""A package pushed to 5/0/0, decided block by block without a socket (RFC 7959 sections 2.3, 2.5 and 2.9; object 5).

    PUT /5/0/0  Block1 0/more/size  Size1 total     2.31, Block1 echoed, perhaps with a smaller size
    PUT /5/0/0  Block1 n/more/size                  2.31; 4.08 when n is not the next one: begin anew at 0
    PUT /5/0/0  Block1 last/-/size                  2.04 or an error, Block1 echoed

Opaque bytes (42, or no format) come as they are. A server that sends TLV (11542) or CBOR (60) wraps the whole package
into one value; the wrapping is taken off the first block, and says how long the package is.
"""

from dataclasses import dataclass
from typing import Final

from coap_wire import Block, Code, DecodeError, Message, decode_block, encode_block, encode_uint, szx_for
from coap_wire.options import BLOCK1, CONTENT_FORMAT, SIZE1
from softdevice.profiles import Profile
from softdevice.reply import Reply

# Zephyr gives a Block1 context up after this long (lwm2m_engine.c, TIMEOUT_BLOCKWISE_TRANSFER).
IDLE_SECONDS: Final = 30.0
_TLV: Final = 11542
_CBOR: Final = 60


class Refused(Exception):
    """The block is not taken; `reply` is the answer."""

    def __init__(self, code: int, *options: tuple[int, bytes]) -> None:
        super().__init__(code)
        self.reply = Reply(code, b"", options)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the package to take, or none for a block that came twice; `reply` is the answer when they are taken."""

    data: bytes
    first: bool
    last: bool
    size: int | None
    reply: Reply
    repeated: bool = False


class Push:
    """One pushed package at a time; `limit` is the largest in bytes."""

    def __init__(self, profile: Profile, limit: int) -> None:
        self._profile = profile
        self._limit = limit
        self._szx = szx_for(profile.block_size)
        self._next = 0
        self._token = b""
        self._heard_at = 0.0
        self._format: int | None = None
        self._size: int | None = None

    def end(self) -> None:
        """Forget the transfer under way."""
        self._next = 0

    def receive(self, request: Message, now: float) -> Piece:
        """What a PUT to 5/0/0 carries; raises Refused."""
        raw = request.option(BLOCK1)
        content_format = request.uint(CONTENT_FORMAT)
        if content_format is not None and content_format not in (42, 1544, _TLV, _CBOR):
            raise Refused(Code.UNSUPPORTED_CONTENT_FORMAT)
        if content_format is not None and content_format not in self._profile.writes:
            raise Refused(Code.UNSUPPORTED_CONTENT_FORMAT)
        if raw is None:
            return self._whole(request, content_format)
        try:
            block = decode_block(raw)
        except DecodeError as error:
            raise Refused(Code.BAD_REQUEST) from error
        length = len(request.payload)
        if length > block.size or (block.more and length != block.size):
            raise Refused(Code.BAD_REQUEST)
        if block.szx > self._szx and not self._profile.shrinks_blocks:
            # RFC 7959 section 2.9.3: the size in the answer is what the client may try.
            raise Refused(Code.REQUEST_ENTITY_TOO_LARGE, (BLOCK1, encode_block(Block(0, True, self._szx))))
        if block.num == 0:
            return self._first(request, block, content_format, now)
        return self._later(request, block, content_format, now)

    def _whole(self, request: Message, content_format: int | None) -> Piece:
        self._next = 0
        skip, size = unwrapped(content_format, request.payload)
        data = request.payload[skip:]
        if size is not None and size != len(data):
            raise Refused(Code.BAD_REQUEST)
        return Piece(data, True, True, len(data), Reply(Code.CHANGED))

    def _first(self, request: Message, block: Block, content_format: int | None, now: float) -> Piece:
        skip, wrapped = unwrapped(content_format, request.payload)
        announced = request.option(SIZE1)
        size = wrapped
        if size is None and announced is not None and len(announced) <= 4:
            size = int.from_bytes(announced, "big")
        if size is not None and size > self._limit:
            raise Refused(Code.REQUEST_ENTITY_TOO_LARGE, (SIZE1, encode_uint(self._limit)))
        self._next, self._token, self._heard_at = len(request.payload), request.token, now
        self._format, self._size = content_format, size
        return self._piece(request.payload[skip:], block, first=True)

    def _later(self, request: Message, block: Block, content_format: int | None, now: float) -> Piece:
        stale = now - self._heard_at > IDLE_SECONDS or content_format != self._format
        if not self._next or stale or (self._profile.push_by_token and request.token != self._token):
            raise Refused(Code.REQUEST_ENTITY_INCOMPLETE)
        self._heard_at = now
        if block.offset + len(request.payload) == self._next and request.payload:
            # Sent again under another message id, because our answer was late.
            return Piece(b"", False, not block.more, self._size, self._reply(block), repeated=True)
        if block.offset != self._next:
            raise Refused(Code.REQUEST_ENTITY_INCOMPLETE)
        self._next += len(request.payload)
        return self._piece(request.payload, block, first=False)

    def _piece(self, data: bytes, block: Block, *, first: bool) -> Piece:
        return Piece(data, first, not block.more, self._size, self._reply(block))

    def _reply(self, block: Block) -> Reply:
        # The block was taken as it came; the ones after it are asked for in our size (RFC 7959 section 2.3).
        echo = Block(block.num, block.more, min(block.szx, self._szx))
        return Reply(Code.CONTINUE if block.more else Code.CHANGED, b"", ((BLOCK1, encode_block(echo)),))


def unwrapped(content_format: int | None, first: bytes) -> tuple[int, int | None]:
    """How many bytes of wrapping a package begins with, and its length when the wrapping says it; raises Refused."""
    if content_format == _TLV:
        return _tlv_head(first)
    if content_format == _CBOR:
        return _cbor_head(first)
    return 0, None


def _tlv_head(first: bytes) -> tuple[int, int]:
    """Resource 0 with a value (OMA Core 7.4.3): type, id, length of 0 to 3 bytes."""
    if len(first) < 2 or first[0] >> 5 != 0b110 or first[1] != 0:
        raise Refused(Code.BAD_REQUEST)
    length_bytes = first[0] >> 3 & 3
    if len(first) < 2 + length_bytes:
        raise Refused(Code.BAD_REQUEST)
    length = int.from_bytes(first[2 : 2 + length_bytes], "big") if length_bytes else first[0] & 7
    return 2 + length_bytes, length


def _cbor_head(first: bytes) -> tuple[int, int]:
    """A byte string of known length (RFC 8949 section 3, major type 2)."""
    if not first or first[0] >> 5 != 2:
        raise Refused(Code.BAD_REQUEST)
    short = first[0] & 31
    if short < 24:
        return 1, short
    length_bytes = {24: 1, 25: 2, 26: 4}.get(short)
    if length_bytes is None or len(first) < 1 + length_bytes:
        raise Refused(Code.BAD_REQUEST)
    return 1 + length_bytes, int.from_bytes(first[1 : 1 + length_bytes], "big")
