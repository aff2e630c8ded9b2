"""A few GET answers over HTTP for services whose real face is another protocol: health, statistics, metrics."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = tuple[int, str, bytes]
Handler = Callable[[], Awaitable[Answer]]

READ_SECONDS = 5.0
MAX_REQUEST_BYTES = 8192
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def json_answer(body: Mapping[str, Any], status: int = 200) -> Answer:
    """A JSON body with its status."""
    return status, "application/json", json.dumps(body, separators=(",", ":")).encode()


async def serve(handlers: Mapping[str, Handler], host: str, port: int) -> asyncio.Server:
    """Listen and answer `GET <path>` by `handlers[path]`; one request a connection, bounded in size and time."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _respond(head, handlers))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(connected, host, port, limit=MAX_REQUEST_BYTES)


async def _respond(head: bytes, handlers: Mapping[str, Handler]) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    if method not in (b"GET", b"HEAD"):
        status, kind, body = json_answer({"error": "only GET"}, 405)
    elif path in handlers:
        status, kind, body = await handlers[path]()
    else:
        status, kind, body = json_answer({"error": "not found", "paths": sorted(handlers)}, 404)
    reason = _REASONS.get(status, "Unknown")
    head_line = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head_line.encode() + b"Connection: close\r\n\r\n" + (b"" if method == b"HEAD" else body)
