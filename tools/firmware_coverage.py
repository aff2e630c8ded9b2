"""Reads gcov's JSON and names every branch of a source that no test has taken."""

import gzip
import json
from pathlib import Path
from typing import Any


def uncovered(report: dict[str, Any], folder: str) -> list[str]:
    """`file:line` of each line or branch in files of `folder` that was never taken, with how many of its branches."""
    found = []
    for file in report["files"]:
        path = Path(file["file"])
        if path.parent.name != folder:
            continue
        for line in file["lines"]:
            branches = [branch["count"] for branch in line["branches"]]
            if line["count"] == 0:
                found.append(f"{path.name}:{line['line_number']}: never reached")
            elif 0 in branches:
                found.append(
                    f"{path.name}:{line['line_number']}: {branches.count(0)} of {len(branches)} branches never taken"
                )
    return found


def counts(report: dict[str, Any], folder: str) -> tuple[int, int]:
    """How many lines and branches the files of `folder` have."""
    lines = [line for file in report["files"] if Path(file["file"]).parent.name == folder for line in file["lines"]]
    return len(lines), sum(len(line["branches"]) for line in lines)


def read_report(path: Path) -> dict[str, Any]:
    """A report that `gcov --json-format` wrote."""
    report: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return report
