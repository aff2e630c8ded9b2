"""Reading settings from the environment, with an error a person can act on."""

import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import AliasChoices, ValidationError
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)


def variable(kind: type[BaseSettings], name: str) -> str:
    """The environment variable of the field `name`."""
    alias = kind.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else f"{kind.model_config.get('env_prefix', '')}{name.upper()}"


def load(
    kind: type[Settings], values: Mapping[str, Any] | None = None, names: Mapping[str, str] | None = None
) -> Settings:
    """Build `kind` from the environment; exits with status 2 and one line for each wrong or missing variable.

    `values` overrule the environment, by field; `names` says what a person calls them (the option they came from).
    """
    try:
        return kind(**(values or {}))
    except ValidationError as error:
        fields = {variable(kind, name): name for name in kind.model_fields}
        for problem in error.errors(include_input=False, include_url=False):
            found = str(problem["loc"][0]) if problem["loc"] else "?"
            name = fields.get(found, found)
            if names and name in names:
                told = f"option {names[name]}: {_said(problem['msg'])} (see --help)"
            elif name in kind.model_fields:
                told = f"setting {variable(kind, name)}: {_said(problem['msg'])} (see docs/configuration.md)"
            else:
                told = f"settings: {_said(problem['msg'])} (see docs/configuration.md)"
            sys.stderr.write(f"{told}\n")
        raise SystemExit(2) from error


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
