"""The device list and a device's page."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from frontend.manager_client import Refused, segment
from frontend.pages.context import Signed
from frontend.rendering import query, see
from frontend.view_models import devices, feed, filters, timeline
from frontend.view_models.reading import children

router = APIRouter(prefix="/devices")
LIMIT = 50
FILTER_ERRORS = (400, 422)


@router.get("")
async def listing(
    context: Signed, q: str = "", find: str = "", offset: Annotated[int, Query(ge=0, le=10**9)] = 0
) -> Response:
    """Devices that match the filter; a filter that cannot be read is shown with the place of its error."""
    if find:
        return see(query("/devices", q=filters.looks_for(find)))
    wanted = filters.looks_for(q)
    problem, status = None, 200
    try:
        source = await context.manager.get("/targets", q=wanted, offset=offset, limit=LIMIT, sort="controllerId:ASC")
        page = devices.device_list(source, wanted, offset, LIMIT)
    except Refused as error:
        if not wanted or error.status not in FILTER_ERRORS:
            raise
        page, status = devices.empty_list(wanted, LIMIT), 422
        problem = filters.filter_error(wanted, error.message, error.info)
    return context.show("devices.html", "devices", status, page=page, problem=problem)


@router.get("/{controller_id:path}")
async def detail(context: Signed, controller_id: str) -> Response:
    """What it runs, what it should run, each attempt and why it ended, the wire, what it reports."""
    place = f"/targets/{segment(controller_id)}"
    target = await context.manager.get(place)
    attributes = await context.manager.get(f"{place}/attributes")
    history = await context.manager.get(f"{place}/timeline")
    events = await context.manager.get(f"{place}/events")
    return context.show(
        "device.html",
        "devices",
        page=devices.device(target, attributes),
        timeline=timeline.timeline(history or {}),
        events=feed.event_lines(children(events), 15),
    )
