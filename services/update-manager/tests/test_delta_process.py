"""The process that makes one delta: what it may not hand out, and that it goes when its time is up."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from softdevice.images import SigningKey, small_image
from update_manager.adapters import delta_process

# As the worker starts it, but for a maker that gets the target wrong.
WITH_A_WRONG_MAKER = """
import runpy
from firmware_delta import creation
right = creation.create
creation.create = lambda base, target, formats: right(base, base, formats)
runpy.run_module("update_manager.adapters.delta_process", run_name="__main__")
"""


def test_a_delta_that_does_not_give_its_image_is_not_handed_out(tmp_path: Path, signing_key: SigningKey) -> None:
    base, target = tmp_path / "base", tmp_path / "target"
    base.write_bytes(small_image(signing_key, "1.0.0"))
    target.write_bytes(small_image(signing_key, "1.1.0"))
    command = [sys.executable, "-c", WITH_A_WRONG_MAKER, str(base), str(target), "3"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.strip() == b"the delta does not give the image it was made for"


async def test_a_process_whose_time_is_up_is_killed(tmp_path: Path) -> None:
    never = tmp_path / "never"
    os.mkfifo(never)  # nobody writes to it, so who reads it never ends
    async with asyncio.timeout(30):
        with pytest.raises(delta_process.CannotMakeDelta, match=r"took longer than 0\.2 s"):
            await delta_process.make(never, never, 3, 0.2)
