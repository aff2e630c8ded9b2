"""Writes docs/configuration.md from the settings classes; with --check says whether it is stale."""

import sys
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import servicekit
from coap_http_proxy.settings import ProxySettings
from frontend.settings import FrontendSettings
from lwm2m_gateway.settings import GatewaySettings
from softdevice.settings import Settings as SoftdeviceSettings
from update_manager.settings import UpdateManagerSettings

TARGET = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

Every setting is an environment variable. Secrets have no default and are never printed. This page is written by
`make configuration` and held to the code by `make check`.
"""
SERVICES: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("Update manager", UpdateManagerSettings),
    ("LwM2M gateway", GatewaySettings),
    ("CoAP-to-HTTP proxy", ProxySettings),
    ("Frontend", FrontendSettings),
    ("Software devices", SoftdeviceSettings),
)


def default(field: FieldInfo) -> str:
    """The default as the page shows it."""
    if field.is_required():
        return "required"
    if isinstance(field.default, SecretStr):
        return f"`{field.default.get_secret_value()}`"
    if field.default is None:
        return "unset"
    return f"`{field.default}`" if str(field.default) else "empty"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, settings in SERVICES:
        parts.append(f"\n## {title}\n\n| variable | default | meaning |\n|---|---|---|\n")
        for name, field in settings.model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            parts.append(f"| `{servicekit.variable(settings, name)}` | {default(field)} | {meaning} |\n")
    return "".join(parts)


def main() -> int:
    """Write, or check with --check."""
    if "--check" in sys.argv:
        fresh = TARGET.exists() and TARGET.read_text() == page()
        sys.stdout.write("configuration: good\n" if fresh else "docs/configuration.md is stale: make configuration\n")
        return 0 if fresh else 1
    TARGET.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
