"""What `make run` says when it cannot run, and how processes die."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from updraft_local.processes import Process, ProcessFailed, python
from updraft_local.run import CannotRun, exclusive, require_space
from updraft_local.suite_secrets import Secrets


def test_a_second_run_is_told_about_the_first(tmp_path: Path) -> None:
    first = exclusive(tmp_path)
    with pytest.raises(CannotRun, match=f"process {os.getpid()} uses .*make run DATA="):
        exclusive(tmp_path)
    first.close()
    exclusive(tmp_path).close()


def test_a_full_disk_is_told_in_numbers(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="MiB left"):
        require_space(tmp_path, 1 << 60)


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    made = Secrets.load(tmp_path)
    assert Secrets.load(tmp_path) == made
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0
    assert len(set(vars(made).values())) == 4


def test_a_process_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    said: list[str] = []
    code = "import sys; print('no such table', file=sys.stderr); sys.exit(3)"
    process = Process("api", python("-c", code), {}, tmp_path / "api.log", said.append)
    process.start()
    assert process.child is not None
    process.child.wait(20)
    with pytest.raises(ProcessFailed, match=r"api ended with exit code 3(.|\n)*no such table"):
        process.require_alive()
    assert said == ["api      | no such table"]


def test_a_killed_process_says_so_and_a_stubborn_one_is_stopped(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = Process("beat", python("-c", code), {}, tmp_path / "beat.log", healthy=lambda: bool(process.words))
    process.start()
    process.wait_healthy(20)
    process.kill()
    with pytest.raises(ProcessFailed, match="killed by SIGKILL"):
        process.require_alive()


def test_help_helps() -> None:
    for module in ("updraft_local.run", "updraft_local.demo", "softdevice", "update_manager", "lwm2m_gateway"):
        done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
        assert "usage:" in done.stdout
