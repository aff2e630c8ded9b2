"""The first page."""

from fastapi import APIRouter
from starlette.responses import Response

from frontend.pages.context import Signed
from frontend.view_models.overview import overview
from frontend.view_models.reading import number

router = APIRouter()


@router.get("/")
async def first(context: Signed) -> Response:
    """Fleet, attention, rollouts, versions, events."""
    source = await context.manager.get("/overview")
    if source.get("rollouts"):
        return context.show("overview.html", "overview", page=overview(source))
    products, releases = [
        number(await context.manager.get(path, limit=1), "total") for path in ("/targettypes", "/releases")
    ]
    return context.show("overview.html", "overview", page=overview(source, products, releases))
