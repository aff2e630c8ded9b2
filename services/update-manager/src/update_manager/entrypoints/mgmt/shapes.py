"""JSON shapes of the Management API, from rows; null members are left out, times are epoch milliseconds."""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from update_manager.adapters.db import tables as t
from update_manager.entrypoints.mgmt.links import links

_FIRST_PAGE: Final = "?offset=0&limit=50"


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
        **audit(row),
    }
    relations = {}
    if full:
        shape["securityToken"] = row.security_token
        shape["lwm2mVersion"] = row.lwm2m_version
        relations = {name: name for name in ("assignedDS", "installedDS", "attributes", "timeline")}
        relations |= {"actions": f"actions{_FIRST_PAGE}&sort=id:DESC", "metadata": f"metadata{_FIRST_PAGE}"}
        if row.target_type_id is not None:
            relations["targetType"] = f"/targettypes/{row.target_type_id}"
    return compact({**shape, **links(f"targets/{quote(row.controller_id, safe='')}", **relations)})


def _named(row: Any, path: str, relations: dict[str, str], **more: Any) -> dict[str, Any]:
    fields = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "colour": row.colour,
        **more,
        **audit(row),
        **links(f"{path}/{row.id}", **relations),
    }
    return compact(fields)


def target_tag(row: t.TargetTag) -> dict[str, Any]:
    """A label on targets."""
    return _named(row, "targettags", {"assignedTargets": f"assigned{_FIRST_PAGE}"})


def target_type(row: t.TargetType) -> dict[str, Any]:
    """A product."""
    relations = {"compatibledistributionsettypes": "compatibledistributionsettypes", "signingkeys": "signingkeys"}
    return _named(row, "targettypes", relations, key=row.key, deleted=False, maxImageBytes=row.max_image_bytes)


def software_module_type(row: t.SoftwareModuleType) -> dict[str, Any]:
    """A kind of module."""
    more = {"key": row.key, "deleted": row.deleted, "maxAssignments": row.max_assignments}
    return _named(row, "softwaremoduletypes", {}, **more)


def distribution_set_type(row: t.DistributionSetType) -> dict[str, Any]:
    """A kind of set."""
    relations = {"mandatorymodules": "mandatorymoduletypes", "optionalmodules": "optionalmoduletypes"}
    return _named(row, "distributionsettypes", relations, key=row.key, deleted=row.deleted)


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
            **audit(row),
            **links(f"softwaremodules/{row.id}", artifacts="artifacts", type=f"/softwaremoduletypes/{row.type_id}"),
        }
    )


def artifact(row: t.Artifact) -> dict[str, Any]:
    """An artifact of a module."""
    return {
        "id": row.id,
        "providedFilename": row.filename,
        "hashes": {"sha1": row.sha1, "md5": row.md5, "sha256": row.sha256},
        "size": row.size,
        **audit(row),
        **links(f"softwaremodules/{row.software_module_id}/artifacts/{row.id}", download="download"),
    }


def distribution_set(row: t.DistributionSet) -> dict[str, Any]:
    """A distribution set; its type with what is mandatory, and its modules with their types, must be loaded."""
    relations = {"modules": f"assignedSM{_FIRST_PAGE}", "type": f"/distributionsettypes/{row.type_id}"}
    return compact(
        {
            "id": row.id,
            "name": row.name,
            "version": row.version,
            "description": row.description,
            "type": row.type.key,
            "typeName": row.type.name,
            "complete": row.complete,
            "valid": row.valid,
            "deleted": row.deleted,
            "locked": row.locked,
            "requiredMigrationStep": row.required_migration_step,
            "targetType": row.target_type_id,
            "modules": [software_module(module) for module in row.modules],
            **audit(row),
            **links(f"distributionsets/{row.id}", **relations),
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


def action(
    row: t.Action, controller_id: str, rollout_name: str | None, set_name: str, *, full: bool = True
) -> dict[str, Any]:
    """An action: `status` is the detailed state, `detailStatus` the same for older clients; `full` has all links."""
    target_path = f"targets/{quote(controller_id, safe='')}"
    relations = {}
    if full:
        relations = {"target": f"/{target_path}", "distributionset": f"/distributionsets/{row.distribution_set_id}"}
        relations["status"] = f"status{_FIRST_PAGE}&sort=id:DESC"
        if row.rollout_id is not None:
            relations["rollout"] = f"/rollouts/{row.rollout_id}"
    linked = links(f"{target_path}/actions/{row.id}", **relations)
    if full:
        linked["_links"]["target"]["name"] = controller_id
        linked["_links"]["distributionset"]["name"] = set_name
    shape = {
        "id": row.id,
        "active": row.active,
        "status": row.status,
        "detailStatus": row.status,
        "type": "cancel" if row.status in ("canceling", "canceled") else "update",
        "forceType": row.action_type,
        "forceTime": millis(row.forced_at),
        "weight": row.weight,
        "rollout": row.rollout_id,
        "rolloutName": rollout_name,
        "lastStatusCode": row.last_status_code,
        "externalRef": row.external_ref,
        "cause": row.cause,
        "causeText": row.cause_text,
        "phase": row.phase,
        **audit(row),
        **linked,
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
