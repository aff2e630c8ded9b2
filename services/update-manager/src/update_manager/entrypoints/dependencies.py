"""What handlers are given: database, store, Redis, settings, the authenticated operator, paging."""

import asyncio
import base64
import binascii
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from weakref import WeakValueDictionary

import redis.asyncio as redis
from fastapi import Depends, Query, Request
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from update_manager.adapters.artifact_store import ArtifactStore
from update_manager.adapters.db.rsql_sql import Fields
from update_manager.adapters.db.session import Database
from update_manager.application import principal
from update_manager.application.principal import Principal
from update_manager.errors import (
    InvalidSortDirection,
    InvalidSortField,
    InvalidSortSyntax,
    NotAuthenticated,
    TooManyTries,
)
from update_manager.settings import UpdateManagerSettings

REMEMBER_SECONDS: Final = 60.0
REMEMBERED: Final = 256
MAX_FAILURES: Final = 10
FORGET_SECONDS: Final = 60.0
FAILURES: Final = 1000
MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 50


@dataclass
class Parts:
    """Everything with a lifetime; hangs on `app.state.parts`."""

    settings: UpdateManagerSettings
    database: Database
    store: ArtifactStore
    redis: "redis.Redis"
    # A checked password is believed for a minute: scrypt on every request of a script would be its own denial of
    # service. Keys are hashes of what was sent, so memory holds no password.
    remembered: "OrderedDict[bytes, tuple[float, Principal]]" = field(default_factory=OrderedDict)
    # When passwords were wrong, by tenant and user name, however the two were written.
    failures: "OrderedDict[tuple[str, str], list[float]]" = field(default_factory=OrderedDict)
    # Passwords of one account are checked in turn; a lock lives as long as somebody holds it or waits.
    turns: "WeakValueDictionary[tuple[str, str], asyncio.Lock]" = field(default_factory=WeakValueDictionary)


def parts_of(request: Request) -> Parts:
    """The application's parts."""
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(parts_of)]


async def require_operator(request: Request, parts: PartsDep) -> Principal:
    """Basic or Bearer; raises NotAuthenticated."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        async with parts.database.read() as session:
            return await principal.principal_of(session, value.strip())
    if scheme.lower() == "basic":
        return await _basic(parts, value)
    raise NotAuthenticated("sign in: send Basic credentials, or a Bearer token from POST /rest/v1/sessions")


async def _basic(parts: Parts, value: str) -> Principal:
    digest = hashlib.sha256(value.encode()).digest()
    known = parts.remembered.get(digest)
    if known is not None and known[0] > time.monotonic():
        return known[1]
    try:
        username, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeError) as error:
        raise NotAuthenticated("the Basic credentials cannot be read") from error
    async with parts.database.read() as session:
        who, _ = await checked(parts, session, username, password)
    parts.remembered[digest] = (time.monotonic() + REMEMBER_SECONDS, who)
    while len(parts.remembered) > REMEMBERED:
        parts.remembered.popitem(last=False)
    return who


async def checked(parts: Parts, session: AsyncSession, username: str, password: str) -> tuple[Principal, int]:
    """The operator with that name and password; raises NotAuthenticated, or TooManyTries.

    Wrong tries are counted by account, whatever way they came: a minute's rest after ten of them.
    """
    # hawkBit's "tenant\\user" form names the tenant too, in any case.
    tenant, backslash, name = username.rpartition("\\")
    account = ((tenant if backslash else parts.settings.tenant).upper(), name or username)
    # One after the other for each account: whoever waits here has every failure before his own counted.
    async with parts.turns.setdefault(account, asyncio.Lock()):
        if len(_recent_failures(parts, account)) >= MAX_FAILURES:
            raise TooManyTries("too many wrong passwords for this user; wait a minute")
        try:
            if "\0" in username:
                raise NotAuthenticated("user name or password is wrong")
            found = await principal.check_password(session, *account, password)
        except NotAuthenticated:
            parts.failures[account] = [*_recent_failures(parts, account), time.monotonic()]
            parts.failures.move_to_end(account)
            while len(parts.failures) > FAILURES:
                parts.failures.popitem(last=False)
            raise
        parts.failures.pop(account, None)
        return found


def _recent_failures(parts: Parts, account: tuple[str, str]) -> list[float]:
    now = time.monotonic()
    return [at for at in parts.failures.get(account, []) if now - at < FORGET_SECONDS]


Operator = Annotated[Principal, Depends(require_operator)]


@dataclass(frozen=True, slots=True)
class Page:
    """hawkBit's paging: a bad offset or limit is mended, not refused; a bad sort is refused."""

    offset: int
    limit: int
    sort: str
    q: str | None

    def order(self, fields: Fields, default: ColumnElement[Any]) -> list[ColumnElement[Any]]:
        """ORDER BY; `fields` are those of the entity's filter. Raises InvalidQuery."""
        out: list[ColumnElement[Any]] = []
        for part in filter(None, self.sort.split(",")):
            name, colon, direction = part.partition(":")
            column = fields.get(name.strip().lower())
            if not colon:
                raise InvalidSortSyntax(f"sort is written field:ASC or field:DESC, not {part[:40]!r}")
            if not isinstance(column, InstrumentedAttribute):
                raise InvalidSortField(f"there is no field {name[:40]!r} to sort by")
            if direction.upper() not in ("ASC", "DESC"):
                raise InvalidSortDirection(f"sort direction is ASC or DESC, not {direction[:10]!r}")
            out.append(column.asc() if direction.upper() == "ASC" else column.desc())
        return [*out, default]


def paging(
    offset: Annotated[int, Query()] = 0,
    limit: Annotated[int, Query()] = DEFAULT_LIMIT,
    sort: Annotated[str, Query(max_length=256)] = "",
    q: Annotated[str | None, Query()] = None,
) -> Page:
    """Paging parameters of a list."""
    bounded = DEFAULT_LIMIT if limit < 1 else min(limit, MAX_LIMIT)
    return Page(max(0, min(offset, 2**31)), bounded, sort, q or None)


PageDep = Annotated[Page, Depends(paging)]


def listing(content: list[dict[str, Any]], total: int) -> dict[str, Any]:
    """hawkBit's page body."""
    return {"content": content, "total": total, "size": len(content)}
