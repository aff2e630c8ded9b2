"""Deltas to a distribution set: what its targets run, and for each such image what was made and what it saves."""

from typing import Any

from fastapi import APIRouter

from update_manager.application import deltas
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import distribution_sets
from update_manager.entrypoints.mgmt.shapes import compact, millis

router = APIRouter(prefix="/distributionsets", tags=["Deltas"])


@router.get("/{identifier}/deltas")
async def list_deltas(who: Operator, parts: PartsDep, identifier: int, page: PageDep) -> dict[str, Any]:
    """Pairs of images, those that most targets run first: `status` is `ready`, `wanted`, `refused`, `failed`, or `none`
    while nobody has asked. `targets` is how many report that image and those `formats` (the mask of /26250/0/3)."""
    async with parts.database.read() as session:
        row = await distribution_sets.find(session, who, identifier)
        found = await deltas.pairs(session, row, deltas.limits_of(parts.settings))
    content = [_shape(pair) for pair in found[page.offset : page.offset + page.limit]]
    return listing(content, len(found))


def _shape(pair: deltas.Pair) -> dict[str, Any]:
    row = pair.row
    size = None if row is None else row.size
    return compact(
        {
            "from": {"sha256": pair.image_sha256, "versions": list(pair.versions)},
            "formats": pair.formats,
            "targets": pair.targets,
            "status": pair.status,
            "reason": pair.reason,
            "reasonText": deltas.reason_text(pair.reason),
            "size": size,
            "fullSize": pair.full_size,
            "ratio": None if size is None else round(size / pair.full_size, 4),
            "savedBytes": pair.full_size - size if size is not None and pair.status == "ready" else None,
            "format": None if row is None else row.format,
            "creationMilliseconds": None if row is None else row.creation_milliseconds,
            "uses": None if row is None else row.uses,
            "lastUsedAt": None if row is None else millis(row.last_used_at),
        }
    )
