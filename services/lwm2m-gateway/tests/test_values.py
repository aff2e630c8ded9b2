"""What a device says of its image is believed only in the shape the contract gives it."""

import pytest

from lwm2m.content import Value
from lwm2m_gateway.shell.values import RUNNING_IMAGE, observed


@pytest.mark.parametrize(
    ("value", "image"),
    [
        (b"\xcd" * 32, "cd" * 32),
        (b"\xcd" * 31, None),
        (b"\xcd" * 33, None),
        (b"", None),
        ("cd" * 16, None),
        (7, None),
    ],
)
def test_the_hash_of_an_image_has_32_bytes(value: Value, image: str | None) -> None:
    assert observed({RUNNING_IMAGE: value}).image == image
