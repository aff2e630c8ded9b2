"""Who asks: an operator with a session or password, or a program with a token."""

import asyncio
import hashlib
import hmac
import os
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import ApiToken, AuditEntry, Tenant, User
from update_manager.errors import ConstraintViolation, NotAuthenticated

MIN_PASSWORD = 8
MAX_USERNAME = 64
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    tenant_id: int
    username: str


def hash_password(password: str) -> str:
    """`scrypt$salt$hash`, both base64."""
    salt = os.urandom(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT)
    return f"scrypt${b64encode(salt).decode()}${b64encode(digest).decode()}"


def password_matches(password: str, stored: str) -> bool:
    """Constant-time check; costs tens of milliseconds on purpose."""
    _, salt, digest = stored.split("$")
    computed = hashlib.scrypt(password.encode(), salt=b64decode(salt), **_SCRYPT)
    return hmac.compare_digest(computed, b64decode(digest))


async def tenant_id(session: AsyncSession, name: str) -> int:
    """Id of the tenant; hawkBit's tenant names are case-insensitive."""
    found = await session.scalar(select(Tenant.id).where(Tenant.name == name.upper()))
    if found is None:
        raise NotAuthenticated(f"there is no tenant {name[:40]!r}")
    return found


async def set_password(session: AsyncSession, tenant: str, username: str, password: str) -> None:
    """Make the operator or give it a new password; old sessions end."""
    if len(password) < MIN_PASSWORD:
        raise ConstraintViolation(f"a password has at least {MIN_PASSWORD} characters")
    if not username.strip() or len(username) > MAX_USERNAME or ":" in username or not username.isprintable():
        raise ConstraintViolation(f"a user name has 1 to {MAX_USERNAME} printable characters and no colon")
    owner = await tenant_id(session, tenant)
    user = await session.scalar(select(User).where(User.tenant_id == owner, User.username == username))
    if user is not None and await asyncio.to_thread(password_matches, password, user.password_hash):
        return  # a deployment sets it at every start, which is no reason to sign anybody out
    hashed = await asyncio.to_thread(hash_password, password)
    if user is None:
        session.add(User(tenant_id=owner, username=username, password_hash=hashed))
        return
    user.password_hash = hashed
    await session.execute(delete(ApiToken).where(ApiToken.user_id == user.id))


async def check_password(session: AsyncSession, tenant: str, username: str, password: str) -> tuple[Principal, int]:
    """The operator and its row id; raises NotAuthenticated, after the same work for unknown names."""
    user = await session.scalar(
        select(User)
        .join(Tenant, Tenant.id == User.tenant_id)
        .where(Tenant.name == tenant.upper(), User.username == username)
    )
    stored = user.password_hash if user else _NOBODY
    # In a thread: the check is slow on purpose, and other requests must not wait for it.
    matches = await asyncio.to_thread(password_matches, password, stored)
    if not matches or user is None or not user.enabled:
        raise NotAuthenticated("user name or password is wrong")
    return Principal(user.tenant_id, user.username), user.id


async def open_session(session: AsyncSession, principal: Principal, user_id: int, seconds: int) -> tuple[str, datetime]:
    """A new bearer token; only its hash is kept."""
    token = secrets.token_urlsafe(32)
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    await session.execute(delete(ApiToken).where(ApiToken.expires_at < datetime.now(UTC)))
    session.add(
        ApiToken(
            tenant_id=principal.tenant_id,
            user_id=user_id,
            token_sha256=hashlib.sha256(token.encode()).hexdigest(),
            expires_at=expires,
        )
    )
    return token, expires


async def principal_of(session: AsyncSession, token: str) -> Principal:
    """Who a bearer token belongs to; raises NotAuthenticated."""
    row = (
        await session.execute(
            select(User.tenant_id, User.username)
            .join(ApiToken, ApiToken.user_id == User.id)
            .where(
                ApiToken.token_sha256 == hashlib.sha256(token.encode()).hexdigest(),
                ApiToken.expires_at > datetime.now(UTC),
                User.enabled,
            )
        )
    ).first()
    if row is None:
        raise NotAuthenticated("the session has ended; sign in again")
    return Principal(row.tenant_id, row.username)


async def close_session(session: AsyncSession, token: str) -> None:
    """End one session."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    await session.execute(delete(ApiToken).where(ApiToken.token_sha256 == digest))


def audit(session: AsyncSession, who: Principal, verb: str, kind: str, subject: object, summary: str = "") -> None:
    """Note what somebody did; written with the change or not at all."""
    session.add(
        AuditEntry(
            tenant_id=who.tenant_id,
            username=who.username,
            verb=verb,
            subject_type=kind,
            subject_id=str(subject)[:256],
            summary=summary[:2000],
        )
    )


_NOBODY = hash_password(secrets.token_hex())
