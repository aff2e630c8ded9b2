"""Makes one delta in a process of its own: it is all computing, may be killed, and goes after everything else.

The child is this module: `python -m update_manager.adapters.delta_process BASE TARGET FORMATS`. It writes one line with
the milliseconds it computed, then the delta. What it made was applied once before it is believed.
"""

import asyncio
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_delta import Compression, Header, apply, decode_header
from mcuboot_image import parse

logger = logging.getLogger(__name__)

NICE: Final = 10
MAX_ERROR: Final = 300


class CannotMakeDelta(Exception):
    """Making it failed; the text says how, to an operator who sees no paths of this machine."""


@dataclass(frozen=True, slots=True)
class Made:
    """A whole delta, its header, and how long it took to compute."""

    data: bytes
    header: Header
    milliseconds: int


async def make(base: Path, target: Path, formats: int, timeout_seconds: float) -> Made:
    """The smallest delta between two image files in one of `formats` (a mask); raises CannotMakeDelta."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        str(base),
        str(target),
        str(formats),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            out, err = await child.communicate()
    except TimeoutError as error:
        raise CannotMakeDelta(f"it took longer than {timeout_seconds:g} s") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        last = (err.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
        logger.warning("the process that makes a delta ended with %d: %s", child.returncode, last[:MAX_ERROR])
        raise CannotMakeDelta(f"the process that makes it ended with {child.returncode}; the worker's log says why")
    line, _, data = out.partition(b"\n")
    return Made(data, decode_header(data), int(line))


def image_of(path: Path) -> bytes:
    """The image in a file, without the padding behind it; raises OSError or mcuboot_image's DecodeError."""
    image = parse(path.read_bytes())
    return image.data[: image.total_size]


def _main(base_path: str, target_path: str, formats: str) -> None:
    # Here and not above: the processes that only wait for this one need no suffix sorter.
    from firmware_delta.creation import create

    os.nice(NICE)
    base, target = image_of(Path(base_path)), image_of(Path(target_path))
    begun = time.monotonic()
    made = create(base, target, tuple(one for one in reversed(Compression) if one & int(formats)))
    milliseconds = int((time.monotonic() - begun) * 1000)
    if apply(made.data, base) != target:
        raise SystemExit("the delta does not give the image it was made for")
    sys.stdout.buffer.write(f"{milliseconds}\n".encode() + made.data)


if __name__ == "__main__":
    _main(*sys.argv[1:])
