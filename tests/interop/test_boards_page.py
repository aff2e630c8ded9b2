"""docs/boards.md does what it says: blocks said to run are run, in order, in one shell, against the suite."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import redis
from strangers import ROOT

from coap_http_proxy.psk import psk_of
from mcuboot_image import Version, load_public_key, parse, verify
from softdevice.board import Board
from updraft_local.management import Management
from updraft_local.suite import OPERATOR, Suite

PAGE = ROOT / "docs" / "boards.md"
BLOCK = re.compile(r"^\*(Runs in our tests|Not run here)\*[^\n]*\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKS = {"Runs in our tests", "Not run here"}
SECONDS = 400.0


def test_every_block_says_whether_it_is_run() -> None:
    page = PAGE.read_text()
    assert len(BLOCK.findall(page)) == len(re.findall(r"^```\w", page, re.MULTILINE))
    assert all(language == "sh" for run, language, _ in BLOCK.findall(page) if run == "Runs in our tests")


def test_what_it_names_of_the_console_is_written_there() -> None:
    console = "".join(path.read_text() for path in (ROOT / "services/frontend/src/frontend/templates").glob("*.html"))
    named = set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", PAGE.read_text())) - MARKS
    assert {"Products", "Releases"} < named
    assert [name for name in named if name not in console] == []


def test_the_page_takes_a_board_from_its_key_to_an_update_and_a_rollback(
    suite: Suite, manager: Management, tmp_path: Path
) -> None:
    script = "".join(body for run, _, body in BLOCK.findall(PAGE.read_text()) if run == "Runs in our tests")
    assert suite.redis is not None
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "UPDRAFT": suite.api_url,
        "OPERATOR": f"{OPERATOR}:{suite.secrets.operator}",
        "LWM2M": suite.gateway_uri,
        "REDIS_URL": suite.redis.url,
    }
    done = subprocess.run(
        # The first command that fails ends it, and the device with it.
        ["bash", "-eu", "-o", "pipefail", "-c", f"trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "board-1 runs 1.1.0" in done.stdout.splitlines(), told
    assert "board-1 went back to 1.1.0" in done.stdout.splitlines(), told

    key = load_public_key((tmp_path / "keys" / "signing.pub.pem").read_bytes())
    verify(parse((tmp_path / "hsm.bin").read_bytes()), [key])
    assert Board.on_file(tmp_path / "devices" / "board-1" / "flash.bin", (key,)).contents().running == Version(
        1, 1, 0, 0
    )
    phases = [attempt["phases"][-1]["phase"] for attempt in manager.timeline("board-1")["attempts"]]
    assert phases == ["rolled_back", "succeeded"]
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        record = json.loads(client.get("updraft:psk:board-1"))
    assert psk_of(record["key"], record["controllerId"]) is not None
