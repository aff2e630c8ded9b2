"""What gateways and proxies report, written to PostgreSQL in batches: each event once, in order per device.

A batch loads (and locks, in the one order of `application.actions`) the devices and actions it speaks of, works in
memory, and writes in a handful of statements, however many events there are.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import Action, Target, TargetEvent, Tenant
from update_manager.application.actions import one_of
from update_manager.domain import deliveries
from update_manager.domain.texts import storable

KINDS: Final = frozenset({"presence", "telemetry", "phase", "progress", "trace"})
MAX_TEXT: Final = 512
MAX_TELEMETRY: Final = 64
# History is bounded: the newest trace lines of a device, and the newest other lines of each of its actions and of none.
TRACES_KEPT: Final = 500
LINES_KEPT: Final = 200
# The custom object "Updraft Image" (docs/contracts.md): the image that runs, and the deltas that are taken.
RUNNING_IMAGE: Final = "/26250/0/0"
DELTA_FORMATS: Final = "/26250/0/3"
WRITTEN: Final = (
    "id",
    "presence_state",
    "last_seen_at",
    "expected_by",
    "queue_mode",
    "lwm2m_version",
    "address",
    "telemetry",
    "image_sha256",
    "delta_formats",
    "last_modified_at",
)


class Malformed(ValueError):
    """An event that will never make sense; it goes to the dead letters."""


def parse(raw: bytes) -> dict[str, Any]:
    """Check the common members of an event; raises Malformed."""
    try:
        event = json.loads(raw)
        if not isinstance(event, dict) or event["type"] not in KINDS:
            raise Malformed("unknown type")
        event["at"] = _moment(event["at"])
        for name, limit in (("id", 64), ("controllerId", 256), ("tenant", 40)):
            event[name] = storable(event[name], limit)
        if not event["id"]:
            raise Malformed("an event has an id")
        return event
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def _moment(millis: Any) -> datetime:
    return datetime.fromtimestamp(int(millis) / 1000, UTC)


@dataclass
class _Batch:
    """What a batch of events is applied to, and the lines of history it adds."""

    targets: dict[tuple[str, str], Target]
    actions: dict[int, Action]
    known: set[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    grown: set[int] = field(default_factory=set)

    def own_action(self, target: Target, event: dict[str, Any]) -> Action | None:
        """The action the event speaks of, if it is this device's."""
        action = self.actions.get(deliveries.number(event.get("actionId")) or 0)
        return action if action is not None and action.target_id == target.id else None

    def line(
        self,
        target: Target,
        event: dict[str, Any],
        kind: str,
        text: str,
        action_id: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> bool:
        """Add a line of history; False when this event was written before."""
        if event["id"] in self.known:
            return False
        self.known.add(event["id"])
        self.grown.add(target.id)
        row = {"id": event["id"], "target_id": target.id, "at": event["at"], "kind": kind}
        self.lines.append({**row, "action_id": action_id, "text": text, "details": details or {}})
        return True


async def store(session: AsyncSession, events: list[dict[str, Any]]) -> set[int]:
    """Write a batch; returns the targets whose history grew. Events of unknown controllers are dropped: there is
    nobody to hang them on, and a gateway polls for a device (which makes it known) before it reports."""
    batch = await _load(session, events)
    for event in events:
        target = batch.targets.get((event["tenant"], event["controllerId"]))
        if target is not None:
            _HANDLERS[event["type"]](batch, target, event)
    # The device was heard of; that is no modification of the target by anybody, so the row's own date is written back.
    changed = [target for target in batch.targets.values() if session.is_modified(target)]
    rows = [{name: getattr(target, name) for name in WRITTEN} for target in changed]
    for target in changed:
        session.expunge(target)
    if rows:
        await session.execute(update(Target), rows)
    if batch.lines:
        await session.execute(insert(TargetEvent).on_conflict_do_nothing(), batch.lines)
    return batch.grown


async def _load(session: AsyncSession, events: list[dict[str, Any]]) -> _Batch:
    """Lock and read the devices and actions the events speak of; see which events were written before."""
    rows = await session.execute(
        select(Tenant.name, Target)
        .join(Target, Target.tenant_id == Tenant.id)
        .where(Target.controller_id.in_({event["controllerId"] for event in events}))
        .order_by(Target.id)
        .with_for_update(of=Target, key_share=True)
    )
    targets = {(tenant, target.controller_id): target for tenant, target in rows}
    numbers = {deliveries.number(event.get("actionId")) for event in events} - {None}
    wanted = one_of(Action.id, sorted(number for number in numbers if number is not None))
    mine = one_of(Action.target_id, sorted(target.id for target in targets.values()))
    actions = await session.scalars(select(Action).where(wanted, mine).with_for_update(key_share=True))
    known = await session.scalars(select(TargetEvent.id).where(TargetEvent.id.in_({event["id"] for event in events})))
    return _Batch(targets, {action.id: action for action in actions}, set(known))


def _presence(batch: _Batch, target: Target, event: dict[str, Any]) -> None:
    # An older event that arrives late must not undo a newer one.
    if target.last_seen_at is not None and target.last_seen_at > event["at"]:
        return
    state = "offline" if event.get("state") == "offline" else "online"
    if target.presence_state != state:
        batch.line(target, event, "presence", "came online" if state == "online" else "went offline")
    expected = deliveries.number(event.get("expectedBy"))
    target.presence_state, target.last_seen_at = state, event["at"]
    target.expected_by = None if expected is None or expected > 253402300799999 else _moment(expected)
    target.queue_mode = bool(event.get("queueMode"))
    target.lwm2m_version = storable(event.get("lwm2mVersion", ""), 16) or None
    if event.get("address"):
        target.address = f"coap://{storable(event['address'], 100)}"


def _telemetry(batch: _Batch, target: Target, event: dict[str, Any]) -> None:
    resources = event.get("resources")
    if not isinstance(resources, dict):
        return
    told = {storable(path, 40): storable(value, 128) for path, value in list(resources.items())[:MAX_TELEMETRY]}
    before = target.telemetry or {}
    if target.last_seen_at is not None and target.last_seen_at > event["at"]:
        # Late, or told once more: it may add what nobody has told since, and is no news.
        merged = {**told, **before}
        target.telemetry = before if len(merged) > MAX_TELEMETRY * 4 else merged
        return
    merged = {**before, **told}
    target.telemetry = told if len(merged) > MAX_TELEMETRY * 4 else merged
    target.last_seen_at = event["at"]
    old, new = before.get("/3/0/3"), told.get("/3/0/3")
    if new and old and new != old:
        batch.line(target, event, "firmware", f"firmware changed from {old} to {new}")
        # Another version is another image, whose hash comes when the device is read next.
        target.image_sha256, target.delta_formats = None, 0
    _image(target, told)


def _image(target: Target, told: dict[str, str]) -> None:
    """What the device runs and takes, out of its telemetry; what makes no sense is nothing."""
    if RUNNING_IMAGE in told:
        target.image_sha256 = deliveries.sha256(told[RUNNING_IMAGE])
    if (formats := told.get(DELTA_FORMATS)) is not None:
        known = formats.isascii() and formats.isdecimal() and len(formats) < 10
        target.delta_formats = int(formats) if known else 0


def _phase(batch: _Batch, target: Target, event: dict[str, Any]) -> None:
    action = batch.own_action(target, event)
    if action is None:
        return
    phase, text = storable(event.get("phase", ""), 24), storable(event.get("text", ""), MAX_TEXT)
    details: dict[str, Any] = {"phase": phase}
    for name in ("state", "result", "cause"):
        if (value := event.get(name)) is not None:
            details[name] = value if deliveries.number(value) is not None else storable(value, 64)
    if batch.line(target, event, "phase", text, action.id, details):
        action.phase = phase
        action.delivery = deliveries.offered(action.delivery, event.get("delivery"))
        if phase == "downloaded" and action.download and (size := action.download.get("size")):
            # The device says so; a proxy that died may have kept the last second to itself.
            action.download = {**action.download, "offset": size, "percent": 100}
        if event.get("cause") and action.cause is None:
            action.cause, action.cause_text = storable(event["cause"], 64), text


def _progress(batch: _Batch, target: Target, event: dict[str, Any]) -> None:
    action = batch.own_action(target, event)
    if action is None:
        return
    action.download = deliveries.sent(action.download, action.delivery, event)


def _trace(batch: _Batch, target: Target, event: dict[str, Any]) -> None:
    direction = "out" if event.get("direction") == "out" else "in"
    details = {"direction": direction, "ok": bool(event.get("ok", True))}
    batch.line(target, event, "trace", storable(event.get("text", ""), MAX_TEXT), None, details)


async def trim(session: AsyncSession, target_ids: set[int]) -> int:
    """Keep the newest lines of these devices' histories; returns how many went."""
    traced = TargetEvent.kind == "trace"
    rank = func.row_number().over(
        partition_by=(TargetEvent.target_id, TargetEvent.action_id, traced),
        order_by=(TargetEvent.at.desc(), TargetEvent.id),
    )
    kept = case((traced, TRACES_KEPT), else_=LINES_KEPT)
    mine = one_of(TargetEvent.target_id, sorted(target_ids))
    ranked = select(TargetEvent.id, (rank > kept).label("old")).where(mine).subquery()
    gone = await session.execute(delete(TargetEvent).where(TargetEvent.id.in_(select(ranked.c.id).where(ranked.c.old))))
    return int(getattr(gone, "rowcount", 0))


_HANDLERS: Final[dict[str, Any]] = {
    "presence": _presence,
    "telemetry": _telemetry,
    "phase": _phase,
    "progress": _progress,
    "trace": _trace,
}
