"""Where one is in a long list, and the links to its neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from frontend.view_models.formatting import count
from frontend.view_models.reading import Json, number


@dataclass(frozen=True, slots=True)
class Paging:
    """`previous` and `next` are empty at the ends."""

    total: int
    words: str
    previous: str
    next: str


def paging(source: Json, path: str, offset: int, limit: int, shown: int, keep: Mapping[str, str]) -> Paging:
    """From a list answer `{content, total, size}`."""
    total = number(source, "total", offset + shown)
    if shown == total and not offset:
        words = f"{count(total)} in all" if total else "none"
    elif shown:
        words = f"{count(offset + 1)}–{count(offset + shown)} of {count(total)}"
    else:
        words = f"none of {count(total)}"

    def link(at: int) -> str:
        given = {name: value for name, value in {**keep, "offset": str(at)}.items() if value and value != "0"}
        return f"{path}?{urlencode(given)}" if given else path

    return Paging(
        total=total,
        words=words,
        previous=link(max(0, offset - limit)) if offset > 0 else "",
        next=link(offset + limit) if offset + shown < total and shown else "",
    )
