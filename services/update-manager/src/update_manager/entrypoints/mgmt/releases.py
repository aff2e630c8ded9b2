"""Releases: upload an image, see the inspector's verdict."""

from typing import Any

from fastapi import APIRouter, Request

from update_manager.application import releases
from update_manager.entrypoints import uploads
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes
from update_manager.errors import ConstraintViolation

router = APIRouter(prefix="/releases", tags=["Releases"])


@router.get("")
async def list_releases(who: Operator, parts: PartsDep, page: PageDep) -> dict[str, Any]:
    """Releases, newest first."""
    async with parts.database.read() as session:
        rows, total = await releases.list_releases(session, who, page.offset, page.limit)
        return listing([shapes.release(*row) for row in rows], total)


@router.get("/{distribution_set_id}")
async def get_release(who: Operator, parts: PartsDep, distribution_set_id: int) -> dict[str, Any]:
    """One release with everything the inspector read."""
    async with parts.database.read() as session:
        return shapes.release(*await releases.one_release(session, who, distribution_set_id))


@router.post(
    "", status_code=201, openapi_extra=uploads.form("targetType", "name", "description", required=("targetType",))
)
async def publish(request: Request, who: Operator, parts: PartsDep) -> dict[str, Any]:
    """Upload a signed MCUboot image; a bad one is refused with the reason and nothing is stored."""
    async with uploads.receive(request, parts.store) as arrived:
        product = arrived.text("targetType", 64)
        if product is None:
            raise ConstraintViolation("say which product the image is for", where="targetType")
        name, description = arrived.text("name", 128), arrived.text("description", 512)
        async with parts.database.write() as session:
            identifier = await releases.publish(
                session,
                parts.store,
                who,
                arrived.received,
                arrived.filename or "image.bin",
                product,
                name,
                description,
            )
            return shapes.release(*await releases.one_release(session, who, identifier))
