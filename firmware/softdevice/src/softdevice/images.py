"""Makes signed MCUboot images: from raw binaries, Intel HEX, packages that carry a real Zephyr build, or out of seeds.

Everything here is for a workbench, not for a device: it holds private keys. imgtool, MCUboot's own tool, signs.
"""

import contextlib
import hashlib
import io
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from mcuboot_image import PublicKey, load_public_key
from softdevice.personalities import PERSONALITY_TLV, Personality

HEADER_BYTES: Final = 0x200
SLOT_BYTES: Final = 0x76000
ALIGN_BYTES: Final = 4
# Two real Zephyr 4.4 builds for the same board that differ in one option; published with an Intel HEX inside.
ZEPHYR_PACKAGES: Final = ("zephyr_4.4.0_hci_usb_nrf52840dk_default", "zephyr_4.4.0_hci_usb_nrf52840dk_acl_502")
# A third, without the newer parts of Bluetooth: what a line of firmware looked like before.
ZEPHYR_LEGACY: Final = "zephyr_4.4.0_hci_usb_nrf52840dk_legacy"


class ImageError(ValueError):
    """The input cannot become an image; the text says why and what to try."""


class SigningKey:
    """A private key, in PEM, with its public half; P-256 unless loaded from elsewhere."""

    def __init__(self, private_pem: bytes, public_pem: bytes) -> None:
        self.private_pem = private_pem
        self.public_pem = public_pem

    @property
    def public(self) -> PublicKey:
        """What a device is given."""
        return load_public_key(self.public_pem)


def new_key() -> SigningKey:
    """A new P-256 key."""
    from imgtool import keys

    return _from_imgtool(keys.ECDSA256P1.generate())


def load_key(path: Path) -> SigningKey:
    """A private key in PEM without password; raises ImageError for anything else."""
    from imgtool import keys

    key = keys.load(str(path))
    if key is None:
        raise ImageError(f"{path.name} is protected by a password; export it without one for the workbench")
    if not hasattr(key.key, "private_bytes"):
        raise ImageError(f"{path.name} holds a public key; signing needs the private one")
    return _from_imgtool(key)


def _from_imgtool(key: Any) -> SigningKey:
    with tempfile.TemporaryDirectory() as folder:
        private, public = Path(folder, "private.pem"), Path(folder, "public.pem")
        key.export_private(str(private), passwd=None)
        key.export_public(str(public))
        return SigningKey(private.read_bytes(), public.read_bytes())


def read_payload(path: Path) -> bytes:
    """Bytes of a raw binary, or of an Intel HEX file from its lowest address (gaps become 0xFF)."""
    data = path.read_bytes()
    if path.suffix.lower() not in (".hex", ".ihex"):
        return data
    from intelhex import IntelHex, IntelHexError

    try:
        return bytes(IntelHex(io.StringIO(data.decode("ascii"))).tobinarray())
    except (IntelHexError, UnicodeDecodeError) as error:
        raise ImageError(f"{path.name} is no Intel HEX file: {error}") from error


def sign(payload: bytes, version: str, key: SigningKey, *, personality: Personality = Personality.NORMAL) -> bytes:
    """A signed image for swap using offset: header of 0x200 bytes, not padded to the slot.

    `version` is `1.2.3` or `1.2.3+4`; a `personality` is named in a protected TLV. Raises ImageError when it does not
    fit the slot or the version is none.
    """
    from imgtool import image, keys
    from imgtool import version as versions

    try:
        decoded = versions.decode_version(version)
    except ValueError as error:
        raise ImageError(f"{version!r} is no version; write 1.2.3 or 1.2.3+4") from error
    builder = image.Image(
        version=decoded,
        header_size=HEADER_BYTES,
        pad_header=True,
        align=ALIGN_BYTES,
        slot_size=SLOT_BYTES,
        max_sectors=128,
    )
    tlvs = {} if personality == Personality.NORMAL else {PERSONALITY_TLV: personality.encode()}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        source, secret = Path(folder, "payload.bin"), Path(folder, "key.pem")
        source.write_bytes(payload)
        secret.write_bytes(key.private_pem)
        try:
            builder.load(str(source))
            builder.create(keys.load(str(secret)), "hash", None, custom_tlvs=tlvs)
        except Exception as error:  # imgtool raises click's errors, which are made for its own command line
            raise ImageError(f"imgtool could not sign {len(payload)} bytes: {error}") from error
    return bytes(builder.payload)


def zephyr_payload(package: str) -> bytes:
    """The raw binary of a Zephyr build inside an installed package."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise ImageError(f"package {package} is not installed") from error
    for file in files:
        if file.name.endswith(".hex"):
            return read_payload(Path(str(file.locate())))
    raise ImageError(f"package {package} holds no Intel HEX file")


def real_images(key: SigningKey, versions: tuple[str, str] = ("1.0.0", "1.1.0")) -> tuple[bytes, bytes]:
    """Both real Zephyr builds, signed as these versions."""
    first, second = (
        sign(zephyr_payload(package), version, key) for package, version in zip(ZEPHYR_PACKAGES, versions, strict=True)
    )
    return first, second


def small_image(
    key: SigningKey, version: str, size: int = 6000, *, personality: Personality = Personality.NORMAL
) -> bytes:
    """A signed image with `size` bytes of reproducible noise."""
    noise = b"".join(hashlib.sha256(f"{version} {index}".encode()).digest() for index in range(-(-size // 32)))
    return sign(noise[:size], version, key, personality=personality)
