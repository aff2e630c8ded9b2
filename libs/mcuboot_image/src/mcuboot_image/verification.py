"""Is an image what its hash and a trusted key say it is (MCUboot's `bootutil_img_validate`, in its order)?"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mcuboot_image.errors import VerificationError
from mcuboot_image.image import (
    ECDSA,
    ED25519,
    KEYHASH,
    PROTECTED_ONLY,
    PUBKEY,
    RSA2048,
    RSA3072,
    SHA256,
    SHA384,
    SHA512,
    Image,
)

Key = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_HASHES: Final = {SHA256: "sha256", SHA384: "sha384", SHA512: "sha512"}
_CRYPTO_HASHES: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_SIGNATURES: Final = {ECDSA: "ECDSA", ED25519: "Ed25519", RSA2048: "RSA-2048", RSA3072: "RSA-3072"}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key images may be signed with, by its DER; `fingerprint` is what KEYHASH carries in images that are hashed with
    SHA-256: that of the DER, in hex."""

    algorithm: str
    fingerprint: str
    der: bytes = field(repr=False)
    key: Key = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proved: the hash, and who signed with what."""

    image_hash: str
    hash_algorithm: str
    signature: str
    key: PublicKey


def load_public_key(pem: bytes) -> PublicKey:
    """Read a PEM public key (P-256, P-384, Ed25519, RSA 2048 or 3072).

    Raises ValueError with advice; a private key is refused too, because it must not travel.
    """
    if b"PRIVATE KEY" in pem:
        raise ValueError("this is a private key; give the public one: imgtool getpub -k key.pem -e pem")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("no PEM public key can be read here; it starts with -----BEGIN PUBLIC KEY-----") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1"):
        algorithm = {"secp256r1": "ECDSA P-256", "secp384r1": "ECDSA P-384"}[key.curve.name]
    elif isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = "Ed25519"
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size in (2048, 3072):
        algorithm = f"RSA-{key.key_size}"
    else:
        raise ValueError("MCUboot knows P-256, P-384, Ed25519 and RSA of 2048 or 3072 bits; this key is none of them")
    # MCUboot hashes RSA keys in PKCS#1 form, all others as SubjectPublicKeyInfo (imgtool's get_public_bytes).
    form = (
        serialization.PublicFormat.PKCS1
        if isinstance(key, rsa.RSAPublicKey)
        else serialization.PublicFormat.SubjectPublicKeyInfo
    )
    der = key.public_bytes(serialization.Encoding.DER, form)
    return PublicKey(algorithm, hashlib.sha256(der).hexdigest(), der, key)


def image_hash(image: Image) -> tuple[str, bytes]:
    """Algorithm name and computed digest; raises VerificationError when hash TLV is missing or differs."""
    for kind, name in _HASHES.items():
        tlv = image.tlv(kind)
        if tlv is None:
            continue
        digest = hashlib.new(name, memoryview(image.data)[: image.hashed_size]).digest()
        if digest != tlv.value:
            raise VerificationError(
                "hash_mismatch",
                "the image's bytes do not match its own hash: it was damaged or changed after signing",
                "build and sign it again, then compare the file's SHA-256 before and after the copy",
            )
        return name, digest
    raise VerificationError(
        "hash_missing", "the image carries no hash", "sign it with imgtool, which adds hash and signature"
    )


def verify(image: Image, keys: Iterable[PublicKey]) -> Verdict:
    """Check hash and signature against `keys`; returns what was proved or raises VerificationError."""
    name, digest = image_hash(image)
    if loose := next((tlv for tlv in image.tlvs if tlv.type in PROTECTED_ONLY and not tlv.protected), None):
        raise VerificationError(
            "unprotected_tlv",
            f"the entry {loose.name} lies outside the protected TLV area, so no signature covers it",
            "sign the build's own output with imgtool again; somebody has added to this file",
        )
    signature = next((tlv for tlv in image.tlvs if tlv.type in _SIGNATURES), None)
    if signature is None:
        raise VerificationError(
            "unsigned",
            "the image is not signed",
            "sign it: imgtool sign --key your-key.pem ... ; then add the public key to the product",
        )
    trusted = tuple(keys)
    key = _key_named_by(image, trusted, name)
    if not _valid(signature.type, signature.value, key, name, digest):
        raise VerificationError(
            "signature_invalid",
            f"the {_SIGNATURES[signature.type]} signature is not one of key {key.fingerprint[:16]}",
            "sign the image again with the key whose public half is registered for the product",
        )
    return Verdict(digest.hex(), name, _SIGNATURES[signature.type], key)


def _key_named_by(image: Image, trusted: tuple[PublicKey, ...], hash_name: str) -> PublicKey:
    # KEYHASH is made with the algorithm of the image's own hash: SHA-384 with a P-384 key, SHA-512 on request.
    named = image.tlv(KEYHASH) or image.tlv(PUBKEY)
    for key in trusted:
        if named is not None and named.value in (key.der, hashlib.new(hash_name, key.der).digest()):
            return key
    shown = "(not named)" if named is None else named.value.hex()[:16]
    raise VerificationError(
        "foreign_key",
        f"the image is signed with key {shown}, which this product does not trust",
        "choose the right product, or add this key's public half to the product's signing keys",
    )


def _valid(kind: int, signature: bytes, key: PublicKey, hash_name: str, digest: bytes) -> bool:
    algorithm = _CRYPTO_HASHES[hash_name]
    try:
        match kind, key.key:
            case 0x22, ec.EllipticCurvePublicKey() as ecdsa_key:
                ecdsa_key.verify(_der(signature), digest, ec.ECDSA(Prehashed(algorithm)))
            case 0x24, ed25519.Ed25519PublicKey() as ed_key:
                ed_key.verify(signature, digest)
            case 0x20 | 0x23, rsa.RSAPublicKey() as rsa_key:
                # MCUboot's PSS: SHA-256, salt of 32 bytes.
                scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
                rsa_key.verify(signature, digest, scheme, Prehashed(hashes.SHA256()))
            case _:
                return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _der(signature: bytes) -> bytes:
    # Old imgtool versions padded ECDSA signatures with zeros to a fixed length; the DER length is the truth.
    if len(signature) > 2 and signature[0] == 0x30 and signature[1] < 0x80:
        end = 2 + signature[1]
        if not signature[end:].strip(b"\0"):
            return signature[:end]
    return signature
