"""Who may make the console act, and how much they may send: the cross-site gate, the limit on bodies, the response
headers, the session cookie, safe ways back.

The gate needs no token: a browser says in Sec-Fetch-Site where a request comes from, and in Origin when it is served
over plain HTTP on another name than localhost, where Sec-Fetch-Site is left out (W3C Fetch Metadata, section 2).
"""

import time
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
UPLOAD: Final = ("POST", "/releases")
UPLOAD_OVERHEAD_BYTES: Final = 64 * 1024  # what stands around the file of an upload
REFUSAL: Final = (
    "This request came from another site, so nothing was changed. Open the console in its own tab and try again. "
    "Behind a reverse proxy: let it pass the Host header on unchanged."
)


def comes_from_here(headers: Headers) -> bool:
    """May an unsafe request with these headers act? Yes when the browser vouches that this site's page sent it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


class BodyTooLarge(Exception):
    """The request announces, or has sent, more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


def bounded(receive: Receive, headers: Headers, limit: int) -> Receive:
    """`receive` that raises BodyTooLarge as soon as the body is known to pass `limit`, by word or by count.

    Content-Length is believed only when it is too large: a chunked body has none (RFC 9112, section 6.3).
    """
    announced = headers.get("content-length", "")
    taken = limit + 1 if announced.isdecimal() and int(announced) > limit else 0

    async def counted() -> Message:
        nonlocal taken
        if taken > limit:
            raise BodyTooLarge(limit)
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise BodyTooLarge(limit)
        return message

    return counted


class SecurityMiddleware:
    """Refuses cross-site acts with 403, bounds every body, and puts the protective headers on every answer."""

    def __init__(self, app: ASGIApp, form_bytes: int, upload_bytes: int) -> None:
        self._app = app
        self._form_bytes = form_bytes
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    own.setdefault(name, value)
                own.setdefault("Cache-Control", "private, no-store")
            await send(message)

        headers = Headers(scope=scope)
        if scope["method"] not in SAFE_METHODS and not comes_from_here(headers):
            await PlainTextResponse(REFUSAL, status_code=403)(scope, receive, guarded)
            return
        upload = (scope["method"], scope["path"]) == UPLOAD
        limit = self._upload_bytes if upload else self._form_bytes
        await self._app(scope, bounded(receive, headers, limit), guarded)


def cookie_name(request: Request) -> str:
    """`__Host-` ties the cookie to this host, and browsers allow the prefix only over https."""
    return "__Host-updraft" if request.url.scheme == "https" else "updraft"


def token_of(request: Request) -> str | None:
    """The bearer token of the signed-in operator."""
    return request.cookies.get(cookie_name(request)) or None


def remember(request: Request, response: Response, token: str, expires_at: int | None) -> None:
    """Put the token in the cookie until `expires_at` (epoch ms; None: until the browser closes)."""
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=None if expires_at is None else max(0, expires_at // 1000 - int(time.time())),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def forget(request: Request, response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(cookie_name(request), httponly=True, samesite="lax", secure=request.url.scheme == "https")


def way_back(target: str | None) -> str:
    """`target` when it is a path on this site, else `/`: a link must not send an operator elsewhere after sign-in."""
    if not target or not target.startswith("/") or target[1:2] in ("/", "\\") or any(c < " " for c in target):
        return "/"
    return target
