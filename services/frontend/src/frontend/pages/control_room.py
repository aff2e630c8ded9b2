"""The control room of a rollout, once as a page and then live."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse

from frontend.manager_client import ManagerClient, ManagerError
from frontend.pages.context import Context, Signed
from frontend.rendering import now_ms
from frontend.view_models import devices, states
from frontend.view_models.control_room import control_room
from frontend.view_models.reading import text

router = APIRouter(prefix="/rollouts")
log = logging.getLogger(__name__)
LIMIT: Final = 50
HEARTBEAT_SECONDS: Final = 15.0
SILENCE_SECONDS: Final = 60.0
HEARTBEAT: Final = b": still here\n\n"
STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get("/{rollout_id}")
async def detail(context: Signed, rollout_id: int) -> Response:
    """The page."""
    return await show_room(context, rollout_id)


@router.get("/{rollout_id}/groups/{group_id}")
async def group(
    context: Signed, rollout_id: int, group_id: int, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
) -> Response:
    """The devices of one group."""
    place = f"/rollouts/{rollout_id}/deploygroups/{group_id}"
    rollout = await context.manager.get(f"/rollouts/{rollout_id}")
    about = await context.manager.get(place)
    members = await context.manager.get(f"{place}/targets", offset=offset, limit=LIMIT, sort="controllerId:ASC")
    return context.show(
        "group.html",
        "rollouts",
        page=devices.group_list(members, f"/rollouts/{rollout_id}/groups/{group_id}", offset, LIMIT),
        name=text(about, "name"),
        state=states.rollout_status(text(about, "status")),
        rollout=text(rollout, "name"),
        room=f"/rollouts/{rollout_id}",
    )


@router.get("/{rollout_id}/live")
async def live(context: Signed, rollout_id: int) -> Response:
    """The same, as an event stream of `hx-partial`s made by the page's own templates.

    The first message is fetched before the stream is opened, so that an ended session is a 401 and no broken stream.
    """
    first = await context.manager.get(f"/rollouts/{rollout_id}/progress")

    def render(source: Any) -> bytes:
        room = control_room(source, now_ms())
        return format_sse_event(data_str=context.renderer.part("control_room.stream.html", page=room))

    stream = _relay(context.manager, f"/rollouts/{rollout_id}/events", first, render)
    return StreamingResponse(stream, media_type="text/event-stream", headers=STREAM_HEADERS)


async def show_room(context: Context, rollout_id: int, status: int = 200, problem: str = "") -> Response:
    """The page, with a refusal on top when there was one."""
    source = await context.manager.get(f"/rollouts/{rollout_id}/progress")
    page = control_room(source, now_ms())
    return context.show("control_room.html", "rollouts", status, page=page, problem=problem)


async def _relay(manager: ManagerClient, path: str, first: Any, render: Callable[[Any], bytes]) -> AsyncIterator[bytes]:
    """What the update manager tells, rendered; a slow browser gets only the newest, silence is filled."""
    news: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
    reader = asyncio.create_task(_read(manager, path, news))
    try:
        yield render(first)
        while True:
            try:
                # Not `wait_for`, which can swallow a cancellation that comes with the news (CPython issue 86296).
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    source = await news.get()
            except TimeoutError:
                yield HEARTBEAT
                continue
            if source is None:
                return
            yield render(source)
    finally:
        reader.cancel()


async def _read(manager: ManagerClient, path: str, news: asyncio.Queue[Any]) -> None:
    """Put each `progress` in `news`, replacing one nobody has taken; None when the stream has ended."""
    try:
        async with manager.lines(path, SILENCE_SECONDS) as lines, aclosing(_messages(lines)) as messages:
            async for event, data in messages:
                if event == "progress":
                    _replace(news, json.loads(data))
    except (ManagerError, ValueError) as error:
        log.info("progress stream ended: %s", error)
    await news.put(None)


async def _messages(lines: AsyncIterator[str]) -> AsyncGenerator[tuple[str, str], None]:
    """(event, data) of a text/event-stream (WHATWG HTML, 9.2.6)."""
    event, data = "message", list[str]()
    async for line in lines:
        if not line:
            if data:
                yield event, "\n".join(data)
            event, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)


def _replace(news: asyncio.Queue[Any], item: Any) -> None:
    if news.full():
        news.get_nowait()
    news.put_nowait(item)
