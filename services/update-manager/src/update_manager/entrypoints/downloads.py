"""A stored file over HTTP: whole, one range or several, ETag and conditions (RFC 9110 sections 13 and 14)."""

import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from update_manager.adapters.artifact_store import chunks
from update_manager.adapters.db.tables import Artifact
from update_manager.errors import ArtifactBinaryMissing

BINARY: Final = "application/octet-stream"
# Delta clients (zchunk, rdiff) ask for many pieces at once; more than this, or more than the file, is the file.
MAX_RANGES: Final = 256
_SPEC: Final = re.compile(r"(\d*)-(\d*)", re.ASCII)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stored:
    """What is served: `tag` changes with the bytes, `size` in bytes."""

    filename: str
    size: int
    tag: str
    since: datetime
    path: Path


def stored_artifact(artifact: Artifact, path: Path) -> Stored:
    """An artifact whose bytes lie at `path`."""
    return Stored(artifact.filename, artifact.size, artifact.sha1, artifact.created_at, path)


def serve(request: Request, stored: Stored) -> Response:
    """Answer a GET or HEAD; a blob that is gone is reported (410), never served wrong."""
    size, path = stored.size, stored.path
    if not path.is_file() or path.stat().st_size != size:
        raise ArtifactBinaryMissing(f"the bytes of {stored.filename} are missing from the artifact store")
    etag = f'"{stored.tag}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Last-Modified": format_datetime(stored.since, usegmt=True),
        "Content-Disposition": f"attachment;filename*=UTF-8''{quote(stored.filename)}",
        "X-Content-Type-Options": "nosniff",
    }
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and not _lists(match, etag):
        return Response(status_code=412, headers=headers)
    if none_match is not None and _lists(none_match.replace("W/", ""), etag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        # Ranges are defined for GET alone (section 14.2).
        return Response(status_code=200, headers={**headers, "Content-Length": str(size)}, media_type=BINARY)
    asked = request.headers.get("range")
    fresh = request.headers.get("if-range") in (None, etag, headers["Last-Modified"])
    spans = wanted_ranges(asked, size) if asked is not None and fresh else None
    if spans is None:
        headers["Content-Length"] = str(size)
        return StreamingResponse(chunks(path, 0, size), headers=headers, media_type=BINARY)
    if not spans:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    if len(spans) > 1:
        return _several(path, spans, size, headers)
    [(first, last)] = spans
    headers |= {"Content-Range": f"bytes {first}-{last}/{size}", "Content-Length": str(last - first + 1)}
    return StreamingResponse(chunks(path, first, last - first + 1), 206, headers=headers, media_type=BINARY)


def _lists(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (part.strip() for part in header.split(","))


def wanted_ranges(header: str, size: int) -> list[Span] | None:
    """First and last byte of each range that can be had; None: not a header to act on, send the whole file."""
    unit, equals, specs = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    spans: list[Span] = []
    parts = [part.strip() for part in specs.split(",") if part.strip()]
    for part in parts:
        found = _SPEC.fullmatch(part)
        if found is None or found.groups() == ("", "") or len(part) > 40:
            return None
        first, last = found.groups()
        if first and last and int(last) < int(first):
            return None
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        if start < size:
            spans.append((start, end))
    if not parts or len(spans) > MAX_RANGES or (len(spans) > 1 and sum(end - start + 1 for start, end in spans) > size):
        return None
    return spans


def _several(path: Path, spans: list[Span], size: int, headers: dict[str, str]) -> Response:
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {BINARY}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n".encode()
        for first, last in spans
    ]
    end = f"\r\n--{boundary}--\r\n".encode()

    async def body() -> AsyncIterator[bytes]:
        for head, (first, last) in zip(heads, spans, strict=True):
            yield head
            async for piece in chunks(path, first, last - first + 1):
                yield piece
        yield end

    length = sum(len(head) + last - first + 1 for head, (first, last) in zip(heads, spans, strict=True)) + len(end)
    headers["Content-Length"] = str(length)
    return StreamingResponse(body(), 206, headers=headers, media_type=f"multipart/byteranges; boundary={boundary}")
