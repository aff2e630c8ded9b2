"""The pictures of docs/bootloader.md are drawn from the code, and a page that differs is stale."""

import pytest

from bootloader_page import PICTURES, TARGET, Show, drawn
from softdevice.boot_config import Mode


def test_page_is_what_the_code_draws_and_has_every_picture() -> None:
    text = TARGET.read_text()
    assert drawn(text) == text
    assert all(f"<!-- drawn: {name} -->" in text for name in PICTURES)


def test_changed_picture_is_drawn_anew_and_words_around_it_stay() -> None:
    page = "before\n<!-- drawn: sources -->\nnonsense\n<!-- end -->\nafter\n"
    fresh = drawn(page)
    assert fresh.startswith("before\n<!-- drawn: sources -->\n| primary magic") and fresh.endswith(
        "<!-- end -->\nafter\n"
    )
    with pytest.raises(KeyError):
        drawn(page.replace("sources", "nobody"))


@pytest.mark.parametrize("mode", [Mode.OFFSET, Mode.MOVE, Mode.SCRATCH])
def test_film_of_a_swap_begins_with_the_old_image_and_ends_with_both_exchanged(mode: Mode) -> None:
    cells = Show(mode).cells()
    assert cells[0].startswith("B0 B1") and cells[1].startswith("A0 A1")
