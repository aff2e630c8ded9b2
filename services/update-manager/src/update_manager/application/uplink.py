"""What gateways and proxies report, written to PostgreSQL in batches: each event once, in order per device."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import Action, Target, TargetEvent, Tenant

logger = logging.getLogger(__name__)

KINDS: Final = frozenset({"presence", "telemetry", "phase", "progress", "trace"})
MAX_TEXT: Final = 512
MAX_TELEMETRY: Final = 64
TRACES_KEPT: Final = 500


class Malformed(ValueError):
    """An event that will never make sense; it is dropped with a log line."""


def parse(raw: bytes) -> dict[str, Any]:
    """Check the common members of an event; raises Malformed."""
    try:
        event = json.loads(raw)
        if not isinstance(event, dict) or event["type"] not in KINDS:
            raise Malformed("unknown type")
        event["at"] = datetime.fromtimestamp(int(event["at"]) / 1000, UTC)
        event["id"] = str(event["id"])[:64]
        event["controllerId"] = str(event["controllerId"])[:256]
        event["tenant"] = str(event["tenant"])
        return event
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        raise Malformed(str(error)) from error


def clean(value: Any, limit: int = MAX_TEXT) -> str:
    """Device text as PostgreSQL can hold it: no NUL, no lone surrogates, bounded."""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()[:limit]


async def store(session: AsyncSession, events: list[dict[str, Any]]) -> None:
    """Write a batch; events of unknown controllers are dropped (their poll creates them first)."""
    names = {(event["tenant"], event["controllerId"]) for event in events}
    rows = await session.execute(
        select(Tenant.name, Target.controller_id, Target.id)
        .join(Target, Target.tenant_id == Tenant.id)
        .where(Target.controller_id.in_({name for _, name in names}))
        .order_by(Target.id)
        .with_for_update(of=Target, key_share=True)
    )
    ids = {(tenant, name): identifier for tenant, name, identifier in rows}
    for event in events:
        target_id = ids.get((event["tenant"], event["controllerId"]))
        if target_id is not None:
            await _HANDLERS[event["type"]](session, target_id, event)


async def _presence(session: AsyncSession, target_id: int, event: dict[str, Any]) -> None:
    state = "offline" if event.get("state") == "offline" else "online"
    expected = event.get("expectedBy")
    # An older event that arrives late must not undo a newer one.
    fresh = Target.last_seen_at.is_(None) | (Target.last_seen_at <= event["at"])
    previous = await session.scalar(select(Target.presence_state).where(Target.id == target_id))
    await session.execute(
        update(Target)
        .where(Target.id == target_id, fresh)
        .values(
            presence_state=state,
            last_seen_at=event["at"],
            expected_by=datetime.fromtimestamp(expected / 1000, UTC) if isinstance(expected, int) else None,
            queue_mode=bool(event.get("queueMode")),
            lwm2m_version=clean(event.get("lwm2mVersion", ""), 16) or None,
            address=f"coap://{clean(event.get('address', ''), 100)}",
        )
        .execution_options(synchronize_session=False)
    )
    if previous != state:
        text = "came online" if state == "online" else "went offline"
        await _event(session, target_id, event, "presence", text)


async def _telemetry(session: AsyncSession, target_id: int, event: dict[str, Any]) -> None:
    resources = event.get("resources")
    if not isinstance(resources, dict):
        return
    told = {clean(path, 40): clean(value, 128) for path, value in list(resources.items())[:MAX_TELEMETRY]}
    before = await session.scalar(select(Target.telemetry).where(Target.id == target_id).with_for_update())
    merged = {**(before or {}), **told}
    if len(merged) > MAX_TELEMETRY * 4:
        merged = told
    await session.execute(
        update(Target)
        .where(Target.id == target_id)
        .values(telemetry=merged, last_seen_at=func.greatest(Target.last_seen_at, event["at"]))
        .execution_options(synchronize_session=False)
    )
    old, new = (before or {}).get("/3/0/3"), told.get("/3/0/3")
    if new and old and new != old:
        await _event(session, target_id, event, "firmware", f"firmware changed from {old} to {new}")


async def _own_action(session: AsyncSession, target_id: int, event: dict[str, Any]) -> Action | None:
    action_id = event.get("actionId")
    if not isinstance(action_id, int):
        return None
    found: Action | None = await session.scalar(
        select(Action).where(Action.id == action_id, Action.target_id == target_id).with_for_update()
    )
    return found


async def _phase(session: AsyncSession, target_id: int, event: dict[str, Any]) -> None:
    action = await _own_action(session, target_id, event)
    if action is None:
        return
    phase, text = clean(event.get("phase", ""), 24), clean(event.get("text", ""))
    details = {key: event.get(key) for key in ("phase", "state", "result", "cause") if event.get(key) is not None}
    if await _event(session, target_id, event, "phase", text, action.id, details):
        action.phase = phase
        if event.get("cause") and action.cause is None:
            action.cause, action.cause_text = clean(event["cause"], 64), text


async def _progress(session: AsyncSession, target_id: int, event: dict[str, Any]) -> None:
    action = await _own_action(session, target_id, event)
    if action is None:
        return
    numbers = ("offset", "size", "bytesOnAir", "repeatedBytes", "restarts", "rateBytesPerSecond")
    told = {key: event[key] for key in numbers if isinstance(event.get(key), int) and event[key] >= 0}
    before = action.download or {}
    if told.get("size") != before.get("size", told.get("size")):
        before = {}
    # Reports may overtake each other; a download never goes backwards on the screen.
    merged = {**told}
    for key in ("offset", "bytesOnAir", "repeatedBytes", "restarts"):
        merged[key] = max(told.get(key, 0), before.get(key, 0))
    size = merged.get("size") or 0
    merged["percent"] = merged["offset"] * 100 // size if size else 0
    action.download = merged


async def _trace(session: AsyncSession, target_id: int, event: dict[str, Any]) -> None:
    direction = "out" if event.get("direction") == "out" else "in"
    details = {"direction": direction, "ok": bool(event.get("ok", True))}
    await _event(session, target_id, event, "trace", clean(event.get("text", "")), None, details)


async def _event(
    session: AsyncSession,
    target_id: int,
    event: dict[str, Any],
    kind: str,
    text: str,
    action_id: int | None = None,
    details: dict[str, Any] | None = None,
) -> bool:
    """Write a line of history; False when this event was written before."""
    row = {
        "id": event["id"],
        "target_id": target_id,
        "action_id": action_id,
        "at": event["at"],
        "kind": kind,
        "text": text,
        "details": details or {},
    }
    statement = insert(TargetEvent).values(**row).on_conflict_do_nothing().returning(TargetEvent.id)
    return (await session.execute(statement)).first() is not None


async def trim(session: AsyncSession) -> int:
    """Keep the newest traces of each device; returns how many went."""
    rank = func.row_number().over(partition_by=TargetEvent.target_id, order_by=TargetEvent.at.desc())
    ranked = select(TargetEvent.id, rank.label("rank")).where(TargetEvent.kind == "trace").subquery()
    gone = await session.execute(
        delete(TargetEvent).where(TargetEvent.id.in_(select(ranked.c.id).where(ranked.c.rank > TRACES_KEPT)))
    )
    return int(getattr(gone, "rowcount", 0))


_HANDLERS: Final[dict[str, Any]] = {
    "presence": _presence,
    "telemetry": _telemetry,
    "phase": _phase,
    "progress": _progress,
    "trace": _trace,
}
