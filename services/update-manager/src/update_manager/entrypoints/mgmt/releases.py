"""Releases: upload an image, see the inspector's verdict."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, UploadFile

from update_manager.application import releases
from update_manager.entrypoints.dependencies import Operator, PageDep, PartsDep, listing
from update_manager.entrypoints.mgmt import shapes

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


@router.post("", status_code=201)
async def publish(
    who: Operator,
    parts: PartsDep,
    file: Annotated[UploadFile, File()],
    target_type: Annotated[str, Form(alias="targetType", max_length=64)],
    name: Annotated[str | None, Form(max_length=128)] = None,
    description: Annotated[str | None, Form(max_length=512)] = None,
) -> dict[str, Any]:
    """Upload a signed MCUboot image; a bad one is refused with the reason and nothing is stored."""
    received = await parts.store.receive(file)
    filename = (file.filename or "image.bin").replace("\\", "/").rpartition("/")[2].replace("\0", "")[:255]
    try:
        async with parts.database.write() as session:
            identifier = await releases.publish(
                session, parts.store, who, received, filename or "image.bin", target_type, name or None, description
            )
            await session.flush()
            return shapes.release(*await releases.one_release(session, who, identifier))
    finally:
        parts.store.discard(received)  # kept uploads have moved away already
