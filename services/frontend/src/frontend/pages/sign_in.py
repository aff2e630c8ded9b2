"""Signing in and out, and the colours the operator prefers."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from frontend import security
from frontend.manager_client import ManagerClient, Refused, Unreachable
from frontend.pages.context import Fields, Parts
from frontend.rendering import THEME_COOKIE, THEMES, see
from frontend.view_models.reading import maybe_number, text

router = APIRouter()
YEAR_SECONDS = 365 * 86_400


@router.get("/sign-in")
async def form(request: Request, back: str = "/") -> Response:
    """The form."""
    return _show(request, back)


@router.post("/sign-in")
async def sign_in(request: Request, given: Fields) -> Response:
    """Trade name and password for a session of the update manager, kept in a cookie no script can read."""
    parts: Parts = request.app.state.parts
    back, name = security.way_back(given.get("back")), given.get("username", "").strip()
    try:
        session = await ManagerClient(parts.http, None).sign_in(name, given.get("password", ""))
    except Refused as error:
        problem = "Too many attempts. Wait a minute." if error.status == 429 else "The name or the password is wrong."
        return _show(request, back, problem, name, error.status)
    except Unreachable as error:
        return _show(request, back, f"The update manager does not answer ({error.detail}).", name, 503)
    response = see(back)
    security.remember(request, response, text(session, "token"), maybe_number(session, "expiresAt"))
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session here and in the update manager."""
    parts: Parts = request.app.state.parts
    token = security.token_of(request)
    if token is not None:
        try:
            await ManagerClient(parts.http, token).sign_out()
        except Unreachable:
            pass  # the cookie goes all the same; the session ends by its own expiry
    response = see("/sign-in")
    security.forget(request, response)
    return response


@router.post("/theme")
async def theme(request: Request, given: Fields) -> Response:
    """Remember light, dark or as the system says."""
    response = see(security.way_back(given.get("back")))
    chosen = given.get("theme", "auto")
    response.set_cookie(
        THEME_COOKIE,
        chosen if chosen in THEMES else "auto",
        max_age=YEAR_SECONDS,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


def _show(request: Request, back: str, problem: str = "", name: str = "", status: int = 200) -> Response:
    parts: Parts = request.app.state.parts
    return parts.renderer.page(
        request, "sign_in.html", status, section="", notice="", back=security.way_back(back), problem=problem, name=name
    )
