"""The plot of docs/benchmarks.md: answers per core, a group of bars for each line, on a logarithmic scale.

SVG by hand, and quiet: its colours come from one table for light and one for dark pages.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from lines import Entry, Result

WIDTH, LEFT, BAR, GAP, TOP = 860, 150, 16, 22, 64
LOWEST, HIGHEST = 2, 6  # powers of ten
COLOURS: Final = {
    "bound": ("#8a8f98", "#9aa0a8"),
    "updraft": ("#0b6bcb", "#5aa9f8"),
    "updraft python": ("#5b9bdd", "#2f77be"),
    "libcoap": ("#b35900", "#f0a355"),
    "californium": ("#6b4fbb", "#b09bf0"),
    "aiocoap": ("#1a7f37", "#57c375"),
    "npm coap": ("#a40e26", "#f2788a"),
}


def bars(results: Sequence[Result]) -> str:
    """SVG of all lines that have rates."""
    shown = [result for result in results if any(entry.samples and entry.name in COLOURS for entry in result.entries)]
    y, parts = TOP, []
    for result in shown:
        parts.append(f'<text class="line" x="12" y="{y - 7}">{escape(result.title)}</text>')
        for entry in result.entries:
            if entry.samples and entry.name in COLOURS:
                parts.append(bar(entry, y))
                y += BAR
        y += GAP + 8
    height = y + 6
    return head(height) + axis(height) + "\n".join(parts) + "\n</svg>\n"


def place(rate: float) -> float:
    """Where a rate lies on the axis."""
    share = (math.log10(max(rate, 10**LOWEST)) - LOWEST) / (HIGHEST - LOWEST)
    return LEFT + share * (WIDTH - LEFT - 80)


def bar(entry: Entry, y: float) -> str:
    """One bar with its name and figure."""
    rate = 1e6 / max(entry.cpu_us, 0.01)
    end, middle = place(rate), y + BAR / 2 + 4
    name = escape(entry.name)
    return (
        f'<text class="name" x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">{name}</text>'
        f'<rect class="c{list(COLOURS).index(entry.name)}" x="{LEFT}" y="{y + 1:.1f}" '
        f'width="{end - LEFT:.1f}" height="{BAR - 3}" rx="2"/>'
        f'<text class="figure" x="{end + 6:.1f}" y="{middle:.1f}">{rate:,.0f}</text>'
    )


def axis(height: float) -> str:
    """Powers of ten."""
    parts = []
    for power in range(LOWEST, HIGHEST + 1):
        x = place(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="32" x2="{x:.1f}" y2="{height - 8:.1f}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="24" text-anchor="middle">{10**power:,}</text>')
    return "\n".join(parts) + "\n"


def head(height: float) -> str:
    """Size, colours, title."""
    light = "".join(f".c{at}{{fill:{one}}}" for at, (one, _) in enumerate(COLOURS.values()))
    dark = "".join(f".c{at}{{fill:{one}}}" for at, (_, one) in enumerate(COLOURS.values()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        'aria-label="Answers a second of one core, by line and contestant">\n'
        "<style>text{font:12px system-ui,sans-serif;fill:#24292f}.line{font-weight:600}.tick,.figure{fill:#57606a}"
        f".grid{{stroke:#d0d7de}}.paper{{fill:#fff}}{light}"
        "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.tick,.figure{fill:#9aa4af}"
        f".grid{{stroke:#30363d}}.paper{{fill:#0d1117}}{dark}}}</style>\n"
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>\n'
    )
