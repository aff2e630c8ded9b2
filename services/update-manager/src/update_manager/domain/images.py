"""The image inspector: what an uploaded file is, and whether a product may run it. Pure but for the cryptography."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcuboot_image import IMAGE_MAGIC, DecodeError, PublicKey, VerificationError, parse, verify
from update_manager.errors import ImageRefused

# Values of these types are public facts; longer ones are shown by their first bytes.
SHOWN_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Inspected:
    """A good image. `facts` and `tlvs` are plain JSON values for the API; `image_sha256` is that of the file."""

    version: str
    image_sha256: str
    facts: dict[str, Any]
    tlvs: list[dict[str, Any]]


def require_fits(size: int, product: str, max_bytes: int | None) -> None:
    """Raise ImageRefused for an image larger than the product's slot."""
    if max_bytes is not None and size > max_bytes:
        raise ImageRefused(
            f"the image has {size} bytes, devices of {product} take at most {max_bytes}",
            reason="oversized",
            where="file size",
            hint="choose the right product, or make the image smaller",
        )


def inspect(data: bytes, keys: Sequence[PublicKey], product: str, max_bytes: int | None) -> Inspected:
    """Check size, structure, hash and signature; raises ImageRefused with `reason`, `where`, `hint`."""
    require_fits(len(data), product, max_bytes)
    try:
        image = parse(data)
    except DecodeError as error:
        # With the magic number in front it is an image; what comes later is missing or spoilt.
        begun = data[:4] == IMAGE_MAGIC.to_bytes(4, "little")
        what = "the image is cut off or damaged" if begun else "this is no MCUboot image"
        raise ImageRefused(
            f"{what}: {error.reason}" if data else "the file is empty",
            reason="malformed",
            where=f"byte {error.offset}",
            hint="upload the signed .bin that imgtool or west wrote, not the .hex or .elf, and check the copy is whole",
        ) from error
    if image.total_size != len(data):
        raise ImageRefused(
            f"{len(data) - image.total_size} bytes follow the image, and devices refuse more than the image",
            reason="padded",
            where=f"byte {image.total_size}",
            hint="sign it without --pad and --confirm: they fill a whole slot, for the factory and not over the air",
        )
    if not keys:
        raise ImageRefused(
            f"{product} has no signing key yet, so no image can be trusted",
            reason="no_keys",
            where="product",
            hint="add the public key to the product first: imgtool getpub -k key.pem -e pem",
        )
    try:
        verdict = verify(image, keys)
    except VerificationError as error:
        where = "signature" if error.reason != "hash_mismatch" else "image bytes"
        raise ImageRefused(str(error), reason=error.reason, where=where, hint=error.hint) from error
    header = image.header
    facts = {
        "format": "MCUboot",
        "version": str(header.version),
        "securityCounter": image.security_counter,
        "headerSize": header.header_size,
        "imageSize": header.image_size,
        "loadAddress": header.load_address,
        "flags": header.flags,
        "signature": verdict.signature,
        "keyHash": verdict.key.fingerprint,
        "imageHash": verdict.image_hash,
        "hashAlgorithm": verdict.hash_algorithm,
    }
    tlvs = [
        {
            "type": tlv.type,
            "name": tlv.name,
            "length": len(tlv.value),
            "protected": tlv.protected,
            "value": tlv.value[:SHOWN_BYTES].hex(),
        }
        for tlv in image.tlvs
    ]
    return Inspected(str(header.version), hashlib.sha256(data).hexdigest(), facts, tlvs)
