"""JSON shapes of the Management API, from rows; null members are left out, times are epoch milliseconds."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from update_manager.adapters.db import tables as t


def millis(moment: datetime | None) -> int | None:
    """Epoch milliseconds."""
    return None if moment is None else int(moment.timestamp() * 1000)


def compact(shape: dict[str, Any]) -> dict[str, Any]:
    """Without the members that are None."""
    return {key: value for key, value in shape.items() if value is not None}


def audit(row: Any) -> dict[str, Any]:
    """createdBy, createdAt, lastModifiedBy, lastModifiedAt."""
    return {
        "createdBy": row.created_by,
        "createdAt": millis(row.created_at),
        "lastModifiedBy": row.last_modified_by,
        "lastModifiedAt": millis(row.last_modified_at),
    }


def named_set(row: "t.DistributionSet | None") -> dict[str, Any] | None:
    """Id, name and version of a set."""
    return None if row is None else {"id": row.id, "name": row.name, "version": row.version}


def presence(row: t.Target, now: datetime) -> dict[str, Any]:
    """Presence as people read it: online, late (expected and not heard), offline, never."""
    return compact(
        {
            "state": presence_state(row, now),
            "lastSeenAt": millis(row.last_seen_at or row.last_controller_request_at),
            "expectedBy": millis(row.expected_by),
            "queueMode": row.queue_mode,
            "address": row.address,
        }
    )


def presence_state(row: t.Target, now: datetime) -> str:
    """online, late, offline or never."""
    if row.presence_state is None:
        return "never" if row.last_controller_request_at is None else "online"
    if row.presence_state == "online" and row.expected_by is not None and row.expected_by < now:
        return "late"
    return row.presence_state


def target(columns: Any, poll_seconds: int, *, full: bool = False) -> dict[str, Any]:
    """hawkBit's target plus presence, sets and telemetry; `full` adds the security token and links.

    `columns`: the target, its type, its assigned and its installed set (the last three may be None).
    """
    row, product, assigned, installed = columns
    now = datetime.now(UTC)
    self_link = f"/rest/v1/targets/{quote(row.controller_id, safe='')}"
    last = row.last_controller_request_at
    overdue = last is not None and (now - last).total_seconds() > 2 * poll_seconds
    poll = last and {
        "lastRequestAt": millis(last),
        "nextExpectedRequestAt": (millis(last) or 0) + poll_seconds * 1000,
        "overdue": overdue,
    }
    address = row.address or ""
    shape = {
        "controllerId": row.controller_id,
        "name": row.name,
        "description": row.description,
        "group": row.group_name,
        "updateStatus": row.update_status,
        "address": row.address,
        "ipAddress": address.partition("://")[2].rpartition(":")[0] or None,
        "lastControllerRequestAt": millis(last),
        "installedAt": millis(row.installed_at),
        "pollStatus": poll,
        "requestAttributes": row.request_attributes,
        "targetType": row.target_type_id,
        "targetTypeName": product and product.name,
        "presence": presence(row, now),
        "assignedDistributionSet": named_set(assigned),
        "installedDistributionSet": named_set(installed),
        "telemetry": row.telemetry,
        "_links": {"self": {"href": self_link}},
        **audit(row),
    }
    if full:
        shape["securityToken"] = row.security_token
        shape["lwm2mVersion"] = row.lwm2m_version
        for name in ("assignedDS", "installedDS", "attributes", "actions", "metadata", "timeline"):
            shape["_links"][name] = {"href": f"{self_link}/{name}"}
    return compact(shape)


def typed(row: Any, **more: Any) -> dict[str, Any]:
    """A type or tag: id, key, name, description, colour."""
    return compact(
        {
            "id": row.id,
            "key": getattr(row, "key", None),
            "name": row.name,
            "description": row.description,
            "colour": row.colour,
            **more,
            **audit(row),
        }
    )


def software_module(row: t.SoftwareModule) -> dict[str, Any]:
    """A software module; its type must be loaded."""
    return compact(
        {
            "id": row.id,
            "name": row.name,
            "version": row.version,
            "description": row.description,
            "vendor": row.vendor,
            "type": row.type.key,
            "typeName": row.type.name,
            "locked": row.locked,
            "deleted": row.deleted,
            "encrypted": False,
            "complete": True,
            "_links": {"self": {"href": f"/rest/v1/softwaremodules/{row.id}"}},
            **audit(row),
        }
    )


def artifact(row: t.Artifact) -> dict[str, Any]:
    """An artifact of a module."""
    link = f"/rest/v1/softwaremodules/{row.software_module_id}/artifacts/{row.id}"
    return {
        "id": row.id,
        "providedFilename": row.filename,
        "hashes": {"sha1": row.sha1, "md5": row.md5, "sha256": row.sha256},
        "size": row.size,
        "_links": {"self": {"href": link}, "download": {"href": f"{link}/download"}},
        **audit(row),
    }


def distribution_set(row: t.DistributionSet) -> dict[str, Any]:
    """A distribution set; type and modules (with their types) must be loaded."""
    return compact(
        {
            "id": row.id,
            "name": row.name,
            "version": row.version,
            "description": row.description,
            "type": row.type.key,
            "typeName": row.type.name,
            "complete": bool(row.modules),
            "valid": row.valid,
            "deleted": row.deleted,
            "locked": row.locked,
            "requiredMigrationStep": row.required_migration_step,
            "targetType": row.target_type_id,
            "modules": [software_module(module) for module in row.modules],
            "_links": {"self": {"href": f"/rest/v1/distributionsets/{row.id}"}},
            **audit(row),
        }
    )


def release(row: t.DistributionSet, product: t.TargetType, file: t.Artifact) -> dict[str, Any]:
    """A release: a set made of one inspected image."""
    inspected = file.image_facts or {}
    return {
        "distributionSetId": row.id,
        "name": row.name,
        "version": row.version,
        "description": row.description,
        "targetType": {"id": product.id, "key": product.key, "name": product.name},
        "createdAt": millis(row.created_at),
        "createdBy": row.created_by,
        "artifact": {"id": file.id, "filename": file.filename, "size": file.size, "sha256": file.sha256},
        "facts": inspected.get("facts", {}),
        "tlvs": inspected.get("tlvs", []),
    }


def action(row: t.Action, controller_id: str, *, full: bool = True) -> dict[str, Any]:
    """An action: `status` is the detailed state, `detailStatus` the same for older clients."""
    self_link = f"/rest/v1/targets/{quote(controller_id, safe='')}/actions/{row.id}"
    shape = {
        "id": row.id,
        "active": row.active,
        "status": row.status,
        "detailStatus": row.status,
        "type": "cancel" if row.status in ("canceling", "canceled") else "update",
        "forceType": row.action_type,
        "weight": row.weight,
        "rollout": row.rollout_id,
        "lastStatusCode": row.last_status_code,
        "externalRef": row.external_ref,
        "cause": row.cause,
        "causeText": row.cause_text,
        "phase": row.phase,
        "_links": {"self": {"href": self_link}} if full else None,
        **audit(row),
    }
    return compact(shape)


def action_status(row: t.ActionStatus) -> dict[str, Any]:
    """A line of an action's log."""
    return compact(
        {
            "id": row.id,
            "type": row.status,
            "messages": row.messages,
            "reportedAt": millis(row.at),
            "timestamp": millis(row.at),
            "code": row.code,
            "cause": row.cause,
        }
    )
