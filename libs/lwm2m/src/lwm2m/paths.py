"""Paths of LwM2M: object / instance / resource / resource instance, each 0 to 65535 (Core 7.3)."""

from dataclasses import dataclass

from lwm2m.errors import DecodeError

MAX_ID = 0xFFFF


@dataclass(frozen=True, slots=True, order=True)
class Path:
    """One to four ids; `Path(5, 0, 3)` prints as `/5/0/3`, `Path()` is the root."""

    object_id: int | None = None
    instance_id: int | None = None
    resource_id: int | None = None
    resource_instance_id: int | None = None

    @classmethod
    def of(cls, ids: tuple[int, ...]) -> "Path":
        """The path with these ids, at most four."""
        return cls(*ids)

    def __str__(self) -> str:
        return "/" + "/".join(map(str, self.ids))

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids that are set."""
        all_ids = (self.object_id, self.instance_id, self.resource_id, self.resource_instance_id)
        return tuple(part for part in all_ids if part is not None)

    @property
    def segments(self) -> tuple[str, ...]:
        """Uri-Path segments."""
        return tuple(map(str, self.ids))

    def child(self, part: int) -> "Path":
        """The path one level deeper; raises ValueError below a resource instance."""
        if len(self.ids) == 4:
            raise ValueError("a resource instance has no children")
        return Path.of((*self.ids, part))

    def covers(self, other: "Path") -> bool:
        """True when `other` is this path or lies below it."""
        return other.ids[: len(self.ids)] == self.ids


def parse(text: str) -> Path:
    """Read `/3/0/9`; raises DecodeError for anything that is no LwM2M path."""
    if not text.startswith("/"):
        raise DecodeError(f"a path starts with /, not {text[:20]!r}")
    if text == "/":
        return Path()
    parts = text[1:].split("/")
    if len(parts) > 4:
        raise DecodeError(f"{len(parts)} levels in {text[:40]!r}, a path has at most four")
    ids = []
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) <= 5 and int(part) <= MAX_ID):
            raise DecodeError(f"{part[:20]!r} is no id between 0 and {MAX_ID}")
        ids.append(int(part))
    return Path(*ids)
