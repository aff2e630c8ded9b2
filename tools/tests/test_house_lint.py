"""The house rules for C, which no compiler knows."""

from house_lint import problems_of_c


def test_c_that_says_what_it_knows_in_lines_of_the_house_is_good() -> None:
    assert problems_of_c("a.c", "/* Knows a. */\n" + "x" * 120 + "\n") == []


def test_a_first_line_that_says_nothing_and_a_wide_line_are_told() -> None:
    assert problems_of_c("a.c", "#include <a.h>\n" + "x" * 121 + "\n") == [
        "a.c:2: wider than 120",
        "a.c: the first line does not say what this file knows",
    ]
    assert problems_of_c("a.h", "") == ["a.h: the first line does not say what this file knows"]
