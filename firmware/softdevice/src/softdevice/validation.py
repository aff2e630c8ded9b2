"""What MCUboot checks before it trusts a slot: header, sizes, hash, signature of a known key, downgrade rules."""

from dataclasses import dataclass, field
from typing import Final, Literal

from mcuboot_image import (
    HEADER_BYTES,
    DecodeError,
    Header,
    Image,
    PublicKey,
    VerificationError,
    parse,
    parse_header,
    verify,
)
from softdevice.flash import Area
from softdevice.trailer import TrailerLayout

NON_BOOTABLE: Final = 0x10
_TLV_MAGIC: Final = 0x6907
_PROTECTED_TLV_MAGIC: Final = 0x6908

Downgrade = Literal["version", "version+build", "security-counter"]


@dataclass(frozen=True, slots=True)
class BootConfig:
    """How the bootloader was built: keys it trusts and the options of `mcuboot_config.h` that change behaviour.

    `copy_chunk` is the largest piece of one copy write in bytes.
    """

    keys: tuple[PublicKey, ...]
    layout: TrailerLayout = field(default_factory=TrailerLayout)
    copy_chunk: int = 1024
    validate_primary: bool = True
    downgrade_prevention: Downgrade | None = None


def header_at(area: Area, offset: int) -> Header | None:
    """The header at `offset`, or None when there is no image magic (or no sane header size) there."""
    if offset < 0 or offset + HEADER_BYTES > area.size:
        return None
    try:
        return parse_header(area.read(offset, HEADER_BYTES))
    except DecodeError:
        return None


def tlv_sizes_at(area: Area, offset: int, header: Header) -> int | None:
    """Bytes of the unprotected TLV area of the image at `offset`; None when its TLV areas make no sense."""
    at = offset + header.header_size + header.image_size
    magic, total = _info(area, at)
    if magic == _PROTECTED_TLV_MAGIC:
        if total != header.protected_tlv_size:
            return None
        magic, total = _info(area, at + total)
    elif header.protected_tlv_size:
        return None
    return total if magic == _TLV_MAGIC else None


def _info(area: Area, at: int) -> tuple[int, int]:
    if at + 4 > area.size:
        return 0, 0
    raw = area.read(at, 4)
    return int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:], "little")


def image_bytes(header: Header, unprotected: int) -> int:
    """Whole size of an image in bytes, header and TLVs included."""
    return header.header_size + header.image_size + header.protected_tlv_size + unprotected


def max_image_bytes(area: Area, layout: TrailerLayout, start: int) -> int:
    """Largest image in bytes that starts at `start` and ends before the first sector of the trailer."""
    need = layout.trailer_bytes(area.flash.write_align)
    trailer_sectors = -(-need // area.sector_size)
    return area.size - trailer_sectors * area.sector_size - start


def read_image(area: Area, offset: int, limit: int) -> Image | None:
    """The image at `offset` when it is well formed and at most `limit` bytes long; None otherwise."""
    header = header_at(area, offset)
    if header is None or header.header_size + header.image_size > min(limit, area.size - offset):
        return None
    unprotected = tlv_sizes_at(area, offset, header)
    if unprotected is None:
        return None
    size = image_bytes(header, unprotected)
    if size > limit or offset + size > area.size:
        return None
    try:
        return parse(area.read(offset, size))
    except DecodeError:
        return None


def is_trusted(image: Image, keys: tuple[PublicKey, ...]) -> bool:
    """Hash right and signed with one of `keys`."""
    try:
        verify(image, keys)
    except VerificationError:
        return False
    return True


def is_downgrade(running: Image | None, candidate: Image, rule: Downgrade | None) -> bool:
    """Whether `rule` forbids the step from `running` to `candidate`; equal versions and counters pass."""
    if rule is None or running is None:
        return False
    if rule == "security-counter":
        have, offered = running.security_counter, candidate.security_counter
        return have is not None and (offered is None or offered < have)
    old, new = running.header.version, candidate.header.version
    if rule == "version":
        return (new.major, new.minor, new.revision) < (old.major, old.minor, old.revision)
    return new < old
