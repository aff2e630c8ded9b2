"""A firmware package as it arrives: told apart by its first bytes, decoded, written to secondary, resumed and judged.

Whoever brings the bytes (blocks pulled, blocks pushed) feeds them in order. The first ones say what the package is: a
whole MCUboot image, or a delta that makes the new image out of the running one. What can be refused is refused before
anything is erased:

    neither of both, or a delta this device cannot decode      Result 6, unsupported package type
    a delta from another image than the one that runs          Result 5, integrity check failed
    an image, or a result, larger than the slot                Result 2, not enough flash

Then the image grows in secondary, sector by sector. After each piece `checkpoint` is all that is needed to go on when
the power goes; flash may be ahead of it, never behind. In the end what counts is what is in flash: its hash against
the delta's word, its structure, its signature.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from firmware_delta import HEADER_BYTES as DELTA_HEADER_BYTES
from firmware_delta import MAGIC as DELTA_MAGIC
from firmware_delta import DecodeError, Decoder, Header, Unsupported, decode_header, encode_header
from lwm2m.firmware import Result
from mcuboot_image import HEADER_BYTES as IMAGE_HEADER_BYTES
from mcuboot_image import IMAGE_MAGIC, parse_header
from mcuboot_image import DecodeError as ImageError
from softdevice.board import Board

_IMAGE_MAGIC: Final = IMAGE_MAGIC.to_bytes(4, "little")
# Bytes of the package that must be there before its kind and its sizes are known.
_HEADS: Final = {_IMAGE_MAGIC: IMAGE_HEADER_BYTES, DELTA_MAGIC: DELTA_HEADER_BYTES}


class PackageRefused(Exception):
    """The package is no good for this device; `result` is what object 5 shows, the text is for the log."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a package can be gone on with, small enough to be kept in flash.

    `offset` bytes of the package are done with, `written` bytes of the image are programmed, `tail` (hex) are those
    behind them that fill no write unit yet. A delta has its `header` (hex) and the state of its `decoder` (base64).
    """

    offset: int
    written: int
    tail: str = ""
    header: str = ""
    decoder: str = ""


class Package:
    """One package on its way into secondary, from the start or from a checkpoint.

    `delta_formats` is a bit mask of the compressions the device decodes (1 crle, 2 heatshrink); with `spoils_deltas`
    the end of each delta arrives damaged. A checkpoint that does not fit (a delta from an image that no longer runs, a
    state that cannot be read) is as good as none: look at `offset` for where the transfer goes on.
    """

    def __init__(
        self, board: Board, delta_formats: int, checkpoint: Checkpoint | None = None, *, spoils_deltas: bool = False
    ) -> None:
        self._board = board
        self._delta_formats = delta_formats
        self._spoils_deltas = spoils_deltas
        self._head: bytes | None = b""  # None as soon as it is known what the package is
        self._header: Header | None = None
        self._decoder: Decoder | None = None
        self._tail = b""
        self._written = 0
        self._offset = 0
        if checkpoint is not None:
            self._go_on(checkpoint)

    @property
    def offset(self) -> int:
        """Bytes of the package that need not come again; 0 until its kind is known."""
        return self._offset

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What to keep now, or None while there is nothing to go on with."""
        if not self._offset:
            return None
        return Checkpoint(
            self._offset,
            self._written,
            self._tail.hex(),
            encode_header(self._header).hex() if self._header else "",
            base64.b64encode(self._decoder.dump()).decode() if self._decoder else "",
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes; what comes out of them is in flash afterwards.

        Raises PackageRefused, AlreadyProgrammed when secondary holds another package than the one gone on with, and
        FlashError.
        """
        if self._head is None:
            self._take(data)
            return
        self._head += data
        needed = _HEADS.get(self._head[:4])
        if needed is None and not any(magic.startswith(self._head[:4]) for magic in _HEADS):
            raise PackageRefused(Result.UNSUPPORTED_PACKAGE_TYPE, "neither an MCUboot image nor a delta")
        if needed is None or len(self._head) < needed:
            return
        head, self._head = self._head, None
        if head.startswith(DELTA_MAGIC):
            self._header = self._checked(head)
            self._decoder = Decoder(self._header, self._board.primary.read)
            self._offset, head = DELTA_HEADER_BYTES, head[DELTA_HEADER_BYTES:]
        else:
            self._require_room(_claimed_bytes(head))
        self._board.prepare_secondary()
        self._take(head)

    def finish(self) -> int:
        """The last byte was fed: judge what is in flash. Returns the image's size in bytes, raises PackageRefused."""
        if self._head is not None:
            raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, "the package ends within its header")
        if self._decoder is not None:
            try:
                self._decoder.finish()
            except DecodeError as error:
                raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, f"the delta is cut short: {error}") from error
        if self._tail:
            self._board.write_secondary(self._written, self._tail)
        size = self._written + len(self._tail)
        if self._header is not None:
            found = hashlib.sha256(self._board.read_secondary(size)).digest()
            if size != self._header.to_size or found != self._header.to_sha256:
                raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, "the delta made another image than it said")
        image = self._board.secondary_image()
        if image is None:
            raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, "structure, hash or signature is wrong")
        if image.total_size != size:
            # What imgtool pads a slot with is MCUboot's trailer: programmed, it would be a request to swap.
            raise PackageRefused(
                Result.INTEGRITY_CHECK_FAILED,
                f"{size} bytes came for an image of {image.total_size}: sign it without --pad and --confirm",
            )
        return size

    def _go_on(self, checkpoint: Checkpoint) -> None:
        try:
            if checkpoint.header:
                header = self._checked(bytes.fromhex(checkpoint.header))
                state = base64.b64decode(checkpoint.decoder, validate=True)
                self._decoder = Decoder.restore(header, self._board.primary.read, state)
                self._header = header
            self._tail = bytes.fromhex(checkpoint.tail)
        except (PackageRefused, ValueError):
            return
        self._head, self._offset, self._written = None, checkpoint.offset, checkpoint.written
        self._board.withdraw_request()

    def _checked(self, head: bytes) -> Header:
        """The header of a delta that may be begun."""
        try:
            header = decode_header(head[:DELTA_HEADER_BYTES])
        except Unsupported as error:
            raise PackageRefused(Result.UNSUPPORTED_PACKAGE_TYPE, str(error)) from error
        except DecodeError as error:
            raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, str(error)) from error
        if not self._delta_formats >> (header.compression - 1) & 1:
            raise PackageRefused(Result.UNSUPPORTED_PACKAGE_TYPE, "this device takes no such delta")
        running = self._board.running
        if running is None or (running.size, running.sha256) != (header.from_size, header.from_sha256):
            raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, "the delta starts from another image than the running")
        self._require_room(header.to_size)
        return header

    def _take(self, data: bytes) -> None:
        out = data
        if self._decoder is not None and self._header is not None:
            if self._spoils_deltas and self._offset + len(data) == DELTA_HEADER_BYTES + self._header.patch_size:
                data = data[:-1] + bytes(byte ^ 0xFF for byte in data[-1:])
            try:
                out = self._decoder.feed(data)
            except DecodeError as error:
                raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, f"the delta is damaged: {error}") from error
        out = self._tail + out
        self._require_room(self._written + len(out))
        whole = len(out) - len(out) % self._board.flash.write_align
        self._board.write_secondary(self._written, out[:whole])
        self._tail = out[whole:]
        self._written += whole
        self._offset += len(data)

    def _require_room(self, size: int) -> None:
        if size > self._board.max_image_bytes:
            limit = self._board.max_image_bytes
            raise PackageRefused(Result.NOT_ENOUGH_FLASH, f"{size} bytes do not fit a slot of {limit}")


def _claimed_bytes(head: bytes) -> int:
    """Size in bytes of header and body as an image's header gives it."""
    try:
        header = parse_header(head[:IMAGE_HEADER_BYTES])
    except ImageError as error:
        raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, str(error)) from error
    return header.header_size + header.image_size
