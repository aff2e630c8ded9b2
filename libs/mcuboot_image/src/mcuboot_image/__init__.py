"""MCUboot images, read and verified; pure but for the cryptography library's arithmetic."""

from mcuboot_image.errors import DecodeError, VerificationError
from mcuboot_image.image import (
    DEPENDENCY,
    HEADER_BYTES,
    IMAGE_MAGIC,
    TLV_NAMES,
    Header,
    Image,
    Tlv,
    Version,
    parse,
    parse_header,
    unpack_header,
)
from mcuboot_image.verification import PublicKey, Verdict, image_hash, load_public_key, verify

__all__ = [
    "DEPENDENCY",
    "HEADER_BYTES",
    "IMAGE_MAGIC",
    "TLV_NAMES",
    "DecodeError",
    "Header",
    "Image",
    "PublicKey",
    "Tlv",
    "Verdict",
    "VerificationError",
    "Version",
    "image_hash",
    "load_public_key",
    "parse",
    "parse_header",
    "unpack_header",
    "verify",
]
