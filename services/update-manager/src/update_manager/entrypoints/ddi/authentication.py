"""Who a device is: its own target token, or a gateway's token that may speak for (and create) any device."""

import hmac
import re
import secrets
import string
from datetime import UTC, datetime
from typing import Final

from fastapi import Request
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import Target
from update_manager.application.principal import tenant_id
from update_manager.entrypoints.dependencies import Parts
from update_manager.errors import ConstraintViolation, NotAuthenticated

CONTROLLER_ID: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}")
_TOKEN_ALPHABET: Final = string.ascii_letters + string.digits
# Writing "last seen" on every poll of every device would be most of the database's work.
SEEN_SECONDS: Final = 10
# One answer whatever was wrong (tenant, device, token): strangers learn nothing from it.
REFUSED: Final = (
    "the device is not known or its token is wrong; send Authorization: TargetToken ... or GatewayToken ..."
)


def new_security_token() -> str:
    """32 alphanumerics, as hawkBit makes them."""
    return "".join(secrets.choice(_TOKEN_ALPHABET) for _ in range(32))


async def authenticated_target(
    request: Request, session: AsyncSession, parts: Parts, tenant: str, controller_id: str
) -> Target:
    """The device's row; a gateway's first contact creates it. Raises NotAuthenticated."""
    if not CONTROLLER_ID.fullmatch(controller_id):
        raise ConstraintViolation("a controller id has 1 to 256 characters and no spaces")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        owner = await tenant_id(session, tenant)
    except NotAuthenticated as error:
        raise NotAuthenticated(REFUSED) from error
    query = select(Target).where(Target.tenant_id == owner, Target.controller_id == controller_id)
    target: Target | None = await session.scalar(query)
    if scheme.lower() == "gatewaytoken":
        expected = parts.settings.gateway_token
        if expected is None or not _same(expected.get_secret_value(), token):
            raise NotAuthenticated(REFUSED)
        return target or await _plug_and_play(session, owner, controller_id)
    if scheme.lower() == "targettoken" and target is not None and _same(target.security_token, token):
        return target
    raise NotAuthenticated(REFUSED)


def _same(one: str, other: str) -> bool:
    # An empty secret is one that somebody forgot to set: it opens nothing.
    return bool(one) and hmac.compare_digest(one.encode(), other.strip().encode())


async def _plug_and_play(session: AsyncSession, owner: int, controller_id: str) -> Target:
    await session.execute(
        insert(Target)
        .values(
            tenant_id=owner,
            controller_id=controller_id,
            name=controller_id[:128],
            description="Plug and Play target: " + controller_id[:400],
            security_token=new_security_token(),
            update_status="registered",
            created_by="gateway",
        )
        .on_conflict_do_nothing()
    )
    found = await session.scalar(select(Target).where(Target.tenant_id == owner, Target.controller_id == controller_id))
    assert found is not None
    return found


async def seen(session: AsyncSession, target: Target, address: str | None) -> None:
    """Note the contact."""
    now = datetime.now(UTC)
    last = target.last_controller_request_at
    if last is not None and (now - last).total_seconds() < SEEN_SECONDS and target.update_status != "unknown":
        return
    # Being asked after is no modification of the target by anybody.
    changes: dict[str, object] = {"last_controller_request_at": now, "last_modified_at": Target.last_modified_at}
    if target.update_status == "unknown":
        changes["update_status"] = "registered"
    if target.address is None and address:
        changes["address"] = f"http://{address}"
    await session.execute(
        update(Target).where(Target.id == target.id).values(**changes).execution_options(synchronize_session=False)
    )
