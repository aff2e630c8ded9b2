"""Terminals to start `make run` in."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from updraft_local.testing import Terminal


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not below pytest's own folder: the next pytest on this machine closes that to the user PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="updraft-local-") as folder:
        yield Path(folder)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals; what they started is gone after the test."""
    opened: list[Terminal] = []

    def open_one(**options: Any) -> Terminal:
        opened.append(Terminal(tmp_path, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
