"""A stored file over HTTP: whole or one range, ETag, If-Match, If-None-Match, If-Range (RFC 9110 section 14)."""

import re
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from update_manager.adapters.artifact_store import chunks
from update_manager.adapters.db.tables import Artifact
from update_manager.errors import ArtifactBinaryMissing

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def serve(request: Request, artifact: Artifact, path: Path) -> Response:
    """Answer a GET or HEAD; a blob that is gone is reported (410), never served wrong."""
    if not path.is_file() or path.stat().st_size != artifact.size:
        raise ArtifactBinaryMissing(f"the bytes of {artifact.filename} are missing from the artifact store")
    etag = f'"{artifact.sha1}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Last-Modified": format_datetime(artifact.created_at, usegmt=True),
        "Content-Disposition": f"attachment;filename*=UTF-8''{quote(artifact.filename)}",
        "X-Content-Type-Options": "nosniff",
    }
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and not _lists(match, etag):
        return Response(status_code=412, headers=headers)
    if none_match is not None and _lists(none_match, etag):
        return Response(status_code=304, headers=headers)
    span = (0, artifact.size - 1)
    status = 200
    if_range = request.headers.get("if-range")
    asked = request.headers.get("range")
    if asked is not None and if_range in (None, etag, headers["Last-Modified"]):
        wanted = wanted_range(asked, artifact.size)
        if wanted is None:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{artifact.size}"})
        span = wanted
        if span != (0, artifact.size - 1) or _RANGE.fullmatch(asked.strip()):
            status = 206
            headers["Content-Range"] = f"bytes {span[0]}-{span[1]}/{artifact.size}"
    length = span[1] - span[0] + 1
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    return StreamingResponse(
        chunks(path, span[0], length), status_code=status, headers=headers, media_type="application/octet-stream"
    )


def _lists(header: str, etag: str) -> bool:
    return "*" in header or etag in (part.strip() for part in header.split(","))


def wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a single range; the whole file for forms not served, None when it cannot be satisfied."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return 0, size - 1
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return None if start >= size or end < start else (start, end)
