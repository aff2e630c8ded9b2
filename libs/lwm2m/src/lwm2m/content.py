"""Any answer to a Read, decoded by the Content-Format it carries, into paths and raw or typed values (Core 7.4).

Clients answer other formats than they were asked for; so the answer's own format decides. Bytes of TLV and text are
typed by what the resource is (`TYPES`); unknown resources stay as they came.
"""

import json
from typing import Final

import cbor2

from lwm2m import senml, tlv
from lwm2m.errors import DecodeError
from lwm2m.paths import Path, parse

TEXT: Final = 0
LINK: Final = 40
OPAQUE: Final = 42
CBOR: Final = 60
JSON: Final = 11543
# Numbers from before the registry's: some clients still send them.
_OLD: Final = {1541: TEXT, 1542: tlv.CONTENT_FORMAT, 1543: JSON, 1544: OPAQUE}

Value = senml.Value

INTEGER: Final = "integer"
STRING: Final = "string"
BOOLEAN: Final = "boolean"
FLOAT: Final = "float"
BYTES: Final = "opaque"

TYPES: Final[dict[tuple[int, int], str]] = (
    {(1, resource): INTEGER for resource in (0, 1, 2, 3, 5)}
    | {(1, 6): BOOLEAN, (1, 7): STRING}
    | {(3, resource): STRING for resource in (0, 1, 2, 3, 14, 15, 16, 17, 18, 19)}
    | {(3, resource): INTEGER for resource in (6, 7, 8, 9, 10, 11, 13, 20, 21)}
    | {(4, resource): INTEGER for resource in (0, 1, 2, 3, 6, 8, 9, 10)}
    | {(4, resource): STRING for resource in (4, 5, 7)}
    | {(5, resource): INTEGER for resource in (3, 5, 8, 9, 11, 12, 13)}
    | {(5, 0): BYTES, (5, 1): STRING, (5, 6): STRING, (5, 7): STRING}
    # Updraft Image, in the private range (docs/contracts.md).
    | {(26250, 0): BYTES, (26250, 1): BOOLEAN, (26250, 5): STRING}
    | {(26250, resource): INTEGER for resource in (2, 3, 4)}
    | {(3303, 5700): FLOAT, (3303, 5701): STRING, (3303, 5750): STRING}
)


def decode(path: Path, payload: bytes, content_format: int | None) -> dict[Path, Value]:
    """Values by path of a 2.05 answer to a Read of `path`; raises DecodeError, also for a format nobody knows.

    Without Content-Format a single resource is text, anything else TLV (LwM2M 1.0 clients leave it out).
    """
    if content_format is None:
        content_format = TEXT if len(path.ids) >= 3 else tlv.CONTENT_FORMAT
    match _OLD.get(content_format, content_format):
        case 0:
            return {path: _from_text(path, payload)}
        case 42:
            return {path: payload}
        case 60:
            return {path: _from_cbor(payload)}
        case 110:
            return _from_senml(senml.decode_json(payload))
        case 112:
            return _from_senml(senml.decode_cbor(payload))
        case 11542:
            return dict(_from_tlv(path, tlv.decode(payload)))
        case 11543:
            return _from_json(payload)
        case other:
            raise DecodeError(f"content format {other} is not known here")


def _from_text(path: Path, payload: bytes) -> Value:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("text is not UTF-8", error.start) from error
    kind = _type(path)
    try:
        if kind == INTEGER:
            return _within_64_bits(int(text[:64]))
        if kind == FLOAT:
            return float(text[:64])
    except ValueError as error:
        raise DecodeError(f"{text[:32]!r} is no number") from error
    return text == "1" if kind == BOOLEAN else text


def _within_64_bits(value: Value) -> Value:
    """LwM2M integers have 64 bits (Core C.1); CBOR and JSON would carry any, too long even to be printed."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise DecodeError("an integer of more than 64 bits")
    return value


def _type(path: Path) -> str | None:
    if path.object_id is None or path.resource_id is None:
        return None
    return TYPES.get((path.object_id, path.resource_id))


def _typed(path: Path, value: bytes) -> Value:
    kind = _type(path)
    if kind == INTEGER and 1 <= len(value) <= 8:
        return tlv.decode_integer(value)
    if kind == FLOAT and len(value) in (4, 8):
        return tlv.decode_float(value)
    if kind == BOOLEAN and len(value) == 1:
        return value != b"\0"
    if kind == BYTES:
        return value
    # coap-node answers "_unreadable_" where a number belongs: keep it as text rather than lose the whole read.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _from_tlv(path: Path, entries: tuple[tlv.Tlv, ...]) -> list[tuple[Path, Value]]:
    out: list[tuple[Path, Value]] = []
    for entry in entries:
        here = _place(path, entry)
        if isinstance(entry.value, bytes):
            out.append((here, _typed(here, entry.value)))
        else:
            out += _from_tlv(here, entry.value)
    return out


def _place(path: Path, entry: tlv.Tlv) -> Path:
    """Where an entry belongs below the path that was read; wrappers may be there or not."""
    ids = path.ids
    match entry.kind:
        case tlv.Kind.OBJECT_INSTANCE:
            return Path.of((*ids[:1], entry.id))
        case tlv.Kind.RESOURCE | tlv.Kind.MULTIPLE_RESOURCE:
            instance = ids[:2] if len(ids) >= 2 else (*ids[:1], 0)
            return Path.of((*instance, entry.id))
        case tlv.Kind.RESOURCE_INSTANCE:
            resource = ids[:3] if len(ids) >= 3 else (*ids, *(0,) * (3 - len(ids)))
            return Path.of((*resource, entry.id))


def _from_senml(records: tuple[senml.Record, ...]) -> dict[Path, Value]:
    return {parse(record.name): _within_64_bits(record.value) for record in records if record.value is not None}


def _from_cbor(payload: bytes) -> Value:
    try:
        value = cbor2.loads(payload)
    except Exception as error:  # cbor2 lets errors of hostile tags through unnamed
        raise DecodeError("not CBOR") from error
    if isinstance(value, int | float | str | bool | bytes):
        return _within_64_bits(value)
    raise DecodeError("a single value is expected")


def _from_json(payload: bytes) -> dict[Path, Value]:
    """LwM2M JSON, `{"bn": "/3/0/", "e": [{"n": "0", "sv": "..."}]}` (Core 1.0, 6.4.4)."""
    try:
        document = json.loads(payload)
        base = document.get("bn", "")
        entries = document["e"]
        out: dict[Path, Value] = {}
        for index, entry in enumerate(entries[: senml.MAX_RECORDS]):
            value = next((entry[key] for key in ("v", "sv", "bv", "ov") if key in entry), None)
            if not isinstance(value, int | float | str | bool):
                raise DecodeError("an entry without a value", index)
            out[parse(base + entry.get("n", ""))] = _within_64_bits(value)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError("not LwM2M JSON") from error
    return out
