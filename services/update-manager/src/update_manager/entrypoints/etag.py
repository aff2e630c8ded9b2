"""Strong ETags on JSON answers of the Management API: If-None-Match saves the body (hawkBit 1.1)."""

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

MAX_BYTES = 4 << 20


async def tag_json(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Middleware: buffers small JSON GETs under /rest/v1, everything else passes untouched."""
    answer = await call_next(request)
    kind = answer.headers.get("content-type", "")
    length = int(answer.headers.get("content-length") or MAX_BYTES + 1)
    eligible = request.method == "GET" and request.url.path.startswith("/rest/v1") and kind.startswith("application/")
    if answer.status_code != 200 or not eligible or "json" not in kind or length > MAX_BYTES:
        return answer
    if not hasattr(answer, "body_iterator"):
        return answer
    body = b"".join([chunk if isinstance(chunk, bytes) else bytes(chunk) async for chunk in answer.body_iterator])
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"} | {"etag": etag}
    if request.headers.get("if-none-match") in (etag, "*"):
        headers.pop("content-type", None)
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers)
