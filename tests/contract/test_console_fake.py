"""The console's stand-in for the update manager shows no member the real one does not send.

The real application runs on a real PostgreSQL and Redis, through a rollout in which one device succeeded, one failed
and one is downloading, so that every member which is left out while it is empty is there.
"""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic import SecretStr

from frontend.testing import FakeManager
from softdevice.images import new_key, small_image
from update_manager.adapters.db.migrate import migrate
from update_manager.adapters.db.session import Database
from update_manager.application import uplink
from update_manager.entrypoints.app import assemble, create_app
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import (
    GATEWAY_TOKEN,
    TENANT,
    TOKEN,
    Device,
    clean,
    make_product,
    make_rollout,
    make_targets,
    ok,
    publish,
    step_all,
)

NAMES: Final = ("good", "bad", "busy", "idle")
# Members whose names are data: what devices report, not how answers are made.
OPEN: Final = frozenset({"telemetry"})
# Where `{rollout}` and the rest are put: the ids differ, the answers must not.
PLACES: Final = (
    "/userinfo",
    "/overview",
    "/targets",
    "/targets/{bad}",
    "/targets/{bad}/timeline",
    "/targets/{bad}/events",
    "/targets/{busy}/timeline",
    "/targettypes",
    "/targettypes/{product}/signingkeys",
    "/releases",
    "/releases/{release}",
    "/rollouts?representation=full",
    "/rollouts/{rollout}",
    "/rollouts/{rollout}/progress",
    "/rollouts/{rollout}/deploygroups/{group}",
    "/rollouts/{rollout}/deploygroups/{group}/targets",
)


def members(value: Any, empty: bool, place: str = "") -> set[str]:
    """Every member as a path, those that are null only if `empty`; all elements of a list count as one."""
    if isinstance(value, list):
        return set().union(*(members(one, empty, f"{place}[]") for one in value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for name, held in value.items():
        path = f"{place}.{name}"
        if held is not None or empty:
            found |= {path} if name in OPEN else {path, *members(held, empty, path)}
    return found


def _client(app: Any, authorization: str) -> httpx.AsyncClient:
    headers = {"Authorization": authorization}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://manager", headers=headers)


async def _told(database: Database, *events: dict[str, Any]) -> None:
    """What a gateway reports, as the consumer of its stream stores it."""
    common = {"tenant": TENANT, "at": int(time.time() * 1000)}
    lines = [{**common, "id": f"event-{number}", **event} for number, event in enumerate(events)]
    async with database.write() as session:
        await uplink.store(session, [uplink.parse(json.dumps(line).encode()) for line in lines])


async def _campaign(database: Database, operator: httpx.AsyncClient, gateway: httpx.AsyncClient) -> dict[str, Any]:
    """A rollout under way; the ids of what takes part."""
    key = new_key()
    product = await make_product(operator, key.public_pem, description="in the field")
    old, new = [await publish(operator, small_image(key, one), description=one) for one in ("1.0.0", "1.1.0")]
    await make_targets(operator, *NAMES, description="a device", targetType=product)
    devices = {name: Device(gateway, name) for name in NAMES}
    for name in ("bad", "busy"):
        ok(await operator.post(f"/rest/v1/targets/{name}/assignedDS", json={"id": old["distributionSetId"]}))
        await devices[name].finish()
    rollout = await make_rollout(operator, new["distributionSetId"], amountGroups=1, description="a campaign")
    await step_all(database)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"))
    await step_all(database)
    actions = {name: await devices[name].assigned() for name in ("bad", "busy")}
    phase = {"phase": "downloading", "text": "in blocks", "state": 1, "result": 0}
    delta = {"kind": "delta", "size": 512, "fullSize": 1024, "sha256": "ef" * 32, "from": "cd" * 32}
    offer = {"phase": "offered", "text": "address of a delta written", "delivery": delta}
    trace = {"direction": "out", "text": "GET /3/0/3", "ok": True}
    online = {"state": "online", "queueMode": True, "address": "10.0.0.7:5683", "lwm2mVersion": "1.1"}
    download = {"offset": 512, "size": 1024, "rateBytesPerSecond": 9, "bytesOnAir": 600}
    download |= {"repeatedBytes": 0, "restarts": 0}
    await _told(
        database,
        *({"type": "presence", "controllerId": name, "expectedBy": 1, **online} for name in NAMES),
        *({"type": "telemetry", "controllerId": name, "resources": {"/3/0/3": "1.0.0"}} for name in NAMES),
        *({"type": "phase", "controllerId": name, "actionId": action, **offer} for name, action in actions.items()),
        *({"type": "phase", "controllerId": name, "actionId": action, **phase} for name, action in actions.items()),
        *(
            {"type": "progress", "controllerId": name, "actionId": action, **download}
            for name, action in actions.items()
        ),
        *({"type": "trace", "controllerId": name, **trace} for name in actions),
    )
    await devices["good"].finish()
    await devices["bad"].finish("failure", "cause: rolled_back")
    await step_all(database)
    groups = ok(await operator.get(f"/rest/v1/rollouts/{rollout}/deploygroups"))["content"]
    return {
        "bad": "bad", "busy": "busy", "product": product, "release": new["distributionSetId"],
        "rollout": rollout, "group": groups[0]["id"],
    }  # fmt: skip


@pytest.fixture
async def real(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[dict[str, set[str]]]:
    """Members of each answer of the real update manager."""
    migrate(database_url, TENANT)
    settings = UpdateManagerSettings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        artifact_directory=tmp_path / "artifacts",
        gateway_token=SecretStr(GATEWAY_TOKEN),
    )
    app, database = create_app(settings), Database(database_url, 5)
    app.state.parts = assemble(settings)
    await clean(database)
    async with (
        app.router.lifespan_context(app),
        _client(app, f"Bearer {TOKEN}") as operator,
        _client(app, f"GatewayToken {GATEWAY_TOKEN}") as gateway,
    ):
        ids = await _campaign(database, operator, gateway)
        yield await _answers(operator, ids)
    await database.close()


async def _answers(client: httpx.AsyncClient, ids: dict[str, Any], empty: bool = True) -> dict[str, set[str]]:
    return {place: members(ok(await client.get(f"/rest/v1{place.format(**ids)}")), empty) for place in PLACES}


async def test_the_stand_in_shows_nothing_the_update_manager_does_not_send(real: dict[str, set[str]]) -> None:
    fake = FakeManager()
    ids = {"bad": "soil-0017", "busy": "soil-0031", "product": 1, "release": 11, "rollout": 1, "group": 12}
    async with _client(fake.app, f"Bearer {next(iter(fake.tokens))}") as client:
        shown = await _answers(client, ids, empty=False)
    invented = {place: sorted(shown[place] - real[place]) for place in PLACES if shown[place] - real[place]}
    assert not invented, json.dumps(invented, indent=1)
