"""What MCUboot checks before it trusts a slot: header, sizes, hash, signature of a known key, counter, downgrade rules.

A bootloader reads headers before it knows whether they are any, and decides by the raw bytes: an erased magic is an
empty slot, another wrong one a damaged image. `SlotHeader` keeps that difference; everything else works on images that
`mcuboot_image` could take apart.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mcuboot_image import (
    DEPENDENCY,
    HEADER_BYTES,
    IMAGE_MAGIC,
    DecodeError,
    Header,
    Image,
    PublicKey,
    VerificationError,
    Version,
    parse,
    unpack_header,
    verify,
)
from softdevice.boot_config import BootConfig
from softdevice.flash import Area

_ENCRYPTED: Final = 0x4 | 0x8
_NON_BOOTABLE: Final = 0x10
_ROM_FIXED: Final = 0x100
_COMPRESSED: Final = 0x200 | 0x400
_TLV_MAGIC: Final = 0x6907
_PROTECTED_TLV_MAGIC: Final = 0x6908
# A dependency is image u8, 3 bytes of padding, and the least version: u8, u8, u16, u32.
_DEPENDENCY_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class SlotHeader:
    """What stands where a header belongs; `fields` make sense only when `is_image`."""

    is_image: bool
    is_erased: bool
    fields: Header

    @property
    def version(self) -> Version:
        """Version in the header."""
        return self.fields.version

    @property
    def bootable(self) -> bool:
        """Neither erased nor marked as not bootable; an image or not."""
        return not self.is_erased and not self.fields.flags & _NON_BOOTABLE


def read_header(area: Area, offset: int) -> SlotHeader:
    """The 32 bytes at `offset`, whatever they are."""
    raw = area.read(offset, HEADER_BYTES)
    magic, fields = unpack_header(raw)
    return SlotHeader(magic == IMAGE_MAGIC, area.is_erased(raw[:4]), fields)


def header_at(area: Area, offset: int) -> Header | None:
    """The header at `offset`, or None when there is no image magic (or no sane header size) there."""
    if offset < 0 or offset + HEADER_BYTES > area.size:
        return None
    found = read_header(area, offset)
    return found.fields if found.is_image and found.fields.header_size >= HEADER_BYTES else None


def header_is_valid(area: Area, header: SlotHeader) -> bool:
    """An image that can fit the slot and needs neither a decryption nor a decompression (`boot_check_header_valid`)."""
    fields = header.fields
    size = fields.header_size + fields.image_size + fields.protected_tlv_size
    return header.is_image and size < area.size and not fields.flags & (_ENCRYPTED | _COMPRESSED)


def is_built_for(area: Area, header: SlotHeader) -> bool:
    """Whether an image linked to a fixed address is in the slot that has it (`boot_rom_address_check`)."""
    return not header.fields.flags & _ROM_FIXED or header.fields.load_address == area.base


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
    return _verified(image.data[: image.total_size], keys)


@lru_cache(maxsize=64)
def _verified(data: bytes, keys: tuple[PublicKey, ...]) -> bool:
    # A fleet boots the same few images again and again; the answer depends on these bytes alone.
    try:
        verify(parse(data), keys)
    except VerificationError:
        return False
    return True


def counter_allows(image: Image, stored: int) -> bool:
    """Whether the hardware counter lets `image` run; an image without a counter never does."""
    return image.security_counter is not None and image.security_counter >= stored


def dependencies_of(image: Image) -> tuple[tuple[int, Version], ...] | None:
    """Which image must have at least which version; None when an entry is malformed."""
    values = [tlv.value for tlv in image.tlvs if tlv.type == DEPENDENCY and tlv.protected]
    if any(len(value) != _DEPENDENCY_BYTES for value in values):
        return None
    return tuple((value[0], _version(value[4:])) for value in values)


def _version(raw: bytes) -> Version:
    revision, build = int.from_bytes(raw[2:4], "little"), int.from_bytes(raw[4:8], "little")
    return Version(raw[0], raw[1], revision, build)


def is_older(version: Version, than: Version, config: BootConfig) -> bool:
    """Whether `version` is lower by what the bootloader compares."""
    return config.version_key(version) < config.version_key(than)


def is_counter_downgrade(running: int | None, candidate: int | None) -> bool:
    """Whether security counters forbid the step; an image without a counter forbids nothing."""
    return running is not None and (candidate is None or candidate < running)
