"""The console as one ASGI application: its pages, its static files, its health, and what each failure looks like."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from frontend import security
from frontend.assets import Assets
from frontend.manager_client import NotSignedIn, Refused, Unreachable
from frontend.pages import control_room, devices, overview, products, releases, rollouts, sign_in
from frontend.pages.context import Parts
from frontend.rendering import Renderer, now_ms, query, see
from frontend.settings import FrontendSettings
from frontend.view_models.formatting import instant, size

log = logging.getLogger(__name__)
CONNECT_SECONDS = 3.0


def create_app(settings: FrontendSettings, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """The application; `transport` replaces the network towards the update manager."""
    assets = Assets()
    http = httpx.AsyncClient(
        base_url=settings.update_manager_url.rstrip("/"),
        timeout=httpx.Timeout(settings.request_timeout_seconds, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        transport=transport,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await http.aclose()

    app = FastAPI(openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.parts = Parts(settings, http, Renderer(assets))
    app.add_middleware(
        security.SecurityMiddleware,
        form_bytes=settings.max_form_bytes,
        upload_bytes=settings.max_upload_bytes + security.UPLOAD_OVERHEAD_BYTES,
    )

    @app.get("/static/{fingerprint}/{name:path}")
    async def static(request: Request, fingerprint: str, name: str) -> Response:
        return assets.answer(request, fingerprint, name)

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    for page in (sign_in, overview, devices, releases, products, rollouts, control_room):
        app.include_router(page.router)
    app.add_exception_handler(NotSignedIn, _to_sign_in)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Unreachable, _unreachable)
    app.add_exception_handler(security.BodyTooLarge, _too_large)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _no_such_page)
    app.add_exception_handler(Exception, _broken)
    return app


async def _to_sign_in(request: Request, _: Exception) -> Response:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    place = query("/sign-in", back="/" if request.method != "GET" or back.endswith("/live") else back)
    if request.headers.get("HX-Request") == "true":
        response = Response(status_code=401, headers={"HX-Redirect": place})
    else:
        response = see(place)
    security.forget(request, response)
    return response


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if error.status == 404:
        return _problem(request, 404, "Not here", error.message, "It may have been deleted, or the address has a typo.")
    if error.status == 403:
        return _problem(request, 403, "Not allowed", error.message, "An administrator can give you this permission.")
    hint = str(error.info.get("hint") or "")
    return _problem(request, error.status, "The update manager refused", error.message, hint)


async def _unreachable(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unreachable)
    log.warning("update manager unreachable: %s", error.detail)
    hint = (
        f"Devices in flight go on by themselves. Check the update manager ({error.detail}), then load this page again."
    )
    return _problem(request, 503, "The update manager does not answer", "Nothing was changed.", hint)


async def _too_large(request: Request, error: Exception) -> Response:
    assert isinstance(error, security.BodyTooLarge)
    text = f"The request holds more than {size(error.limit)}. Nothing was changed."
    return _problem(request, 413, "Too large", text, "Send less text; images go through the form on the releases page.")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return await _no_such_page(request, error)
    return _problem(request, error.status_code, "That did not work", str(error.detail), "")


async def _no_such_page(request: Request, _: Exception) -> Response:
    return _problem(request, 404, "Not here", "There is no such page.", "The address may have a typo.")


async def _broken(request: Request, _: Exception) -> Response:
    """The traceback is logged by the server; the operator gets words to report and a way on."""
    text = "The console made a mistake showing this page. Devices and rollouts are not touched by it."
    hint = f"Please report it with the path {request.url.path} and the time {instant(now_ms())}."
    response = _problem(request, 500, "Our fault", text, hint)
    response.headers.update(security.HEADERS)  # this handler stands outside the middleware that adds them
    return response


def _problem(request: Request, status: int, title: str, text: str, hint: str) -> Response:
    parts: Parts = request.app.state.parts
    return parts.renderer.page(
        request, "problem.html", status, section="", notice="", title=title, text=text, hint=hint,
        signed_in=security.token_of(request) is not None,
    )  # fmt: skip
