"""Rollouts: create, preview, steer. What happens next is the engine's business."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, literal, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.presence import PRESENCE
from update_manager.adapters.db.rsql_sql import target_condition
from update_manager.adapters.db.tables import Artifact, DistributionSet, Rollout, RolloutGroup, RolloutTarget, Target
from update_manager.adapters.db.tables import distribution_set_module as link
from update_manager.application import deltas
from update_manager.application.actions import require_installable
from update_manager.application.principal import Principal
from update_manager.application.rollout_engine import compatible, runs_already
from update_manager.domain.deltas import Limits
from update_manager.domain.rollouts import TRANSITIONS, GroupStatus, RolloutStatus, split, split_by_percentage
from update_manager.errors import EmptyRollout, IllegalRolloutState, NotFound

MAX_GROUPS: Final = 500


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group as asked for; thresholds in percent."""

    name: str
    success_threshold: int
    error_threshold: int | None
    target_percentage: float | None = None
    success_action: str = "NEXTGROUP"
    error_action: str = "PAUSE"


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """A rollout as asked for."""

    name: str
    description: str | None
    filter: str
    set_id: int
    groups: tuple[GroupPlan, ...]
    action_type: str = "forced"
    start_at: datetime | None = None
    weight: int | None = None


def _matching(who: Principal, plan: RolloutPlan) -> tuple[ColumnElement[bool], ...]:
    return Target.tenant_id == who.tenant_id, target_condition(plan.filter)


async def _audience(session: AsyncSession, who: Principal, plan: RolloutPlan, wanted: DistributionSet) -> Any:
    """Counts of who matches: compatible, running it already, of no or another product, offline."""
    fits = compatible(wanted.target_type_id)
    # A set of no product fits everybody: then it is no news that nobody knows what a device is.
    untyped = Target.target_type_id.is_(None) & literal(wanted.target_type_id is not None)
    row = await session.execute(
        select(
            func.count(case((fits, 1))).label("targets"),
            func.count(case((fits & runs_already(wanted), 1))).label("already"),
            func.count(case((not_(fits), 1))).label("incompatible"),
            func.count(case((untyped, 1))).label("untyped"),
            func.count(case((fits & (PRESENCE != "online"), 1))).label("offline"),
        ).where(*_matching(who, plan))
    )
    return row.one()


def _require_audience(counts: Any, plan: RolloutPlan) -> None:
    if counts.targets:
        return
    if counts.incompatible:
        raise EmptyRollout(
            f"all {counts.incompatible} devices the filter matches are another product than the release",
            hint="choose a release of their product, or another filter",
        )
    raise EmptyRollout(
        "the filter matches no device, so there is nothing to roll out",
        hint="check the filter under Devices; name==* matches all",
        filter=plan.filter[:200],
    )


async def preview(session: AsyncSession, who: Principal, plan: RolloutPlan, limits: Limits) -> dict[str, Any]:
    """Who will get it, who will not and why, how many bytes go on air. Raises like `create`."""
    wanted = await require_installable(session, who.tenant_id, plan.set_id)
    counts = await _audience(session, who, plan, wanted)
    size = await session.scalar(
        select(func.sum(Artifact.size))
        .join(link, link.c.software_module_id == Artifact.software_module_id)
        .where(link.c.distribution_set_id == wanted.id)
    )
    full = int(size or 0)
    missing = (
        *_matching(who, plan),
        compatible(wanted.target_type_id),
        not_(func.coalesce(runs_already(wanted), False)),
    )
    planned = await deltas.forecast_of(session, wanted.id, full, limits, *missing)
    percentages = [group.target_percentage for group in plan.groups]
    if any(one is not None for one in percentages):
        sizes = split_by_percentage(counts.targets, [100.0 if one is None else one for one in percentages])
    else:
        sizes = split(counts.targets, len(plan.groups))
    warnings = []
    if not counts.targets:
        warnings.append("No device would receive this rollout.")
    if counts.incompatible:
        warnings.append(f"{counts.incompatible} matching devices are another product and are left out.")
    if counts.untyped:
        warnings.append(f"{counts.untyped} devices have no product yet; they are included.")
    if counts.offline:
        warnings.append(f"{counts.offline} devices are not online now; they are updated when they come back.")
    if counts.already:
        warnings.append(f"{counts.already} devices run this version already and download nothing.")
    return {
        "targets": counts.targets,
        "alreadyInstalled": counts.already,
        "incompatible": counts.incompatible,
        "withoutProduct": counts.untyped,
        "offline": counts.offline,
        "groups": [{"name": group.name, "targets": size} for group, size in zip(plan.groups, sizes, strict=False)],
        "imageSize": full,
        "bytesOnAir": planned.bytes_planned,
        "forecast": deltas.forecast_shape(planned),
        "warnings": warnings,
    }


async def create(session: AsyncSession, who: Principal, plan: RolloutPlan, limits: Limits) -> Rollout:
    """A rollout whose targets the engine will collect; raises NotFound, IncompleteDistributionSet, EmptyRollout."""
    wanted = await require_installable(session, who.tenant_id, plan.set_id)
    _require_audience(await _audience(session, who, plan, wanted), plan)
    rollout = Rollout(
        tenant_id=who.tenant_id,
        name=plan.name,
        description=plan.description,
        status=RolloutStatus.CREATING,
        target_filter_query=plan.filter,
        distribution_set_id=wanted.id,
        action_type=plan.action_type,
        start_at=plan.start_at,
        weight=plan.weight,
        # The database's clock, like the devices': who is older than the rollout takes part.
        next_step_at=func.now(),
        created_by=who.username,
        last_modified_by=who.username,
    )
    session.add(rollout)
    await session.flush()
    for position, group in enumerate(plan.groups):
        session.add(
            RolloutGroup(
                tenant_id=who.tenant_id,
                rollout_id=rollout.id,
                position=position,
                name=group.name,
                status=GroupStatus.READY,
                target_percentage=group.target_percentage,
                success_threshold=group.success_threshold,
                success_action=group.success_action,
                error_threshold=group.error_threshold,
                error_action=group.error_action,
                created_by=who.username,
                last_modified_by=who.username,
            )
        )
    wanted.locked = True
    await session.flush()
    await session.refresh(rollout)
    image = await deltas.image_of_set(session, wanted.id)
    await deltas.want_for(session, image, await deltas.shares(session, *_matching(who, plan)), limits)
    return rollout


async def find(session: AsyncSession, who: Principal, identifier: int, *, lock: bool = False) -> Rollout:
    """The rollout; raises NotFound."""
    query = select(Rollout).where(Rollout.tenant_id == who.tenant_id, Rollout.id == identifier, ~Rollout.deleted)
    found: Rollout | None = await session.scalar(query.with_for_update(key_share=True) if lock else query)
    if found is None:
        raise NotFound(f"there is no rollout {identifier}")
    return found


async def move(
    session: AsyncSession, who: Principal, identifier: int, to: RolloutStatus, verb: str, limits: Limits
) -> Rollout:
    """Start, pause, resume or stop; raises IllegalRolloutState with what is possible instead."""
    rollout = await find(session, who, identifier, lock=True)
    current = RolloutStatus(rollout.status)
    resuming = verb == "resume"
    if (
        to not in TRANSITIONS[current]
        or (verb == "start" and current != RolloutStatus.READY)
        or (resuming and current != RolloutStatus.PAUSED)
    ):
        raise IllegalRolloutState(
            f"a rollout that is {current} cannot {verb}", status=str(current), hint=_HINTS.get(current, "")
        )
    rollout.status, rollout.next_step_at, rollout.rests_until = to, func.now(), None
    rollout.last_modified_by = who.username
    if verb == "start":
        # Since it was created devices may have come that run something else.
        members = select(RolloutTarget.target_id).where(RolloutTarget.rollout_id == rollout.id)
        image = await deltas.image_of_set(session, rollout.distribution_set_id)
        await deltas.want_for(session, image, await deltas.shares(session, Target.id.in_(members)), limits)
    if to == RolloutStatus.PAUSED:
        rollout.pause_reason, rollout.next_step_at = f"by {who.username}", None
    if resuming:
        rollout.pause_reason = None
    return rollout


_HINTS: Final = {
    RolloutStatus.CREATING: "it becomes ready in a moment",
    RolloutStatus.FINISHED: "create a new rollout for devices that are left",
    RolloutStatus.STOPPED: "create a new rollout for devices that are left",
}
