"""How a rollout goes, as one read model: totals, groups, causes, downloads in flight, events."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import (
    Action,
    DistributionSet,
    Rollout,
    RolloutGroup,
    RolloutTarget,
    Target,
    TargetEvent,
)
from update_manager.application import deltas
from update_manager.application.actions import artifacts_of
from update_manager.application.rollout_engine import counted_groups, counts_by_group, runs_already
from update_manager.domain.actions import UNDER_WAY, Status, cause_text
from update_manager.domain.deliveries import ARRIVED
from update_manager.domain.deltas import Limits
from update_manager.domain.rollouts import judgement

EVENTS: Final = 30
IN_FLIGHT: Final = 50
DEVICES_PER_CAUSE: Final = 100


def millis(moment: datetime | None) -> int | None:
    """Epoch milliseconds."""
    return None if moment is None else int(moment.timestamp() * 1000)


async def by_status(session: AsyncSession, rollout_id: int) -> dict[int, dict[str, int]]:
    """Counts by group id and status word; `alreadyInstalled` counts finished ones beside."""
    counts = {}
    for group, number in await counts_by_group(session, rollout_id):
        ended = number["finished"] + number["error"] + number["cancelled"]
        counts[group.id] = {
            "running": number["started"] - ended,
            "finished": number["finished"],
            "error": number["error"],
            "cancelled": number["cancelled"],
            "alreadyInstalled": number["already_installed"],
        }
    return counts


def totals_of(rollout: Rollout, counts: dict[int, dict[str, int]]) -> dict[str, int]:
    """All groups together; what has no action yet has not started."""
    totals = {"notStarted": 0, "scheduled": 0, "running": 0, "finished": 0, "error": 0, "cancelled": 0}
    totals["alreadyInstalled"] = 0
    for group in counts.values():
        for word, number in group.items():
            totals[word] += number
    begun = totals["running"] + totals["finished"] + totals["error"] + totals["cancelled"]
    totals["notStarted"] = max(0, rollout.total_targets - begun)
    return totals


def percent_of(totals: dict[str, int]) -> int:
    """Share of targets that have ended."""
    ended = totals["finished"] + totals["error"] + totals["cancelled"]
    total = ended + totals["running"] + totals["notStarted"]
    return ended * 100 // total if total else 0


async def summary(session: AsyncSession, rollout: Rollout, release: DistributionSet) -> dict[str, Any]:
    """What lists show of a rollout."""
    counts = await by_status(session, rollout.id)
    totals = totals_of(rollout, counts)
    groups = await counted_groups(session, rollout.id)
    return {
        "id": rollout.id,
        "name": rollout.name,
        "status": rollout.status,
        "distributionSet": {"id": release.id, "name": release.name, "version": release.version},
        "totals": totals,
        "percent": percent_of(totals),
        "judgement": judgement(rollout.status, totals, groups, rollout.pause_reason),
    }


async def of_rollout(
    session: AsyncSession, rollout: Rollout, release: DistributionSet, limits: Limits
) -> dict[str, Any]:
    """Everything the control room shows."""
    counts = await by_status(session, rollout.id)
    totals = totals_of(rollout, counts)
    groups = await counted_groups(session, rollout.id)
    rows = await session.scalars(
        select(RolloutGroup).where(RolloutGroup.rollout_id == rollout.id).order_by(RolloutGroup.position)
    )
    return {
        "distributionSet": {"id": release.id, "name": release.name, "version": release.version},
        "status": rollout.status,
        "percent": percent_of(totals),
        "judgement": judgement(rollout.status, totals, groups, rollout.pause_reason),
        "totals": totals,
        "groups": [_group(group, counts.get(group.id, {})) for group in rows],
        "causes": await _causes(session, rollout.id),
        "inFlight": await _in_flight(session, rollout.id),
        "events": await _events(session, rollout.id),
        **await _delivery(session, rollout, release, limits),
        "startedAt": millis(rollout.started_at),
        "endedAt": millis(rollout.ended_at),
        "etaSeconds": _eta(rollout, totals),
    }


async def _delivery(
    session: AsyncSession, rollout: Rollout, release: DistributionSet, limits: Limits
) -> dict[str, Any]:
    """Bytes on air: what was sent and what that saved, and what is still to come.

    `bytesSaved` is the full size of every image that arrived as a delta, less what was sent as a delta, less what was
    sent in vain by deltas that ended; a delta on its way counts when it has arrived.
    """
    size = {name: cast(Action.download[name].astext, BigInteger) for name in ("bytesOnAir", "deltaBytesOnAir")}
    as_delta = Action.delivery["kind"].astext == "delta"
    arrived = as_delta & Action.phase.in_(ARRIVED)
    full = cast(Action.delivery["fullSize"].astext, BigInteger)
    under_way = as_delta & ~Action.phase.in_(ARRIVED) & Action.active
    row = (
        await session.execute(
            select(
                func.coalesce(func.sum(size["bytesOnAir"]), 0),
                func.coalesce(func.sum(size["deltaBytesOnAir"]), 0),
                func.coalesce(func.sum(full).filter(arrived), 0)
                - func.coalesce(func.sum(size["deltaBytesOnAir"]).filter(func.coalesce(~under_way, True)), 0),
                func.count().filter(arrived),
                func.count().filter(Action.delivery["deltaSize"].is_not(None) & ~as_delta),
            ).where(Action.rollout_id == rollout.id)
        )
    ).one()
    on_air, on_air_as_delta, saved, delivered, fell_back = (int(one) for one in row)
    members = select(RolloutTarget.target_id).where(RolloutTarget.rollout_id == rollout.id)
    to_come = (Target.id.in_(members), ~func.coalesce(runs_already(release), False))
    artifact_bytes = sum(one.size for one in await artifacts_of(session, release.id))
    planned = await deltas.forecast_of(session, release.id, artifact_bytes, limits, *to_come)
    return {
        "bytesOnAir": on_air,
        "delivery": {
            "bytesByDelta": on_air_as_delta,
            "bytesByFull": on_air - on_air_as_delta,
            "bytesSaved": saved,
            "arrivedByDelta": delivered,
            "fellBackToFull": fell_back,
        },
        "forecast": deltas.forecast_shape(planned),
    }


def _group(group: RolloutGroup, counts: dict[str, int]) -> dict[str, Any]:
    number = {word: counts.get(word, 0) for word in ("running", "finished", "error", "cancelled", "alreadyInstalled")}
    ended = number["finished"] + number["error"] + number["cancelled"]
    return {
        "id": group.id,
        "name": group.name,
        "status": group.status,
        "targets": group.total_targets,
        "notStarted": max(0, group.total_targets - ended - number["running"]),
        **number,
        "successThreshold": group.success_threshold,
        "errorThreshold": group.error_threshold,
        "percent": ended * 100 // group.total_targets if group.total_targets else 0,
    }


def _eta(rollout: Rollout, totals: dict[str, int]) -> int | None:
    """Seconds left at the pace so far; None before a tenth is done."""
    ended = totals["finished"] + totals["error"] + totals["cancelled"] - totals["alreadyInstalled"]
    left = totals["running"] + totals["notStarted"]
    if rollout.status != "running" or rollout.started_at is None or ended * 10 < ended + left or not left:
        return None
    elapsed = (datetime.now(UTC) - rollout.started_at).total_seconds()
    return int(elapsed * left / ended)


async def _causes(session: AsyncSession, rollout_id: int) -> list[dict[str, Any]]:
    """Failures by cause with the first devices of each, however many thousands failed."""
    cause = func.coalesce(Action.cause, "device_reported")
    ranked = (
        select(
            cause.label("cause"),
            Target.controller_id,
            func.count().over(partition_by=cause).label("total"),
            func.row_number().over(partition_by=cause, order_by=(Action.ended_at, Action.id)).label("position"),
        )
        .join(Target, Target.id == Action.target_id)
        .where(Action.rollout_id == rollout_id, Action.status == Status.ERROR)
        .subquery()
    )
    rows = await session.execute(
        select(ranked.c.cause, ranked.c.controller_id, ranked.c.total)
        .where(ranked.c.position <= DEVICES_PER_CAUSE)
        .order_by(ranked.c.total.desc(), ranked.c.cause, ranked.c.position)
    )
    found: dict[str, dict[str, Any]] = {}
    for code, controller, total in rows:
        empty = {"cause": code, "text": cause_text(code), "count": total, "controllerIds": []}
        found.setdefault(code, empty)["controllerIds"].append(controller)
    return list(found.values())


async def _in_flight(session: AsyncSession, rollout_id: int) -> list[dict[str, Any]]:
    rows = await session.execute(
        select(Action.phase, Action.download, Target.controller_id)
        .join(Target, Target.id == Action.target_id)
        .where(Action.rollout_id == rollout_id, Action.active, Action.status.in_(UNDER_WAY))
        .order_by(Action.id)
        .limit(IN_FLIGHT)
    )
    return [
        {
            "controllerId": controller,
            "phase": phase or "assigned",
            "offset": (download or {}).get("offset", 0),
            "size": (download or {}).get("size"),
            "percent": (download or {}).get("percent", 0),
            "rateBytesPerSecond": (download or {}).get("rateBytesPerSecond", 0),
        }
        for phase, download, controller in rows
    ]


async def _events(session: AsyncSession, rollout_id: int) -> list[dict[str, Any]]:
    mine = select(Action.id).where(Action.rollout_id == rollout_id)
    rows = await session.execute(
        select(TargetEvent, Target.controller_id)
        .join(Target, Target.id == TargetEvent.target_id)
        .where(TargetEvent.action_id.in_(mine))
        .order_by(TargetEvent.at.desc(), TargetEvent.id)
        .limit(EVENTS)
    )
    return [event_shape(event, controller) for event, controller in rows]


def event_shape(event: TargetEvent, controller: str) -> dict[str, Any]:
    """A line of a feed; a phase event's kind is its phase."""
    kind = event.details.get("phase", event.kind) if event.kind == "phase" else event.kind
    return {"at": millis(event.at), "controllerId": controller, "kind": kind, "text": event.text}
