"""Rollouts: the list, the making of one, and what one may do with it."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from frontend.manager_client import PAGE, ManagerClient, Refused
from frontend.pages.context import Context, Fields, Signed
from frontend.pages.control_room import show_room
from frontend.rendering import see
from frontend.view_models import filters, releases, rollouts
from frontend.view_models.reading import children, number, text
from frontend.view_models.rollouts import Preview, RolloutForm

router = APIRouter(prefix="/rollouts")
LIMIT = 50
VERBS = ("start", "pause", "resume", "stop")
PREPARING_TRIES, PREPARING_PAUSE_SECONDS = 6, 0.5


@router.get("")
async def listing(context: Signed, offset: Annotated[int, Query(ge=0, le=10**9)] = 0) -> Response:
    """What moves or waits, and what is over."""
    source = await context.manager.get(
        "/rollouts", representation="full", offset=offset, limit=LIMIT, sort="createdAt:DESC"
    )
    return context.show("rollouts.html", "rollouts", page=rollouts.rollout_list(source, offset, LIMIT))


@router.get("/new")
async def new(context: Signed, release: str = "", q: str = "") -> Response:
    """The form, beside what it would do; first guess: the newest release, for all devices of its product."""
    if release:
        found = await context.manager.get(f"/releases/{int(release)}") if release.isdecimal() else {}
    else:
        found = next(iter(children(await context.manager.get("/releases", limit=1), "content")), {})
    chosen = releases.release_row(found)
    form = RolloutForm(
        name=f"{chosen.name} {chosen.version}".strip(),
        distribution_set_id=chosen.id,
        target_filter=q or (filters.of_product(chosen.product_key) if chosen.product_key else ""),
    )
    if not form.distribution_set_id or not form.target_filter:
        return await _show(context, form)
    return await _preview(context, form, 200)


@router.post("/check")
async def check(context: Signed, given: Fields) -> Response:
    """What would happen, without doing it."""
    form = rollouts.rollout_form(given)
    if form.errors:
        return await _show(context, form, status=422)
    return await _preview(context, form, 422)


@router.post("")
async def create(context: Signed, given: Fields) -> Response:
    """Make the rollout, and start it when asked to."""
    form = rollouts.rollout_form(given)
    errors = dict(form.errors) if form.name else {**form.errors, "name": "Give the rollout a name."}
    if errors:
        return await _show(context, rollouts.with_errors(form, errors), status=422)
    try:
        made = await context.manager.post("/rollouts", form.body())
    except Refused as error:
        return await _show(context, form, status=422, error=error)
    rollout_id = number(made, "id")
    ready = await _becomes_ready(context.manager, rollout_id)
    if not form.start:
        return see(f"/rollouts/{rollout_id}?notice=created")
    started = ready and await _start(context.manager, rollout_id)
    return see(f"/rollouts/{rollout_id}?notice={'starting' if started else 'not-started'}")


@router.post("/{rollout_id}/{verb}")
async def act(context: Signed, rollout_id: int, verb: str) -> Response:
    """Start, pause, resume or stop; a refusal is told in the control room."""
    if verb not in VERBS:
        raise Refused(404, "There is no such button.")
    try:
        await context.manager.post(f"/rollouts/{rollout_id}/{verb}")
    except Refused as error:
        return await show_room(context, rollout_id, error.status, error.message)
    return see(f"/rollouts/{rollout_id}?notice={verb}")


async def _preview(context: Context, form: RolloutForm, status_of_refusal: int) -> Response:
    try:
        asked = form.body() | {"name": form.name or "preview"}
        preview = rollouts.preview(await context.manager.post("/rollouts/preview", asked))
    except Refused as error:
        return await _show(context, form, status=status_of_refusal, error=error)
    return await _show(context, form, preview=preview)


async def _becomes_ready(manager: ManagerClient, rollout_id: int) -> bool:
    """Groups are made by a worker; wait for it a moment, so that a page without scripts has its start button."""
    for _ in range(PREPARING_TRIES):
        status = text(await manager.get(f"/rollouts/{rollout_id}"), "status")
        if status != "creating":
            return status == "ready"
        await asyncio.sleep(PREPARING_PAUSE_SECONDS)
    return False


async def _start(manager: ManagerClient, rollout_id: int) -> bool:
    """False when the update manager would not; the operator decides then."""
    try:
        await manager.post(f"/rollouts/{rollout_id}/start")
    except Refused:
        return False
    return True


async def _show(
    context: Context,
    form: RolloutForm,
    preview: Preview | None = None,
    status: int = 200,
    error: Refused | None = None,
) -> Response:
    listed = await context.manager.get("/releases", limit=PAGE)
    wrong_filter = None
    if error is not None and "column" in error.info:
        wrong_filter = filters.filter_error(form.target_filter, error.message, error.info)
    return context.show(
        "rollout_new.html",
        "rollouts",
        status,
        form=form,
        releases=releases.choices(listed),
        kinds=tuple({row.product_key: row for row in map(releases.release_row, children(listed, "content"))}.values()),
        preview=preview,
        problem="" if error is None or wrong_filter else error.message,
        hint="" if error is None else text(error.info, "hint"),
        wrong_filter=wrong_filter,
    )
