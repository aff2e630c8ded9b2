"""The table of RFC requirements: what it reads from data and tests, and what it does not let pass."""

import pytest

from rfc_table import Mark, marks_of, page, problems, read

DATA = """
rfc = 7252
title = "CoAP"
["4.2"]
a = ["MUST", "A message is acknowledged"]
b = ["SHOULD", "Groups are served", "no group is joined"]
"""
SHOWN = Mark("7252-4.2-a", "x/test_x.py", "test_it_is_acknowledged")


def test_marks_are_found_on_tests_and_on_single_parameters() -> None:
    source = """
import pytest

@pytest.mark.rfc("7252-4.2-a", "7252 4.3")
async def test_one() -> None: ...

@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.rfc("7252-4.2-b"))])
def test_two(x: int) -> None: ...
"""
    assert list(marks_of(source, "f")) == [
        Mark("7252-4.2-a", "f", "test_one"),
        Mark("7252 4.3", "f", "test_one"),
        Mark("7252-4.2-b", "f", "test_two"),
    ]


def test_what_is_shown_or_explained_is_good() -> None:
    assert problems([read(DATA)], [SHOWN, Mark("7252 4.2", "x/test_x.py", "test_two")]) == []


@pytest.mark.parametrize(
    ("marks", "problem"),
    [
        ([], "7252-4.2-a is shown by no test and does not say why"),
        ([SHOWN, Mark("7252-4.2-c", "f", "test_x")], "7252-4.2-c, which is no requirement"),
        ([SHOWN, Mark("7252-4.2-b", "f", "test_x")], "7252-4.2-b is shown by a test: its reason"),
        ([SHOWN, Mark("RFC 7252", "f", "test_x")], "neither a row nor a section"),
    ],
)
def test_what_does_not_fit_is_said(marks: list[Mark], problem: str) -> None:
    found = problems([read(DATA)], marks)
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize("row", ['["MUST"]', '["OUGHT", "text"]', '["MUST", ""]', '["MUST", "text", "why", "more"]'])
def test_a_row_of_another_form_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match=r"section 4\.2 row a"):
        read(f'rfc = 7252\ntitle = "CoAP"\n["4.2"]\na = {row}\n')


def test_the_page_says_which_test_and_why_none() -> None:
    text = page([read(DATA)], [SHOWN])
    assert "| 7252 CoAP | 2 | 1 |" in text
    shown = "[test_x.py](../x/test_x.py): it is acknowledged"
    assert f"| 4.2-a | MUST | A message is acknowledged | {shown} |" in text
    assert "| 4.2-b | SHOULD | Groups are served | *not shown: no group is joined* |" in text
