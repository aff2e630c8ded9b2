"""A firmware package as it arrives: told by its first bytes, written to secondary, resumed and judged.

Whoever brings the bytes (blocks pulled, blocks pushed) feeds them in order. The first ones say what the package is: an
MCUboot image, or nothing for this device. What can be refused is refused before anything is erased:

    no MCUboot image                 Result 6, unsupported package type
    an image larger than the slot    Result 2, not enough flash

Then the image grows in secondary, sector by sector. After each piece `checkpoint` is all that is needed to go on when
the power goes; flash may be ahead of it, never behind. In the end what counts is what is in flash: its
structure, its hash, its signature.
"""

from dataclasses import dataclass
from typing import Final

from lwm2m.firmware import Result
from mcuboot_image import HEADER_BYTES as IMAGE_HEADER_BYTES
from mcuboot_image import IMAGE_MAGIC, parse_header
from mcuboot_image import DecodeError as ImageError
from softdevice.board import Board

_IMAGE_MAGIC: Final = IMAGE_MAGIC.to_bytes(4, "little")
# Bytes of the package that must be there before its kind and its sizes are known.
_HEADS: Final = {_IMAGE_MAGIC: IMAGE_HEADER_BYTES}


class PackageRefused(Exception):
    """The package is no good for this device; `result` is what object 5 shows, the text is for the log."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a package can be gone on with, small enough to be kept in flash.

    `offset` bytes of the package are done with, `written` bytes of the image are programmed, `tail` (hex) are those
    behind them that fill no write unit yet.
    """

    offset: int
    written: int
    tail: str = ""


class Package:
    """One package on its way into secondary, from the start or from a checkpoint.

    A checkpoint that does not fit is as good as none: look at `offset` for where the transfer goes on.
    """

    def __init__(self, board: Board, checkpoint: Checkpoint | None = None) -> None:
        self._board = board
        self._head: bytes | None = b""  # None as soon as it is known what the package is
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
        return Checkpoint(self._offset, self._written, self._tail.hex())

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
            raise PackageRefused(Result.UNSUPPORTED_PACKAGE_TYPE, "the file is no MCUboot image")
        if needed is None or len(self._head) < needed:
            return
        head, self._head = self._head, None
        self._require_room(_claimed_bytes(head))
        self._board.prepare_secondary()
        self._take(head)

    def finish(self) -> int:
        """The last byte was fed: judge what is in flash. Returns the image's size in bytes, raises PackageRefused."""
        if self._head is not None:
            raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, "the package ends within its header")
        if self._tail:
            self._board.write_secondary(self._written, self._tail)
        size = self._written + len(self._tail)
        if not self._board.secondary_is_valid(size):
            raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, "hash or signature is wrong")
        return size

    def _go_on(self, checkpoint: Checkpoint) -> None:
        try:
            self._tail = bytes.fromhex(checkpoint.tail)
        except ValueError:
            return
        self._head, self._offset, self._written = None, checkpoint.offset, checkpoint.written
        self._board.withdraw_request()

    def _take(self, data: bytes) -> None:
        out = self._tail + data
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
