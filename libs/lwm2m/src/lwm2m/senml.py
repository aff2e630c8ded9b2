"""SenML in JSON (110) and CBOR (112), as LwM2M uses it (RFC 8428, Core 7.4.4 and 7.4.5).

A pack is a list of records; the name of a record is base name + name. LwM2M needs values only: numbers, strings,
booleans, opaque bytes and object links.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from lwm2m.errors import DecodeError

JSON_FORMAT: Final = 110
CBOR_FORMAT: Final = 112
MAX_RECORDS: Final = 1024

_LABELS: Final = {-2: "bn", -3: "bt", 0: "n", 2: "v", 3: "vs", 4: "vb", 6: "t", 8: "vd"}
_NUMBERS: Final = {name: number for number, name in _LABELS.items()}

Value = int | float | str | bool | bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One named value; `value` is None in a pack of names (Read-Composite)."""

    name: str
    value: Value | None


def decode_json(payload: bytes) -> tuple[Record, ...]:
    """Records of a SenML JSON pack; raises DecodeError."""
    try:
        pack = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DecodeError("not JSON") from error
    return _records(pack)


def decode_cbor(payload: bytes) -> tuple[Record, ...]:
    """Records of a SenML CBOR pack; raises DecodeError."""
    try:
        pack = cbor2.loads(payload)
    except Exception as error:  # cbor2 lets errors of hostile tags through unnamed
        raise DecodeError("not CBOR") from error
    if isinstance(pack, list):
        pack = [_named(record) for record in pack]
    return _records(pack)


def _named(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    return {(_LABELS.get(key, key) if isinstance(key, int) else key): value for key, value in record.items()}


def _records(pack: Any) -> tuple[Record, ...]:
    if not isinstance(pack, list) or len(pack) > MAX_RECORDS:
        raise DecodeError(f"a SenML pack is a list of at most {MAX_RECORDS} records")
    base = ""
    records = []
    for index, record in enumerate(pack):
        if not isinstance(record, dict):
            raise DecodeError("a SenML record is a map", index)
        base = record.get("bn", base)
        name = record.get("n", "")
        if not isinstance(base, str) or not isinstance(name, str):
            raise DecodeError("names are text", index)
        records.append(Record(base + name, _value(record, index)))
    return tuple(records)


def _value(record: dict[Any, Any], index: int) -> Value | None:
    for label, kinds in (("v", (int, float)), ("vs", (str,)), ("vb", (bool,)), ("vlo", (str,))):
        if label in record:
            value = record[label]
            if not isinstance(value, kinds) or (label == "v" and isinstance(value, bool)):
                raise DecodeError(f"{label} has the wrong type", index)
            if isinstance(value, float) and not math.isfinite(value):
                raise DecodeError("not a finite number", index)
            return value
    if "vd" in record:
        return _opaque(record["vd"], index)
    return None


def _opaque(value: Any, index: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise DecodeError("vd is not base64url", index) from error
    raise DecodeError("vd has the wrong type", index)


def encode_json(records: tuple[Record, ...]) -> bytes:
    """A pack without base names."""
    return json.dumps([_labelled(record, opaque_as_text=True) for record in records], separators=(",", ":")).encode()


def encode_cbor(records: tuple[Record, ...]) -> bytes:
    """A pack without base names, integer labels."""
    labelled = [_labelled(record, opaque_as_text=False) for record in records]
    return cbor2.dumps([{_NUMBERS.get(key, key): value for key, value in record.items()} for record in labelled])


def _labelled(record: Record, *, opaque_as_text: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"n": record.name}
    match record.value:
        case bool():
            out["vb"] = record.value
        case int() | float():
            out["v"] = record.value
        case str():
            out["vs"] = record.value
        case bytes():
            text = base64.urlsafe_b64encode(record.value).rstrip(b"=").decode()
            out["vd"] = text if opaque_as_text else record.value
        case None:
            pass
    return out
