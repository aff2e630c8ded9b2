"""House rules ruff cannot know: file length, first lines, commits at the edge, timeouts, words that stay out."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
MAX_COLUMNS = 120
REASON = re.compile(r"over 400 lines because", re.IGNORECASE)
# A commit belongs to the unit of work; a naive clock lies; a call without timeout waits for ever.
FORBIDDEN = (
    (
        re.compile(r"\.commit\(\)"),
        ("adapters/db/session.py", "adapters/db/migrations/env.py"),
        "commit at the edge only",
    ),
    (re.compile(r"httpx\.(get|post|put|delete|request)\("), (), "use a client with a timeout"),
    (re.compile(r"httpx\.(Async)?Client\((?!.*timeout)(?=.*\))"), (), "a client needs a timeout"),
)


# Data has no comments and no readers; vendored files are as they came.
DATA = (".json", ".svg", ".min.js", ".min.css")


def sources(pattern: str = "*", root: Path = ROOT) -> list[Path]:
    """Files of the house that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return [root / line for line in listed.stdout.split() if (root / line).is_file()]


def problems_of(path: Path, text: str) -> list[str]:
    """What is wrong with one file."""
    found = []
    lines = text.splitlines()
    if not lines:
        return []
    name = str(path)
    if ast.get_docstring(ast.parse(text)) is None:
        found.append(f"{name}: the first line does not say what this file knows")
    if "/tests/" in name or name.startswith("tests/"):
        return found
    for number, line in enumerate(lines, 1):
        for pattern, allowed, why in FORBIDDEN:
            if pattern.search(line) and not any(name.endswith(one) for one in allowed) and "house_lint" not in name:
                found.append(f"{name}:{number}: {why}")
    return found


def problems_of_c(name: str, text: str) -> list[str]:
    """What is wrong with one file of C: clang-format leaves comments as they are, and no first line is asked for."""
    lines = text.splitlines()
    found = [
        f"{name}:{number}: wider than {MAX_COLUMNS}" for number, line in enumerate(lines, 1) if len(line) > MAX_COLUMNS
    ]
    if not lines[:1] or not lines[0].startswith("/* "):
        found.append(f"{name}: the first line does not say what this file knows")
    return found


def too_long(name: str, content: bytes) -> list[str]:
    """Whether a file that people read is longer than a sitting, and does not say why in its first line."""
    lines = content.splitlines()
    if len(lines) <= MAX_LINES or b"\0" in content or name.endswith(DATA) or REASON.search(lines[0].decode()):
        return []
    return [f"{name}: {len(lines)} lines and no reason in the first one"]


def main() -> int:
    """Print problems; 1 when there are any."""
    found = [
        problem
        for path in sources("*.py")
        for problem in problems_of(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]
    found += [
        problem
        for path in sources("*.[ch]")
        for problem in problems_of_c(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    ]
    found += [line for path in sources() for line in too_long(str(path.relative_to(ROOT)), path.read_bytes())]
    sys.stdout.write("".join(f"{line}\n" for line in found) or "house: good\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
