"""Absolute links in answers: hawkBit's clients follow an href as it stands, so it names the host they asked."""

from contextvars import ContextVar
from typing import Any

# Set for each request by the HTTP application; an argument through every shape would say nothing more.
base_url: ContextVar[str] = ContextVar("base_url", default="")


def href(path: str) -> dict[str, str]:
    """A link to a path below `/rest/v1`."""
    return {"href": f"{base_url.get()}/rest/v1/{path}"}


def links(path: str, **relations: str) -> dict[str, Any]:
    """`_links` of an entity: itself, and relations whose paths are relative to it unless they begin with `/`."""
    found = {relation: href(to[1:] if to[0] == "/" else f"{path}/{to}") for relation, to in relations.items()}
    return {"_links": {"self": href(path), **found}}
