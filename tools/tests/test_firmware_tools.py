"""What stands between the firmware core and a claim that is not true: coverage, planted bugs, the table of sizes."""

from pathlib import Path
from typing import Any

import pytest

import firmware_sizes
from firmware_bugs import Bug, UnplantableError, read_bugs
from firmware_coverage import counts, uncovered
from firmware_sizes import BEGIN, END, Sizes, over_budget, stale, table

CORE = Path(__file__).resolve().parents[2] / "firmware" / "core"
SIZES = Sizes({"patch.c": {"m0": 1600, "m3": 1500}}, 0, {"updraft_patch": 304}, {"updraft_package_feed": 492})


def report(*branch_counts: int, line_count: int = 1, folder: str = "src") -> dict[str, Any]:
    branches = [{"count": count} for count in branch_counts]
    lines = [{"line_number": 7, "count": line_count, "branches": branches}]
    return {"files": [{"file": f"/core/{folder}/patch.c", "lines": lines}]}


def test_a_branch_that_was_never_taken_is_named() -> None:
    assert uncovered(report(3, 0), "src") == ["patch.c:7: 1 of 2 branches never taken"]
    assert uncovered(report(3, 1), "src") == []
    assert counts(report(3, 1), "src") == (1, 2)


def test_a_line_that_was_never_reached_is_named() -> None:
    assert uncovered(report(line_count=0), "src") == ["patch.c:7: never reached"]


def test_only_the_core_is_held_to_its_branches() -> None:
    assert uncovered(report(0, 0, folder="tests"), "src") == []


def test_every_bug_of_the_list_fits_its_source() -> None:
    bugs = read_bugs((CORE / "tests" / "bugs.txt").read_text())
    assert len(bugs) == len({bug.name for bug in bugs}) >= 60
    for bug in bugs:
        source = (CORE / "src" / bug.file).read_text()
        assert bug.planted(source) != source


@pytest.mark.parametrize("source", ["nothing like it", "right right"])
def test_a_bug_that_does_not_fit_is_refused(source: str) -> None:
    with pytest.raises(UnplantableError):
        Bug("does wrong", "patch.c", "right", "wrong").planted(source)


def test_a_bug_may_take_lines_away_and_put_others() -> None:
    assert read_bugs("# why\n\ndoes wrong\n  patch.c\n- one\n- two\n+ three\n") == [
        Bug("does wrong", "patch.c", "one\ntwo", "three")
    ]


def test_what_is_larger_than_promised_is_named() -> None:
    assert over_budget(SIZES) == []
    large = Sizes({"patch.c": {"m0": 12 * 1024 + 1}}, 1, {"updraft_patch": 1025}, {"updraft_package_feed": 1025})
    assert [line.split(":")[0] for line in over_budget(large)] == [
        "text on m0",
        "stack of updraft_package_feed",
        "static data",
        "decoder state",
    ]


@pytest.mark.parametrize(
    ("shown", "word"),
    [
        ("", "no place"),
        (f"{BEGIN}\n{table(SIZES)}\n{END}", None),
        (f"{BEGIN}\n{table(SIZES).replace('492', '500')}\n{END}", None),
        (f"{BEGIN}\n{table(SIZES).replace('492', '600')}\n{END}", "600"),
        (f"{BEGIN}\n{table(SIZES).replace('updraft_patch', 'updraft_delta')}\n{END}", "other rows"),
    ],
)
def test_a_page_with_old_figures_is_stale(shown: str, word: str | None) -> None:
    wrong = stale(shown, SIZES)
    assert wrong is None if word is None else wrong is not None and word in wrong


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    firmware_sizes.publish(page, SIZES)
    assert page.read_text().startswith("before\n") and page.read_text().endswith("\nafter\n")
    assert stale(page.read_text(), SIZES) is None
