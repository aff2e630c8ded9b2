"""Images signed by the real imgtool are accepted, and every way to spoil one is refused with its reason."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgtool import image as imgtool_image
from imgtool import keys as imgtool_keys
from imgtool.version import decode_version

from mcuboot_image import (
    TLV_NAMES,
    DecodeError,
    PublicKey,
    VerificationError,
    Version,
    load_public_key,
    parse,
    unpack_header,
    verify,
)

PAYLOAD = bytes(range(256)) * 12


def sign(
    key: object | None, tmp_path: Path, version: str = "1.2.3+4", *, counter: int | None = 7, sha: str = "auto"
) -> bytes:
    """An image as imgtool makes it."""
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(PAYLOAD)
    image = imgtool_image.Image(
        version=decode_version(version),
        header_size=0x200,
        pad_header=True,
        align=4,
        slot_size=0x10000,
        security_counter=counter,
    )
    image.load(str(source))
    image.create(key, "hash", None, user_sha=sha)
    image.save(str(target))
    return target.read_bytes()


def public(key: object) -> PublicKey:
    pem = key._get_public().public_bytes(  # type: ignore[attr-defined]
        encoding=imgtool_keys.ecdsa.serialization.Encoding.PEM,
        format=imgtool_keys.ecdsa.serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    return load_public_key(pem)


@pytest.mark.parametrize(
    ("kind", "key", "sha", "found"),
    [
        ("ECDSA", imgtool_keys.ECDSA256P1.generate, "auto", "sha256"),
        ("ECDSA", imgtool_keys.ECDSA384P1.generate, "auto", "sha384"),
        ("Ed25519", imgtool_keys.Ed25519.generate, "auto", "sha256"),
        ("Ed25519", imgtool_keys.Ed25519.generate, "512", "sha512"),
        ("RSA-2048", lambda: imgtool_keys.RSA.generate(2048), "auto", "sha256"),
        ("RSA-3072", lambda: imgtool_keys.RSA.generate(3072), "auto", "sha256"),
    ],
)
def test_what_imgtool_signs_is_verified_and_a_flipped_bit_of_the_signature_is_not(
    kind: str, key: Callable[[], object], sha: str, found: str, tmp_path: Path
) -> None:
    signer = key()
    data = sign(signer, tmp_path, sha=sha)
    image = parse(data)
    assert image.header.version == Version(1, 2, 3, 4)
    assert str(image.header.version) == "1.2.3+4"
    assert image.security_counter == 7
    verdict = verify(image, [public(signer)])
    assert (verdict.signature, verdict.hash_algorithm) == (kind, found)
    assert image.total_size == len(data)
    with pytest.raises(VerificationError) as caught:
        verify(parse(data[:-1] + bytes([data[-1] ^ 1])), [public(signer)])
    assert caught.value.reason == "signature_invalid"


def test_header_is_unpacked_be_it_one_or_not() -> None:
    magic, header = unpack_header(b"\xff" * 32)
    assert magic == 0xFFFFFFFF
    assert header.flags == 0xFFFFFFFF and header.version == Version(255, 255, 0xFFFF, 0xFFFFFFFF)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, PublicKey]:
    key = imgtool_keys.ECDSA256P1.generate()
    return sign(key, tmp_path_factory.mktemp("image")), public(key)


def test_cut_anywhere_it_is_no_image(signed: tuple[bytes, PublicKey]) -> None:
    data, _ = signed
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            parse(data[:cut])


def test_a_flipped_bit_never_passes(signed: tuple[bytes, PublicKey]) -> None:
    data, key = signed
    header_padding = range(32, 0x200)
    for at in [*range(32), *range(0x200, len(data), 97), *range(len(data) - 150, len(data)), header_padding[5]]:
        spoiled = bytearray(data)
        spoiled[at] ^= 0x10
        with pytest.raises((DecodeError, VerificationError)):
            verify(parse(bytes(spoiled)), [key])


def test_unsigned_and_foreign_images_say_so(tmp_path: Path, signed: tuple[bytes, PublicKey]) -> None:
    _, key = signed
    with pytest.raises(VerificationError) as unsigned:
        verify(parse(sign(None, tmp_path)), [key])
    assert unsigned.value.reason == "unsigned"
    with pytest.raises(VerificationError) as foreign:
        verify(parse(sign(imgtool_keys.ECDSA256P1.generate(), tmp_path)), [key])
    assert foreign.value.reason == "foreign_key"


def test_padding_is_allowed_and_other_bytes_are_not(signed: tuple[bytes, PublicKey]) -> None:
    data, _ = signed
    assert parse(data + b"\xff" * 64).total_size == len(data)
    with pytest.raises(DecodeError, match="follow the image"):
        parse(data + b"evil" + b"\xff" * 64)


@pytest.mark.parametrize(("kind", "name"), [(0x50, "SEC_CNT"), (0x40, "DEPENDENCY"), (0x60, "BOOT_RECORD")])
def test_facts_that_no_signature_covers_are_refused(kind: int, name: str, tmp_path: Path) -> None:
    key = imgtool_keys.ECDSA256P1.generate()
    data = sign(key, tmp_path, counter=None)
    entry = struct.pack("<HHI", kind, 4, 999_999)
    at = parse(data).hashed_size
    magic, total = struct.unpack_from("<HH", data, at)
    added = data[:at] + struct.pack("<HH", magic, total + len(entry)) + data[at + 4 :] + entry
    image = parse(added)
    assert image.security_counter is None
    with pytest.raises(VerificationError, match=f"{name} lies outside") as refused:
        verify(image, [public(key)])
    assert refused.value.reason == "unprotected_tlv"


def test_names_of_tlvs_are_imgtools() -> None:
    spelt = {"ECDSA_SIG": "ECDSASIG", "RSA2048_PSS": "RSA2048", "RSA3072_PSS": "RSA3072"}
    ours = {spelt.get(name, name).replace("ENC_", "ENC"): kind for kind, name in TLV_NAMES.items()}
    assert ours.items() >= imgtool_image.TLV_VALUES.items()


@given(st.binary(max_size=200))
def test_any_bytes_are_an_image_or_a_decode_error(data: bytes) -> None:
    for candidate in (data, b"\x3d\xb8\xf3\x96" + data):
        try:
            parse(candidate)
        except DecodeError:
            continue


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_nonsense_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="PEM public key"):
        load_public_key(text.encode())


def test_a_private_key_is_refused() -> None:
    with pytest.raises(ValueError, match="private key"):
        load_public_key(b"-----BEGIN PRIVATE KEY-----")
