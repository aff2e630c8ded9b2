"""Values in the format a server asked for: text, CBOR, TLV, SenML JSON and CBOR, LwM2M JSON, links (Core 1.1, 7.4)."""

import base64
import json
import struct
from collections.abc import Mapping
from typing import Final

import cbor2

from lwm2m import content, senml, tlv
from lwm2m.paths import Path
from softdevice.profiles import Profile
from softdevice.resources import Model, ResourceValue

TEXT: Final = content.TEXT
LINK: Final = content.LINK
CBOR: Final = content.CBOR
TLV: Final = tlv.CONTENT_FORMAT
SENML_JSON: Final = senml.JSON_FORMAT
SENML_CBOR: Final = senml.CBOR_FORMAT


class NotRepresentable(Exception):
    """These values have no form in that format: 4.06."""


def registration_links(profile: Profile, model: Model) -> str:
    """Body of Register: the root as the client writes it, objects with a version, instances (Core 1.1, 6.2.1)."""
    said = [profile.root] if profile.root else []
    versions = dict(profile.object_versions)
    for number in model:
        if number in versions:
            said.append(f"</{number}>;ver={versions[number]}")
        said.append(f"</{number}/0>")
    return ",".join(said)


def discover(path: Path, model: Model) -> str:
    """Link-format below an existing path, itself first (Core 1.1, 6.3.4)."""
    found = [path]
    if len(path.ids) == 1:
        found.append(path.child(0))
    if path.object_id is not None and len(path.ids) < 3:
        instance = Path(path.object_id, 0)
        found += [instance.child(number) for number in sorted(model[path.object_id])]
    return ",".join(f"<{entry}>" for entry in found)


def answer_format(path: Path, values: dict[Path, ResourceValue], asked: int | None, profile: Profile) -> int:
    """The format of an answer: what was asked for, unless nothing was, or the client is stubborn about it."""
    if asked is not None and asked not in profile.stubborn:
        return asked
    several = any(isinstance(value, Mapping) for value in values.values()) and len(path.ids) < 4
    return profile.several if several or len(path.ids) < 3 else profile.single


def encode(path: Path, values: dict[Path, ResourceValue], content_format: int) -> bytes:
    """`values` (by resource, all at or below `path`) in a format; raises NotRepresentable."""
    match content_format:
        case 0:
            return _text(_single(path, values))
        case 42:
            value = _single(path, values)
            if not isinstance(value, bytes):
                raise NotRepresentable
            return value
        case 60:
            return cbor2.dumps(_single(path, values))
        case 110:
            return senml.encode_json(_records(values))
        case 112:
            return senml.encode_cbor(_records(values))
        case 11542 | 1542:
            return tlv.encode(_tlvs(path, values))
        case 11543:
            return json.dumps({"bn": "/", "e": [_entry(record) for record in _records(values)]}).encode()
        case _:
            raise NotRepresentable


def _entry(record: senml.Record) -> dict[str, object]:
    """One value in LwM2M JSON (Core 1.0, 6.4.4); opaque bytes are text there."""
    named: dict[str, object] = {"n": record.name.removeprefix("/")}
    match record.value:
        case bool():
            return named | {"bv": record.value}
        case int() | float():
            return named | {"v": record.value}
        case bytes():
            return named | {"sv": base64.b64encode(record.value).decode()}
        case _:
            return named | {"sv": record.value}


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
        case float():
            return struct.pack(">d", value)
        case bytes():
            return value
        case _:
            return str(value).encode()
