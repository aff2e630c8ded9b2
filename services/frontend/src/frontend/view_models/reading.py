"""Reads JSON whose members may be missing, null or of another kind, without ever raising."""

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]
EMPTY: Json = {}


def text(source: Json, key: str, default: str = "") -> str:
    """`source[key]` as text; null and absent are `default`."""
    value = source.get(key)
    return default if value is None else str(value)


def number(source: Json, key: str, default: int = 0) -> int:
    """`source[key]` as a whole number; anything else is `default`."""
    value = maybe_number(source, key)
    return default if value is None else value


def maybe_number(source: Json, key: str) -> int | None:
    """`source[key]` as a whole number, or None."""
    value = source.get(key)
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def decimal(source: Json, key: str) -> float | None:
    """`source[key]` as a finite decimal number, or None."""
    value = source.get(key)
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < 1e18 else None


def child(source: Json, key: str) -> Json:
    """`source[key]` when it is an object, else an empty one."""
    value = source.get(key)
    return value if isinstance(value, Mapping) else EMPTY


def children(source: Any, key: str | None = None) -> tuple[Json, ...]:
    """The objects of a list: `source` itself, or its member `key`."""
    value = source.get(key) if key is not None and isinstance(source, Mapping) else source
    return tuple(item for item in value if isinstance(item, Mapping)) if isinstance(value, list | tuple) else ()


def texts(source: Json, key: str) -> tuple[str, ...]:
    """The texts of a list member; a single text counts as a list of one."""
    value = source.get(key)
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value if item is not None) if isinstance(value, list | tuple) else ()
