"""Values in the format a server asked for: text, CBOR, TLV, SenML JSON and CBOR, link-format (OMA Core 1.1, 7.4)."""

import base64
from collections.abc import Mapping
from typing import Final

import cbor2

from lwm2m import content, links, senml, tlv
from lwm2m.paths import Path
from softdevice.resources import INSTANCES, OPERATIONS, ResourceValue

TEXT: Final = content.TEXT
LINK: Final = content.LINK
CBOR: Final = content.CBOR
TLV: Final = tlv.CONTENT_FORMAT
SENML_JSON: Final = senml.JSON_FORMAT
SENML_CBOR: Final = senml.CBOR_FORMAT
# What the root link announces besides the mandatory ones.
ANNOUNCED: Final = (CBOR, SENML_JSON, SENML_CBOR, TLV)


class NotRepresentable(Exception):
    """These values have no form in that format: 4.06."""


def registration_links() -> str:
    """Body of Register: the root with its formats, and the instances, without Security (Core 1.1, 6.2.1)."""
    root = links.Link("/", {"rt": "oma.lwm2m", "ct": " ".join(map(str, ANNOUNCED))})
    # Clients quote rt; some servers insist on it.
    text = f'<{root.target}>;rt="oma.lwm2m";ct="{root.attributes["ct"]}"'
    return ",".join((text, *(f"<{instance}>" for instance in INSTANCES)))


def discover(path: Path) -> str:
    """Link-format below an existing path, itself first (Core 1.1, 6.3.4)."""
    found = [path]
    if len(path.ids) == 1:
        found.append(path.child(0))
    if path.object_id is not None and len(path.ids) < 3:
        instance = Path(path.object_id, 0)
        found += [instance.child(number) for number in sorted(OPERATIONS[path.object_id])]
    return ",".join(f"<{entry}>" for entry in found)


def default_format(path: Path, values: dict[Path, ResourceValue]) -> int:
    """The format of an answer nobody asked a format for: text for one value, TLV for several."""
    several = any(isinstance(value, Mapping) for value in values.values()) and len(path.ids) < 4
    return TLV if several or len(path.ids) < 3 else TEXT


def encode(path: Path, values: dict[Path, ResourceValue], content_format: int) -> bytes:
    """`values` (by resource, all at or below `path`) in a format; raises NotRepresentable."""
    match content_format:
        case 0:
            return _text(_single(path, values))
        case 60:
            return cbor2.dumps(_single(path, values))
        case 110:
            return senml.encode_json(_records(values))
        case 112:
            return senml.encode_cbor(_records(values))
        case 11542:
            return tlv.encode(_tlvs(path, values))
        case _:
            raise NotRepresentable


def _single(path: Path, values: dict[Path, ResourceValue]) -> senml.Value:
    if len(values) != 1 or len(path.ids) < 3:
        raise NotRepresentable
    value = next(iter(values.values()))
    if not isinstance(value, Mapping):
        return value
    if len(path.ids) < 4:
        raise NotRepresentable
    return next(iter(value.values()))


def _text(value: senml.Value) -> bytes:
    match value:
        case bool():
            return b"1" if value else b"0"
        case bytes():
            return base64.b64encode(value)
        case _:
            return str(value).encode()


def _records(values: dict[Path, ResourceValue]) -> tuple[senml.Record, ...]:
    records: list[senml.Record] = []
    for path, value in values.items():
        if isinstance(value, Mapping):
            records += [senml.Record(str(path.child(index)), entry) for index, entry in value.items()]
        else:
            records.append(senml.Record(str(path), value))
    return tuple(records)


def _tlvs(path: Path, values: dict[Path, ResourceValue]) -> list[tlv.Tlv]:
    entries: list[tlv.Tlv] = []
    for resource, value in sorted(values.items(), key=lambda item: item[0]):
        number = resource.ids[2]
        if isinstance(value, Mapping):
            inner = tuple(tlv.Tlv(tlv.Kind.RESOURCE_INSTANCE, key, _raw(entry)) for key, entry in value.items())
            entries.append(tlv.Tlv(tlv.Kind.MULTIPLE_RESOURCE, number, inner))
        else:
            entries.append(tlv.Tlv(tlv.Kind.RESOURCE, number, _raw(value)))
    if len(path.ids) == 1:
        return [tlv.Tlv(tlv.Kind.OBJECT_INSTANCE, 0, tuple(entries))]
    return entries


def _raw(value: senml.Value) -> bytes:
    match value:
        case bool():
            return b"\1" if value else b"\0"
        case int():
            return tlv.encode_integer(value)
        case bytes():
            return value
        case _:
            return str(value).encode()
