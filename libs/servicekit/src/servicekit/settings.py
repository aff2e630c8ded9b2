"""Reading settings from the environment, with an error a person can act on."""

import sys
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)


def load(kind: type[Settings]) -> Settings:
    """Build `kind` from the environment; exits with status 2 and one line for each wrong or missing variable."""
    try:
        return kind()
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix", ""))
        for problem in error.errors(include_input=False, include_url=False):
            name = str(problem["loc"][0]) if problem["loc"] else "?"
            variable = name if name.isupper() else f"{prefix}{name.upper()}"
            sys.stderr.write(f"setting {variable}: {problem['msg']} (see docs/configuration.md)\n")
        raise SystemExit(2) from error
