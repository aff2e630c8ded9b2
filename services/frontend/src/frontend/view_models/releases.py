"""Releases: what the image inspector read from a file, and why it refused one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from frontend.view_models import states
from frontend.view_models.devices import Fact
from frontend.view_models.filters import by_version
from frontend.view_models.formatting import count, sentence, size
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
    verdict: str
    checks: tuple[str, ...]
    sha256: str
    devices_href: str
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


def release(source: Json, keys: Iterable[Json] = ()) -> Release:
    """From `GET /releases/{id}`, and the signing keys of its product for the name of the one that verified it."""
    facts, row = child(source, "facts"), release_row(source)
    fingerprint = text(facts, "keyHash")
    signer = next((text(key, "name") for key in keys if fingerprint and text(key, "fingerprint") == fingerprint), "")
    return Release(
        row=row,
        title=release_name(source),
        description=text(source, "description"),
        verdict=_verdict_words(row, signer),
        checks=_checks(facts, row, signer),
        devices_href=by_version(row.product_key, row.version),
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
        hint=sentence(text(info, "hint")),
    )


def choices(source: Json) -> tuple[Choice, ...]:
    """The releases one may roll out, by distribution set id."""
    rows = [release_row(item) for item in children(source, "content")]
    return tuple(
        Choice(row.id, f"{row.name} {row.version}" + (f" ({row.product})" if row.product not in ("", row.name) else ""))
        for row in rows
    )


def _verdict_words(row: ReleaseRow, signer: str) -> str:
    if not row.signature_ok:
        return f"Kept; signature {row.signature}"
    return f"Accepted: signed with {signer}" if signer else "Accepted: the signature is valid"


def _checks(facts: Json, row: ReleaseRow, signer: str) -> tuple[str, ...]:
    """What the inspector has seen to be right, one thing each."""
    algorithm = text(facts, "signature")
    given = (
        (text(facts, "format") and text(facts, "imageSize"), f"{text(facts, 'format')} header and length agree"),
        (text(facts, "imageHash"), "hash of header and image matches"),
        (row.signature_ok, f"{algorithm} signature valid" + (f", by {signer}" if signer else "")),
        (text(facts, "securityCounter"), f"security counter {text(facts, 'securityCounter')}"),
    )
    return tuple(words for present, words in given if present)


def _signature_words(signature: str) -> str:
    if not signature:
        return "not checked"
    return states.words(signature).lower() if signature in _NO_SIGNATURE else "signature OK"


def _fact(key: str, facts: Json) -> tuple[str, str]:
    value = facts[key]
    exact = decimal(facts, key)
    if key in ("headerSize", "imageSize") and exact is not None:
        return size(exact), f"{count(exact)} bytes" if exact >= 1024 else ""
    if key == "loadAddress" and isinstance(value, int):
        return f"0x{value:08x}", "not fixed" if value == 0 else ""
    if key == "signature":
        return ("valid", str(value)) if str(value).lower() not in _NO_SIGNATURE else (str(value), "")
    return str(value), ""


def _tlv_type(source: Json) -> str:
    value = source.get("type")
    return f"0x{value:02x}" if isinstance(value, int) else text(source, "type")
