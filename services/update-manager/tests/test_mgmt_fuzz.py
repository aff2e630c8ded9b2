"""No request makes the API fail: noise in every operation its OpenAPI document describes, and never a 500."""

import asyncio
import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from update_manager.adapters.db.session import Database
from update_manager.testing import GATEWAY_TOKEN, TOKEN, make_plain_set, make_rollout, make_targets, ok, step_all

SEEDS: Final = range(2)
ROUNDS: Final = 3
TEXTS: Final = (
    "",
    "one",
    "os",
    "name==*",
    "name==",
    "id:ASC",
    "x" * 3000,
    "\0",
    "\ud800",
    "\x1b[2J",
    "<script>",
    "' OR 1=1 --",
    "../../etc/passwd",
    "%00%ff",
    "🌡️",
    "null",
    "-1",
    "9" * 40,
    "1e400",
    "NaN",
)
NUMBERS: Final = (0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**40, 1.5, -0.0, 1e308)
SKIPPED: Final = "/events"  # streams until a rollout ends; its own tests watch it


class Noise:
    """Reproducible requests: some as the document describes them, some a little wrong, some utterly."""

    def __init__(self, seed: int, document: dict[str, Any], known: dict[str, Any]) -> None:
        self.dice = random.Random(seed)
        self.schemas: dict[str, Any] = document["components"]["schemas"]
        self.known = known
        self.level = 0.0

    def begin(self) -> None:
        self.level = self.dice.choice((0.0, 0.0, 0.05, 0.4))

    def hit(self) -> bool:
        return self.dice.random() < self.level

    def anything(self) -> Any:
        makers: tuple[Callable[[], Any], ...] = (
            lambda: self.dice.choice(TEXTS),
            lambda: self.dice.choice(NUMBERS),
            lambda: self.dice.choice((True, False, None)),
            lambda: [self.dice.choice(TEXTS)],
            lambda: {self.dice.choice(TEXTS): self.dice.choice(NUMBERS)},
        )
        return self.dice.choice(makers)()

    def of(self, schema: dict[str, Any], depth: int = 0) -> Any:
        if self.hit() or depth > 6:
            return self.anything()
        if "$ref" in schema:
            return self.of(self.schemas[schema["$ref"].rpartition("/")[2]], depth + 1)
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                return self.of(self.dice.choice(schema[word]), depth + 1)
        if "enum" in schema:
            return self.dice.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                required = schema.get("required", [])
                fields = schema.get("properties", {}).items()
                return {k: self.of(v, depth + 1) for k, v in fields if k in required or self.dice.random() < 0.5}
            case "array":
                return [self.of(schema.get("items", {}), depth + 1) for _ in range(1 + self.dice.randrange(2))]
            case "integer" | "number":
                return self.dice.choice((1, 10, schema.get("minimum", 2)))
            case "boolean":
                return self.dice.choice((True, False))
            case "string":
                return "".join(self.dice.choices(string.ascii_lowercase, k=8))
        return self.anything()

    def text(self, schema: dict[str, Any]) -> str:
        return str(self.of(schema)).encode("utf-8", "replace").decode()

    def path(self, template: str) -> str:
        names = {**self.known, "identifier": self.known.get(template.split("/")[3], 1)}
        filled = template
        for name, value in names.items():
            chosen = self.text({"type": "string"}) if self.hit() else str(value)
            filled = filled.replace("{" + name + "}", quote(chosen, safe="") or "%20")
        assert "{" not in filled, f"nothing is known for {filled}"
        return filled


def weird(value: Any) -> bytes:
    """JSON, with lone surrogates and non-finite numbers as a careless client writes them."""
    return json.dumps(value).encode()


@pytest.fixture
async def known(operator: httpx.AsyncClient, database: Database) -> dict[str, Any]:
    """One of each thing, and what paths call its id."""
    await make_targets(operator, "one")
    set_id = await make_plain_set(operator)
    rollout = await make_rollout(operator, set_id)
    await step_all(database)
    ok(await operator.post(f"/rest/v1/rollouts/{rollout}/start"))
    await step_all(database)
    [action] = ok(await operator.get("/rest/v1/actions"))["content"]
    [group] = ok(await operator.get(f"/rest/v1/rollouts/{rollout}/deploygroups"))["content"]
    [module] = ok(await operator.get("/rest/v1/softwaremodules"))["content"]
    [artifact] = ok(await operator.get(f"/rest/v1/softwaremodules/{module['id']}/artifacts"))
    made = {}
    for path, body in (
        ("targettypes", [{"name": "pump"}]),
        ("targettags", [{"name": "beta"}]),
        ("targetfilters", {"name": "all", "query": "name==*"}),
    ):
        answer = ok(await operator.post(f"/rest/v1/{path}", json=body), 201)
        made[path] = (answer[0] if isinstance(answer, list) else answer)["id"]
    for path in ("softwaremoduletypes", "distributionsettypes"):
        made[path] = ok(await operator.get(f"/rest/v1/{path}"))["content"][0]["id"]
    ok(await operator.post("/rest/v1/targets/one/metadata", json=[{"key": "k", "value": "v"}]))
    return {
        **made,
        "rollouts": rollout,
        "softwaremodules": module["id"],
        "distributionsets": set_id,
        "controller_id": "one",
        "tenant": "DEFAULT",
        "action_id": action["id"],
        "group_id": group["id"],
        "set_id": set_id,
        "distribution_set_id": set_id,
        "module_id": module["id"],
        "artifact_id": artifact["id"],
        "filename": artifact["providedFilename"],
        "delta_sha256": artifact["hashes"]["sha256"],
        "file_name": artifact["providedFilename"],
        "key": "k",
        "key_id": 1,
        "type_id": 1,
    }


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_operation_fails_on_noise(
    app: FastAPI, operator: httpx.AsyncClient, known: dict[str, Any], seed: int, stored_files: Callable[[], list[Path]]
) -> None:
    document = app.openapi()
    noise = Noise(seed, document, known)
    operations = [(path, verb, what) for path, verbs in document["paths"].items() for verb, what in verbs.items()]
    assert len(operations) > 80
    operations = sorted(operations * ROUNDS, key=lambda one: (one[1] == "delete", noise.dice.random()))
    answered: dict[int, int] = {}
    for path, verb, what in operations:
        if path.endswith(SKIPPED) and "rollouts" in path:
            continue
        noise.begin()
        token = f"GatewayToken {GATEWAY_TOKEN}" if "controller" in path.split("/")[2] else f"Bearer {TOKEN}"
        request: dict[str, Any] = {"headers": {"Authorization": token}}
        request["params"] = {
            one["name"]: noise.text(one.get("schema", {}))
            for one in what.get("parameters", [])
            if one["in"] == "query" and noise.hit()
        }
        body = what.get("requestBody", {}).get("content", {})
        if "application/json" in body:
            request["content"] = weird(noise.of(body["application/json"]["schema"]))
            request["headers"]["Content-Type"] = "application/json"
        elif "multipart/form-data" in body:
            request["files"] = {"file": (noise.text({"type": "string"})[:200].replace("\0", ""), b"noise")}
            request["data"] = {"targetType": noise.text({"type": "string"})}
        url = noise.path(path)
        async with asyncio.timeout(20):
            answer = await operator.request(verb, url, **request)
        told = f"seed {seed}: {verb} {url} {request} answered {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500, told
        if answer.status_code >= 400 and answer.content:
            assert answer.json().keys() >= {"errorCode", "message"}, told
        answered[answer.status_code // 100] = answered.get(answer.status_code // 100, 0) + 1
    assert answered[2] > 60 and answered[4] > 60, f"too one-sided to prove anything: {answered}"
    assert not [file for file in stored_files() if file.parent.name == "incoming"]
