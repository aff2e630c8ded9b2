"""Multipart uploads, straight from the connection into the artifact store: nothing is spooled, nothing half stays.

Frameworks parse a whole form before a handler runs: an unauthenticated stranger could fill the disk, and a size limit
would be noticed at the end. Here the handler asks for the body when it knows who is there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from update_manager.adapters.artifact_store import ArtifactStore, Incoming, Received
from update_manager.errors import ConstraintViolation, MalformedBody, UnsupportedMediaType

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES: Final = 4096
MAX_PARTS: Final = 32
MAX_FILENAME: Final = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """A form that has arrived: the file, the name its sender gave it (never a path), the other fields."""

    received: Received
    filename: str
    fields: dict[str, str]

    def text(self, name: str, limit: int) -> str | None:
        """A field without blanks around it, None when empty; raises ConstraintViolation when it is too long."""
        value = self.fields.get(name, "").strip()
        if len(value) > limit:
            raise ConstraintViolation(f"{name} has at most {limit} characters", where=name)
        if any(ord(character) < 32 and character not in "\n\r\t" for character in value):
            raise ConstraintViolation(f"{name} must not hold control characters", where=name)
        return value or None


def form(*fields: str, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """OpenAPI of such a body."""
    texts = {name: {"type": "string"} for name in fields}
    schema = {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}, **texts},
        "required": ["file", *required],
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@asynccontextmanager
async def receive(request: Request, store: ArtifactStore) -> AsyncIterator[Upload]:
    """The upload of a request; its bytes are forgotten when the block ends, unless the store has kept them.

    Raises UnsupportedMediaType, MalformedBody, ConstraintViolation, FileTooLarge or StorageFull.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType("send multipart/form-data with a part named file")
    if not options.get(b"boundary"):
        raise MalformedBody("the content type names no boundary between the parts")
    reader = _Reader(store)
    try:
        await _read(request, MultipartParser(options[b"boundary"], reader.callbacks()))
        yield reader.upload()
    finally:
        reader.close()


async def _read(request: Request, parser: MultipartParser) -> None:
    try:
        async for piece in request.stream():
            parser.write(piece)
    except MultipartParseError as error:
        raise MalformedBody(f"the form cannot be read: {error}") from error
    except ClientDisconnect as error:
        raise MalformedBody("the connection ended in the middle of the upload") from error


@dataclass
class _Reader:
    """What the parser calls back; a part is the file, or a field kept in memory."""

    store: ArtifactStore
    ended: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    _header: tuple[bytes, bytes] = (b"", b"")
    _disposition: bytes = b""
    _name: str = ""
    _parts: int = 0
    _value: bytes = b""
    _incoming: Incoming | None = None
    _into_file: bool = False
    _filename: str = ""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self.part_begin,
            "on_header_field": lambda data, start, end: self.header(data[start:end], b""),
            "on_header_value": lambda data, start, end: self.header(b"", data[start:end]),
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_finished,
            "on_part_data": lambda data, start, end: self.part_data(data[start:end]),
            "on_part_end": self.part_end,
            "on_end": self.end,
        }

    def part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ConstraintViolation(f"a form has at most {MAX_PARTS} parts")
        self._disposition, self._value, self._into_file = b"", b"", False

    def header(self, name: bytes, value: bytes) -> None:
        self._header = (self._header[0] + name, self._header[1] + value)
        if sum(map(len, self._header)) > MAX_FIELD_BYTES:
            raise ConstraintViolation("a part of the form has a header that is too long")

    def header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = (b"", b"")

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name != "file":
            return
        if self._incoming is not None:
            raise ConstraintViolation("one file at a time")
        self._into_file = True
        self._filename = options.get(b"filename", b"").decode("utf-8", "replace")
        self._incoming = self.store.begin()

    def part_data(self, piece: bytes) -> None:
        if self._into_file and self._incoming is not None:
            self._incoming.write(piece)
            return
        self._value += piece
        if len(self._value) > MAX_FIELD_BYTES:
            raise ConstraintViolation(f"the field {self._name[:40]!r} is too long")

    def part_end(self) -> None:
        if not self._into_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def end(self) -> None:
        self.ended = True

    def upload(self) -> Upload:
        if not self.ended:
            raise MalformedBody("the form ends in the middle of a part")
        if self._incoming is None:
            raise ConstraintViolation("the form has no part named file", where="file")
        name = self._filename.replace("\\", "/").rpartition("/")[2]
        printable = "".join(character for character in name if character.isprintable())
        return Upload(self._incoming.finish(), printable[:MAX_FILENAME], self.fields)

    def close(self) -> None:
        if self._incoming is not None:
            self._incoming.abandon()
