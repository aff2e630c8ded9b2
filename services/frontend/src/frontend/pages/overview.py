"""The first page."""

from fastapi import APIRouter
from starlette.responses import Response

from frontend.pages.context import Signed
from frontend.view_models.overview import overview

router = APIRouter()


@router.get("/")
async def first(context: Signed) -> Response:
    """Fleet, attention, rollouts, versions, events."""
    return context.show("overview.html", "overview", page=overview(await context.manager.get("/overview")))
