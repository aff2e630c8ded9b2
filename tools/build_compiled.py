"""Builds the compiled part of libs/datagrams beside its source, where there is a C compiler; without one says so.

Everything works without it, on pure Python, at about half the speed. `--required` makes a missing compiler an error.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "libs/datagrams/src"))

from datagrams.batch import SOURCE, library_path

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-fstack-protector-strong", "-shared", "-fPIC")


def compiler() -> str | None:
    """The C compiler of this machine: $CC, else cc, gcc or clang."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "cc", "gcc", "clang"))), None)


def main() -> int:
    """Build when it is not there yet; 1 when it must be and cannot."""
    target = library_path()
    if target.exists():
        return 0
    found = compiler()
    if found is None:
        sys.stdout.write("no C compiler: blocks are served by pure Python\n")
        return int("--required" in sys.argv)
    # Several may build at once: each writes a file of its own, and the rename is atomic.
    scratch = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run([found, *FLAGS, "-o", str(scratch), str(SOURCE)], check=False, timeout=120)
    if done.returncode:
        scratch.unlink(missing_ok=True)
        sys.stdout.write("the compiled part could not be built: blocks are served by pure Python\n")
        return int("--required" in sys.argv)
    for stale in target.parent.glob("batch-*.so"):
        stale.unlink(missing_ok=True)
    scratch.rename(target)
    sys.stdout.write(f"built {target.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
