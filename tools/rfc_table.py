"""Writes docs/rfc.md: what the RFCs ask of the proxy and the test that shows it; with --check says what is wrong.

The requirements are data, `tools/rfc/<number>.toml`. A test shows one by the mark `rfc("7252-4.2-b")`: RFC, section,
row. A mark of a whole section, `rfc("7252 4.2")`, tells a reader where to look and shows nothing here.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tools" / "rfc"
TARGET = ROOT / "docs" / "rfc.md"
HEAD = """# What the RFCs ask of the proxy, and the test that shows it

Each MUST and SHOULD that binds a CoAP-to-HTTP, CoAP-to-CoAP or HTTP-to-CoAP proxy, in our words, with the tests that
carry its mark. What no test shows says why. This page is written by `make configuration` from `tools/rfc/` and the
marks in the tests, and held to them by `make check`.
"""
ROW = re.compile(r"\d+-[\d.]+-[a-z]")
SECTION = re.compile(r"\d+ [\d.]+")
LEVELS = ("MUST", "MUST NOT", "SHALL", "SHOULD", "SHOULD NOT", "RECOMMENDED", "MAY")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row. `why` says why no test shows it, empty when one does."""

    id: str
    level: str
    text: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Rfc:
    """One RFC, with its requirements in the order of their sections."""

    number: int
    title: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark on a test: what it claims, the test's file below the root, and its name."""

    claim: str
    file: str
    test: str


def read(text: str) -> Rfc:
    """Parse one data file; raises ValueError when a row has not the form letter = [level, text, why]."""
    data = tomllib.loads(text)
    number, title = data.pop("rfc"), data.pop("title")
    rows = []
    for section, letters in data.items():
        for letter, row in letters.items():
            if len(row) not in (2, 3) or row[0] not in LEVELS or not all(row):
                raise ValueError(f"RFC {number} section {section} row {letter} is not [level, text, why]")
            rows.append(Requirement(f"{number}-{section}-{letter}", *row))
    return Rfc(number, title, tuple(rows))


def marks_of(source: str, file: str) -> Iterator[Mark]:
    """The rfc marks on the tests of one file, those on single parameters too."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in (part for decorator in node.decorator_list for part in ast.walk(decorator)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.rfc":
                yield from (Mark(_text(argument), file, node.name) for argument in call.args)


def _text(argument: ast.expr) -> str:
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else "?"


def problems(rfcs: Iterable[Rfc], marks: Sequence[Mark]) -> list[str]:
    """One line for each claim that names nothing, and each requirement that is neither shown nor explained, or both."""
    requirements = [row for rfc in rfcs for row in rfc.requirements]
    known, shown = {row.id for row in requirements}, {mark.claim for mark in marks}
    found = []
    for mark in marks:
        if not ROW.fullmatch(mark.claim) and not SECTION.fullmatch(mark.claim):
            found.append(f"{mark.file}: {mark.test} is marked {mark.claim}, which is neither a row nor a section")
        elif ROW.fullmatch(mark.claim) and mark.claim not in known:
            found.append(f"{mark.file}: {mark.test} is marked {mark.claim}, which is no requirement")
    for row in requirements:
        if row.id in shown and row.why:
            found.append(f"{row.id} is shown by a test: its reason for not being shown is out of date")
        if row.id not in shown and not row.why:
            found.append(f"{row.id} is shown by no test and does not say why: {row.text}")
    return found


def page(rfcs: Sequence[Rfc], marks: Iterable[Mark]) -> str:
    """The whole page."""
    tests: dict[str, set[Mark]] = {}
    for mark in marks:
        tests.setdefault(mark.claim, set()).add(mark)
    parts = [HEAD, "\n| RFC | requirements | shown by tests |\n|---|---|---|\n"]
    for rfc in rfcs:
        shown = sum(row.id in tests for row in rfc.requirements)
        parts.append(f"| {rfc.number} {rfc.title} | {len(rfc.requirements)} | {shown} |\n")
    for rfc in rfcs:
        parts.append(f"\n## RFC {rfc.number}\n\n| row | level | what is asked | shown by |\n|---|---|---|---|\n")
        parts += [
            f"| {row.id.partition('-')[2]} | {row.level} | {row.text} | {_proof(row, tests)} |\n"
            for row in rfc.requirements
        ]
    return "".join(parts)


def _proof(row: Requirement, tests: Mapping[str, set[Mark]]) -> str:
    by_file: dict[str, list[str]] = {}
    for mark in sorted(tests.get(row.id, ()), key=lambda mark: (mark.file, mark.test)):
        by_file.setdefault(mark.file, []).append(mark.test.removeprefix("test_").replace("_", " "))
    shown = (f"[{Path(file).name}](../{file}): {'; '.join(names)}" for file, names in by_file.items())
    return "<br>".join(shown) or f"*not shown: {row.why}*"


def tests_of(root: Path) -> list[Path]:
    """Files of tests that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*/test_*.py"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return sorted(root / line for line in set(listed.stdout.split()) if (root / line).is_file())


def main() -> int:
    """Write, or check with --check; 1 when a claim or a requirement is wrong, or the page is stale."""
    rfcs = [read(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.toml"))]
    marks = [
        mark
        for path in tests_of(ROOT)
        for mark in marks_of(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]
    found = problems(rfcs, marks)
    text = page(rfcs, marks)
    if "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        found.append("docs/rfc.md is stale: make configuration")
    sys.stdout.write("".join(f"{line}\n" for line in found) or "rfc: good\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
