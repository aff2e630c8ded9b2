"""docker-compose.yml holds no secret, asks for each one it needs, and lets no process be more than it must."""

import re
from pathlib import Path
from typing import Any

import yaml
from engine import ROOT, SERVICES, Engine

from lwm2m_gateway.settings import GatewaySettings
from update_manager.settings import UpdateManagerSettings

SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "GATEWAY_TOKEN", "OPERATOR_PASSWORD")
ADVICE = "run python3 deploy/compose/make_env.py first, it makes .env"
FILE = ROOT / "docker-compose.yml"


def _services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return services


def test_every_secret_is_required_from_outside() -> None:
    text = FILE.read_text()
    for secret in SECRETS:
        uses = re.findall(rf"\$\{{{secret}[^}}]*\}}", text)
        assert uses, secret
        assert set(uses) == {f"${{{secret}:?{ADVICE}}}"}
    for service, described in _services().items():
        for name, value in described.get("environment", {}).items():
            if (
                re.search("PASSWORD|TOKEN|SECRET|_URL$", name)
                and value
                and re.search(r"PASSWORD|TOKEN|SECRET|@", name + value)
            ):
                assert f":?{ADVICE}}}" in value, f"{service} has a literal {name}"


def test_starting_without_env_says_what_to_do(engine: Engine, tmp_path: Path) -> None:
    engine.env_file = tmp_path / ".env"
    engine.env_file.touch()
    done = engine.compose("up", "--detach", check=False)
    assert done.returncode != 0
    said = (done.stdout + done.stderr).decode()
    assert ADVICE in said and "_PASSWORD" in said


def test_who_makes_deltas_and_who_serves_them_share_the_artifacts() -> None:
    services = _services()
    for name in ("api", "worker"):
        described = services[name]
        folder = described["environment"]["UPDATE_MANAGER_ARTIFACT_DIRECTORY"]
        assert f"artifacts:{folder}" in described.get("volumes", ()), name


def test_every_setting_of_deltas_can_be_made_in_env() -> None:
    services = _services()
    for name, settings in (
        ("api", UpdateManagerSettings),
        ("worker", UpdateManagerSettings),
        ("lwm2m-gateway", GatewaySettings),
    ):
        prefix = settings.model_config["env_prefix"]
        known = {f"{prefix}{field}".upper() for field in settings.model_fields if "delta" in field}
        assert known and known <= set(services[name]["environment"]), name
        # Without a value of its own: what .env says is passed on.
        assert {services[name]["environment"][setting] for setting in known} == {None}, name


def test_every_process_restarts_has_limits_and_rotates_its_log() -> None:
    services = _services()
    assert set(services) == {*SERVICES, "migrate", "firmware"}
    for name, described in services.items():
        assert described["restart"] == ("no" if name in ("migrate", "firmware") else "unless-stopped"), name
        assert described["read_only"] is True and described["cap_drop"] == ["ALL"], name
        assert "no-new-privileges" in described["security_opt"], name
        assert described["mem_limit"] and described["pids_limit"] and described["stop_grace_period"], name
        assert {"max-size", "max-file"} <= set(described["logging"]["options"]), name
        targets = {"devices": "devices", "firmware": "devices", "postgres": None, "redis": None}
        assert described.get("build", {}).get("target") == targets.get(name, "services"), name
    for name in ("api", "worker", "beat", "frontend", "lwm2m-gateway", "coap-http-proxy", "postgres", "redis"):
        assert "healthcheck" in services[name], name
