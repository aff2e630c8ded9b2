"""A product and its devices find each other, whichever was there first."""

import httpx
import pytest

from update_manager.testing import TENANT, ok

TYPES, TARGETS = "/rest/v1/targettypes", "/rest/v1/targets"


async def report(gateway: httpx.AsyncClient, name: str, **attributes: str) -> None:
    """A device polls for the first time and says what it is."""
    ok(await gateway.get(f"/{TENANT}/controller/v1/{name}"), 200)
    answer = await gateway.put(f"/{TENANT}/controller/v1/{name}/configData", json={"data": attributes})
    assert answer.status_code == 200


async def product_of(operator: httpx.AsyncClient, name: str) -> str | None:
    found: str | None = ok(await operator.get(f"{TARGETS}/{name}")).get("targetTypeName")
    return found


@pytest.mark.parametrize("attribute", ["product", "target_type", "model"])
async def test_device_that_was_there_first_is_adopted_by_its_product(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient, attribute: str
) -> None:
    await report(gateway, "early", **{attribute: "pump"})
    assert await product_of(operator, "early") is None
    ok(await operator.post(TYPES, json=[{"key": "pump", "name": "Pump"}]), 201)
    await report(gateway, "late", **{attribute: "pump"})
    assert [await product_of(operator, name) for name in ("early", "late")] == ["Pump", "Pump"]


async def test_product_takes_no_device_that_names_another(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient
) -> None:
    await report(gateway, "valve-1", product="valve", model="pump")
    await report(gateway, "nameless", colour="pump")
    ok(await operator.post(TYPES, json=[{"key": "valve", "name": "Valve"}, {"key": "pump", "name": "Pump"}]), 201)
    assert await product_of(operator, "valve-1") == "Valve"
    assert await product_of(operator, "nameless") is None


async def test_device_an_operator_has_typed_keeps_its_type(
    operator: httpx.AsyncClient, gateway: httpx.AsyncClient
) -> None:
    await report(gateway, "special", model="pump")
    [valve] = ok(await operator.post(TYPES, json=[{"key": "valve", "name": "Valve"}]), 201)
    ok(await operator.post(f"{TARGETS}/special/targettype", json={"id": valve["id"]}), 204)
    ok(await operator.post(TYPES, json=[{"key": "pump", "name": "Pump"}]), 201)
    assert await product_of(operator, "special") == "Valve"
