"""Signing in: a password buys a bearer token for some hours; wrong tries are slowed down. And who one is."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import select

from update_manager.adapters.db.tables import Tenant
from update_manager.application import principal
from update_manager.entrypoints.dependencies import Operator, PartsDep, checked
from update_manager.entrypoints.mgmt.fields import Body
from update_manager.entrypoints.mgmt.shapes import millis

router = APIRouter(tags=["Sessions"])


class Credentials(Body):
    """User name and password."""

    username: str = Field(max_length=128)
    password: str = Field(max_length=1024)


@router.post("/sessions", status_code=201)
async def sign_in(body: Credentials, parts: PartsDep) -> dict[str, Any]:
    """A bearer token; 401 for wrong credentials, 429 after ten wrong tries in a minute for one name."""
    async with parts.database.write() as session:
        who, user_id = await checked(parts, session, body.username, body.password)
        token, expires = await principal.open_session(session, who, user_id, parts.settings.session_lifetime_seconds)
        principal.audit(session, who, "sign in", "user", who.username)
    return {"token": token, "expiresAt": millis(expires), "username": who.username}


@router.delete("/sessions/current", status_code=204)
async def sign_out(request: Request, parts: PartsDep) -> Response:
    """End the session whose token is presented."""
    _, _, token = request.headers.get("authorization", "").partition(" ")
    async with parts.database.write() as session:
        await principal.close_session(session, token.strip())
    return Response(status_code=204)


@router.get("/userinfo")
async def user_info(who: Operator, parts: PartsDep) -> dict[str, Any]:
    """Tenant and name of whoever asks; hawkBit's clients check credentials with it."""
    async with parts.database.read() as session:
        tenant = await session.scalar(select(Tenant.name).where(Tenant.id == who.tenant_id))
    return {"tenant": tenant, "username": who.username}
