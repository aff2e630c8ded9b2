"""Who may speak for a device: its own token, a gateway's token, and nobody else; strangers learn nothing."""

import hmac
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from update_manager.adapters.db.session import Database
from update_manager.settings import UpdateManagerSettings
from update_manager.testing import GATEWAY_TOKEN, PASSWORD, TOKEN, USERNAME, Device, make_targets, ok

BASE = "/DEFAULT/controller/v1"


@pytest.fixture
async def token(operator: httpx.AsyncClient) -> str:
    """Of the device `lock`."""
    await make_targets(operator, "lock")
    return str(ok(await operator.get("/rest/v1/targets/lock"))["securityToken"])


async def test_a_target_token_opens_its_own_device_and_no_other(
    operator: httpx.AsyncClient, stranger: httpx.AsyncClient, token: str
) -> None:
    headers = {"Authorization": f"TargetToken {token}"}
    ok(await stranger.get(f"{BASE}/lock", headers=headers), 200)
    await make_targets(operator, "other")
    for name in ("other", "nobody"):
        assert (await stranger.get(f"{BASE}/{name}", headers=headers)).status_code == 401
    assert ok(await operator.get("/rest/v1/targets"))["total"] == 2, "a target token creates nobody"


async def test_tenant_and_scheme_are_spelled_as_clients_like(stranger: httpx.AsyncClient, token: str) -> None:
    for tenant, scheme in (("default", "TargetToken"), ("Default", "targettoken")):
        answer = await stranger.get(f"/{tenant}/controller/v1/lock", headers={"Authorization": f"{scheme} {token}"})
        assert answer.status_code == 200
        assert f"/{tenant}/" in answer.json()["_links"]["configData"]["href"]


async def test_a_tenant_set_in_lower_case_is_the_one_in_the_path(settings: UpdateManagerSettings) -> None:
    asked = UpdateManagerSettings(database_url=settings.database_url, tenant="acme")
    assert asked.tenant == "ACME"


async def test_a_gateway_makes_a_device_known_by_its_first_poll(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient
) -> None:
    assert set(await Device(gateway, "newcomer").links()) == {"configData"}
    made = ok(await operator.get("/rest/v1/targets/newcomer"))
    assert made["updateStatus"] == "registered" and len(made["securityToken"]) == 32
    assert made["pollStatus"]["lastRequestAt"] > 0 and made["address"].startswith("http://")
    await Device(gateway, "newcomer").links()
    assert ok(await operator.get("/rest/v1/targets"))["total"] == 1


async def test_a_target_made_by_an_operator_is_registered_by_its_first_poll(
    operator: httpx.AsyncClient, stranger: httpx.AsyncClient, token: str
) -> None:
    assert ok(await operator.get("/rest/v1/targets/lock"))["updateStatus"] == "unknown"
    ok(await stranger.get(f"{BASE}/lock", headers={"Authorization": f"TargetToken {token}"}))
    assert ok(await operator.get("/rest/v1/targets/lock"))["updateStatus"] == "registered"


async def test_every_refusal_is_the_same_answer(stranger: httpx.AsyncClient, token: str) -> None:
    """Unknown tenant, unknown device, wrong token, no token: one status, one body."""
    tried = [
        ("/DEFAULT/controller/v1/lock", None),
        ("/DEFAULT/controller/v1/lock", "TargetToken wrong"),
        ("/DEFAULT/controller/v1/lock", f"TargetToken {token[:-1]}"),
        ("/DEFAULT/controller/v1/lock", f"TargetToken {token}x"),
        ("/DEFAULT/controller/v1/lock", f"GatewayToken {token}"),
        ("/DEFAULT/controller/v1/lock", "GatewayToken"),
        ("/DEFAULT/controller/v1/lock", "TargetToken"),
        ("/DEFAULT/controller/v1/lock", "TargetToken é\xff"),
        ("/DEFAULT/controller/v1/lock", f"Basic {token}"),
        ("/DEFAULT/controller/v1/lock", f"Bearer {TOKEN}"),
        ("/DEFAULT/controller/v1/nobody", f"TargetToken {token}"),
        ("/NOWHERE/controller/v1/lock", f"TargetToken {token}"),
        ("/NOWHERE/controller/v1/lock", f"GatewayToken {GATEWAY_TOKEN}"),
    ]
    answers = set()
    for path, header in tried:
        headers: dict[str, Any] = {} if header is None else {"Authorization": header.encode("latin-1", "replace")}
        for method, tail in (("GET", ""), ("GET", "/deploymentBase/1"), ("GET", "/softwaremodules/1/artifacts/x")):
            answer = await stranger.request(method, path + tail, headers=headers)
            answers.add((answer.status_code, answer.text))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


async def test_every_address_of_the_device_api_asks_who_is_there(app: FastAPI, stranger: httpx.AsyncClient) -> None:
    bodies = {
        "feedback": {"status": {"execution": "closed", "result": {"finished": "success"}}},
        "configData": {"data": {}},
    }
    asked = 0
    for path, methods in app.openapi()["paths"].items():
        if "/controller/v1/" not in path:
            continue
        names = {"tenant": "DEFAULT", "controller_id": "x", "filename": "f", "delta_sha256": "ab" * 32}
        address = path.format(**names, action_id=1, module_id=1)
        for method in methods:
            answer = await stranger.request(method, address, json=bodies.get(path.rsplit("/", 1)[1]))
            assert answer.status_code == 401, f"{method} {path}"
            asked += 1
    assert asked >= 9


async def test_tokens_are_compared_in_constant_time(
    stranger: httpx.AsyncClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def watched(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    await stranger.get(f"{BASE}/lock", headers={"Authorization": "TargetToken guess"})
    await stranger.get(f"{BASE}/lock", headers={"Authorization": "GatewayToken guess"})
    assert compared == [(token.encode(), b"guess"), (GATEWAY_TOKEN.encode(), b"guess")]


@pytest.mark.parametrize("unset", [None, SecretStr("")])
async def test_a_gateway_token_nobody_set_opens_nothing(
    stranger: httpx.AsyncClient, operator: httpx.AsyncClient, settings: UpdateManagerSettings, unset: SecretStr | None
) -> None:
    settings.gateway_token = unset
    for header in ("GatewayToken", "GatewayToken ", "GatewayToken  "):
        assert (await stranger.get(f"{BASE}/intruder", headers={"Authorization": header})).status_code == 401
    assert ok(await operator.get("/rest/v1/targets"))["total"] == 0


async def test_an_empty_target_token_opens_nothing(stranger: httpx.AsyncClient, database: Database, token: str) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE target SET security_token = ''"))
    assert (await stranger.get(f"{BASE}/lock", headers={"Authorization": "TargetToken "})).status_code == 401


async def test_an_operators_password_is_no_device_and_a_device_is_no_operator(
    stranger: httpx.AsyncClient, token: str
) -> None:
    assert (await stranger.get(f"{BASE}/lock", auth=(USERNAME, PASSWORD))).status_code == 401
    for header in (f"TargetToken {token}", f"GatewayToken {GATEWAY_TOKEN}"):
        assert (await stranger.get("/rest/v1/targets", headers={"Authorization": header})).status_code == 401


@pytest.mark.parametrize("name", ["a" * 257, "a%20b", "a%09b", "a%00b", "a%0Ab"])
async def test_a_device_name_that_cannot_be_stored_is_refused(gateway: httpx.AsyncClient, name: str) -> None:
    assert (await gateway.get(f"{BASE}/{name}")).status_code == 400
