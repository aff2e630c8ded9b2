"""Deltas: for which pairs of images one may be made, when it is worth its bytes, and what a population saves by them.

A delta leads from the image a device really runs (`image_sha256`: SHA-256 over the MCUboot image without padding, what
a device reports as /26250/0/0) to the image of a release. What a rule forbids is never asked
for; the rest goes through four states:

    wanted -> ready     built, verified, under the threshold: offered
           -> refused   it is not worth it, or a setting forbids it since; the reason is kept
           -> failed    making it went wrong; the reason is kept
    ready   -> wanted    its bytes are gone
    refused -> wanted    the threshold was raised above its size
    failed  -> wanted    asked for again a while later

Who has no ready delta gets the full image: nothing here can keep a device from its update.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from firmware_delta import Compression

# MCUboot image flags (boot/bootutil/include/bootutil/image.h): encrypted with AES-128 or AES-256.
ENCRYPTED_FLAGS: Final = 0x4 | 0x8
# What a device may say it takes (/26250/0/3), as a mask: our container with a patch packed by one of these.
KNOWN_FORMATS: Final = Compression.CRLE | Compression.HEATSHRINK


class DeltaStatus(StrEnum):
    """Where a pair stands."""

    WANTED = "wanted"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"


class Refusal(StrEnum):
    """Why no delta is offered for a pair."""

    UNKNOWN_BASE = "unknown_base"
    SAME_IMAGE = "same_image"
    OTHER_KEY = "other_key"
    OTHER_PRODUCT = "other_product"
    ENCRYPTED = "encrypted"
    TOO_LARGE = "too_large"
    OVER_THRESHOLD = "over_threshold"


REFUSAL_TEXTS: Final[dict[Refusal, str]] = {
    Refusal.UNKNOWN_BASE: "no uploaded image has the hash these devices report",
    Refusal.SAME_IMAGE: "these devices run the image already",
    Refusal.OTHER_KEY: "the two images are signed with different keys",
    Refusal.OTHER_PRODUCT: "the two images are of different products",
    Refusal.ENCRYPTED: "of an encrypted image nothing repeats, so a delta saves nothing",
    Refusal.TOO_LARGE: "an image is larger than deltas are made for",
    Refusal.OVER_THRESHOLD: "the delta is too large a part of the full image",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be made. `threshold_percent` of the full size is the most a delta may have; 0 switches deltas off."""

    threshold_percent: int = 50
    max_per_release: int = 20
    max_image_bytes: int = 4 << 20

    @property
    def on(self) -> bool:
        """Whether deltas are made and offered at all."""
        return self.threshold_percent > 0

    def worth(self, size: int, full_size: int) -> bool:
        """Whether a delta of `size` bytes is offered instead of `full_size`."""
        return size * 100 <= full_size * self.threshold_percent


@dataclass(frozen=True, slots=True)
class Image:
    """An uploaded MCUboot image; `size` in bytes, `products` the ids of those it was released for."""

    image_sha256: str
    size: int
    key_hash: str
    flags: int
    products: frozenset[int] = frozenset()


_RULES: Final[tuple[tuple[Refusal, Callable[[Image, Image, Limits], bool]], ...]] = (
    (Refusal.SAME_IMAGE, lambda base, wanted, _: base.image_sha256 == wanted.image_sha256),
    (Refusal.OTHER_KEY, lambda base, wanted, _: base.key_hash != wanted.key_hash),
    # An image of no product was made by a plain hawkBit script: then the key alone says that they belong together.
    (
        Refusal.OTHER_PRODUCT,
        lambda base, wanted, _: bool(base.products and wanted.products) and not base.products & wanted.products,
    ),
    (Refusal.ENCRYPTED, lambda base, wanted, _: bool((base.flags | wanted.flags) & ENCRYPTED_FLAGS)),
    (Refusal.TOO_LARGE, lambda base, wanted, limits: max(base.size, wanted.size) > limits.max_image_bytes),
)


def refusal(base: Image | None, wanted: Image, limits: Limits) -> Refusal | None:
    """Why no delta may be made from `base` (None: nobody uploaded it) to `wanted`; None when one may."""
    if base is None:
        return Refusal.UNKNOWN_BASE
    return next((reason for reason, applies in _RULES if applies(base, wanted, limits)), None)


def due_again(status: str, size: int | None, full_size: int, rested: bool, limits: Limits) -> bool:
    """Whether a pair that was judged is made anew when somebody asks. The same images give the same delta: one that was
    too large (`size` in bytes is known) waits for a higher threshold; anything else may have been bad luck."""
    if status not in (DeltaStatus.REFUSED, DeltaStatus.FAILED):
        return False
    return rested if size is None else limits.worth(size, full_size)


@dataclass(frozen=True, slots=True)
class Share:
    """How many targets of a population report one image and one set of formats; `image_sha256` None: unknown."""

    image_sha256: str | None
    formats: int
    targets: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Targets by what they will be sent, and bytes on air (without headers and repeats) if all get the full image,
    and as planned. `unknown`: it is not known what they run, or how large their delta will be; planned as full."""

    by_delta: int
    by_full: int
    unknown: int
    bytes_full: int
    bytes_planned: int


def forecast(
    population: Iterable[Share], sizes: dict[tuple[str, int], int | None], full_size: int, wanted_sha256: str | None
) -> Forecast:
    """What a population will be sent. `sizes`: delta size by base and formats, None until it is built; a pair that
    is not in it gets no delta. Who runs `wanted_sha256` already is left out."""
    by_delta = by_full = unknown = planned = 0
    for share in population:
        pair = (share.image_sha256 or "", share.formats & KNOWN_FORMATS)
        if share.image_sha256 is not None and share.image_sha256 == wanted_sha256:
            continue
        size = sizes.get(pair)
        if size is not None:
            by_delta += share.targets
        elif share.image_sha256 is None or pair in sizes:
            unknown += share.targets
        else:
            by_full += share.targets
        planned += share.targets * (full_size if size is None else size)
    return Forecast(by_delta, by_full, unknown, (by_delta + by_full + unknown) * full_size, planned)
