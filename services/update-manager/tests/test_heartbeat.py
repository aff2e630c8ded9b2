"""Signs of life: worker and beat give them while they live, and `healthy` tells by its exit code and a sentence."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis.asyncio as redis

from update_manager.entrypoints.worker.heartbeat import GONE_SECONDS, Role, host_key, process_key
from update_manager.settings import UpdateManagerSettings
from updraft_local.processes import Process, python

HOST = socket.gethostname()


def environment(settings: UpdateManagerSettings, **changed: str) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        **changed,
    }


async def healthy(role: str, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """What a container's health check runs."""
    command = [sys.executable, "-m", "update_manager", "healthy", role]
    return await asyncio.to_thread(
        subprocess.run, command, env={"PATH": "", **variables}, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(("role", "other"), [("worker", "beat"), ("beat", "worker")])
async def test_process_is_healthy_from_its_first_heartbeat_until_soon_after_its_end(
    settings: UpdateManagerSettings,
    redis_client: "redis.Redis",
    tmp_path: Path,
    role: Role,
    other: Role,
) -> None:
    variables = environment(settings)
    missing = await healthy(role, variables)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == f"no {role} on {HOST} has given a sign of life in the last {GONE_SECONDS} s\n"
    process = Process(role, python("-m", "update_manager", role), variables, tmp_path / "log")
    process.start()
    try:
        async with asyncio.timeout(30):
            while not await redis_client.exists(host_key(role, HOST)):
                process.require_alive()
                await asyncio.sleep(0.05)
        lives = await healthy(role, variables)
        assert (lives.returncode, lives.stderr) == (0, "")
        assert lives.stdout.startswith(f"{role} on {HOST} gave a sign of life ")
        assert (await healthy(other, variables)).returncode == 1, "one is not taken for the other"
        assert process.child is not None
        own = process_key(role, HOST, process.child.pid)
        assert await redis_client.exists(own, host_key(role, HOST)) == 2
    finally:
        process.kill()
    for key in (own, host_key(role, HOST)):
        assert 0 < await redis_client.pttl(key) <= GONE_SECONDS * 1000, "it goes by itself"
        await redis_client.delete(key)  # that time has passed
    assert (await healthy(role, variables)).returncode == 1


async def test_process_on_another_host_is_no_answer(
    settings: UpdateManagerSettings, redis_client: "redis.Redis"
) -> None:
    await redis_client.set(host_key("worker", f"{HOST}-2"), 1)
    await redis_client.set(process_key("worker", f"{HOST}-2", 7), 1)
    assert (await healthy("worker", environment(settings))).returncode == 1


async def test_absent_redis_is_named(settings: UpdateManagerSettings) -> None:
    answer = await healthy("beat", environment(settings, REDIS_URL="redis://:secret@127.0.0.1:1/0"))
    assert answer.returncode == 1 and "Redis does not answer" in answer.stderr
    assert "secret" not in answer.stderr and "Traceback" not in answer.stderr
