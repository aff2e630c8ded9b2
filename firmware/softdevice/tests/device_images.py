"""Small signed images for tests of the bootloader, each made once."""

from functools import cache

from softdevice.images import new_key, sign

KEY = new_key()


@cache
def signed(version: str, size: int, *, exactly: bool = False) -> bytes:
    """An image of about `size` bytes, header and TLVs included; `exactly` signs until the signature's length fits."""
    payload = bytes(range(256)) * (size // 256 + 1)
    for _ in range(50):
        image = sign(payload[: size - 512 - 151], version, KEY)
        if not exactly or len(image) == size:
            return image
    raise AssertionError(f"no signature of the right length for {size} bytes, the last image has {len(image)}")
