"""Turns a template and a view model into an answer: the whole page, or only its live part when htmx asks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from frontend.assets import Assets
from frontend.security import SAFE_METHODS
from frontend.view_models import formatting

THEMES: Final = ("auto", "light", "dark")
THEME_COOKIE: Final = "theme"
NEXT_THEME: Final = {"auto": "dark", "dark": "light", "light": "auto"}


@dataclass(frozen=True, slots=True)
class Section:
    """A place in the navigation."""

    key: str
    title: str
    path: str
    icon: str


NAVIGATION: Final = (
    Section("overview", "Overview", "/", "layout-dashboard"),
    Section("devices", "Devices", "/devices", "cpu"),
    Section("releases", "Releases", "/releases", "package"),
    Section("rollouts", "Rollouts", "/rollouts", "rocket"),
    Section("products", "Products", "/products", "key-round"),
)


class Renderer:
    """Jinja with the console's filters; text is always escaped, and an unknown name is an error."""

    def __init__(self, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(asset=assets.url, navigation=NAVIGATION, query=query)
        self._environment.filters.update(
            size=formatting.size,
            rate=formatting.rate,
            count=formatting.count,
            age=formatting.age,
            instant=formatting.instant,
            iso=formatting.iso,
            lasted=formatting.duration,
            clock=formatting.clock,
            middle=formatting.middle,
            visible=formatting.visible,
        )

    def part(self, template: str, **context: Any) -> str:
        """The text of one template."""
        return self._environment.get_template(template).render({"now": now_ms(), **context})

    def page(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """The page; when htmx asks for it and the page has a `<name>.live.html`, only that part of it."""
        live = template.replace(".html", ".live.html")
        partial = request.headers.get("HX-Request") == "true" and live in self._environment.list_templates()
        theme = theme_of(request.cookies)
        text = self.part(
            live if partial else template,
            theme=theme,
            next_theme=NEXT_THEME[theme],
            here=_here(request, str(context.get("section", ""))),
            **context,
        )
        return HTMLResponse(text, status_code=status, headers={"Vary": "HX-Request, Cookie"})


def _here(request: Request, section: str) -> str:
    """The path that shows this page again; the answer to a form has none, so it is the section's."""
    if request.method not in SAFE_METHODS:
        return next((place.path for place in NAVIGATION if place.key == section), "/")
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def theme_of(cookies: Mapping[str, str]) -> str:
    """`auto`, `light` or `dark`."""
    theme = cookies.get(THEME_COOKIE, "auto")
    return theme if theme in THEMES else "auto"


def query(path: str, **params: object) -> str:
    """`path` with the parameters that have a value."""
    given = {name: value for name, value in params.items() if value not in (None, "", 0)}
    return f"{path}?{urlencode(given)}" if given else path


def see(path: str) -> Response:
    """After a form has acted: look at `path` (303, so that reloading repeats nothing)."""
    return RedirectResponse(path, status_code=303)


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
