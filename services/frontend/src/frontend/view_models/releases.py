"""Releases: what the image inspector read from a file, and why it refused one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from frontend.view_models import states
from frontend.view_models.devices import Fact
from frontend.view_models.formatting import count, size
from frontend.view_models.overview import release_name
from frontend.view_models.paging import Paging, paging
from frontend.view_models.reading import Json, child, children, decimal, maybe_number, text

_FACTS: Final = (
    ("format", "Format"),
    ("version", "Version in the header"),
    ("securityCounter", "Security counter"),
    ("headerSize", "Header size"),
    ("imageSize", "Image size"),
    ("loadAddress", "Load address"),
    ("signature", "Signature"),
    ("keyHash", "Signing key"),
    ("hashAlgorithm", "Hash algorithm"),
    ("imageHash", "Image hash"),
)
# The inspector keeps an image only when a key of the product verified it, and then names the algorithm.
_NO_SIGNATURE: Final = ("", "none", "unsigned", "missing", "invalid", "unknown", "unverified", "false")


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A line of the release list."""

    id: str
    href: str
    name: str
    version: str
    product: str
    product_key: str
    size: str
    filename: str
    created_at: int | None
    signature: str
    signature_ok: bool


@dataclass(frozen=True, slots=True)
class TlvRow:
    """A record behind the image (MCUboot TLV)."""

    type: str
    name: str
    length: str
    value: str


@dataclass(frozen=True, slots=True)
class Release:
    """A release's page."""

    row: ReleaseRow
    title: str
    description: str
    sha256: str
    facts: tuple[Fact, ...]
    tlvs: tuple[TlvRow, ...]


@dataclass(frozen=True, slots=True)
class ReleaseList:
    """A page of releases."""

    rows: tuple[ReleaseRow, ...]
    paging: Paging


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a file became no release: what is wrong, where in it, how to mend it."""

    filename: str
    message: str
    reason: str
    where: str
    hint: str


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of a select."""

    value: str
    label: str


def release_list(source: Json, offset: int, limit: int) -> ReleaseList:
    """From `GET /releases`."""
    rows = tuple(release_row(item) for item in children(source, "content"))
    return ReleaseList(rows, paging(source, "/releases", offset, limit, len(rows), {}))


def release_row(source: Json) -> ReleaseRow:
    """From a release."""
    artifact, facts, product = (child(source, key) for key in ("artifact", "facts", "targetType"))
    identity = text(source, "distributionSetId") or text(source, "id")
    signature = text(facts, "signature").lower()
    return ReleaseRow(
        id=identity,
        href=f"/releases/{identity}",
        name=text(source, "name"),
        version=text(source, "version"),
        product=text(product, "name") or text(product, "key"),
        product_key=text(product, "key"),
        size=size(maybe_number(artifact, "size")),
        filename=text(artifact, "filename"),
        created_at=maybe_number(source, "createdAt"),
        signature=_signature_words(signature),
        signature_ok=signature not in _NO_SIGNATURE,
    )


def release(source: Json) -> Release:
    """From `GET /releases/{id}`."""
    facts = child(source, "facts")
    return Release(
        row=release_row(source),
        title=release_name(source),
        description=text(source, "description"),
        sha256=text(child(source, "artifact"), "sha256"),
        facts=tuple(Fact(label, *_fact(key, facts)) for key, label in _FACTS if facts.get(key) is not None),
        tlvs=tuple(
            TlvRow(_tlv_type(item), text(item, "name"), count(maybe_number(item, "length")), text(item, "value"))
            for item in children(source, "tlvs")
        ),
    )


def verdict(filename: str, message: str, info: Mapping[str, Any]) -> Verdict:
    """From the refusal of an upload."""
    reason = text(info, "reason")
    return Verdict(
        filename=filename,
        message=message,
        reason=reason if " " in reason else states.words(reason),
        where=text(info, "where"),
        hint=text(info, "hint"),
    )


def choices(source: Json) -> tuple[Choice, ...]:
    """The releases one may roll out, by distribution set id."""
    rows = [release_row(item) for item in children(source, "content")]
    return tuple(
        Choice(row.id, f"{row.name} {row.version}" + (f" ({row.product})" if row.product else "")) for row in rows
    )


def _signature_words(signature: str) -> str:
    if not signature:
        return "not checked"
    return states.words(signature).lower() if signature in _NO_SIGNATURE else "signature OK"


def _fact(key: str, facts: Json) -> tuple[str, str]:
    value = facts[key]
    exact = decimal(facts, key)
    if key in ("headerSize", "imageSize") and exact is not None:
        return size(exact), f"{count(exact)} bytes"
    if key == "loadAddress" and isinstance(value, int):
        return f"0x{value:08x}", "not fixed" if value == 0 else ""
    if key == "signature":
        return ("OK", str(value)) if str(value).lower() not in _NO_SIGNATURE else (str(value), "")
    return str(value), ""


def _tlv_type(source: Json) -> str:
    value = source.get("type")
    return f"0x{value:02x}" if isinstance(value, int) else text(source, "type")
