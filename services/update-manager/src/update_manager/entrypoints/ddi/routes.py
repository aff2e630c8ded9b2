"""DDI routes, each: who is it, one use case, answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import (
    Action,
    Artifact,
    Delta,
    SoftwareModule,
    SoftwareModuleType,
    Target,
    TargetAttribute,
    TargetType,
    distribution_set_module,
)
from update_manager.application import actions, deltas
from update_manager.application.products import NAMING_ATTRIBUTES
from update_manager.domain.actions import Status
from update_manager.domain.deliveries import sha256
from update_manager.domain.deltas import KNOWN_FORMATS, DeltaStatus
from update_manager.domain.texts import storable
from update_manager.entrypoints import downloads
from update_manager.entrypoints.ddi import messages
from update_manager.entrypoints.ddi.authentication import authenticated_target, seen
from update_manager.entrypoints.dependencies import Parts, PartsDep
from update_manager.errors import ConstraintViolation, NotFound, QuotaExceeded, UnsupportedMediaType

router = APIRouter(prefix="/{tenant}/controller/v1/{controller_id}", tags=["DDI"])

MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE = 128
MAX_HISTORY = 100
# When somebody who was told that a delta is being built may ask again; most are made in less.
RETRY_SECONDS = 1
History = Annotated[int, Query(alias="actionHistory", ge=-1)]


@asynccontextmanager
async def _device(
    request: Request, parts: Parts, tenant: str, controller_id: str
) -> AsyncIterator[tuple[AsyncSession, Target]]:
    async with parts.database.write() as session:
        yield session, await authenticated_target(request, session, parts, tenant, controller_id)


def _base(request: Request, tenant: str, controller_id: str) -> str:
    """The device's URL as it reached us; path parameters as they were sent."""
    root = request.url.path.split("/controller/v1/", 1)[1].split("/", 1)[0]
    raw = request.scope.get("raw_path", b"").decode("latin-1").split("?")[0]
    if "/controller/v1/" in raw:
        root = raw.split("/controller/v1/", 1)[1].split("/", 1)[0]
    return f"{str(request.base_url).rstrip('/')}/{tenant}/controller/v1/{root or controller_id}"


def _require_json(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if not kind.endswith("json"):
        raise UnsupportedMediaType(f"send application/json, not {kind[:60]}")


@router.get("")
async def poll(request: Request, tenant: str, controller_id: str, parts: PartsDep) -> dict[str, Any]:
    """What is there to do."""
    async with _device(request, parts, tenant, controller_id) as (session, target):
        await seen(session, target, request.client.host if request.client else None)
        action = await actions.active_action(session, target)
        canceling = action is not None and action.status == Status.CANCELING
        return messages.poll(
            _base(request, tenant, controller_id),
            action,
            await actions.installed_action(session, target),
            canceling=canceling,
            wants_attributes=target.request_attributes,
            sleep=parts.settings.poll_interval_seconds,
        )


@router.put("/configData")
async def config_data(
    request: Request, tenant: str, controller_id: str, body: messages.ConfigData, parts: PartsDep
) -> Response:
    """Attributes of the device: merge, replace or remove."""
    _require_json(request)
    mode = body.mode.lower()
    if mode not in ("merge", "replace", "remove"):
        raise ConstraintViolation("mode is merge, replace or remove")
    given = {_attribute(key): None if value is None else _attribute(value) for key, value in body.data.items()}
    if "" in given:
        raise ConstraintViolation("an attribute has a key")
    async with _device(request, parts, tenant, controller_id) as (session, target):
        await _store_attributes(session, target, mode, given)
        target.request_attributes = False
    return Response(status_code=200)


def _attribute(value: Any) -> str:
    """A key or value as text: numbers and truth as JSON writes them, nothing nested."""
    if isinstance(value, dict | list):
        raise ConstraintViolation("attribute values are text")
    text = storable(json.dumps(value) if isinstance(value, bool) else value, MAX_ATTRIBUTE + 1)
    if len(text) > MAX_ATTRIBUTE:
        raise ConstraintViolation(f"attribute keys and values have at most {MAX_ATTRIBUTE} characters")
    return text


async def _store_attributes(session: AsyncSession, target: Target, mode: str, given: dict[str, str | None]) -> None:
    table = TargetAttribute
    gone = [key for key, value in given.items() if value is None or mode == "remove"]
    if mode == "replace":
        await session.execute(delete(table).where(table.target_id == target.id))
    elif gone:
        await session.execute(delete(table).where(table.target_id == target.id, table.key.in_(gone)))
    kept = {key: value for key, value in given.items() if value is not None and mode != "remove"}
    if kept:
        rows = [{"target_id": target.id, "key": key, "value": value} for key, value in kept.items()]
        statement = insert(table).values(rows)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["target_id", "key"], set_={"value": statement.excluded.value}
            )
        )
    count = await session.scalar(select(func.count()).select_from(table).where(table.target_id == target.id))
    if (count or 0) > MAX_ATTRIBUTES:
        raise QuotaExceeded(f"a target has at most {MAX_ATTRIBUTES} attributes")
    product = next((kept[key] for key in NAMING_ATTRIBUTES if key in kept), None)
    if product and target.target_type_id is None:
        target.target_type_id = await session.scalar(
            select(TargetType.id).where(TargetType.tenant_id == target.tenant_id, TargetType.key == product)
        )


async def _own_action(session: AsyncSession, target: Target, action_id: int) -> Action:
    action = await session.scalar(select(Action).where(Action.id == action_id, Action.target_id == target.id))
    if action is None:
        raise NotFound(f"there is no action {action_id} for this device")
    return action


@router.get("/deploymentBase/{action_id}")
async def deployment_base(
    request: Request, tenant: str, controller_id: str, action_id: int, parts: PartsDep, history: History = 0
) -> dict[str, Any]:
    """What to install."""
    async with _device(request, parts, tenant, controller_id) as (session, target):
        action = await _own_action(session, target, action_id)
        if not action.active or action.status == Status.CANCELING:
            raise NotFound(f"action {action_id} is not to be installed ({action.status})")
        if action.status == Status.RUNNING:
            await actions.note_retrieved(session, target, action_id)
        return await _deployment(session, _base(request, tenant, controller_id), action, history)


@router.get("/installedBase/{action_id}")
async def installed_base(
    request: Request, tenant: str, controller_id: str, action_id: int, parts: PartsDep, history: History = 0
) -> dict[str, Any]:
    """What was installed by a finished action."""
    async with _device(request, parts, tenant, controller_id) as (session, target):
        action = await _own_action(session, target, action_id)
        if action.status != Status.FINISHED:
            raise NotFound(f"action {action_id} installed nothing")
        return await _deployment(session, _base(request, tenant, controller_id), action, history)


async def _deployment(session: AsyncSession, base: str, action: Action, history: int) -> dict[str, Any]:
    rows = await session.execute(
        select(SoftwareModule, SoftwareModuleType)
        .join(SoftwareModuleType, SoftwareModuleType.id == SoftwareModule.type_id)
        .join(distribution_set_module, distribution_set_module.c.software_module_id == SoftwareModule.id)
        .where(distribution_set_module.c.distribution_set_id == action.distribution_set_id)
        .order_by(SoftwareModule.id)
    )
    artifacts = await actions.artifacts_of(session, action.distribution_set_id)
    parts = [(module, kind, [one for one in artifacts if one.software_module_id == module.id]) for module, kind in rows]
    limit = MAX_HISTORY if history < 0 else min(history, MAX_HISTORY)
    said = await actions.said_by_device(session, action.id, limit) if limit else []
    answer: dict[str, Any] = messages.deployment(base, action, parts, said)
    return answer


@router.post("/deploymentBase/{action_id}/feedback")
async def deployment_feedback(
    request: Request, tenant: str, controller_id: str, action_id: int, body: messages.Feedback, parts: PartsDep
) -> Response:
    """How the installation goes."""
    return await _feedback(request, parts, tenant, controller_id, action_id, "deployment", body)


@router.get("/cancelAction/{action_id}")
async def cancel_action(
    request: Request, tenant: str, controller_id: str, action_id: int, parts: PartsDep
) -> dict[str, Any]:
    """Which action to stop."""
    async with _device(request, parts, tenant, controller_id) as (session, target):
        action = await _own_action(session, target, action_id)
        if action.status != Status.CANCELING:
            raise NotFound(f"action {action_id} is not being cancelled")
        return {"id": str(action_id), "cancelAction": {"stopId": str(action_id)}}


@router.post("/cancelAction/{action_id}/feedback")
async def cancel_feedback(
    request: Request, tenant: str, controller_id: str, action_id: int, body: messages.Feedback, parts: PartsDep
) -> Response:
    """Whether it was stopped."""
    return await _feedback(request, parts, tenant, controller_id, action_id, "cancel", body)


async def _feedback(
    request: Request, parts: Parts, tenant: str, controller: str, action_id: int, kind: str, body: messages.Feedback
) -> Response:
    _require_json(request)
    if len(body.status.details or ()) > messages.MAX_DETAILS:
        raise QuotaExceeded(f"a feedback has at most {messages.MAX_DETAILS} details")
    status = body.status
    async with _device(request, parts, tenant, controller) as (session, target):
        await actions.take_feedback(
            session, target, action_id, kind, status.execution, status.result.finished, status.lines, status.code
        )
    return Response(status_code=200)


def _modules_of(target: Target) -> Any:
    """Modules this device may have: of an action it works on, or of what it has installed."""
    sets = distribution_set_module.c.distribution_set_id
    module = select(distribution_set_module.c.software_module_id)
    allowed = module.join(Action, Action.distribution_set_id == sets).where(
        Action.target_id == target.id, Action.active, Action.status != Status.SCHEDULED
    )
    return allowed.union(module.where(sets == target.installed_distribution_set_id))


async def _artifact(session: AsyncSession, target: Target, module_id: int, filename: str) -> Artifact:
    found = await session.scalar(
        select(Artifact).where(
            Artifact.software_module_id == module_id,
            Artifact.filename == filename,
            Artifact.software_module_id.in_(_modules_of(target)),
        )
    )
    if found is None:
        raise NotFound("there is no such artifact for this device")
    return found


@router.get("/softwaremodules/{module_id}/artifacts")
async def list_artifacts(
    request: Request, tenant: str, controller_id: str, module_id: int, parts: PartsDep
) -> list[dict[str, Any]]:
    """Artifacts of a module that is this device's."""
    base = _base(request, tenant, controller_id)
    async with _device(request, parts, tenant, controller_id) as (session, target):
        mine = select(SoftwareModule.id).where(
            SoftwareModule.id == module_id, SoftwareModule.id.in_(_modules_of(target))
        )
        if await session.scalar(mine) is None:
            raise NotFound(f"there is no software module {module_id} for this device")
        rows = await session.scalars(
            select(Artifact).where(Artifact.software_module_id == module_id).order_by(Artifact.id)
        )
        return [messages.artifact(base, one) for one in rows]


@router.get("/softwaremodules/{module_id}/artifacts/{filename}/delta", responses={202: {"description": "being built"}})
async def find_delta(
    request: Request,
    tenant: str,
    controller_id: str,
    module_id: int,
    filename: str,
    parts: PartsDep,
    base: Annotated[str, Query(alias="from")] = "",
    formats: Annotated[int, Query(ge=1)] = KNOWN_FORMATS,
) -> Response:
    """A delta from the image with hash `from` to this artifact, packed in one of `formats` (the mask of /26250/0/3).

    202 with Retry-After while it is being built; 404 when there is none, or none that is worth it.
    """
    async with _device(request, parts, tenant, controller_id) as (session, target):
        # Not by the framework: a stranger is asked who it is first.
        if sha256(base) is None:
            raise ConstraintViolation("from is the SHA-256 of the image that runs, 64 digits in lower-case hex")
        artifact = await _artifact(session, target, module_id, filename)
        limits = deltas.limits_of(parts.settings)
        found = await deltas.ask(session, parts.store, artifact, base, formats, limits)
    if found is None:
        raise NotFound("there is no delta from that image that is worth it; take the artifact itself")
    if found.status == DeltaStatus.WANTED:
        return Response(status_code=202, headers={"Retry-After": str(RETRY_SECONDS)})
    return JSONResponse(messages.delta(_base(request, tenant, controller_id), artifact, found))


@router.head("/softwaremodules/{module_id}/artifacts/{filename}/delta/{delta_sha256}", include_in_schema=False)
@router.get("/softwaremodules/{module_id}/artifacts/{filename}/delta/{delta_sha256}")
async def download_delta(
    request: Request, tenant: str, controller_id: str, module_id: int, filename: str, delta_sha256: str, parts: PartsDep
) -> Response:
    """The bytes of a delta, whole or in part."""
    async with _device(request, parts, tenant, controller_id) as (session, target):
        artifact = await _artifact(session, target, module_id, filename)
        found = await session.scalar(
            select(Delta).where(
                Delta.tenant_id == target.tenant_id,
                Delta.to_sha256 == artifact.image_sha256,
                Delta.sha256 == delta_sha256,
                Delta.status == DeltaStatus.READY,
            )
        )
    if found is None or found.size is None:
        raise NotFound("there is no such delta to this artifact")
    name = f"{artifact.filename}.udelta"
    return downloads.serve(
        request, downloads.Stored(name, found.size, delta_sha256, found.judged_at, parts.store.path(delta_sha256))
    )


@router.head("/softwaremodules/{module_id}/artifacts/{filename:path}", include_in_schema=False)
@router.get("/softwaremodules/{module_id}/artifacts/{filename:path}")
async def download(
    request: Request, tenant: str, controller_id: str, module_id: int, filename: str, parts: PartsDep
) -> Response:
    """The bytes, whole or in part; `.MD5SUM` gives the line md5sum prints."""
    wants_sum = filename.endswith(".MD5SUM")
    async with _device(request, parts, tenant, controller_id) as (session, target):
        artifact = await _artifact(session, target, module_id, filename.removesuffix(".MD5SUM"))
    if wants_sum:
        return Response(f"{artifact.md5}  {artifact.filename}", media_type="text/plain")
    return downloads.serve(request, downloads.stored_artifact(artifact, parts.store.path(artifact.sha256)))
