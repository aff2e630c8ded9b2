"""Text from devices, as PostgreSQL can hold it: anything becomes text, bounded, without what no column takes."""

from typing import Any


def storable(value: Any, limit: int) -> str:
    """At most `limit` characters; NUL is dropped, lone surrogates (JSON allows them, UTF-8 does not) become `?`."""
    return str(value)[: limit * 2].replace("\0", "").encode("utf-8", "replace").decode()[:limit]
