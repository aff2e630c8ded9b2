"""The generator of .env: fresh secrets for its owner only, never over an older file."""

import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path

MAKE_ENV = Path(__file__).parents[1] / "make_env.py"
SECRETS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GATEWAY_TOKEN", "OPERATOR_PASSWORD"}


def _make(output: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    # -S: without site-packages, as on a machine that has Python and nothing else.
    command = [sys.executable, "-I", "-S", str(MAKE_ENV), "--output", str(output), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def _read(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))


def test_each_env_has_its_own_secrets_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    said = _make(first)
    assert said.returncode == 0 and _make(second).returncode == 0
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    ones, others = _read(first), _read(second)
    for name in SECRETS:
        assert len(ones[name]) >= 20 and re.fullmatch(r"[A-Za-z0-9_-]+", ones[name])
        assert ones[name] not in (set(ones.values()) - {ones[name]}) | set(others.values())
        assert ones[name] not in said.stdout + said.stderr


def test_an_existing_env_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("POSTGRES_PASSWORD=opens-the-data\n")
    done = _make(path)
    assert done.returncode == 1
    assert "there already" in done.stderr
    assert path.read_text() == "POSTGRES_PASSWORD=opens-the-data\n"


def test_the_address_devices_fetch_from_is_written_or_asked_for(tmp_path: Path) -> None:
    assert "LWM2M_GATEWAY_PROXY_URI" in _make(tmp_path / "unset").stdout
    done = _make(tmp_path / "set", "--proxy-uri", "coap://203.0.113.7:5685")
    assert "LWM2M_GATEWAY_PROXY_URI" not in done.stdout
    assert _read(tmp_path / "set")["LWM2M_GATEWAY_PROXY_URI"] == "coap://203.0.113.7:5685"
    assert _make(tmp_path / "wrong", "--proxy-uri", "203.0.113.7").returncode == 2
    assert not (tmp_path / "wrong").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    done = _make(tmp_path / "nowhere" / ".env")
    assert done.returncode == 1 and "cannot be written" in done.stderr


def test_the_example_holds_no_secret() -> None:
    example = runpy.run_path(str(MAKE_ENV))["EXAMPLE"]
    assert {name for name, value in _read(example).items() if not value} == SECRETS
