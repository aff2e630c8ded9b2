"""Who may make the console act: the cross-site gate, the response headers, the session cookie, safe ways back.

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


class SecurityMiddleware:
    """Refuses cross-site acts with 403 and puts the protective headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "private, no-store")
            await send(message)

        if scope["method"] not in SAFE_METHODS and not comes_from_here(Headers(scope=scope)):
            await PlainTextResponse(REFUSAL, status_code=403)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


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
