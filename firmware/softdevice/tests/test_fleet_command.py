"""`softdevice fleet` for a time: many devices of many clients at a registrar of another process, and the report."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from device_world import until

from softdevice.__main__ import main

PYTHON = (sys.executable, "-m", "softdevice")


@pytest.fixture
async def registrar() -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """A registrar on a free port."""
    process = await asyncio.create_subprocess_exec(
        *PYTHON, "registrar", "--port", "0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        line = await process.stderr.readline()
    yield int(line.rpartition(b":")[2]), process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def fleet(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a fleet in memory."""
    process = await asyncio.create_subprocess_exec(
        *PYTHON,
        *("fleet", "--in-memory", "--log-level", "WARNING", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    return process.returncode or 0, out.decode(), errors.decode()


async def test_fleet_of_all_clients_registers_reports_and_leaves(
    registrar: tuple[int, asyncio.subprocess.Process],
) -> None:
    port, server = registrar
    mix = "updraft=1,zephyr=1,zephyr-old=1,dm-lwm2m=1,anjay=1,wakaama=1"
    code, out, errors = await fleet(
        *("--devices", "300", "--profile-mix", mix, "--server", f"coap://127.0.0.1:{port}", "--start-rate", "1000"),
        *("--duration", "3", "--report", "-"),
    )
    report = json.loads(out)
    assert code == 0, errors
    assert (report["devices"], report["registered"], report["versions"]) == (300, 300, {"1.0.0": 300})
    assert report["profiles"] == dict.fromkeys(("anjay", "dm-lwm2m", "updraft", "wakaama", "zephyr", "zephyr-old"), 50)
    assert report["counts"]["registrations"] == 300 and report["errors"] == {}
    times = report["milliseconds"]["registrations"]
    assert times["count"] == 300 and 0 < times["p50"] <= times["p99"] <= times["max"]
    # Far above what a device takes, far below what a careless field would.
    assert 5_000 < report["bytesPerDevice"] < 60_000 and report["cpuSeconds"] > 0
    server.send_signal(signal.SIGTERM)
    told, _ = await server.communicate()
    seen = json.loads(told)
    assert (seen["registered"], seen["deregistered"], seen["registeredNow"], seen["expired"]) == (300, 300, 0, 0)


async def test_fleet_without_a_server_says_so_by_its_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    code, out, _ = await fleet(
        *("--devices", "2", "--server", "coap://127.0.0.1:9", "--duration", "1.5", "--report", str(path)),
        *("--ack-timeout", "0.01", "--hurry", "--no-deregister"),
    )
    report = json.loads(path.read_text())
    assert (code, out, report["registered"]) == (3, "", 0)
    assert report["errors"]["no answer"] >= 1 and report["counts"]["retransmissions"] >= 4


async def test_somebody_who_looks_sees_one_line_that_changes(
    registrar: tuple[int, asyncio.subprocess.Process],
) -> None:
    screen, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *PYTHON,
        *("fleet", "--in-memory", "--devices", "3", "--server", f"coap://127.0.0.1:{registrar[0]}", "--hurry"),
        *("--duration", "2.5", "--log-level", "WARNING"),
        stderr=terminal,
    )
    os.close(terminal)
    async with asyncio.timeout(30):
        code = await process.wait()
    shown = os.read(screen, 4096).decode()
    os.close(screen)
    assert code == 0 and shown.count("\r") >= 2
    assert re.search(r"\r +\d s: 3 of 3 registered, \d+\.\d updates/s, 0 lost, 0 failed, \d+ MB", shown), shown
    assert shown.endswith("\n")


@pytest.mark.parametrize("command", ["fleet", "run", "registrar", "inspect", "key", "key new", "key public", "image"])
def test_help_of_each_command_shows_an_example_that_is_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert f"python -m softdevice {command.split()[0]}" in capsys.readouterr().out.partition("example")[2]


async def test_too_few_files_are_told_before_anything_starts() -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *PYTHON, "fleet", "--in-memory", "--devices", "600"),
        *("--duration", "0.1"),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"600 devices need 664 open files" in errors and errors.count(b"\n") == 1


async def test_report_is_there_before_devices_say_goodbye_and_a_second_signal_ends_at_once(
    registrar: tuple[int, asyncio.subprocess.Process], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    process = await asyncio.create_subprocess_exec(
        *PYTHON,
        *("fleet", "--in-memory", "--devices", "3", "--server", f"coap://127.0.0.1:{registrar[0]}", "--hurry"),
        *("--report", str(report), "--log-format", "json", "--no-progress"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        for _ in range(3):
            while b'"registered"' not in await process.stderr.readline():
                pass
    registrar[1].kill()
    process.send_signal(signal.SIGTERM)
    await until(lambda: bool(report.read_text()))
    assert json.loads(report.read_text())["registered"] == 3
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await process.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    "option",
    [
        *("--link=moon", "--profile=nokia", "--profile-mix=zephyr"),
        *("--devices=0", "--devices=some", "--start-rate=0", "--start-rate=nan"),
        *("--duration=long", "--duration=nan", "--duration=0", "--confirm-deadline-seconds=-1"),
        # What the environment may not say, the command line may not say.
        *("--lifetime=0", "--lifetime=-100", "--report-seconds=0", "--report-seconds=inf", "--patience-seconds=0"),
        *("--ack-timeout=0", "--ack-timeout=-3", "--block-size=5"),
    ],
)
def test_words_and_numbers_that_mean_nothing_are_wrong_usage(option: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["fleet", option])
    assert left.value.code == 2
