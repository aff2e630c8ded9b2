"""Actions: assigning a set to targets, cancelling, closing; the one place that moves a target's update status.

Lock order, here and in all that writes: rollout, then targets by id, then their actions. Who holds a target's row is
alone with its actions; nobody who holds a target asks for a rollout: what ends here is noted for it by a trigger
(`rollout_tally`), and that wakes the engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, ColumnElement, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import (
    Action,
    ActionStatus,
    Artifact,
    DistributionSet,
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
    QuotaExceeded,
)

# hawkBit's quota; what ends an action is always taken.
MAX_STATUS_LINES: Final = 1000


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done to some targets; `rollout_id` and `group_id` when a rollout says so."""

    tenant_id: int
    set_id: int
    action_type: str
    who: str
    reason: str
    rollout_id: int | None = None
    group_id: int | None = None
    weight: int | None = None


def _ids(numbers: Sequence[int]) -> Any:
    """A bigint array of one parameter, however many numbers."""
    return cast(list(numbers), ARRAY(BigInteger))


def one_of(column: Any, numbers: Sequence[int]) -> ColumnElement[bool]:
    """`column = ANY(numbers)`."""
    condition: ColumnElement[bool] = column == func.any(_ids(numbers))
    return condition


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
        await session.execute(
            select(
                Target.id, Target.controller_id, Target.name, Target.target_type_id, Target.assigned_distribution_set_id
            )
            .where(Target.tenant_id == tenant_id, Target.controller_id.in_(controllers))
            .order_by(Target.id)
            .with_for_update(key_share=True)
        )
    )
    known = {target.controller_id for target in targets}
    if missing := [name for name in controllers if name not in known]:
        raise NotFound(f"there is no target {missing[0][:64]!r}")
    product = wanted.target_type_id
    for target in targets:
        if product is not None and target.target_type_id not in (None, product):
            raise IncompatibleTargetType(f"{wanted.name} {wanted.version} is for another product than {target.name}")
    fresh = [target for target in targets if target.assigned_distribution_set_id != set_id]
    order = Order(tenant_id, set_id, action_type, who, f"assigned by {who}")
    ids = await begin(session, order, [target.id for target in fresh])
    return ids, len(targets) - len(fresh), [target.controller_id for target in fresh]


async def begin(session: AsyncSession, order: Order, target_ids: Sequence[int], *, have_it: bool = False) -> list[int]:
    """Give locked targets their action, in as many statements for a thousand as for one; ids in target order.

    `have_it`: the targets run the set already, so their actions are finished as they begin.
    """
    if not target_ids:
        return []
    await supersede(session, target_ids)
    status = Status.FINISHED if have_it else Status.RUNNING
    now = func.now()
    values: dict[str, Any] = {
        "tenant_id": order.tenant_id,
        "target_id": func.unnest(_ids(target_ids)),
        "distribution_set_id": order.set_id,
        "rollout_id": order.rollout_id,
        "rollout_group_id": order.group_id,
        "status": status,
        "active": not have_it,
        "action_type": order.action_type,
        "weight": order.weight,
        "already_installed": have_it,
        "started_at": now,
        "ended_at": now if have_it else None,
        "created_by": order.who,
    }
    made = await session.execute(
        insert(Action)
        .from_select(list(values), select(*(_column(name, value) for name, value in values.items())))
        .on_conflict_do_nothing(index_elements=["rollout_id", "target_id"])
        .returning(Action.id, Action.target_id)
    )
    ids = [row.id for row in sorted(made, key=lambda row: row.target_id)]
    await _log_all(session, ids, status, "the device already runs this version" if have_it else order.reason)
    changes: dict[str, Any] = {
        "assigned_distribution_set_id": order.set_id,
        "update_status": "in_sync" if have_it else "pending",
    }
    if have_it:
        changes["installed_distribution_set_id"] = order.set_id
    await session.execute(
        update(Target)
        .where(one_of(Target.id, target_ids))
        .values(**changes)
        .execution_options(synchronize_session=False)
    )
    return ids


def _column(name: str, value: Any) -> Any:
    return (value if isinstance(value, ColumnElement) else literal(value, Action.__table__.c[name].type)).label(name)


async def _log_all(session: AsyncSession, action_ids: Sequence[int], status: Status, message: str) -> None:
    """The same line in the log of each action."""
    if not action_ids:
        return
    line = select(func.unnest(_ids(action_ids)), literal(str(status)), cast([message], JSONB))
    await session.execute(insert(ActionStatus).from_select(["action_id", "status", "messages"], line))


async def supersede(session: AsyncSession, target_ids: Sequence[int]) -> None:
    """End the active actions of targets that are about to get another one, with a line that says why.

    What hawkBit does with `repository.actions.autoclose.enabled`. Without it hawkBit leaves them `canceling` until the
    device agrees; the gateway compares action ids and resets the device itself, and a device that asks for the old
    one is told it is gone. So they end at once.
    """
    ended = await session.scalars(
        update(Action)
        .where(one_of(Action.target_id, target_ids), Action.active)
        .values(active=False, status=Status.CANCELED, ended_at=func.now())
        .returning(Action.id)
        .execution_options(synchronize_session=False)
    )
    await _log_all(session, list(ended), Status.CANCELED, "replaced by a newer assignment")


async def cancel_all(session: AsyncSession, action_ids: Sequence[int], message: str) -> None:
    """Ask the devices of these locked, active actions to stop."""
    await session.execute(
        update(Action)
        .where(one_of(Action.id, action_ids))
        .values(status=Status.CANCELING)
        .execution_options(synchronize_session=False)
    )
    await _log_all(session, action_ids, Status.CANCELING, message)


def log(
    session: AsyncSession,
    action_id: int,
    status: Status,
    messages: tuple[str, ...],
    code: int | None = None,
    cause: str | None = None,
    *,
    by_device: bool = False,
) -> None:
    """One line in an action's log."""
    line = ActionStatus(action_id=action_id, status=status, messages=list(messages), code=code, cause=cause)
    line.by_device = by_device
    session.add(line)


async def active_action(session: AsyncSession, target: Target) -> Action | None:
    """The action a device should work on now."""
    found: Action | None = await session.scalar(
        select(Action)
        .where(Action.target_id == target.id, Action.active, Action.status != Status.SCHEDULED)
        .order_by(Action.id)
        .limit(1)
    )
    return found


async def installed_action(session: AsyncSession, target: Target) -> int | None:
    """The action that installed what the target has, if one did."""
    if target.installed_distribution_set_id is None:
        return None
    found: int | None = await session.scalar(
        select(Action.id)
        .where(
            Action.target_id == target.id,
            Action.status == Status.FINISHED,
            Action.distribution_set_id == target.installed_distribution_set_id,
        )
        .order_by(Action.id.desc())
        .limit(1)
    )
    return found


async def said_by_device(session: AsyncSession, action_id: int, limit: int) -> list[str]:
    """What the device reported on an action, newest first, at most `limit` messages."""
    lines = await session.scalars(
        select(ActionStatus.messages)
        .where(ActionStatus.action_id == action_id, ActionStatus.by_device)
        .order_by(ActionStatus.id.desc())
        .limit(limit)
    )
    return [message for messages in lines for message in messages][:limit]


async def _locked(session: AsyncSession, target: Target, action_id: int) -> Action | None:
    """The target's action, both locked and as they are now."""
    fresh = select(Target).where(Target.id == target.id).with_for_update(key_share=True)
    if await session.scalar(fresh.execution_options(populate_existing=True)) is None:
        return None
    query = select(Action).where(Action.id == action_id, Action.target_id == target.id)
    found: Action | None = await session.scalar(
        query.with_for_update(key_share=True).execution_options(populate_existing=True)
    )
    return found


async def note_retrieved(session: AsyncSession, target: Target, action_id: int) -> None:
    """The device has fetched what to install."""
    action = await _locked(session, target, action_id)
    if action is not None and action.active and action.status == Status.RUNNING:
        action.status = rules.move(action.status, Status.RETRIEVED)
        log(session, action.id, Status.RETRIEVED, ("the device has fetched the assignment",))


async def take_feedback(
    session: AsyncSession,
    target: Target,
    action_id: int,
    outcome_of: str,
    execution: str,
    finished: str,
    details: tuple[str, ...],
    code: int | None,
) -> None:
    """Apply one feedback (`outcome_of`: deployment or cancel).

    Raises NotFound, ActionClosed, ActionNotCancelable (no cancel was asked for) or QuotaExceeded.
    """
    action = await _locked(session, target, action_id)
    if action is None:
        raise NotFound(f"there is no action {action_id} for {target.controller_id}")
    if outcome_of == "cancel":
        if action.status == Status.CANCELED:
            return  # said before, or given up meanwhile: the device may rest
        if action.status != Status.CANCELING:
            raise ActionNotCancelable(f"action {action_id} is not being cancelled ({action.status})")
        outcome = rules.of_cancel(execution, finished)
    else:
        if not rules.takes_deployment_feedback(action.status, action.action_type, execution, active=action.active):
            raise ActionClosed(f"action {action_id} has ended ({action.status}); feedback is not taken any more")
        outcome = rules.of_deployment(action.status, execution, finished, action.action_type)
    if not outcome.closes:
        await _require_room(session, action_id)
    _apply(session, target, action, outcome, details, code)


async def _require_room(session: AsyncSession, action_id: int) -> None:
    lines = select(ActionStatus.id).where(ActionStatus.action_id == action_id).limit(MAX_STATUS_LINES).subquery()
    if (await session.scalar(select(func.count()).select_from(lines)) or 0) >= MAX_STATUS_LINES:
        raise QuotaExceeded(f"an action has at most {MAX_STATUS_LINES} status entries; only its end is taken now")


def _apply(
    session: AsyncSession, target: Target, action: Action, outcome: Outcome, details: tuple[str, ...], code: int | None
) -> None:
    cause, text = rules.cause_of(details) if outcome.status == Status.ERROR else (None, None)
    shown = details[1:] if cause and details and details[0].lower().startswith("cause:") else details
    log(session, action.id, outcome.logged, shown, code, cause, by_device=True)
    if code is not None:
        action.last_status_code = code
    if outcome.status is None:
        return
    action.status = rules.move(action.status, outcome.status)
    now = datetime.now(UTC)
    if outcome.closes:
        action.active, action.ended_at = False, now
    # A target follows only its newest assignment.
    current = target.assigned_distribution_set_id == action.distribution_set_id
    if outcome.status == Status.FINISHED:
        target.installed_distribution_set_id, target.installed_at = action.distribution_set_id, now
        target.request_attributes = True
        if current:
            target.update_status = "in_sync"
    elif outcome.status == Status.DOWNLOADED and outcome.closes and current:
        target.update_status = "in_sync"
    elif outcome.status == Status.ERROR:
        action.cause, action.cause_text = cause, text
        if current:
            target.update_status, target.assigned_distribution_set_id = "error", None
    elif outcome.status == Status.CANCELED and current:
        fall_back(target)


def fall_back(target: Target) -> None:
    """After a cancel the target is what it was before."""
    target.assigned_distribution_set_id = target.installed_distribution_set_id
    target.update_status = "in_sync"


async def cancel(session: AsyncSession, tenant_id: int, controller: str, action_id: int, *, force: bool) -> None:
    """Ask a device to stop, or (after that) give the action up; raises NotFound, ActionNotCancelable, ..."""
    target = await session.scalar(
        select(Target).where(Target.tenant_id == tenant_id, Target.controller_id == controller)
    )
    action = None if target is None else await _locked(session, target, action_id)
    if target is None or action is None:
        raise NotFound(f"there is no action {action_id} for {controller[:64]!r}")
    if force:
        if not action.active or action.status != Status.CANCELING:
            raise ActionNotForceQuitable(f"action {action_id} can be forced to quit only after a cancel")
        action.status, action.active, action.ended_at = Status.CANCELED, False, datetime.now(UTC)
        log(session, action.id, Status.CANCELED, ("forced to quit",))
        if target.assigned_distribution_set_id == action.distribution_set_id:
            fall_back(target)
        return
    if not action.active or action.status == Status.CANCELING:
        raise ActionNotCancelable(f"action {action_id} is {action.status} and cannot be cancelled")
    action.status = rules.move(action.status, Status.CANCELING)
    log(session, action.id, Status.CANCELING, ("cancel requested",))


async def artifacts_of(session: AsyncSession, set_id: int) -> list[Artifact]:
    """All artifacts of a set."""
    rows = await session.scalars(
        select(Artifact)
        .join(distribution_set_module, distribution_set_module.c.software_module_id == Artifact.software_module_id)
        .where(distribution_set_module.c.distribution_set_id == set_id)
        .order_by(Artifact.id)
    )
    return list(rows)
