"""The five lines a reader can paste to see the proxy at work: run as they stand in the documents, ports aside."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from strangers import ROOT, program

from updraft_local.ports import free_port

PAGES = ("docs/proxy.md", "services/coap-http-proxy/README.md")
SECONDS = 60.0


def example(page: str) -> str:
    """The block of shell lines that begins a page's way into the proxy."""
    (found,) = re.findall(r"```sh\n(mkdir -p files.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return str(found)


@pytest.mark.parametrize("page", PAGES)
def test_the_example_fetches_the_very_bytes(page: str, tmp_path: Path) -> None:
    client = Path(program("coap-client-notls"))
    lines = example(page)
    assert len(lines.splitlines()) == 5
    ports = {"8000": free_port(), "8082": free_port(), "5685": free_port(socket.SOCK_DGRAM)}
    for written, free in ports.items():
        assert written in lines
        lines = re.sub(rf"\b{written}\b", str(free), lines)
    path = os.pathsep.join((str(Path(sys.executable).parent), str(client.parent), os.environ["PATH"]))
    done = subprocess.run(
        # Job control, as in the shell of a reader: `kill %1` needs it.
        ["bash", "-m", "-c", f"{lines}\nwait"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "the same" in done.stdout.splitlines(), done.stdout + done.stderr
    assert (tmp_path / "got.bin").read_bytes() == (tmp_path / "files" / "app.bin").read_bytes()
    assert (tmp_path / "got.bin").stat().st_size == 100_000


def test_both_documents_show_the_same_lines() -> None:
    assert example(PAGES[0]) == example(PAGES[1])
