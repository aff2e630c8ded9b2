"""Types: mypy strict over all sources at once, then over the tools and each folder of tests on its own.

Test folders go one by one because modules of the same name live in several of them.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("libs/*/src", "services/*/src", "firmware/*/src", "deploy/*/src")
TESTS = ("libs/*/tests", "services/*/tests", "services/*/fuzz", "firmware/*/tests", "deploy/*/tests", "tests/*")
# A test that drives a state machine compares one attribute with one state after the other; mypy cannot know that a
# call in between changed it.
TEST_FLAGS = ("--disable-error-code", "comparison-overlap", "--no-warn-unreachable")


def folders(*patterns: str) -> list[Path]:
    """Folders of the patterns that hold Python files."""
    found = (path for pattern in patterns for path in sorted(ROOT.glob(pattern)))
    return [path for path in found if path.is_dir() and any(path.glob("**/*.py"))]


def mypy(arguments: list[str], extra: tuple[Path, ...] = ()) -> bool:
    """Run mypy with all sources, and `extra` folders, on its path."""
    path = os.pathsep.join(str(folder) for folder in (*folders(*SOURCES), *extra))
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "MYPYPATH": path}, check=False).returncode == 0


def main() -> int:
    """Check everything, say what was checked; 1 when something is wrong."""
    packages = [
        package.name for folder in folders(*SOURCES) for package in sorted(folder.iterdir()) if package.is_dir()
    ]
    good = mypy([flag for name in packages if name.isidentifier() for flag in ("-p", name)])
    for folder in folders("tools", "benchmarks"):
        good &= mypy([str(folder)], (folder,))
    tests = folders(*TESTS)
    for folder in tests:
        good &= mypy([*TEST_FLAGS, str(folder)], (folder,))
    sys.stdout.write(
        f"types: {'good' if good else 'WRONG'} ({len(packages)} packages, {len(tests)} folders of tests)\n"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
