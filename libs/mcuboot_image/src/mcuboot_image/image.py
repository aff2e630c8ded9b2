"""An MCUboot image taken apart: header, payload, protected and unprotected TLVs (docs/design.md of MCUboot).

    offset 0   header, 32 bytes, little endian, then padding up to `header_size`
               magic 0x96f3b83d | load address | header size u16 | protected TLV size u16 | image size u32
               | flags u32 | version: major u8, minor u8, revision u16, build u32 | pad u32
    header_size            the image, `image_size` bytes
    then, when protected   TLV area with magic 0x6908: part of what is hashed
    then                   TLV area with magic 0x6907: hash, key hash, signature

Each area starts with magic u16 and total size u16 (its own four bytes included); entries are type u16, length u16,
value. The hash covers everything from byte 0 to the end of the protected area.
"""

import struct
from dataclasses import dataclass
from typing import Final

from mcuboot_image.errors import DecodeError

IMAGE_MAGIC: Final = 0x96F3B83D
TLV_MAGIC: Final = 0x6907
PROTECTED_TLV_MAGIC: Final = 0x6908
HEADER_BYTES: Final = 32
_HEADER: Final = struct.Struct("<IIHHIIBBHII")
_TLV_INFO: Final = struct.Struct("<HH")

KEYHASH: Final = 0x01
PUBKEY: Final = 0x02
SHA256: Final = 0x10
SHA384: Final = 0x11
SHA512: Final = 0x12
RSA2048: Final = 0x20
ECDSA: Final = 0x22
RSA3072: Final = 0x23
ED25519: Final = 0x24
DEPENDENCY: Final = 0x40
SECURITY_COUNTER: Final = 0x50
# What only counts when it is hashed; MCUboot reads these from the protected area alone.
PROTECTED_ONLY: Final = frozenset({DEPENDENCY, SECURITY_COUNTER, 0x60, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75})

TLV_NAMES: Final = {
    0x01: "KEYHASH",
    0x02: "PUBKEY",
    0x10: "SHA256",
    0x11: "SHA384",
    0x12: "SHA512",
    0x20: "RSA2048_PSS",
    0x21: "ECDSA224",
    0x22: "ECDSA_SIG",
    0x23: "RSA3072_PSS",
    0x24: "ED25519",
    0x25: "SIG_PURE",
    0x30: "ENC_RSA2048",
    0x31: "ENC_KW",
    0x32: "ENC_EC256",
    0x33: "ENC_X25519",
    0x34: "ENC_X25519_SHA512",
    0x40: "DEPENDENCY",
    0x50: "SEC_CNT",
    0x60: "BOOT_RECORD",
    0x70: "DECOMP_SIZE",
    0x71: "DECOMP_SHA",
    0x72: "DECOMP_SIGNATURE",
    0x73: "COMP_DEC_SIZE",
    0x74: "UUID_VID",
    0x75: "UUID_CID",
}


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Image version as the header holds it; ordered field by field, as MCUboot compares."""

    major: int
    minor: int
    revision: int
    build: int = 0

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.revision}"
        return f"{text}+{self.build}" if self.build else text


@dataclass(frozen=True, slots=True)
class Tlv:
    """One entry of a TLV area."""

    type: int
    value: bytes
    protected: bool

    @property
    def name(self) -> str:
        """The name imgtool uses, or the number in hex."""
        return TLV_NAMES.get(self.type, f"{self.type:#06x}")


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed part of the header; sizes in bytes."""

    load_address: int
    header_size: int
    protected_tlv_size: int
    image_size: int
    flags: int
    version: Version


@dataclass(frozen=True, slots=True)
class Image:
    """A well-formed image. `hashed_size` is how many leading bytes the hash covers, `total_size` all that belongs
    to the image; `data` holds at least that many bytes."""

    header: Header
    tlvs: tuple[Tlv, ...]
    hashed_size: int
    total_size: int
    data: bytes

    def tlv(self, kind: int) -> Tlv | None:
        """First entry of that type, or None."""
        return next((tlv for tlv in self.tlvs if tlv.type == kind), None)

    @property
    def security_counter(self) -> int | None:
        """Security counter of the protected area, or None."""
        tlv = next((tlv for tlv in self.tlvs if tlv.type == SECURITY_COUNTER and tlv.protected), None)
        return None if tlv is None or len(tlv.value) != 4 else int.from_bytes(tlv.value, "little")


def parse_header(data: bytes) -> Header:
    """Read the first 32 bytes; raises DecodeError when they are no MCUboot header."""
    if len(data) < HEADER_BYTES:
        raise DecodeError(f"an MCUboot header has {HEADER_BYTES} bytes, there are {len(data)}", len(data))
    magic, header = unpack_header(data)
    if magic != IMAGE_MAGIC:
        raise DecodeError(f"the magic number is {magic:#010x}, an MCUboot image starts with {IMAGE_MAGIC:#010x}", 0)
    if header.header_size < HEADER_BYTES:
        raise DecodeError(f"header size {header.header_size} is smaller than the header itself", 8)
    return header


def unpack_header(data: bytes) -> tuple[int, Header]:
    """Magic and fields of what stands where a header would be, be it one or not: a bootloader looks at both.

    `data` holds at least 32 bytes.
    """
    magic, load, header_size, protected, size, flags, major, minor, revision, build, _ = _HEADER.unpack_from(data)
    return magic, Header(load, header_size, protected, size, flags, Version(major, minor, revision, build))


def parse(data: bytes) -> Image:
    """Take an image apart; bytes after the last TLV area must be erased flash (0xFF) or zero.

    Raises DecodeError with the offset for anything truncated, inconsistent or trailing.
    """
    header = parse_header(data)
    at = header.header_size + header.image_size
    if at > len(data):
        raise DecodeError(f"the header promises {at} bytes of header and image, there are {len(data)}", len(data))
    protected: tuple[Tlv, ...] = ()
    if header.protected_tlv_size:
        protected, end = _area(data, at, PROTECTED_TLV_MAGIC, protected_area=True)
        if end - at != header.protected_tlv_size:
            raise DecodeError("the protected TLV area has another size than the header says", at)
        at = end
    hashed = at
    plain, end = _area(data, at, TLV_MAGIC, protected_area=False)
    rest = data[end:]
    if rest.strip(b"\xff") and rest.strip(b"\0") and not _is_trailer(rest):
        raise DecodeError(f"{len(rest)} bytes follow the image and are no padding", end)
    return Image(header, protected + plain, hashed, end, data)


def _is_trailer(rest: bytes) -> bool:
    # imgtool --pad --confirm ends the slot with MCUboot's own trailer; only the last 48 bytes may be set.
    return not rest[:-48].strip(b"\xff")


def _area(data: bytes, at: int, magic: int, *, protected_area: bool) -> tuple[tuple[Tlv, ...], int]:
    if at + _TLV_INFO.size > len(data):
        raise DecodeError("the TLV area is missing or cut short", len(data))
    found, total = _TLV_INFO.unpack_from(data, at)
    if found != magic:
        raise DecodeError(f"expected TLV magic {magic:#06x}, found {found:#06x}", at)
    end = at + total
    if total < _TLV_INFO.size or end > len(data):
        raise DecodeError("the TLV area is cut short", at + 2)
    tlvs = []
    at += _TLV_INFO.size
    while at < end:
        if at + _TLV_INFO.size > end:
            raise DecodeError("a TLV entry is cut short", at)
        kind, length = _TLV_INFO.unpack_from(data, at)
        value_at = at + _TLV_INFO.size
        if value_at + length > end:
            raise DecodeError("a TLV value is cut short", at)
        tlvs.append(Tlv(kind, data[value_at : value_at + length], protected_area))
        at = value_at + length
    return tuple(tlvs), end
