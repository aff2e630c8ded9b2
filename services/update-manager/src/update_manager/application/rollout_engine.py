"""The rollout engine: picks due rollouts, asks the planner, writes the outcome. A crash repeats a step harmlessly.

Every step is one transaction over one locked row (`FOR UPDATE SKIP LOCKED`), so two workers never do the same one.
Collecting and starting go in batches; the row remembers how far it is.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.rsql_sql import target_condition
from update_manager.adapters.db.session import Database
from update_manager.adapters.db.tables import (
    Action,
    ActionStatus,
    DistributionSet,
    Rollout,
    RolloutGroup,
    RolloutTarget,
    Target,
)
from update_manager.application import actions
from update_manager.domain.actions import Status
from update_manager.domain.rollouts import (
    EndGroup,
    FinishRollout,
    Group,
    GroupStatus,
    PauseRollout,
    RolloutStatus,
    StartGroup,
    decide,
    split,
    split_by_percentage,
)

logger = logging.getLogger(__name__)

# Feedback wakes a rollout at once; this is how often it is looked at all the same.
LOOK_AGAIN = timedelta(seconds=10)
AT_ONCE = timedelta(0)


@dataclass
class Stepped:
    """What one step leaves to do after its commit: whom to ring; `more` when the rollout is due again at once."""

    rollout_id: int
    ring: list[str] = field(default_factory=list)
    more: bool = False


async def step_one(database: Database, batch: int) -> Stepped | None:
    """Take one step of one due rollout; None when none is due."""
    async with database.write() as session:
        rollout = await session.scalar(
            select(Rollout)
            .where(Rollout.next_step_at <= func.now(), ~Rollout.deleted)
            .order_by(Rollout.next_step_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if rollout is None:
            return None
        stepped = Stepped(rollout.id)
        match RolloutStatus(rollout.status):
            case RolloutStatus.CREATING:
                await _collect(session, rollout, batch, stepped)
            case RolloutStatus.READY:
                _start_if_due(rollout)
            case RolloutStatus.STARTING:
                rollout.status, rollout.started_at = RolloutStatus.RUNNING, datetime.now(UTC)
                _due(rollout, AT_ONCE, stepped)
            case RolloutStatus.RUNNING:
                await _run(session, rollout, batch, stepped)
            case RolloutStatus.STOPPING:
                await _stop(session, rollout, batch, stepped)
            case _:
                await _close_groups(session, rollout)
                rollout.next_step_at = None
        return stepped


def _due(rollout: Rollout, after: timedelta, stepped: Stepped) -> None:
    rollout.next_step_at = datetime.now(UTC) + after
    stepped.more = after == AT_ONCE


def compatible(product: int | None) -> ColumnElement[bool]:
    """Targets that may get a set of this product: the product's own, and those nobody has typed yet."""
    if product is None:
        return literal(True)
    return or_(Target.target_type_id.is_(None), Target.target_type_id == product)


def runs_already(wanted: DistributionSet) -> ColumnElement[bool]:
    """Targets that have the set: by our record, or by what an LwM2M device says it runs."""
    told = Target.telemetry["/3/0/3"].astext == wanted.version
    if wanted.target_type_id is None:
        return Target.installed_distribution_set_id == wanted.id
    typed = Target.target_type_id == wanted.target_type_id
    return or_(Target.installed_distribution_set_id == wanted.id, and_(told, typed))


async def _collect(session: AsyncSession, rollout: Rollout, batch: int, stepped: Stepped) -> None:
    """Fix who takes part, by keyset: `collected_up_to` is the last target id looked at."""
    groups = list(
        await session.scalars(
            select(RolloutGroup).where(RolloutGroup.rollout_id == rollout.id).order_by(RolloutGroup.position)
        )
    )
    wanted = await session.get_one(DistributionSet, rollout.distribution_set_id)
    # Until sizes are known all belong to the first group; they are dealt out at the end.
    members = (
        select(literal(rollout.id), Target.id, literal(groups[0].id))
        .where(
            Target.tenant_id == rollout.tenant_id,
            Target.id > rollout.collected_up_to,
            Target.created_at <= rollout.created_at,
            target_condition(rollout.target_filter_query, rollout.created_at),
            compatible(wanted.target_type_id),
        )
        .order_by(Target.id)
        .limit(batch)
    )
    found = list(
        await session.scalars(
            insert(RolloutTarget)
            .from_select(["rollout_id", "target_id", "group_id"], members)
            .on_conflict_do_nothing()
            .returning(RolloutTarget.target_id)
        )
    )
    if len(found) == batch:
        rollout.collected_up_to = max(found)
        _due(rollout, AT_ONCE, stepped)
        return
    total = await session.scalar(
        select(func.count()).select_from(RolloutTarget).where(RolloutTarget.rollout_id == rollout.id)
    )
    await _deal_out(session, rollout, groups, total or 0)
    rollout.total_targets, rollout.status = total or 0, RolloutStatus.READY
    _start_if_due(rollout)


async def _deal_out(session: AsyncSession, rollout: Rollout, groups: list[RolloutGroup], total: int) -> None:
    """Give each group its share, in target order, in one statement."""
    percentages = [group.target_percentage for group in groups]
    if any(percentage is not None for percentage in percentages):
        sizes = split_by_percentage(total, [100.0 if one is None else one for one in percentages])
    else:
        sizes = split(total, len(groups))
    for group in groups[len(sizes) :]:
        await session.delete(group)
    groups = groups[: len(sizes)]
    position = (func.row_number().over(order_by=RolloutTarget.target_id) - 1).label("position")
    ranked = select(RolloutTarget.target_id, position).where(RolloutTarget.rollout_id == rollout.id).subquery()
    bounds, end = [], 0
    for group, size in zip(groups, sizes, strict=True):
        end += size
        group.total_targets, group.status = size, GroupStatus.READY
        bounds.append((ranked.c.position < end, group.id))
    await session.execute(
        update(RolloutTarget)
        .where(RolloutTarget.rollout_id == rollout.id, RolloutTarget.target_id == ranked.c.target_id)
        .values(group_id=case(*bounds, else_=groups[-1].id))
        .execution_options(synchronize_session=False)
    )


def _start_if_due(rollout: Rollout) -> None:
    if rollout.start_at is None:
        rollout.next_step_at = None
    elif rollout.start_at <= datetime.now(UTC):
        rollout.status, rollout.next_step_at = RolloutStatus.STARTING, datetime.now(UTC)
    else:
        rollout.next_step_at = rollout.start_at


async def counted_groups(session: AsyncSession, rollout_id: int) -> list[Group]:
    """The groups with their numbers, in order."""
    ended = func.count().filter
    numbers = (
        select(
            Action.rollout_group_id,
            ended(Action.status == Status.FINISHED).label("finished"),
            ended(Action.status == Status.ERROR).label("error"),
            ended(Action.status == Status.CANCELED).label("cancelled"),
        )
        .where(Action.rollout_id == rollout_id)
        .group_by(Action.rollout_group_id)
        .subquery()
    )
    rows = await session.execute(
        select(
            RolloutGroup,
            func.coalesce(numbers.c.finished, 0),
            func.coalesce(numbers.c.error, 0),
            func.coalesce(numbers.c.cancelled, 0),
        )
        .outerjoin(numbers, numbers.c.rollout_group_id == RolloutGroup.id)
        .where(RolloutGroup.rollout_id == rollout_id)
        .order_by(RolloutGroup.position)
    )
    return [
        Group(
            group.id,
            group.status,
            group.total_targets,
            finished,
            error,
            cancelled,
            group.success_threshold,
            group.error_threshold,
            group.error_action,
            group.success_action,
        )
        for group, finished, error, cancelled in rows
    ]


async def _run(session: AsyncSession, rollout: Rollout, batch: int, stepped: Stepped) -> None:
    """Carry out what the planner says; whatever is not finished today is due again."""
    rollout.next_step_at = datetime.now(UTC) + LOOK_AGAIN
    for step in decide(await counted_groups(session, rollout.id)):
        match step:
            case StartGroup(group_id):
                await _start_group(session, rollout, group_id, batch, stepped)
            case EndGroup(group_id, status):
                await _set_group(session, group_id, status)
            case PauseRollout(reason):
                rollout.status, rollout.pause_reason = RolloutStatus.PAUSED, reason
                rollout.next_step_at = None
                logger.info("rollout paused: %s", reason, extra={"rollout": rollout.id})
            case FinishRollout():
                rollout.status, rollout.ended_at = RolloutStatus.FINISHED, datetime.now(UTC)
                rollout.next_step_at = None
                logger.info("rollout finished", extra={"rollout": rollout.id})
            case _:
                assert_never(step)


async def _set_group(session: AsyncSession, group_id: int, status: GroupStatus) -> None:
    await session.execute(
        update(RolloutGroup)
        .where(RolloutGroup.id == group_id)
        .values(status=status)
        .execution_options(synchronize_session=False)
    )


async def _close_groups(session: AsyncSession, rollout: Rollout) -> None:
    """Late feedback of a paused or stopped rollout may still end its groups."""
    for group in await counted_groups(session, rollout.id):
        if group.status == GroupStatus.RUNNING and group.ended:
            await _set_group(session, group.id, GroupStatus.FINISHED)


async def _start_group(session: AsyncSession, rollout: Rollout, group_id: int, batch: int, stepped: Stepped) -> None:
    """Create the group's next batch of actions; the group runs when all are there."""
    wanted = await session.get_one(DistributionSet, rollout.distribution_set_id)
    started = select(Action.target_id).where(Action.rollout_id == rollout.id)
    rows = list(
        await session.execute(
            select(Target.id, Target.controller_id, runs_already(wanted).label("has"))
            .join(RolloutTarget, RolloutTarget.target_id == Target.id)
            .where(RolloutTarget.group_id == group_id, Target.id.not_in(started))
            .order_by(Target.id)
            .limit(batch)
            .with_for_update(of=Target, key_share=True)
        )
    )
    if rows:
        await actions.supersede(session, [row.id for row in rows])
        await _create_actions(session, rollout, group_id, rows)
        stepped.ring += [row.controller_id for row in rows if not row.has]
    if len(rows) == batch:
        _due(rollout, AT_ONCE, stepped)
        return
    await _set_group(session, group_id, GroupStatus.RUNNING)
    if all(row.has for row in rows):
        _due(rollout, AT_ONCE, stepped)


async def _create_actions(session: AsyncSession, rollout: Rollout, group_id: int, rows: list[Any]) -> None:
    now = datetime.now(UTC)
    values = [
        {
            "tenant_id": rollout.tenant_id,
            "target_id": row.id,
            "distribution_set_id": rollout.distribution_set_id,
            "rollout_id": rollout.id,
            "rollout_group_id": group_id,
            "status": Status.FINISHED if row.has else Status.RUNNING,
            "active": not row.has,
            "action_type": rollout.action_type,
            "weight": rollout.weight,
            "already_installed": bool(row.has),
            "started_at": now,
            "ended_at": now if row.has else None,
            "created_by": rollout.created_by,
        }
        for row in rows
    ]
    made = await session.execute(
        insert(Action).on_conflict_do_nothing().returning(Action.id, Action.already_installed), values
    )
    lines = [
        {
            "action_id": action_id,
            "status": Status.FINISHED if has else Status.RUNNING,
            "messages": ["the device already runs this version" if has else f"started by rollout {rollout.name}"],
        }
        for action_id, has in made
    ]
    if lines:
        await session.execute(insert(ActionStatus), lines)
    ready, has = [row.id for row in rows if not row.has], [row.id for row in rows if row.has]
    set_id = rollout.distribution_set_id
    for ids, status in ((ready, "pending"), (has, "in_sync")):
        if not ids:
            continue
        changes: dict[str, Any] = {"assigned_distribution_set_id": set_id, "update_status": status}
        if status == "in_sync":
            changes["installed_distribution_set_id"] = set_id
        await session.execute(
            update(Target).where(Target.id.in_(ids)).values(**changes).execution_options(synchronize_session=False)
        )


async def _stop(session: AsyncSession, rollout: Rollout, batch: int, stepped: Stepped) -> None:
    """Cancel what runs, batch by batch; what has not started never will."""
    rows = list(
        await session.execute(
            select(Action.id, Target.controller_id)
            .join(Target, Target.id == Action.target_id)
            .where(Action.rollout_id == rollout.id, Action.active, Action.status != Status.CANCELING)
            .order_by(Target.id)
            .limit(batch)
            # Targets guard their actions (lock order in application/actions.py).
            .with_for_update(of=Target, key_share=True)
        )
    )
    if rows:
        # What ended while its target was waited for stays as it ended.
        stopped = await session.scalars(
            update(Action)
            .where(Action.id.in_([row.id for row in rows]), Action.active)
            .values(status=Status.CANCELING)
            .returning(Action.id)
            .execution_options(synchronize_session=False)
        )
        lines = [{"action_id": one, "status": Status.CANCELING, "messages": ["rollout stopped"]} for one in stopped]
        if lines:
            await session.execute(insert(ActionStatus), lines)
        stepped.ring += [row.controller_id for row in rows]
        _due(rollout, AT_ONCE, stepped)
        return
    rollout.status, rollout.ended_at, rollout.next_step_at = RolloutStatus.STOPPED, datetime.now(UTC), None
