"""Real firmware for a bench: two Zephyr builds from packages, wrapped and signed under a test key made here.

The key never leaves the data folder and is trusted by nothing but this bench's own product.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from softdevice import images

OLD_VERSION = "1.0.0"
NEW_VERSION = "1.1.0"
PRODUCT_KEY = "softdevice"
PRODUCT_NAME = "nRF52840 HCI bridge"


@dataclass(frozen=True)
class Firmware:
    """Files of one bench; `public_keys` are PEM files devices and product trust."""

    private_key: Path
    public_keys: tuple[Path, ...]
    old: Path
    new: Path


def prepare(folder: Path, image: Path | None = None, key: Path | None = None) -> Firmware:
    """Make what is missing in `folder`; `image` replaces the new one, `key` is the public key that signed it."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / "test-key.pem", folder / "test-key.pub.pem"
    if not private.exists():
        made = images.new_key()
        private.touch(mode=0o600)
        private.write_bytes(made.private_pem)
        public.write_bytes(made.public_pem)
    old, new = folder / f"hci_usb-{OLD_VERSION}.signed.bin", folder / f"hci_usb-{NEW_VERSION}.signed.bin"
    if not old.exists() or not new.exists():
        for path, data in zip((old, new), images.real_images(images.load_key(private)), strict=True):
            path.write_bytes(data)
    keys = (public,) if key is None else (public, key)
    return Firmware(private, keys, old, image or new)


def main() -> None:
    """`python -m updraft_local.firmware FOLDER`: make a bench by hand, or in a container."""
    parser = argparse.ArgumentParser(
        prog="python -m updraft_local.firmware", description="Makes a test key and two signed real images in a folder."
    )
    parser.add_argument("folder", type=Path)
    bench = prepare(parser.parse_args().folder)
    sys.stdout.write("".join(f"{path}\n" for path in (*bench.public_keys, bench.old, bench.new)))


if __name__ == "__main__":
    main()
