"""Pins: every requirement has a hash, no lock file holds an address or a path, nothing runs at an unpinned version."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (
    "requirements/*.txt",
    "deploy/compose/requirements*.txt",
    "services/frontend/vendor.lock*",
    "tests/**/*lock*.json",
)
ADDRESS = re.compile(r"://|@ file|(?<![\w.])/(home|root|tmp|work)/")


def problems(root: Path = ROOT) -> list[str]:
    """One line for each thing that is wrong."""
    found = []
    for pattern in LOCKS:
        for path in root.glob(pattern):
            if "node_modules" in path.parts:
                continue
            text = path.read_text()
            found += [
                f"{path.relative_to(root)}:{number}: an address or a path"
                for number, line in enumerate(text.splitlines(), 1)
                if ADDRESS.search(line)
            ]
            if path.suffix == ".txt":
                found += _unpinned(path, text, root)
    return found


def _unpinned(path: Path, text: str, root: Path) -> list[str]:
    found = []
    listed = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    for requirement in re.split(r"\n(?=[a-zA-Z0-9])", listed.strip()):
        name = requirement.split("\n", 1)[0].rstrip(" \\")
        if "==" not in name or "--hash=sha256:" not in requirement:
            found.append(f"{path.relative_to(root)}: {name} has no pinned version or no hash")
    return found


def main() -> int:
    """Print problems; 1 when there are any."""
    found = problems()
    sys.stdout.write("".join(f"{line}\n" for line in found) or "pins: good\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
