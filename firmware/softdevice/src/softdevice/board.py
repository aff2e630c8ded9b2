"""One board: its two flash slots, how it is made in the factory, powered on, loaded with a new image and confirmed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcuboot_image import Image, PublicKey, Version
from softdevice.boot_config import BootConfig
from softdevice.bootloader import BootOutcome, boot, largest_image, swap_type
from softdevice.flash import SECTOR_BYTES, FileStorage, Flash, FlashError, Storage
from softdevice.trailer import SwapType, Trailer, confirm, is_confirmed, request_upgrade
from softdevice.validation import header_at, is_trusted, read_image

# The slots of Zephyr's nRF52840 DK: 118 sectors each.
SLOT_SECTORS: Final = 118


class AlreadyProgrammed(FlashError):
    """Secondary holds other bytes than those written now: what a power cut left behind belongs to something else."""


@dataclass(frozen=True, slots=True)
class RunningImage:
    """The image in primary, as released: its size in bytes with header and TLVs, and the SHA-256 of that file."""

    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SlotContents:
    """What a look at the flash shows; versions are None where no image header is, `image_sha256` is that of the
    running image's file in hex."""

    running: Version | None
    secondary: Version | None
    image_sha256: str | None
    confirmed: bool
    swap_due: SwapType
    swapping: bool


class Board:
    """Flash and bootloader of one device; the running application is the caller's business."""

    def __init__(
        self, keys: tuple[PublicKey, ...], *, sectors: int = SLOT_SECTORS, storage: Storage | None = None
    ) -> None:
        areas = (("primary", SECTOR_BYTES, sectors), ("secondary", SECTOR_BYTES, sectors))
        self.flash = Flash(areas, storage=storage)
        self.config = BootConfig(keys)
        self.primary, self.secondary = self.flash["primary"], self.flash["secondary"]
        self.primary_trailer = Trailer(self.primary, self.config.layout)
        self.secondary_trailer = Trailer(self.secondary, self.config.layout)
        self._running: RunningImage | None = None

    @classmethod
    def on_file(cls, path: Path, keys: tuple[PublicKey, ...], *, sectors: int = SLOT_SECTORS) -> "Board":
        """A board whose flash is the file at `path`, made erased when missing."""
        return cls(keys, sectors=sectors, storage=FileStorage(path, 2 * sectors * SECTOR_BYTES))

    @property
    def max_image_bytes(self) -> int:
        """Largest image in bytes that can be received and swapped in."""
        return largest_image(self.flash, self.config)

    def provision(self, image: bytes) -> None:
        """Put the factory image into primary, over SWD as it were; everything else becomes erased."""
        if len(image) > self.max_image_bytes:
            raise ValueError(f"an image of {len(image)} bytes does not fit a slot of {self.max_image_bytes}")
        for area in (self.primary, self.secondary):
            area.erase(0, area.size)
        self.primary.write(0, image + b"\xff" * (-len(image) % self.flash.write_align))
        self._running = None

    def power_on(self) -> BootOutcome:
        """Run the bootloader; raises PowerCut and BootAssertion as `bootloader.boot` does."""
        self._running = None
        return boot(self.flash, self.config)

    def running_image(self) -> Image | None:
        """The image in primary, parsed but not verified."""
        return read_image(self.primary, 0, self.max_image_bytes)

    @property
    def running(self) -> RunningImage | None:
        """What runs; looked at once and kept, because primary stays as it is until the bootloader runs again."""
        if self._running is None and (image := self.running_image()) is not None:
            file = image.data[: image.total_size]
            self._running = RunningImage(len(file), hashlib.sha256(file).digest())
        return self._running

    @property
    def last_swap(self) -> SwapType:
        """The swap that put the running image where it is; NONE for a factory image."""
        state = self.primary_trailer.read()
        return (state.swap_type if state.copy_done == "set" else None) or SwapType.NONE

    def self_test(self) -> bool:
        """What a new image does before it confirms itself: hash and signature of the flash it runs from."""
        image = self.running_image()
        return image is not None and is_trusted(image, self.config.keys)

    @property
    def confirmed(self) -> bool:
        """Whether the running image stays at the next reset."""
        return is_confirmed(self.primary_trailer.read())

    @property
    def swapping(self) -> bool:
        """Whether a swap has begun and not ended: the bootloader is at it, or the power went."""
        state = self.primary_trailer.read()
        return state.magic == "good" and state.copy_done == "unset" and self.primary_trailer.last_record() > 0

    def confirm(self) -> None:
        """Keep the running image; raises TrailerError when the trailer is damaged."""
        confirm(self.primary_trailer)

    def prepare_secondary(self) -> None:
        """Make secondary ready for a download: without its trailer, and without the old image's header in sector 0.

        In offset mode MCUboot refuses a good image one sector in when a header is left in sector 0.
        """
        self.secondary.erase(0, SECTOR_BYTES)
        self.secondary_trailer.erase()

    def withdraw_request(self) -> None:
        """Erase what a request for a swap has left behind when the power went in the midst of it."""
        size = self.config.layout.trailer_bytes(self.flash.write_align)
        if not self.secondary.is_erased(self.secondary.read(self.secondary.size - size, size)):
            self.secondary_trailer.erase()

    def write_secondary(self, offset: int, data: bytes) -> None:
        """Write bytes of the new image at `offset` of it, a multiple of the write unit.

        A sector is erased when its first byte arrives, unless it is blank. After a power cut the flash may be ahead of
        the record of it: bytes that are there already are left alone when they are those of `data`; otherwise raises
        AlreadyProgrammed.
        """
        at = SECTOR_BYTES + offset
        data += b"\xff" * (-len(data) % self.flash.write_align)
        while data:
            length = SECTOR_BYTES - at % SECTOR_BYTES
            piece, data = data[:length], data[length:]
            if at % SECTOR_BYTES == 0 and not self.secondary.is_erased(self.secondary.read(at, SECTOR_BYTES)):
                self.secondary.erase(at, SECTOR_BYTES)
            missing = self._missing(at, piece)
            if missing:
                self.secondary.write(at + len(piece) - len(missing), missing)
            at += len(piece)

    def _missing(self, at: int, piece: bytes) -> bytes:
        """The end of `piece` that is not in secondary yet."""
        present, unit = self.secondary.read(at, len(piece)), self.flash.write_align
        if self.secondary.is_erased(present):
            return piece
        same = 0
        while same < len(piece) and piece[same : same + unit] == present[same : same + unit]:
            same += unit
        if not self.secondary.is_erased(present[same:]):
            raise AlreadyProgrammed(f"secondary holds other bytes at {at + same} than those that arrive again")
        return piece[same:]

    def read_secondary(self, size: int) -> bytes:
        """The first `size` bytes of the new image, as they are in flash."""
        return self.secondary.read(SECTOR_BYTES, size)

    def secondary_image(self) -> Image | None:
        """The image downloaded into secondary, when it is well-formed and its signature trusted."""
        image = read_image(self.secondary, SECTOR_BYTES, self.max_image_bytes)
        return image if image is not None and is_trusted(image, self.config.keys) else None

    def secondary_version(self) -> Version | None:
        """Version of the image waiting in secondary, one sector in."""
        header = header_at(self.secondary, SECTOR_BYTES)
        return header.version if header else None

    def request_test(self) -> None:
        """Have secondary tried at the next boot; raises TrailerError when its trailer is damaged."""
        request_upgrade(self.secondary_trailer)

    def contents(self) -> SlotContents:
        """Look at the flash without changing it."""
        running = self.running
        primary = header_at(self.primary, 0)
        # Downloads lie one sector in, the old image of a swap at the start.
        secondary = header_at(self.secondary, SECTOR_BYTES) or header_at(self.secondary, 0)
        return SlotContents(
            running=primary.version if primary else None,
            secondary=secondary.version if secondary else None,
            image_sha256=running.sha256.hex() if running else None,
            confirmed=self.confirmed,
            swap_due=swap_type(self.flash, self.config),
            swapping=self.swapping,
        )
