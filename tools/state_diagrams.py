"""Draws docs/state-machines.md from the transition tables in the code; with --check says whether it is stale."""

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from lwm2m.firmware import TRANSITIONS as FIRMWARE
from lwm2m_gateway.sessions.phases import TRANSITIONS as JOURNEY
from update_manager.domain.actions import TRANSITIONS as ACTION
from update_manager.domain.rollouts import TRANSITIONS as ROLLOUT

HEAD = """# State machines

Drawn from the tables in the code by `make configuration`; `make check` holds them to it.
"""
TARGET = Path(__file__).resolve().parent.parent / "docs" / "state-machines.md"
MACHINES: tuple[tuple[str, str, Mapping[Any, Any]], ...] = (
    ("Firmware journey (gateway)", "`lwm2m_gateway.sessions.phases`", JOURNEY),
    ("Firmware object State (device)", "`lwm2m.firmware`", FIRMWARE),
    ("Action (update manager)", "`update_manager.domain.actions`", ACTION),
    ("Rollout (update manager)", "`update_manager.domain.rollouts`", ROLLOUT),
)


def word(state: Any) -> str:
    """A state's name in a diagram."""
    return (state.name if isinstance(state, Enum) else str(state)).lower()


def page() -> str:
    """All diagrams as Mermaid."""
    parts = [HEAD]
    for title, source, table in MACHINES:
        parts.append(f"\n## {title}\n\nTable: {source}\n\n```mermaid\nstateDiagram-v2\n")
        for state, following in table.items():
            parts += [f"    {word(state)} --> {word(after)}\n" for after in sorted(following, key=word)]
            if not following:
                parts.append(f"    {word(state)} --> [*]\n")
        parts.append("```\n")
    return "".join(parts)


def main() -> int:
    """Write, or check with --check."""
    if "--check" in sys.argv:
        fresh = TARGET.exists() and TARGET.read_text() == page()
        sys.stdout.write("state machines: good\n" if fresh else "docs/state-machines.md is stale: make configuration\n")
        return 0 if fresh else 1
    TARGET.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
