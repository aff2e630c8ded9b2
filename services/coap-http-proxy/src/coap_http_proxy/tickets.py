"""Download tickets in Redis: short token to artifact, made by the gateway (docs/contracts.md)."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as redis

TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{12}")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One device's right to one artifact; `size` in bytes, `sha256` in hex."""

    token: str
    url: str
    sha256: str
    size: int
    tenant: str
    controller_id: str
    action_id: int | None


def parse(token: str, text: bytes | str | None) -> Ticket | None:
    """Read a ticket's JSON; None for a missing or malformed one."""
    if text is None:
        return None
    try:
        record: dict[str, Any] = json.loads(text)
        sha256 = str(record["sha256"]).lower()
        size = int(record["size"])
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or size <= 0:
            return None
        action = record.get("actionId")
        return Ticket(
            token,
            str(record["url"]),
            sha256,
            size,
            str(record.get("tenant", "DEFAULT")),
            str(record["controllerId"]),
            None if action is None else int(action),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Tickets:
    """Reading tickets and keeping each one's progress; without Redis there are none."""

    def __init__(self, client: "redis.Redis | None") -> None:
        self._redis = client

    async def find(self, token: str) -> Ticket | None:
        """The ticket, or None when it never was, was revoked or has expired."""
        if self._redis is None or not TOKEN.fullmatch(token):
            return None
        return parse(token, await self._redis.get(f"updraft:ticket:{token}"))

    async def gone(self, tokens: list[str]) -> list[str]:
        """Those of `tokens` that are no longer valid."""
        if self._redis is None or not tokens:
            return []
        found = await self._redis.mget([f"updraft:ticket:{token}" for token in tokens])
        return [token for token, text in zip(tokens, found, strict=True) if text is None]

    async def progress(self, token: str) -> dict[str, int] | None:
        """What all processes together have counted of this ticket's download."""
        found: dict[Any, Any] = await self._redis.hgetall(f"updraft:proxy:download:{token}") if self._redis else {}
        try:
            return {name.decode(): int(number) for name, number in found.items()} or None
        except ValueError:
            return None
