"""Releases: the list, the upload with its verdict, and what is inside one."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from frontend.manager_client import PAGE, Refused, segment
from frontend.pages.context import MAX_FIELD_BYTES, Context, Signed
from frontend.rendering import query, see
from frontend.security import UPLOAD_OVERHEAD_BYTES
from frontend.view_models import products, releases
from frontend.view_models.formatting import size
from frontend.view_models.reading import children, text

router = APIRouter(prefix="/releases")
LIMIT = 50
SMALLER = "Upload the signed image only, without debug symbols."


@router.get("")
async def listing(context: Signed, offset: Annotated[int, Query(ge=0, le=10**9)] = 0) -> Response:
    """Releases, newest first, beside the upload form."""
    return await _show(context, offset=offset)


@router.post("")
async def upload(request: Request, context: Signed) -> Response:
    """Hand the file to the inspector; a refusal says what is wrong, where, and how to mend it."""
    limit = context.settings.max_upload_bytes
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return await _show(context, status=411, problem="The upload does not say how large it is.")
    if int(length) > limit + UPLOAD_OVERHEAD_BYTES:
        verdict = releases.verdict("", f"The file is larger than {size(limit)}.", {"hint": SMALLER})
        return await _show(context, status=413, verdict=verdict)
    # A cookie is only a claim: nothing is spooled to disk for a session the update manager does not know.
    await context.manager.get("/userinfo")
    async with request.form(max_files=1, max_fields=20, max_part_size=MAX_FIELD_BYTES) as form:
        file, given = form.get("file"), {name: value for name, value in form.items() if isinstance(value, str)}
        if not isinstance(file, UploadFile) or not file.filename:
            return await _show(context, status=422, problem="Choose the image file first.", given=given)
        named = {name: given.get(name, "").strip() for name in ("targetType", "name", "description")}
        try:
            release = await context.manager.upload_release(
                file.filename, file.file, named, context.settings.upload_timeout_seconds
            )
        except Refused as error:
            verdict = releases.verdict(file.filename, error.message, error.info)
            return await _show(context, status=error.status, verdict=verdict, given=given)
    return see(f"/releases/{segment(text(release, 'distributionSetId'))}?notice=uploaded")


@router.get("/{distribution_set_id}")
async def detail(context: Signed, distribution_set_id: str) -> Response:
    """Facts from the header, records behind the image, key and signature."""
    source = await context.manager.get(f"/releases/{segment(distribution_set_id)}")
    product = source.get("targetType") or {}
    keys = await context.manager.get(f"/targettypes/{segment(product['id'])}/signingkeys") if "id" in product else []
    page = releases.release(source, children(keys))
    return context.show("release.html", "releases", page=page, roll_out=query("/rollouts/new", release=page.row.id))


async def _show(
    context: Context,
    status: int = 200,
    offset: int = 0,
    verdict: releases.Verdict | None = None,
    problem: str = "",
    given: dict[str, str] | None = None,
) -> Response:
    listed = await context.manager.get("/releases", offset=offset, limit=LIMIT)
    kinds = await context.manager.get("/targettypes", limit=PAGE)
    return context.show(
        "releases.html",
        "releases",
        status,
        page=releases.release_list(listed, offset, LIMIT),
        products=products.choices(children(kinds, "content")),
        verdict=verdict,
        problem=problem,
        given=given or {},
        largest=context.settings.max_upload_bytes,
    )
