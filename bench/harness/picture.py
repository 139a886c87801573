"""A picture of the results: what a request costs with till, nginx being 1.

Plain SVG without a background, in colours that can be read on white and on black.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

# Which figures are shown, and how they are called.
BARS = [
    ("busy-key", "CPU per request", "one busy key"),
    ("spend", "CPU per request", "tokens and dollars"),
    ("many-keys", "CPU per request", "10,000 keys in turn"),
    ("busy-key-logs", "CPU per request", "request logs on"),
    ("streams", "CPU per stream", "streams of 200 events"),
]

TEXT, BAR, LINE, MARK = "#768390", "#3b82c4", "#8b949e", "#d4793a"
WIDTH, LABEL, VALUE = 720, 170, 120
ROW, TOP, BOTTOM = 34, 46, 30


def draw(results: dict[str, Any], path: Path) -> bool:
    """Writes the picture; `False` when nothing of it was measured yet."""
    rows = [(label, figure) for scenario, quantity, label in BARS if (figure := _figure(results, scenario, quantity))]
    if not rows:
        return False
    scale = (WIDTH - LABEL - VALUE) / max(1.25, *(figure["compared"]["max"] for _, figure in rows))
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}" role="img">',
        "<title>Processor time per request of till, divided by that of nginx</title>",
        f'<text x="{LABEL}" y="18" font-size="14">Processor time per request, nginx = 1</text>',
    ]
    for number, (label, figure) in enumerate(rows):
        parts += _bar(TOP + ROW * number, label, figure, scale)
    one, end = LABEL + scale, TOP + ROW * len(rows)
    parts += [
        f'<line x1="{one:.1f}" y1="{TOP - 12}" x2="{one:.1f}" y2="{end}" stroke="{LINE}" stroke-dasharray="4 3"/>',
        f'<text x="{one:.1f}" y="{TOP - 16}" text-anchor="middle" font-size="11">nginx</text>',
        f'<text x="{LABEL}" y="{end + 20}" font-size="11">bar: median of the rounds; thin line: least and most; '
        f'<tspan fill="{MARK}">|</tspan> target</text>',
        "</svg>",
    ]
    path.write_text("\n".join(parts) + "\n")
    return True


def _bar(top: int, label: str, figure: dict[str, Any], scale: float) -> list[str]:
    compared = figure["compared"]
    length, least, most = (compared[name] * scale for name in ("median", "min", "max"))
    middle = top + ROW / 2
    parts = [
        f'<text x="{LABEL - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{LABEL}" y="{top + 6}" width="{length:.1f}" height="{ROW - 12}" rx="2" fill="{BAR}"/>',
        f'<line x1="{LABEL + least:.1f}" y1="{middle}" x2="{LABEL + most:.1f}" y2="{middle}" stroke="{TEXT}"/>',
        f'<text x="{LABEL + most + 8:.1f}" y="{middle + 4:.1f}">{compared["median"]:.2f}</text>',
    ]
    if bound := figure.get("target", {}).get("bound"):
        at = LABEL + bound * scale
        parts.append(f'<line x1="{at:.1f}" y1="{top + 3}" x2="{at:.1f}" y2="{top + ROW - 3}" stroke="{MARK}" stroke-width="2"/>')
    return parts


def _figure(results: dict[str, Any], scenario: str, quantity: str) -> dict[str, Any] | None:
    for figure in results["scenarios"].get(scenario, {}).get("figures", []):
        if figure["quantity"] == quantity and "compared" in figure:
            return figure
    return None
