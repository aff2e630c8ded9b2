"""Filters as SQL conditions: which fields each entity has, and how a comparison of each kind is written."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Exists, and_, exists, false, func, not_, or_
from sqlalchemy.orm import InstrumentedAttribute, aliased

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.presence import PRESENCE
from update_manager.domain.rsql import Both, Comparison, Either, Node, parse
from update_manager.errors import RsqlSyntaxError, RsqlUnknownField

Column = InstrumentedAttribute[Any]
Special = Callable[[str, Comparison], ColumnElement[bool]]
Fields = Mapping[str, Column | Special]

_AUDIT: Final = ("createdat", "createdby", "lastmodifiedat", "lastmodifiedby")


def _audit(entity: Any) -> dict[str, Column | Special]:
    columns = (entity.created_at, entity.created_by, entity.last_modified_at, entity.last_modified_by)
    return dict(zip(_AUDIT, columns, strict=True))


def _keyed(entity: Any) -> Special:
    def condition(key: str, comparison: Comparison) -> ColumnElement[bool]:
        match = exists().where(entity.target_id == t.Target.id, func.lower(entity.key) == func.lower(key))
        return _through(match, entity.value, comparison)

    return condition


def _through(match: Exists, column: Any, comparison: Comparison) -> ColumnElement[bool]:
    """A test on rows hanging on the entity: absent rows satisfy a negative test, as in hawkBit."""
    if comparison.operator in ("!=", "out", "not"):
        if comparison.values == ("",) or comparison.operator == "not":
            return match.where(column != "")
        positive = Comparison(comparison.field, _OPPOSITE[comparison.operator], comparison.values, comparison.column)
        return not_(match.where(compare(column, positive)))
    if comparison.values == ("",) or comparison.operator == "is":
        return not_(match.where(column != ""))
    return match.where(compare(column, comparison))


_OPPOSITE: Final = {"!=": "==", "out": "in", "not": "is"}


def _tag(_: str, comparison: Comparison) -> ColumnElement[bool]:
    match = (
        exists()
        .where(t.target_tag_assignment.c.target_id == t.Target.id)
        .where(t.target_tag_assignment.c.tag_id == t.TargetTag.id)
    )
    return _through(match, t.TargetTag.name, comparison)


def _set_of(foreign: Column, column: str) -> Special:
    def condition(_: str, comparison: Comparison) -> ColumnElement[bool]:
        distribution_set = aliased(t.DistributionSet)
        match = exists().where(distribution_set.id == foreign)
        return _through(match, getattr(distribution_set, column), comparison)

    return condition


def _type_of(foreign: Column, entity: Any, column: str) -> Special:
    def condition(_: str, comparison: Comparison) -> ColumnElement[bool]:
        # An alias: the query this condition lands in may join the same table.
        other = aliased(entity)
        return _through(exists().where(other.id == foreign), getattr(other, column), comparison)

    return condition


def _module(column: str) -> Special:
    def condition(_: str, comparison: Comparison) -> ColumnElement[bool]:
        link = t.distribution_set_module
        match = exists().where(
            link.c.distribution_set_id == t.DistributionSet.id, link.c.software_module_id == t.SoftwareModule.id
        )
        return _through(match, getattr(t.SoftwareModule, column), comparison)

    return condition


def _presence(_: str, comparison: Comparison) -> ColumnElement[bool]:
    return compare(PRESENCE, comparison)


_TARGET_TYPE: Final = {
    f"{name}{suffix}": _type_of(t.Target.target_type_id, t.TargetType, column)
    for name in ("type", "targettype")
    for suffix, column in (("", "key"), (".key", "key"), (".name", "name"), (".id", "id"))
}

TARGET: Final[Fields] = {
    "id": t.Target.controller_id,
    "controllerid": t.Target.controller_id,
    "name": t.Target.name,
    "description": t.Target.description,
    "updatestatus": t.Target.update_status,
    "presence": _presence,
    "ipaddress": t.Target.address,
    "address": t.Target.address,
    "group": t.Target.group_name,
    "lastcontrollerrequestat": t.Target.last_controller_request_at,
    "installedat": t.Target.installed_at,
    "tag": _tag,
    "tag.name": _tag,
    "tags.name": _tag,
    "assignedds.name": _set_of(t.Target.assigned_distribution_set_id, "name"),
    "assignedds.version": _set_of(t.Target.assigned_distribution_set_id, "version"),
    "assigneddistributionset.name": _set_of(t.Target.assigned_distribution_set_id, "name"),
    "assigneddistributionset.version": _set_of(t.Target.assigned_distribution_set_id, "version"),
    "installedds.name": _set_of(t.Target.installed_distribution_set_id, "name"),
    "installedds.version": _set_of(t.Target.installed_distribution_set_id, "version"),
    "installeddistributionset.name": _set_of(t.Target.installed_distribution_set_id, "name"),
    "installeddistributionset.version": _set_of(t.Target.installed_distribution_set_id, "version"),
    "attribute.": _keyed(t.TargetAttribute),
    "controllerattributes.": _keyed(t.TargetAttribute),
    "metadata.": _keyed(t.TargetMetadata),
    **_TARGET_TYPE,
    **_audit(t.Target),
}

DISTRIBUTION_SET: Final[Fields] = {
    "id": t.DistributionSet.id,
    "name": t.DistributionSet.name,
    "version": t.DistributionSet.version,
    "description": t.DistributionSet.description,
    "valid": t.DistributionSet.valid,
    "type": _type_of(t.DistributionSet.type_id, t.DistributionSetType, "key"),
    "type.key": _type_of(t.DistributionSet.type_id, t.DistributionSetType, "key"),
    "type.name": _type_of(t.DistributionSet.type_id, t.DistributionSetType, "name"),
    "module.name": _module("name"),
    "module.id": _module("id"),
    **_audit(t.DistributionSet),
}

SOFTWARE_MODULE: Final[Fields] = {
    "id": t.SoftwareModule.id,
    "name": t.SoftwareModule.name,
    "version": t.SoftwareModule.version,
    "description": t.SoftwareModule.description,
    "type": _type_of(t.SoftwareModule.type_id, t.SoftwareModuleType, "key"),
    "type.key": _type_of(t.SoftwareModule.type_id, t.SoftwareModuleType, "key"),
    **_audit(t.SoftwareModule),
}

ROLLOUT: Final[Fields] = {
    "id": t.Rollout.id,
    "name": t.Rollout.name,
    "description": t.Rollout.description,
    "status": t.Rollout.status,
    "distributionset.name": _set_of(t.Rollout.distribution_set_id, "name"),
    "distributionset.version": _set_of(t.Rollout.distribution_set_id, "version"),
    "distributionset.id": t.Rollout.distribution_set_id,
    **_audit(t.Rollout),
}

ACTION: Final[Fields] = {
    "id": t.Action.id,
    "active": t.Action.active,
    "status": t.Action.status,
    "weight": t.Action.weight,
    "externalref": t.Action.external_ref,
    "laststatuscode": t.Action.last_status_code,
    "target.controllerid": _type_of(t.Action.target_id, t.Target, "controller_id"),
    "target.name": _type_of(t.Action.target_id, t.Target, "name"),
    "distributionset.name": _set_of(t.Action.distribution_set_id, "name"),
    "distributionset.version": _set_of(t.Action.distribution_set_id, "version"),
    "rollout.id": t.Action.rollout_id,
    "rollout.name": _type_of(t.Action.rollout_id, t.Rollout, "name"),
    "rolloutgroup.id": t.Action.rollout_group_id,
    **_audit(t.Action),
}


def plain(entity: Any, **columns: Column) -> Fields:
    """Fields of a simple entity: id, name, description, audit fields and what is named."""
    return {"id": entity.id, "name": entity.name, **columns, **_audit(entity)}


def condition(query: str, fields: Fields, now: datetime | None = None) -> ColumnElement[bool]:
    """The SQL of a filter; raises RsqlSyntaxError or RsqlUnknownField, both with `column`."""
    moment = now or datetime.now(UTC)
    return _node(parse(query), fields, moment)


def target_condition(query: str, now: datetime | None = None) -> ColumnElement[bool]:
    """The SQL of a target filter."""
    return condition(query, TARGET, now)


def _node(node: Node, fields: Fields, now: datetime) -> ColumnElement[bool]:
    match node:
        case Both(parts):
            return and_(*(_node(part, fields, now) for part in parts))
        case Either(parts):
            return or_(*(_node(part, fields, now) for part in parts))
        case Comparison():
            return _comparison(node, fields, now)


def _comparison(comparison: Comparison, fields: Fields, now: datetime) -> ColumnElement[bool]:
    name = comparison.field.lower()
    key = ""
    if name not in fields:
        prefix, dot, _ = name.partition(".")
        key = comparison.field[len(prefix) + 1 :]
        name = prefix + dot
    target = fields.get(name) if key or not name.endswith(".") else None
    if target is None:
        known = ", ".join(sorted(field + ("<key>" if field.endswith(".") else "") for field in fields))
        raise RsqlUnknownField(
            f"there is no field {comparison.field!r} (column {comparison.column})",
            column=comparison.column,
            hint=f"fields: {known}",
        )
    expanded = tuple(_macro(value, now) for value in comparison.values)
    comparison = Comparison(comparison.field, comparison.operator, expanded, comparison.column)
    if isinstance(target, InstrumentedAttribute):
        return compare(target, comparison)
    return target(key, comparison)


def _macro(value: str, now: datetime) -> str:
    milliseconds = int(now.timestamp() * 1000)
    overdue = int((now - timedelta(minutes=10)).timestamp() * 1000)
    return value.replace("${now_ts}", str(milliseconds)).replace("${overdue_ts}", str(overdue))


def compare(column: Any, comparison: Comparison) -> ColumnElement[bool]:
    """One comparison on one column; text is compared without regard to case, `*` is a wildcard."""
    kind = column.type.python_type
    null = comparison.operator in ("is", "not") and comparison.values == ("null",)
    match comparison.operator:
        case "is" | "==" if null:
            return column.is_(None)  # type: ignore[no-any-return]
        case "not" | "!=" if null:
            return column.is_not(None)  # type: ignore[no-any-return]
        case "is" | "==":
            return _equal(column, kind, comparison.values[0], comparison)
        case "not" | "!=":
            return _unequal(column, not_(_equal(column, kind, comparison.values[0], comparison)), comparison)
        case "in":
            return or_(false(), *(_equal(column, kind, value, comparison) for value in comparison.values))
        case "out":
            equal = or_(false(), *(_equal(column, kind, value, comparison) for value in comparison.values))
            return _unequal(column, not_(equal), comparison)
    value = _typed(kind, comparison.values[0], comparison)
    left = func.lower(column) if kind is str else column
    right = func.lower(value) if kind is str else value
    ordered = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}
    return ordered[comparison.operator]


def _unequal(column: Any, unequal: ColumnElement[bool], comparison: Comparison) -> ColumnElement[bool]:
    """Rows without a value are unequal to every value, but not to the empty one: `!= ''` asks for a value."""
    if "" in comparison.values and column.type.python_type is str:
        return and_(column.is_not(None), unequal)
    return or_(column.is_(None), unequal)


def _equal(column: Any, kind: type, value: str, comparison: Comparison) -> ColumnElement[bool]:
    if kind is not str:
        return column == _typed(kind, value, comparison)  # type: ignore[no-any-return]
    if value == "":
        return or_(column.is_(None), column == "")
    if "*" not in value:
        # Both sides by the database: its idea of lower case (none beyond ASCII under locale C) must be one idea.
        return func.lower(column) == func.lower(value)
    escaped = value.replace("/", "//").replace("%", "/%").replace("_", "/_")
    pattern = escaped.replace("\\*", "\0").replace("*", "%").replace("\0", "*")
    return column.ilike(pattern, escape="/")  # type: ignore[no-any-return]


def _typed(kind: type, value: str, comparison: Comparison) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
        if kind is int:
            return int(value)
        if kind is datetime:
            return datetime.fromtimestamp(int(value) / 1000, UTC)
    except (ValueError, KeyError, OverflowError, OSError) as error:
        wanted = {bool: "true or false", int: "a number", datetime: "a time in milliseconds since 1970"}[kind]
        raise RsqlSyntaxError(
            f"{comparison.field} is compared with {wanted}, not {value[:40]!r} (column {comparison.column})",
            column=comparison.column,
            hint=f"give {wanted}",
        ) from error
    return value
