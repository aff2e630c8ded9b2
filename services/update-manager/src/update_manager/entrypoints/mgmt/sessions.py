"""Signing in: a password buys a bearer token for some hours; wrong tries are slowed down."""

import time
from collections import OrderedDict
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from update_manager.application import principal
from update_manager.entrypoints.dependencies import PartsDep
from update_manager.entrypoints.mgmt.shapes import millis
from update_manager.errors import NotAuthenticated, QuotaExceeded

router = APIRouter(tags=["Sessions"])

MAX_FAILURES = 10
FORGET_SECONDS = 60.0
_failures: OrderedDict[str, list[float]] = OrderedDict()


class Credentials(BaseModel):
    """User name and password."""

    username: str = Field(max_length=64)
    password: str = Field(max_length=1024)


@router.post("/sessions", status_code=201)
async def sign_in(body: Credentials, parts: PartsDep) -> dict[str, Any]:
    """A bearer token; 401 for wrong credentials, 429 after ten wrong tries in a minute for one name."""
    now = time.monotonic()
    recent = [at for at in _failures.get(body.username, []) if now - at < FORGET_SECONDS]
    if len(recent) >= MAX_FAILURES:
        raise QuotaExceeded("too many wrong passwords; wait a minute")
    try:
        async with parts.database.write() as session:
            who, user_id = await principal.check_password(session, parts.settings.tenant, body.username, body.password)
            token, expires = await principal.open_session(
                session, who, user_id, parts.settings.session_lifetime_seconds
            )
    except NotAuthenticated:
        _failures[body.username] = [*recent, now]
        while len(_failures) > 1000:
            _failures.popitem(last=False)
        raise
    _failures.pop(body.username, None)
    return {"token": token, "expiresAt": millis(expires), "username": who.username}


@router.delete("/sessions/current", status_code=204)
async def sign_out(request: Request, parts: PartsDep) -> Response:
    """End the session whose token is presented."""
    _, _, token = request.headers.get("authorization", "").partition(" ")
    async with parts.database.write() as session:
        await principal.close_session(session, token.strip())
    return Response(status_code=204)
