"""`make run` for real: started, stopped, killed in several ways, started again; nothing is lost and nothing is left."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from updraft_local.embedded import EmbeddedRedis
from updraft_local.management import Management
from updraft_local.ports import free_port
from updraft_local.testing import processes

pytestmark = pytest.mark.timeout(300)


def signed_in(one: Any) -> Management:
    """The operator, with the password from the screen."""
    return Management(one.shown("API").removesuffix("/rest/v1/docs"), one.shown("operator"), one.shown("password"))


def pid_of(one: Any, name: str) -> int:
    """Process id of a part, from the ledger."""
    entries = json.loads((one.data / "processes.json").read_text())["processes"]
    return next(int(entry["pid"]) for entry in entries if entry["name"] == name)


def no_noise(screen: str) -> None:
    """No traceback, and every line of a service carries its name."""
    assert "Traceback" not in screen, screen
    assert "KeyboardInterrupt" not in screen


def test_it_stops_cleanly_and_comes_back_with_data_and_password_even_after_kill_9(terminal: Callable[..., Any]) -> None:
    hasty = terminal()
    hasty.make()
    hasty.wait_for("Updraft is starting")
    time.sleep(1.5)  # initdb, or the first server
    hasty.ctrl_c()
    hasty.end(15)
    no_noise(hasty.screen)
    assert hasty.left() == []

    first = terminal(data=hasty.data)
    first.make(DEVICES=1)
    first.wait_for("Updraft is ready")
    # The introduction comes after the noise: nothing but it, once the device has registered.
    before = first.screen.partition("Updraft is ready")[0]
    assert "devices  | " in before and "gateway  | " in before
    password = first.shown("password")
    assert password in (first.data / "welcome.txt").read_text()
    assert (first.data / "welcome.txt").stat().st_mode & 0o077 == 0
    manager = signed_in(first)
    manager.post("/targettags", [{"name": "kept"}])
    manager.close()

    second = terminal(data=first.data)
    second.make()
    assert second.end() != 0
    assert "it is running already" in second.screen and "make run DATA=" in second.screen
    no_noise(second.screen)

    began = time.monotonic()
    first.ctrl_c()
    assert first.end(20) in (0, 2, 130, -signal.SIGINT)
    assert time.monotonic() - began < 12
    assert "everything is kept in" in first.screen
    no_noise(first.screen)
    assert first.left() == []

    again = terminal(data=first.data)
    again.make()
    again.wait_for("Updraft is ready")
    assert again.shown("password") == password
    # kill -9 of the starter, of its keeper and of PostgreSQL: stale locks, and services that outlive their starter.
    orphan = pid_of(again, "gateway")
    keeper = next(pid for pid, words in processes() if "updraft_local.orphans" in words and str(first.data) in words)
    for pid in (keeper, again.starter(), pid_of(again, "postgres")):
        os.kill(pid, signal.SIGKILL)
    again.end()
    os.kill(orphan, 0)
    assert (first.data / "postgres" / "data" / "postmaster.pid").exists()

    third = terminal(data=first.data)
    third.make()
    third.wait_for("Updraft is ready")
    assert "that an earlier run was not able to stop" in third.screen
    assert third.shown("password") == password
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)
    manager = signed_in(third)
    assert [tag["name"] for tag in manager.get("/targettags")["content"]] == ["kept"]
    manager.close()
    os.kill(pid_of(third, "proxy"), signal.SIGKILL)
    assert third.end() != 0
    assert "Updraft stopped: proxy was killed by SIGKILL" in third.screen
    no_noise(third.screen)
    assert third.left() == []


def test_servers_of_ones_own_are_used_and_sigterm_stops_all_but_them(
    terminal: Callable[..., Any], postgres_server: str, tmp_path: Any
) -> None:
    name = f"own_{os.getpid()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    own = EmbeddedRedis(tmp_path / "own-redis", free_port(), "own-secret", durable=False)
    own.start()
    try:
        one = terminal()
        told = {"DATABASE_URL": postgres_server.rsplit("/", 1)[0] + f"/{name}", "REDIS_URL": own.url}
        one.make(environment=told)
        one.wait_for("Updraft is ready")
        assert not (one.data / "postgres").exists() and not (one.data / "redis").exists()
        manager = signed_in(one)
        assert manager.get("/targets")["total"] == 0
        manager.close()
        one.signal_group(signal.SIGTERM)
        one.end(20)
        no_noise(one.screen)
        assert "everything is kept in" in one.screen
        assert one.left() == []
        assert own.process is not None and own.process.poll() is None
        for secret in ("own-secret", postgres_server.split(":")[2].split("@")[0]):
            assert secret not in one.screen
    finally:
        own.stop()
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_an_interrupted_demo_tears_down_and_leaves_no_scratch_folder(
    terminal: Callable[..., Any], tmp_path: Path
) -> None:
    one = terminal(data=tmp_path / "scratch")
    one.data.mkdir()
    one.make("demo", environment={"TMPDIR": str(one.data)}, DEVICES=2)
    one.wait_for("starting PostgreSQL")
    time.sleep(2.5)
    one.ctrl_c()
    assert one.end(20) != 0
    assert "interrupted" in one.screen
    no_noise(one.screen)
    assert one.left() == []
    assert list(one.data.iterdir()) == []
