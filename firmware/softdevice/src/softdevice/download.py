"""Zephyr's firmware pull, decided without a socket: which block to ask for, and what an answer means.

Every request is GET with the Uri-Path segments of the Package URI, Block2 and Size2 = 0, nothing else: no Uri-Host,
no Uri-Port, no query, no ETag, no percent-decoding (subsys/net/lib/lwm2m/lwm2m_pull_context.c). Blocks are fetched one
after the other. Every answer must be 2.05 and repeat the block number; the server may choose smaller blocks.

Beyond Zephyr, and only by looking at answers: the ETag tells whether a download begun before a reboot may go on, and
a Size2 unlike the first that the file is another one.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from coap_wire import Block, Code, DecodeError, Message, decode_block, encode_block, szx_for
from coap_wire.options import BLOCK2, ETAG, PROXY_URI, SIZE2, URI_PATH, URI_QUERY
from lwm2m.firmware import MAX_URI_BYTES, Result

DEFAULT_PORT: Final = 5683
_OTHER_SCHEMES: Final = ("coaps", "coap+tcp", "coaps+tcp", "http", "https")
# A build with a CoAP proxy sends the whole URI there, under a path that says what kind it is (PULL_COAP_PROXY_SUPPORT).
_PROXY_PATHS: Final = {"coap": "coap2coap", "coaps": "coap2coap", "http": "coap2http", "https": "coap2http"}
_MAX_SEGMENTS: Final = 16


class DownloadFailed(Exception):
    """The download is over; `result` is what object 5 shows, the text is for the log."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


class TryAgain(Exception):
    """The server cannot answer now (5.xx, 4.29); the same block is worth another request."""


class ContentChanged(Exception):
    """What the server offers is not what was begun; only block 0 makes sense now."""


@dataclass(frozen=True, slots=True)
class PackageUri:
    """Where the image is: host as written, port, raw path segments; `proxy_path` when a proxy is asked for it."""

    text: str
    host: str
    port: int
    segments: tuple[str, ...]
    query: tuple[str, ...] = ()
    proxy_path: str | None = None


def parse_uri(text: str, *, proxied: bool = False) -> PackageUri:
    """Read a Package URI; raises DownloadFailed with Result 7 (invalid) or 9 (a scheme this device lacks)."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise DownloadFailed(Result.INVALID_URI, f"{text[:60]!r} is no URI") from error
    proxy_path = _PROXY_PATHS.get(parts.scheme) if proxied else None
    if proxied and parts.scheme and proxy_path is None:
        raise DownloadFailed(Result.UNSUPPORTED_PROTOCOL, f"{parts.scheme[:20]} is nothing a proxy is asked for")
    if not proxied and parts.scheme in _OTHER_SCHEMES:
        raise DownloadFailed(Result.UNSUPPORTED_PROTOCOL, f"{parts.scheme} is not supported, only coap")
    query = tuple(parts.query.split("&")) if parts.query else ()
    segments = tuple(parts.path.removeprefix("/").split("/"))
    bad = not parts.hostname or not parts.path.strip("/") or len(segments) > _MAX_SEGMENTS
    if (parts.scheme != "coap" and proxy_path is None) or bad or len(text.encode()) > MAX_URI_BYTES:
        raise DownloadFailed(Result.INVALID_URI, f"{text[:60]!r} names no file on a CoAP server")
    return PackageUri(text, parts.hostname or "", DEFAULT_PORT if port is None else port, segments, query, proxy_path)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is, small enough to be kept in flash: `offset` bytes are written."""

    uri: str
    offset: int = 0
    size: int | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """One block to write at `offset`; `last` ends the download."""

    offset: int
    data: bytes
    last: bool


class Download:
    """One pull, from `progress` on; `limit` is the largest image in bytes the slot takes."""

    def __init__(
        self,
        uri: PackageUri,
        *,
        block_size: int,
        limit: int,
        asks_size: bool = True,
        keeps_query: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.uri = uri
        self.limit = limit
        self._asks_size = asks_size
        self._query = tuple((URI_QUERY, item.encode()) for item in uri.query if keeps_query)
        self.szx = szx_for(block_size)
        self.size: int | None = None
        self.etag: bytes | None = None
        self.offset = 0
        self._same_uri = True
        # Less than a smallest block is never left over but by the last one: then there is nothing to go on with.
        if progress is not None and progress.offset and progress.offset % 16 == 0:
            self.offset = progress.offset
            self.size = progress.size
            self.etag = bytes.fromhex(progress.etag) or None
            self._same_uri = progress.uri == uri.text
            while self.offset % (16 << self.szx):
                self.szx -= 1

    def progress(self, offset: int) -> Progress:
        """What to keep across a reboot, when `offset` bytes need not come again."""
        return Progress(self.uri.text, offset, self.size, (self.etag or b"").hex())

    def restart(self) -> None:
        """Forget what was fetched."""
        self.offset, self.size, self.etag, self._same_uri = 0, None, None, True

    def options(self) -> tuple[tuple[int, bytes], ...]:
        """Options of the next request, in Zephyr's set and order."""
        block = (BLOCK2, encode_block(Block(self.offset >> (self.szx + 4), False, self.szx)))
        if self.uri.proxy_path is not None:
            # Zephyr asks a proxy for no Size2.
            return (URI_PATH, self.uri.proxy_path.encode()), block, (PROXY_URI, self.uri.text.encode())
        path = tuple((URI_PATH, segment.encode()) for segment in self.uri.segments)
        asked = (*path, *self._query, block)
        return (*asked, (SIZE2, b"")) if self._asks_size else asked

    def receive(self, answer: Message) -> Piece:
        """What the answer to the current request carries; the caller writes it and then calls `advance`.

        Raises DownloadFailed, TryAgain or ContentChanged.
        """
        if answer.code >> 5 == 5 or answer.code == Code.TOO_MANY_REQUESTS:
            raise TryAgain
        resumed = self.offset > 0 and not self._same_uri
        if answer.code != Code.CONTENT:
            if resumed:
                raise ContentChanged
            raise DownloadFailed(
                Result.CONNECTION_LOST, f"the server answered {answer.code >> 5}.{answer.code & 31:02}"
            )
        block = self._block(answer)
        etag = answer.option(ETAG)
        if etag is not None and not 1 <= len(etag) <= 8:
            etag = None  # not lawful, hence ignored (RFC 7252 sections 5.4.3 and 5.10)
        changed = self.etag is not None and etag != self.etag
        if self.offset and (changed or (resumed and etag is None)):
            raise ContentChanged
        self._check_size(answer, block)
        self.etag, self._same_uri, self.szx = etag, True, block.szx
        return Piece(self.offset, answer.payload, not block.more)

    def advance(self, piece: Piece) -> None:
        """The piece is in flash."""
        self.offset = piece.offset + len(piece.data)

    def _block(self, answer: Message) -> Block:
        raw = answer.option(BLOCK2)
        try:
            # RFC 7959 section 2.2: without the option the payload is the whole representation.
            block = Block(0, False, self.szx) if raw is None else decode_block(raw)
        except DecodeError as error:
            raise DownloadFailed(Result.CONNECTION_LOST, "the server sent a broken Block2 option") from error
        if block.szx > self.szx or block.offset != self.offset:
            raise DownloadFailed(Result.CONNECTION_LOST, f"asked for byte {self.offset}, got {block.offset}")
        length = len(answer.payload)
        if (block.more and length != block.size) or (raw is not None and length > block.size) or not length:
            raise DownloadFailed(Result.CONNECTION_LOST, f"a block of {block.size} bytes carries {length}")
        return block

    def _check_size(self, answer: Message, block: Block) -> None:
        raw = answer.option(SIZE2)
        if raw is not None and len(raw) <= 4:
            size = int.from_bytes(raw, "big")
            if self.offset and self.size not in (None, size):
                raise ContentChanged
            self.size = size
        end = self.offset + len(answer.payload)
        if max(self.size or 0, end) > self.limit:
            needed = self.size or end
            raise DownloadFailed(Result.NOT_ENOUGH_FLASH, f"{needed} bytes do not fit a slot of {self.limit}")
        if not block.more and self.size is not None and end != self.size:
            raise DownloadFailed(Result.CONNECTION_LOST, f"the file ends at {end} of {self.size} bytes")
