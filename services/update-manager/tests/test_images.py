"""The image inspector's verdicts: one good image, and every way it can be spoiled, each with its reason and advice."""

import hashlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softdevice.images import SigningKey, new_key, small_image
from update_manager.domain.images import inspect
from update_manager.errors import ImageRefused

KEY = new_key()
GOOD = small_image(KEY, "1.4.2+7", 700)


def refusal(data: bytes, key: SigningKey = KEY, limit: int | None = None) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        inspect(data, [key.public], "Pump", limit)
    error = caught.value
    assert error.info.keys() == {"reason", "where", "hint"} and all(error.info.values())
    return error


def test_a_good_image_tells_its_facts() -> None:
    found = inspect(GOOD, [new_key().public, KEY.public], "Pump", len(GOOD))
    assert found.version == "1.4.2+7" == found.facts["version"]
    assert found.facts["keyHash"] == KEY.public.fingerprint
    assert found.facts["signature"] == "ECDSA" and found.facts["hashAlgorithm"] == "sha256"
    assert found.facts["headerSize"] == 0x200 and found.facts["imageSize"] == 700
    assert [tlv["type"] for tlv in found.tlvs] == [0x10, 0x01, 0x22], "SHA-256, key hash, ECDSA signature"
    assert all(set(tlv["value"]) <= set("0123456789abcdef") for tlv in found.tlvs)


def test_an_image_cut_at_any_byte_is_refused() -> None:
    for end in range(len(GOOD)):
        assert refusal(GOOD[:end]).info["reason"] in ("malformed", "hash_missing", "unsigned", "foreign_key")


def test_an_image_that_stops_early_is_told_from_a_file_that_is_none() -> None:
    assert str(refusal(GOOD[:-40])).startswith("the image is cut off or damaged: ")
    assert str(refusal(b"\x7fELF" + GOOD[4:])).startswith("this is no MCUboot image: ")
    assert str(refusal(b"")) == "the file is empty"


def test_an_image_with_any_byte_changed_is_refused() -> None:
    bits = random.Random(4)
    for position in range(len(GOOD)):
        spoilt = bytearray(GOOD)
        spoilt[position] ^= 1 << bits.randrange(8)
        refusal(bytes(spoilt))


@given(st.binary(max_size=300))
def test_noise_is_refused_as_no_image(noise: bytes) -> None:
    error = refusal(noise)
    assert error.info["reason"] == "malformed" and error.info["where"].startswith("byte ")


@given(st.binary(max_size=200))
def test_a_good_header_with_noise_behind_it_is_refused(noise: bytes) -> None:
    refusal(GOOD[:32] + noise)


def test_an_empty_file_is_named_as_such() -> None:
    assert "the file is empty" in refusal(b"").message


def test_a_foreign_key_is_named_by_its_fingerprint() -> None:
    error = refusal(GOOD, new_key())
    assert error.info["reason"] == "foreign_key" and error.info["where"] == "signature"
    assert KEY.public.fingerprint[:16] in error.message


def test_a_product_without_keys_trusts_nothing() -> None:
    with pytest.raises(ImageRefused) as caught:
        inspect(GOOD, [], "Pump", None)
    assert caught.value.info["reason"] == "no_keys" and "imgtool getpub" in caught.value.info["hint"]


def test_an_image_too_large_for_the_product_is_refused_before_it_is_read() -> None:
    assert inspect(GOOD, [KEY.public], "Pump", len(GOOD)).version == "1.4.2+7"
    error = refusal(GOOD, limit=len(GOOD) - 1)
    assert error.info["reason"] == "oversized" and str(len(GOOD) - 1) in error.message


@pytest.mark.parametrize(
    "padding", [b"\xff", b"\0" * 16, b"\xff" * 64 + b"trailer of --confirm"], ids=["ff", "00", "trailer"]
)
def test_an_image_with_padding_behind_it_is_refused_because_no_device_takes_it(padding: bytes) -> None:
    error = refusal(GOOD + padding)
    assert error.info["reason"] == "padded" and error.info["where"] == f"byte {len(GOOD)}"
    assert "without --pad and --confirm" in error.info["hint"]


def test_an_unsigned_image_is_refused() -> None:
    # A hash and nothing else: what `imgtool sign` writes without a key.
    body = GOOD[: 0x200 + 700]
    tlvs = struct.pack("<HH", 0x10, 32) + hashlib.sha256(body).digest()
    unsigned = body + struct.pack("<HH", 0x6907, 4 + len(tlvs)) + tlvs
    error = refusal(unsigned)
    assert error.info["reason"] == "unsigned" and "imgtool sign" in error.info["hint"]
