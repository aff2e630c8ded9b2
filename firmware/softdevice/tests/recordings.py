"""Reads the recorded vectors of MCUboot's bootutil; knows nothing of the code they are held against."""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "vectors" / "mcuboot"


@dataclass(frozen=True)
class Scenario:
    """One scenario with the configuration it refers to."""

    name: str
    content: dict[str, Any]
    config: dict[str, Any]


@cache
def load(name: str) -> Any:
    with gzip.open(FOLDER / f"{name}.json.gz", "rt") as file:
        return json.load(file)


@cache
def image(name: str) -> bytes:
    return base64.b64decode(load("images")["images"][name]["base64"])


def families() -> list[str]:
    """Every file with scenarios, by name."""
    names = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))
    return [name for name in names if name not in ("images", "keys")]


def scenarios(family: str) -> Iterator[Scenario]:
    """Every scenario of one file."""
    document = load(family)
    for content in document["scenarios"]:
        yield Scenario(content["id"], content, document["configs"][content["config"]])
