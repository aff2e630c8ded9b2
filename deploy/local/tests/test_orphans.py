"""A starter that dies without a word leaves nothing running, and nobody else is ever hit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from updraft_local import orphans
from updraft_local.orphans import Ledger, began, leftovers, stop_leftovers
from updraft_local.processes import Process, python

# A starter with one service that ignores SIGTERM and has a child of its own, as a suite would start it.
STARTER = """
import sys, time
from pathlib import Path
from updraft_local.orphans import Ledger
from updraft_local.processes import Process, python
from updraft_local.stopping import Stopped, StopRequest

folder = Path(sys.argv[1])
request = StopRequest()
ledger = Ledger(folder / "processes.json")
ledger.open()
code = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);" \\
       "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);" \\
       "print('up', flush=True); time.sleep(60)"
process = Process("stubborn", python("-c", code), ledger.environment, folder / "log")
process.start()
ledger.note("stubborn", process.child.pid)
while not process.words:
    time.sleep(0.01)
try:
    print(ledger.mark, flush=True)
    while True:
        time.sleep(0.05)  # as run and demo do: a signal that comes just before a sleep does not end it
except Stopped:
    print("stopping", flush=True)
finally:
    request.disarm()
    process.stop(request.hurry.is_set)
    ledger.close()
print("stopped", flush=True)
"""


def marked(mark: str) -> list[int]:
    """Living processes with the mark."""
    return list(orphans._marked(mark))


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    """A running starter and its mark."""
    command = [sys.executable, "-c", STARTER, str(folder)]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert starter.stdout is not None
    mark = starter.stdout.readline().strip()
    assert len(marked(mark)) == 2
    return starter, mark


def test_what_a_killed_starter_started_is_stopped_by_its_keeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter, mark = start(tmp_path)
    starter.kill()
    starter.wait()
    until(lambda: not marked(mark))
    until(lambda: not (tmp_path / "processes.json").exists())


def test_asked_twice_it_kills_what_will_not_stop_and_leaves_nothing(tmp_path: Path) -> None:
    starter, mark = start(tmp_path)
    assert starter.stdout is not None
    starter.send_signal(signal.SIGINT)
    starter.send_signal(signal.SIGTERM)  # make passes it on: still the same request
    assert starter.stdout.readline() == "stopping\n"
    time.sleep(0.7)
    starter.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert len(marked(mark)) == 2  # however late make's echo comes, nothing is killed for it
    starter.send_signal(signal.SIGINT)
    # Much sooner than a patient stop would take; a killed process may need a moment to be gone on a busy machine.
    assert (starter.wait(10), starter.stdout.read()) == (0, "stopped\n")
    until(lambda: marked(mark) == [])


def test_a_process_id_that_belongs_to_somebody_else_by_now_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ledger = tmp_path / "processes.json"
    try:
        for other in (f"{(began(stranger.pid) or '')}1", "another-boot 5", None):
            entry = {"name": "api", "pid": stranger.pid, "began": other}
            ledger.write_text(json.dumps({"mark": "0123456789abcdef", "processes": [entry]}))
            assert stop_leftovers(ledger) == []
            assert stranger.poll() is None
        entry = {"name": "api", "pid": stranger.pid, "began": began(stranger.pid)}
        ledger.write_text(json.dumps({"mark": "0123456789abcdef", "processes": [entry]}))
        assert [one.pid for one in stop_leftovers(ledger)] == [stranger.pid]
        assert stranger.wait(5) == -signal.SIGTERM
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"mark": 1, "processes": [{"name": 1}]}', "\0\1"])
def test_a_ledger_that_cannot_be_read_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "processes.json").write_text(text)
    assert leftovers(tmp_path / "processes.json") == []
    assert leftovers(tmp_path / "absent.json") == []


def test_a_ledger_closed_in_order_lets_its_keeper_go(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "processes.json")
    ledger.open()
    process = Process("api", python("-c", "import time; time.sleep(60)"), ledger.environment, tmp_path / "log")
    process.start()
    assert process.child is not None
    ledger.note("api", process.child.pid)
    keeper = ledger._keeper
    ledger.close()
    assert keeper is not None and keeper.poll() == 0
    assert process.child.wait(5) == -signal.SIGTERM
    assert not (tmp_path / "processes.json").exists()
    assert began(os.getpid()) is not None and began(1 << 22) is None
