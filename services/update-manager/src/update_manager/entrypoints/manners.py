"""HTTP manners of both APIs: bodies have a limit, JSON of the Management API is HAL, tagged, and knows its own host."""

import hashlib
import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from update_manager.entrypoints.mgmt.links import base_url

HAL: Final = "application/hal+json"
JSON: Final = "application/json"
# JSON bodies: some thousand targets fit.
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
# The addresses that take files. They ask who is there before they ask for the body, and count it as they store it;
# everywhere else the framework reads a body, of whatever type, before anybody has been asked who he is.
UPLOADS: Final = re.compile(r"/rest/v1/(releases|softwaremodules/[^/]+/artifacts)")
MAX_TAGGED_BYTES: Final = 4 * 1024 * 1024
PREFIX: Final = "/rest/v1/"
PLAIN: Final = ("/rest/v1/openapi", "/rest/v1/docs")


class Manners:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        base_url.set(f"{scope['scheme']}://{headers.get('host') or 'localhost'}{scope.get('root_path', '')}")
        if scope["method"] != "POST" or UPLOADS.fullmatch(scope["path"]) is None:
            receive = _limited(headers, receive)
        if scope["path"].startswith(PREFIX) and scope["path"] not in PLAIN:
            send = _Answer(scope["method"], headers, send)
        await self._app(scope, receive, send)


def _limited(headers: Headers, receive: Receive) -> Receive:
    said = headers.get("content-length", "0")
    seen = int(said) if said.isdecimal() and int(said) > MAX_BODY_BYTES else 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            raise HTTPException(413, f"a body has at most {MAX_BODY_BYTES} bytes")
        return message

    return counted


class _Answer:
    """One answer on its way out; a JSON answer is held until it can be tagged, everything else passes."""

    def __init__(self, method: str, headers: Headers, send: Send) -> None:
        self._method, self._headers, self._send = method, headers, send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            if answer.get("content-type") == JSON:
                answer["content-type"] = wanted_type(self._headers.get("accept", ""))
                if self._to_tag(message["status"], answer):
                    self._start = message
                    return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._tagged(self._start)
            return
        await self._send(message)

    def _to_tag(self, status: int, answer: MutableHeaders) -> bool:
        length = int(answer.get("content-length") or MAX_TAGGED_BYTES + 1)
        return self._method == "GET" and status == 200 and length <= MAX_TAGGED_BYTES

    async def _tagged(self, start: Message) -> None:
        etag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
        answer = MutableHeaders(scope=start)
        answer["etag"] = etag
        asked = [part.strip().removeprefix("W/") for part in self._headers.get("if-none-match", "").split(",")]
        if etag in asked or "*" in asked:
            start["status"], self._body = 304, b""
            del answer["content-type"], answer["content-length"]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._body})


def wanted_type(accept: str) -> str:
    """HAL unless the client prefers plain JSON; the body is the same (hawkBit 1.1)."""
    qualities: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        qualities.setdefault(kind, float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0)
    if JSON not in qualities:
        return HAL
    if HAL not in qualities or qualities[JSON] > qualities[HAL]:
        return JSON
    first = next(kind for kind in qualities if kind in (JSON, HAL))
    return first if qualities[JSON] == qualities[HAL] else HAL
