"""Images that come hawkBit's way, into a `firmware` module: inspected like releases, and given their product."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from softdevice.images import SigningKey, small_image
from update_manager.testing import make_product, make_targets, ok

SETS = "/rest/v1/distributionsets"
MODULES = "/rest/v1/softwaremodules"
Files = Callable[[], list[Path]]


async def make_module(client: httpx.AsyncClient, version: str = "1.0.0") -> int:
    [made] = ok(await client.post(MODULES, json=[{"name": "image", "version": version, "type": "firmware"}]), 201)
    return int(made["id"])


async def make_set(client: httpx.AsyncClient, *modules: int, version: str = "1.0.0") -> int:
    body = {"name": "release", "version": version, "type": "firmware", "modules": [{"id": one} for one in modules]}
    [made] = ok(await client.post(SETS, json=[body]), 201)
    return int(made["id"])


async def put(client: httpx.AsyncClient, module: int, data: bytes) -> httpx.Response:
    return await client.post(f"{MODULES}/{module}/artifacts", files={"file": ("zephyr.signed.bin", data)})


async def products(client: httpx.AsyncClient) -> dict[int, str]:
    """Product key of each release the console would list."""
    listed = ok(await client.get("/rest/v1/releases"))["content"]
    return {one["distributionSetId"]: one["targetType"]["key"] for one in listed}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda image: image[:-1], "malformed"),
        (lambda image: image[:1000] + bytes([image[1000] ^ 1]) + image[1001:], "hash_mismatch"),
        (lambda image: b"any file at all", "malformed"),
    ],
)
async def test_a_bad_image_is_refused_and_nothing_is_stored(
    operator: httpx.AsyncClient,
    signing_key: SigningKey,
    stored_files: Files,
    spoil: Callable[[bytes], bytes],
    reason: str,
) -> None:
    await make_product(operator, signing_key.public_pem)
    module = await make_module(operator)
    answer = await put(operator, module, spoil(small_image(signing_key, "1.0.0")))
    assert answer.status_code == 400 and answer.json()["info"]["reason"] == reason
    assert ok(await operator.get(f"{MODULES}/{module}/artifacts")) == [] and stored_files() == []


async def test_an_image_no_product_trusts_or_has_room_for_is_refused(
    operator: httpx.AsyncClient, signing_key: SigningKey, foreign_key: SigningKey, stored_files: Files
) -> None:
    module = await make_module(operator)
    nobody = await put(operator, module, small_image(signing_key, "1.0.0"))
    assert nobody.json()["info"]["reason"] == "no_keys"
    await make_product(operator, signing_key.public_pem, maxImageBytes=8192)
    foreign = await put(operator, module, small_image(foreign_key, "1.0.0"))
    assert foreign.json()["info"]["reason"] == "foreign_key"
    large = await put(operator, module, small_image(signing_key, "1.0.0", 9000))
    assert large.json()["info"]["reason"] == "oversized"
    assert stored_files() == []
    ok(await put(operator, module, small_image(signing_key, "1.0.0")), 201)


@pytest.mark.parametrize("order", ["file first", "set first", "added later"])
async def test_a_set_of_an_image_is_for_the_product_whose_key_signed_it(
    operator: httpx.AsyncClient, signing_key: SigningKey, foreign_key: SigningKey, order: str
) -> None:
    await make_product(operator, signing_key.public_pem, "sensor")
    await make_product(operator, foreign_key.public_pem, "valve")
    module = await make_module(operator)
    if order == "file first":
        ok(await put(operator, module, small_image(foreign_key, "1.0.0")), 201)
        made = await make_set(operator, module)
    elif order == "set first":
        made = await make_set(operator, module)
        ok(await put(operator, module, small_image(foreign_key, "1.0.0")), 201)
    else:
        made = await make_set(operator)
        ok(await put(operator, module, small_image(foreign_key, "1.0.0")), 201)
        assert (await operator.post(f"{SETS}/{made}/assignedSM", json=[{"id": module}])).status_code == 204
    assert await products(operator) == {made: "valve"}
    await make_targets(operator, "probe")
    sensor = ok(await operator.get("/rest/v1/targettypes", params={"q": "key==sensor"}))["content"][0]["id"]
    ok(await operator.post("/rest/v1/targets/probe/targettype", json={"id": sensor}))
    refused = await operator.post("/rest/v1/targets/probe/assignedDS", json={"id": made})
    assert refused.status_code == 400 and "another product" in refused.json()["message"]


async def test_a_key_of_several_products_leaves_the_set_to_all_of_them(
    operator: httpx.AsyncClient, signing_key: SigningKey
) -> None:
    await make_product(operator, signing_key.public_pem, "sensor")
    await make_product(operator, signing_key.public_pem, "valve")
    module = await make_module(operator)
    ok(await put(operator, module, small_image(signing_key, "1.0.0")), 201)
    made = await make_set(operator, module)
    assert await products(operator) == {}
    await make_targets(operator, "probe")
    ok(await operator.post("/rest/v1/targets/probe/assignedDS", json={"id": made}))
