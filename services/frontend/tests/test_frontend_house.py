"""What the folder promises about itself: vendored files, size of the module, purity of the view models."""

import ast
import importlib.util
from pathlib import Path

import pytest

from frontend.settings import FrontendSettings

HERE = Path(__file__).parent.parent
SOURCE = HERE / "src" / "frontend"
IMPURE = {"httpx", "fastapi", "starlette", "jinja2", "asyncio", "socket", "logging", "time", "os"}


def test_vendored_files_are_those_of_the_lock() -> None:
    spec = importlib.util.spec_from_file_location("vendor", HERE / "vendor.py")
    assert spec is not None and spec.loader is not None
    vendor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vendor)
    vendor.check()


def test_own_script_is_small_and_calls_nothing_from_text() -> None:
    text = (SOURCE / "static" / "app.js").read_text()
    assert len(text.encode()) <= 8192
    assert "innerHTML" not in text and "eval(" not in text and "Function(" not in text


@pytest.mark.parametrize("path", sorted((SOURCE / "view_models").glob("*.py")), ids=lambda path: path.name)
def test_view_models_are_pure(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            assert name.split(".")[0] not in IMPURE
            assert not name.startswith("frontend.") or name.startswith("frontend.view_models")


def test_icons_used_are_in_the_sprite_and_nothing_else_is() -> None:
    sprite = (SOURCE / "static" / "vendor" / "icons.svg").read_text()
    have = {part.split('"')[0] for part in sprite.split('id="')[1:]}
    texts = [path.read_text() for path in (*SOURCE.rglob("*.html"), *SOURCE.rglob("*.py"))]
    used = {name for name in have if any(f'"{name}"' in text for text in texts)}
    assert used == have


def test_settings_listen_on_this_machine_only_unless_told() -> None:
    settings = FrontendSettings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.update_manager_url == "http://127.0.0.1:8080"
