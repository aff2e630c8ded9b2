"""What tests of this service share: a clean database, a known operator, an engine stepped by hand, a real server."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import select, text

from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.application.principal import hash_password
from update_manager.application.rollout_engine import step_one

TENANT: Final = "DEFAULT"
USERNAME: Final = "operator"
PASSWORD: Final = "correct horse battery"
TOKEN: Final = "token-of-the-tests"
GATEWAY_TOKEN: Final = "gateway-secret-of-the-tests"
_HASH: Final = hash_password(PASSWORD)
_SEEDED: Final = frozenset({t.Tenant, t.SoftwareModuleType, t.DistributionSetType})


async def clean(database: Database) -> None:
    """Empty every table but what `migrate` put there, and let the known operator in (by password and by token)."""
    kept = {one.__tablename__ for one in _SEEDED}
    statements = []
    for table in reversed(t.Base.metadata.sorted_tables):
        if table.name in kept - {"tenant"}:
            statements.append(f"DELETE FROM {table.name} WHERE created_by <> 'system'")
        elif table.name not in kept and table.name != "distribution_set_type_module_type":
            statements.append(f"DELETE FROM {table.name}")
    async with database.write() as session:
        await session.execute(text(";".join(statements)))
        tenant = await session.scalar(select(t.Tenant.id).where(t.Tenant.name == TENANT))
        user = t.User(tenant_id=tenant, username=USERNAME, password_hash=_HASH)
        session.add(user)
        await session.flush()
        session.add(
            t.ApiToken(
                tenant_id=tenant,
                user_id=user.id,
                token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(),
                expires_at=datetime.now(UTC) + timedelta(hours=1),
            )
        )


async def step_all(database: Database, batch: int = 1000, limit: int = 200) -> list[str]:
    """Take engine steps until none is due; whom to ring, in order. Fails when the engine never comes to rest."""
    rung: list[str] = []
    for _ in range(limit):
        stepped = await step_one(database, batch)
        if stepped is None:
            return rung
        rung += stepped.ring
    raise AssertionError(f"the engine is still busy after {limit} steps")


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """The application behind a real HTTP server on a free port; yields its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def ok(answer: httpx.Response, status: int | None = None) -> Any:
    """The JSON of an answer that went well; its text is in the failure otherwise."""
    wanted = answer.is_success if status is None else answer.status_code == status
    assert wanted, f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text[:500]}"
    return answer.json() if answer.content else None


async def make_targets(client: httpx.AsyncClient, *names: str, **fields: Any) -> list[dict[str, Any]]:
    """Targets by name; `fields` for each of them."""
    made: list[dict[str, Any]] = ok(
        await client.post("/rest/v1/targets", json=[{"controllerId": name, **fields} for name in names]), 201
    )
    return made


async def make_product(client: httpx.AsyncClient, public_pem: bytes, key: str = "sensor", **fields: Any) -> int:
    """A target type that trusts the key; returns its id."""
    [made] = ok(await client.post("/rest/v1/targettypes", json=[{"key": key, "name": key, **fields}]), 201)
    body = {"name": "release key", "publicKeyPem": public_pem.decode()}
    ok(await client.post(f"/rest/v1/targettypes/{made['id']}/signingkeys", json=body), 201)
    return int(made["id"])


async def publish(client: httpx.AsyncClient, image: bytes, product: str = "sensor", **form: str) -> dict[str, Any]:
    """Upload an image as a release; the product must trust its key."""
    made: dict[str, Any] = ok(
        await client.post(
            "/rest/v1/releases", files={"file": ("image.bin", image)}, data={"targetType": product, **form}
        ),
        201,
    )
    return made


async def make_plain_set(client: httpx.AsyncClient, name: str = "app", version: str = "1.0", data: bytes = b"x") -> int:
    """A distribution set as a hawkBit script makes one: module, artifact, set; returns the set's id."""
    module = {"name": name, "version": version, "type": "os"}
    [made] = ok(await client.post("/rest/v1/softwaremodules", json=[module]), 201)
    path = f"/rest/v1/softwaremodules/{made['id']}/artifacts"
    ok(await client.post(path, files={"file": (f"{name}.bin", data)}), 201)
    wanted = {"name": name, "version": version, "type": "os", "modules": [{"id": made["id"]}]}
    [release] = ok(await client.post("/rest/v1/distributionsets", json=[wanted]), 201)
    return int(release["id"])


async def make_rollout(client: httpx.AsyncClient, set_id: int, query: str = "name==*", **fields: Any) -> int:
    """A rollout in `creating`; step the engine to make it `ready`. Returns its id."""
    body = {"name": "campaign", "targetFilterQuery": query, "distributionSetId": set_id, **fields}
    made = ok(await client.post("/rest/v1/rollouts", json=body), 201)
    return int(made["id"])


@dataclass
class Device:
    """A device that speaks DDI; `client` carries its token, or a gateway's."""

    client: httpx.AsyncClient
    name: str

    @property
    def base(self) -> str:
        """Its resource."""
        return f"/{TENANT}/controller/v1/{self.name}"

    async def links(self) -> dict[str, str]:
        """One poll: the hrefs it answers."""
        answer = ok(await self.client.get(self.base), 200)
        return {name: link["href"] for name, link in answer["_links"].items()}

    async def assigned(self) -> int | None:
        """The action to install, by a poll."""
        href = (await self.links()).get("deploymentBase")
        return None if href is None else int(href.rsplit("/", 1)[1].partition("?")[0])

    async def canceling(self) -> int | None:
        """The action to stop, by a poll."""
        href = (await self.links()).get("cancelAction")
        return None if href is None else int(href.rsplit("/", 1)[1])

    async def feedback(
        self, action_id: int, execution: str, finished: str = "none", *details: str, cancel: bool = False, **more: Any
    ) -> httpx.Response:
        """One feedback, as unmodified clients send it."""
        status = {"execution": execution, "result": {"finished": finished}, "details": list(details), **more}
        kind = "cancelAction" if cancel else "deploymentBase"
        body = {"id": str(action_id), "time": "20261125T120000", "status": status}
        return await self.client.post(f"{self.base}/{kind}/{action_id}/feedback", json=body)

    async def finish(self, finished: str = "success", *details: str) -> int:
        """Work on what is assigned to its end; returns the action's id."""
        action_id = await self.assigned()
        assert action_id is not None, f"{self.name} has nothing to do"
        ok(await self.feedback(action_id, "closed", finished, *details), 200)
        return action_id


async def make_fleet(database: Database, count: int, prefix: str = "device") -> None:
    """Many targets at once, named `<prefix>-000001` and up."""
    statement = text(
        "INSERT INTO target (tenant_id, controller_id, name, security_token, update_status, request_attributes, "
        "queue_mode, created_by, last_modified_by) "
        "SELECT (SELECT id FROM tenant WHERE name = :tenant), one, one, one, 'registered', false, false, 'test', 'test'"
        " FROM (SELECT :prefix || '-' || lpad(number::text, 6, '0') AS one FROM generate_series(1, :count) number) a"
    )
    async with database.write() as session:
        await session.execute(statement, {"tenant": TENANT, "prefix": prefix, "count": count})


@dataclass
class Cable:
    """A TCP connection to a server that can be pulled and put back: the server is away without dying."""

    url: str
    _server: asyncio.Server | None = None
    _port: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def through(self) -> str:
        """The server's URL through this cable."""
        parts = urlsplit(self.url)
        return self.url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{self._port}")

    async def plug(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def pull(self) -> None:
        """Break every connection and refuse new ones."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.url)
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        self._open |= {writer, far_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._open -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
