"""The rollout engine: picks due rollouts, asks the planner, writes the outcome. A crash repeats a step harmlessly.

Every step is one transaction over one locked row (`FOR UPDATE SKIP LOCKED`), so two workers never do the same one.
Collecting and starting go in batches; the row remembers how far it is. A rollout is due when its time has come or when
something was tallied for it. Times are the database's, so workers' clocks may differ.
"""

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from typing import Any, Final, assert_never

from sqlalchemy import ColumnElement, and_, case, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.rsql_sql import target_condition
from update_manager.adapters.db.session import Database
from update_manager.adapters.db.tables import (
    Action,
    DistributionSet,
    Rollout,
    RolloutGroup,
    RolloutTally,
    RolloutTarget,
    Target,
)
from update_manager.application import actions
from update_manager.application.actions import Order, one_of
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

# What ends an action wakes its rollout at once; this is how often it is looked at all the same.
LOOK_AGAIN = timedelta(seconds=10)
# How long a rollout whose step failed for a reason nobody foresaw is left alone, so that the others go on.
AFTER_A_FAILURE = timedelta(seconds=30)
COUNTS: Final = ("total_targets", "started", "finished", "error", "cancelled", "already_installed")


@dataclass
class Stepped:
    """What one step leaves to do after its commit: whom to ring."""

    rollout_id: int
    ring: list[str] = field(default_factory=list)


async def step_one(database: Database, batch: int) -> Stepped | None:
    """Take one step of one due rollout; None when none is due."""
    stepped = Stepped(0)
    try:
        async with database.write() as session:
            rollout = await _take_due(session)
            if rollout is None:
                return None
            stepped.rollout_id = rollout.id
            await _step(session, rollout, batch, stepped)
        return stepped
    except (OperationalError, InterfaceError):
        raise  # PostgreSQL is away or asks to try again; nothing is wrong with the rollout
    except Exception:
        if not stepped.rollout_id:
            raise
        logger.exception("a rollout step failed and is tried again later", extra={"rollout": stepped.rollout_id})
        await _postpone(database, stepped.rollout_id)
        return Stepped(stepped.rollout_id)


async def _take_due(session: AsyncSession) -> Rollout | None:
    """Lock a rollout whose time has come, or for which something was tallied."""
    tallied = select(RolloutTally.rollout_id)
    rested = or_(Rollout.rests_until.is_(None), Rollout.rests_until <= func.now())
    found: Rollout | None = await session.scalar(
        select(Rollout)
        .where(or_(Rollout.next_step_at <= func.now(), Rollout.id.in_(tallied)), rested)
        .order_by(Rollout.next_step_at.nulls_last(), Rollout.id)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return found


async def _postpone(database: Database, rollout_id: int) -> None:
    async with database.write() as session:
        later = func.now() + AFTER_A_FAILURE
        await session.execute(
            update(Rollout)
            .where(Rollout.id == rollout_id)
            .values(rests_until=later)
            .execution_options(synchronize_session=False)
        )


async def _step(session: AsyncSession, rollout: Rollout, batch: int, stepped: Stepped) -> None:
    if rollout.deleted:
        await _fold(session, rollout)
        rollout.next_step_at = None
        return
    match RolloutStatus(rollout.status):
        case RolloutStatus.CREATING:
            await _collect(session, rollout, batch)
        case RolloutStatus.READY:
            await _fold(session, rollout)
            await _start_if_due(session, rollout)
        case RolloutStatus.STARTING:
            await session.execute(
                update(RolloutGroup)
                .where(RolloutGroup.rollout_id == rollout.id, RolloutGroup.status == GroupStatus.READY)
                .values(status=GroupStatus.SCHEDULED)
                .execution_options(synchronize_session=False)
            )
            rollout.status, rollout.started_at = RolloutStatus.RUNNING, func.now()
            _due(rollout)
        case RolloutStatus.RUNNING:
            await _fold(session, rollout)
            await _run(session, rollout, batch, stepped)
        case RolloutStatus.STOPPING:
            await _fold(session, rollout)
            await _stop(session, rollout, batch, stepped)
        case _:
            await _fold(session, rollout)
            await _close_groups(session, rollout)
            rollout.next_step_at = None


def _due(rollout: Rollout, after: timedelta = timedelta(0)) -> None:
    rollout.next_step_at = func.now() + after


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


async def _collect(session: AsyncSession, rollout: Rollout, batch: int) -> None:
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
        _due(rollout)
        return
    await _deal_out(session, rollout, groups)
    rollout.status = RolloutStatus.READY
    await _start_if_due(session, rollout)


async def _deal_out(session: AsyncSession, rollout: Rollout, groups: list[RolloutGroup]) -> None:
    """Give each group its share, in target order, in one statement."""
    mine = RolloutTarget.rollout_id == rollout.id
    total = await session.scalar(select(func.count()).select_from(RolloutTarget).where(mine)) or 0
    percentages = [group.target_percentage for group in groups]
    if any(percentage is not None for percentage in percentages):
        sizes = split_by_percentage(total, [100.0 if one is None else one for one in percentages])
    else:
        sizes = split(total, len(groups))
    for group in groups[len(sizes) :]:
        await session.delete(group)
    groups = groups[: len(sizes)]
    # The last target of each group first, then one pass without a join: fresh members have no statistics yet, and a
    # join planned without them took minutes for twenty thousand.
    position = func.row_number().over(order_by=RolloutTarget.target_id).label("position")
    ranked = select(RolloutTarget.target_id, position).where(mine).subquery()
    ends = list(accumulate(sizes))
    lasts = await session.scalars(
        select(ranked.c.target_id).where(one_of(ranked.c.position, ends)).order_by(ranked.c.position)
    )
    bounds = [(RolloutTarget.target_id <= last, group.id) for last, group in zip(lasts, groups, strict=False)]
    await session.execute(
        update(RolloutTarget)
        .where(mine)
        .values(group_id=case(*bounds, else_=groups[-1].id) if bounds else groups[-1].id)
        .execution_options(synchronize_session=False)
    )
    # Devices deleted meanwhile are gone from the members and on a slip, or neither: one statement sees both alike.
    seen = delete(RolloutTally).where(RolloutTally.rollout_id == rollout.id).returning(RolloutTally.id).cte("seen")
    members = select(RolloutTarget.group_id, func.count().label("members")).where(mine).group_by(RolloutTarget.group_id)
    counted = {row.group_id: row.members for row in await session.execute(members.add_cte(seen))}
    for group in groups:
        group.total_targets, group.status = counted.get(group.id, 0), GroupStatus.READY
    rollout.total_targets = sum(counted.values())


async def _start_if_due(session: AsyncSession, rollout: Rollout) -> None:
    rollout.next_step_at = rollout.start_at
    if rollout.start_at is not None and await session.scalar(select(func.now() >= rollout.start_at)):
        rollout.status = RolloutStatus.STARTING


async def _fold(session: AsyncSession, rollout: Rollout) -> None:
    """Add to the groups what was tallied since the last step."""
    slips = (
        delete(RolloutTally)
        .where(RolloutTally.rollout_id == rollout.id)
        .returning(RolloutTally.group_id, *(getattr(RolloutTally, name) for name in COUNTS))
        .cte("slips")
    )
    sums = select(slips.c.group_id, *(func.sum(slips.c[name]).label(name) for name in COUNTS)).group_by(
        slips.c.group_id
    )
    summed = sums.cte("sums")
    await session.execute(
        update(RolloutGroup)
        .where(RolloutGroup.id == summed.c.group_id)
        .values({name: getattr(RolloutGroup, name) + summed.c[name] for name in COUNTS})
        .execution_options(synchronize_session=False)
    )
    totals = select(func.sum(RolloutGroup.total_targets)).where(RolloutGroup.rollout_id == rollout.id)
    rollout.total_targets = await session.scalar(totals) or 0


async def counts_by_group(session: AsyncSession, rollout_id: int) -> list[tuple[RolloutGroup, dict[str, int]]]:
    """The groups in order, each with its numbers (`COUNTS`) as they are now, whatever is folded in already."""
    sums = {name: func.coalesce(func.sum(getattr(RolloutTally, name)), 0).label(name) for name in COUNTS}
    late = (
        select(RolloutTally.group_id, *sums.values())
        .where(RolloutTally.rollout_id == rollout_id)
        .group_by(RolloutTally.group_id)
        .subquery()
    )
    rows = await session.execute(
        select(RolloutGroup, *(getattr(RolloutGroup, name) + func.coalesce(late.c[name], 0) for name in COUNTS))
        .outerjoin(late, late.c.group_id == RolloutGroup.id)
        .where(RolloutGroup.rollout_id == rollout_id)
        .order_by(RolloutGroup.position)
        .execution_options(populate_existing=True)
    )
    return [(group, dict(zip(COUNTS, numbers, strict=True))) for group, *numbers in rows]


async def counted_groups(session: AsyncSession, rollout_id: int) -> list[Group]:
    """The groups with their numbers, in order, as the planner wants them."""
    return [
        Group(
            group.id,
            group.status,
            number["total_targets"],
            number["finished"],
            number["error"],
            number["cancelled"],
            group.success_threshold,
            group.error_threshold,
            group.error_action,
            group.success_action,
            group.passed,
        )
        for group, number in await counts_by_group(session, rollout_id)
    ]


async def _run(session: AsyncSession, rollout: Rollout, batch: int, stepped: Stepped) -> None:
    """Carry out what the planner says; whatever is not finished today is due again."""
    _due(rollout, LOOK_AGAIN)
    for step in decide(await counted_groups(session, rollout.id)):
        match step:
            case StartGroup(group_id):
                await _start_group(session, rollout, group_id, batch, stepped)
            case EndGroup(group_id, status):
                await _set_group(session, group_id, status=status)
            case PauseRollout(reason, passed):
                rollout.status, rollout.pause_reason = RolloutStatus.PAUSED, reason
                rollout.next_step_at = None
                if passed is not None:
                    await _set_group(session, passed, passed=True)
                logger.info("rollout paused: %s", reason, extra={"rollout": rollout.id})
            case FinishRollout():
                rollout.status, rollout.ended_at = RolloutStatus.FINISHED, func.now()
                rollout.next_step_at = None
                logger.info("rollout finished", extra={"rollout": rollout.id})
            case _:
                assert_never(step)


async def _set_group(session: AsyncSession, group_id: int, **values: Any) -> None:
    await session.execute(
        update(RolloutGroup)
        .where(RolloutGroup.id == group_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


async def _close_groups(session: AsyncSession, rollout: Rollout) -> None:
    """Late feedback of a paused or stopped rollout may still end its groups."""
    for group in await counted_groups(session, rollout.id):
        if group.status == GroupStatus.RUNNING and group.ended:
            await _set_group(session, group.id, status=GroupStatus.FINISHED)


async def _start_group(session: AsyncSession, rollout: Rollout, group_id: int, batch: int, stepped: Stepped) -> None:
    """Create the group's next batch of actions; the group runs when all are there."""
    wanted = await session.get_one(DistributionSet, rollout.distribution_set_id)
    reached = select(RolloutGroup.started_up_to).where(RolloutGroup.id == group_id).scalar_subquery()
    rows = list(
        await session.execute(
            select(Target.id, Target.controller_id, runs_already(wanted).label("has"))
            .join(RolloutTarget, RolloutTarget.target_id == Target.id)
            .where(RolloutTarget.group_id == group_id, RolloutTarget.target_id > reached)
            .order_by(RolloutTarget.target_id)
            .limit(batch)
            .with_for_update(of=Target, key_share=True)
        )
    )
    order = Order(
        rollout.tenant_id,
        rollout.distribution_set_id,
        rollout.action_type,
        rollout.created_by,
        f"started by rollout {rollout.name}",
        rollout.id,
        group_id,
        rollout.weight,
    )
    await actions.begin(session, order, [row.id for row in rows if not row.has])
    await actions.begin(session, order, [row.id for row in rows if row.has], have_it=True)
    stepped.ring += [row.controller_id for row in rows if not row.has]
    if len(rows) == batch:
        await _set_group(session, group_id, started_up_to=rows[-1].id)
    else:
        await _set_group(session, group_id, status=GroupStatus.RUNNING)
    _due(rollout)


async def _stop(session: AsyncSession, rollout: Rollout, batch: int, stepped: Stepped) -> None:
    """Cancel what runs, batch by batch; what has not started never will."""
    rows = list(
        await session.execute(
            select(Action.id, Target.controller_id)
            .join(Target, Target.id == Action.target_id)
            .where(Action.rollout_id == rollout.id, Action.active, Action.status != Status.CANCELING)
            .order_by(Action.target_id)
            .limit(batch)
            .with_for_update(of=(Target, Action), key_share=True)
        )
    )
    if rows:
        await actions.cancel_all(session, [row.id for row in rows], "rollout stopped")
        stepped.ring += [row.controller_id for row in rows]
        _due(rollout)
        return
    rollout.status, rollout.ended_at, rollout.next_step_at = RolloutStatus.STOPPED, func.now(), None
    await _close_groups(session, rollout)
