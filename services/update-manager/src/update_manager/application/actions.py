"""Actions: assigning a set to targets, cancelling, closing; the one place that moves a target's update status.

Lock order, here and in all that writes: rollout, then targets by id, then their actions. Who holds a target's row is
alone with its actions; nobody who holds a target asks for a rollout.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.session import Database
from update_manager.adapters.db.tables import (
    Action,
    ActionStatus,
    Artifact,
    DistributionSet,
    Rollout,
    Target,
    distribution_set_module,
)
from update_manager.domain import actions as rules
from update_manager.domain.actions import Outcome, Status
from update_manager.errors import (
    ActionClosed,
    ActionNotCancelable,
    ActionNotForceQuitable,
    IncompatibleTargetType,
    IncompleteDistributionSet,
    NotFound,
)


async def require_installable(session: AsyncSession, tenant_id: int, set_id: int) -> DistributionSet:
    """The set, when it can be installed; raises NotFound or IncompleteDistributionSet."""
    found = await session.scalar(
        select(DistributionSet).where(
            DistributionSet.tenant_id == tenant_id, DistributionSet.id == set_id, ~DistributionSet.deleted
        )
    )
    if found is None:
        raise NotFound(f"there is no distribution set {set_id}")
    modules = select(distribution_set_module).where(distribution_set_module.c.distribution_set_id == set_id)
    if not found.valid or (await session.execute(modules.limit(1))).first() is None:
        raise IncompleteDistributionSet(
            f"{found.name} {found.version} is incomplete or was invalidated and cannot be installed"
        )
    return found


async def assign(
    session: AsyncSession, tenant_id: int, set_id: int, controllers: Sequence[str], action_type: str, who: str
) -> tuple[list[int], int, list[str]]:
    """Assign a set to targets outside any rollout: action ids, how many had it already, whom to ring."""
    wanted = await require_installable(session, tenant_id, set_id)
    targets = list(
        await session.scalars(
            select(Target)
            .where(Target.tenant_id == tenant_id, Target.controller_id.in_(controllers))
            .order_by(Target.id)
            .with_for_update()
        )
    )
    known = {target.controller_id for target in targets}
    if missing := [name for name in controllers if name not in known]:
        raise NotFound(f"there is no target {missing[0][:64]!r}")
    product = wanted.target_type_id
    ids, already, ring = [], 0, []
    for target in targets:
        if product is not None and target.target_type_id not in (None, product):
            raise IncompatibleTargetType(f"{wanted.name} {wanted.version} is for another product than {target.name}")
        if target.assigned_distribution_set_id == set_id:
            already += 1
            continue
        await supersede(session, [target.id])
        action = Action(
            tenant_id=tenant_id,
            target_id=target.id,
            distribution_set_id=set_id,
            status=Status.RUNNING,
            active=True,
            action_type=action_type,
            started_at=datetime.now(UTC),
            created_by=who,
        )
        session.add(action)
        await session.flush()
        log(session, action.id, Status.RUNNING, (f"assigned by {who}",))
        target.assigned_distribution_set_id, target.update_status = set_id, "pending"
        ids.append(action.id)
        ring.append(target.controller_id)
    return ids, already, ring


async def supersede(session: AsyncSession, target_ids: Sequence[int]) -> None:
    """End the active actions of targets that are about to get another one, with a line that says why.

    hawkBit leaves them `canceling` until the device agrees; the gateway compares action ids and resets the device
    itself, and a device that asks for the old one is told it is gone. So they end at once.
    """
    ended = await session.scalars(
        update(Action)
        .where(Action.target_id.in_(target_ids), Action.active)
        .values(active=False, status=Status.CANCELED, ended_at=datetime.now(UTC))
        .returning(Action.id)
    )
    rows = [
        {"action_id": action_id, "status": Status.CANCELED, "messages": ["replaced by a newer assignment"]}
        for action_id in ended
    ]
    if rows:
        await session.execute(insert(ActionStatus), rows)


def log(
    session: AsyncSession,
    action_id: int,
    status: Status,
    messages: tuple[str, ...],
    code: int | None = None,
    cause: str | None = None,
) -> None:
    """One line in an action's log."""
    session.add(ActionStatus(action_id=action_id, status=status, messages=list(messages), code=code, cause=cause))


async def active_action(session: AsyncSession, target: Target, *, lock: bool = False) -> Action | None:
    """The action a device should work on now."""
    query = (
        select(Action)
        .where(Action.target_id == target.id, Action.active, Action.status != Status.SCHEDULED)
        .order_by(Action.id)
        .limit(1)
    )
    found: Action | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def take_feedback(
    session: AsyncSession,
    target: Target,
    action_id: int,
    outcome_of: str,
    execution: str,
    finished: str,
    details: tuple[str, ...],
    code: int | None,
) -> int | None:
    """Apply one feedback (`outcome_of`: deployment or cancel); returns the rollout to wake after the commit, if any.

    Raises NotFound or ActionClosed.
    """
    await session.refresh(target, with_for_update={"key_share": True})
    action = await session.scalar(
        select(Action).where(Action.id == action_id, Action.target_id == target.id).with_for_update()
    )
    if action is None:
        raise NotFound(f"there is no action {action_id} for {target.controller_id}")
    if not action.active:
        raise ActionClosed(f"action {action_id} has ended ({action.status}); feedback is not taken any more")
    if outcome_of == "cancel":
        if action.status != Status.CANCELING:
            raise NotFound(f"action {action_id} is not being cancelled")
        outcome = rules.of_cancel(execution, finished)
    else:
        outcome = rules.of_deployment(action.status, execution, finished)
    return await _apply(session, target, action, outcome, details, code)


async def _apply(
    session: AsyncSession, target: Target, action: Action, outcome: Outcome, details: tuple[str, ...], code: int | None
) -> int | None:
    cause, text = rules.cause_of(details) if outcome.status == Status.ERROR else (None, None)
    shown = details[1:] if cause and details and details[0].lower().startswith("cause:") else details
    log(session, action.id, outcome.logged, shown, code, cause)
    if code is not None:
        action.last_status_code = code
    if outcome.status is None:
        return None
    action.status = outcome.status
    now = datetime.now(UTC)
    if outcome.status in rules.ENDED:
        action.active, action.ended_at = False, now
    # A target follows only its newest assignment.
    current = target.assigned_distribution_set_id == action.distribution_set_id
    if outcome.status == Status.FINISHED:
        target.installed_distribution_set_id, target.installed_at = action.distribution_set_id, now
        target.request_attributes = True
        if current:
            target.update_status = "in_sync"
    elif outcome.status == Status.ERROR:
        action.cause, action.cause_text = cause, text
        if current:
            target.update_status, target.assigned_distribution_set_id = "error", None
    elif outcome.status == Status.CANCELED and current:
        fall_back(target)
    return action.rollout_id if outcome.status in rules.ENDED else None


def fall_back(target: Target) -> None:
    """After a cancel the target is what it was before."""
    target.assigned_distribution_set_id = target.installed_distribution_set_id
    target.update_status = "in_sync"


async def wake_rollout(session: AsyncSession, rollout_id: int) -> None:
    """Let the engine look at a running rollout at its next tick; in a transaction of its own (lock order above)."""
    await session.execute(
        update(Rollout)
        .where(Rollout.id == rollout_id, Rollout.status.in_(("running", "paused")))
        .values(next_step_at=datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )


async def wake(database: Database, rollout_id: int | None) -> None:
    """`wake_rollout` after a commit; one that is lost costs time only, the engine looks again by itself."""
    if rollout_id is not None:
        async with database.write() as session:
            await wake_rollout(session, rollout_id)


async def cancel(session: AsyncSession, tenant_id: int, controller: str, action_id: int, *, force: bool) -> int | None:
    """Ask a device to stop, or (after that) give the action up; returns the rollout to wake after the commit, if any.

    Raises NotFound, ActionNotCancelable, ActionNotForceQuitable.
    """
    target = await session.scalar(
        select(Target)
        .where(Target.tenant_id == tenant_id, Target.controller_id == controller)
        .with_for_update(key_share=True)
    )
    action = target and await session.scalar(
        select(Action).where(Action.id == action_id, Action.target_id == target.id).with_for_update()
    )
    if target is None or action is None:
        raise NotFound(f"there is no action {action_id} for {controller[:64]!r}")
    if force:
        if not action.active or action.status != Status.CANCELING:
            raise ActionNotForceQuitable(f"action {action_id} can be forced to quit only after a cancel")
        quit_ = Outcome(Status.CANCELED, Status.CANCELED)
        return await _apply(session, target, action, quit_, ("forced to quit",), None)
    if not action.active or action.status == Status.CANCELING:
        raise ActionNotCancelable(f"action {action_id} is {action.status} and cannot be cancelled")
    action.status = Status.CANCELING
    log(session, action.id, Status.CANCELING, ("cancel requested",))
    return None


async def artifacts_of(session: AsyncSession, set_id: int) -> list[Artifact]:
    """All artifacts of a set."""
    rows = await session.scalars(
        select(Artifact)
        .join(distribution_set_module, distribution_set_module.c.software_module_id == Artifact.software_module_id)
        .where(distribution_set_module.c.distribution_set_id == set_id)
        .order_by(Artifact.id)
    )
    return list(rows)
