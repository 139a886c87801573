"""The table on standard output and the file with the raw numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def table(figures: list[dict[str, Any]]) -> str:
    """Markdown, padded so that it can be read as it is."""
    head = ["scenario", "figure", "nginx", "till", "compared", "target", "met", "p99 nginx / till"]
    rows = [head, ["---"] * len(head), *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows)


def _row(figure: dict[str, Any]) -> list[str]:
    values, unit = figure["values"], figure["unit"]
    compared = figure.get("compared")
    name = figure["quantity"] + "".join(
        f"; {other} {spread_text(values[other], unit)}" + _compared_text(figure, other)
        for other in values if other not in ("nginx", "till"))
    target = figure.get("target")
    p99 = figure.get("p99_ms", {})
    return [
        figure["scenario"], name,
        spread_text(values["nginx"], unit) if "nginx" in values else "",
        spread_text(values["till"], unit) if "till" in values else "",
        spread_text(compared, compared["unit"]) if compared else "",
        target["text"] if target else "",
        ("yes" if target["met"] else "NO") if target else "",
        " / ".join(f"{p99[name]['median']:.2f}" for name in ("nginx", "till") if name in p99) + (" ms" if p99 else ""),
    ]


def _compared_text(figure: dict[str, Any], other: str) -> str:
    """How a contender that has no column compares, where that is told."""
    compared = figure.get("others_compared", {}).get(other)
    return f" = {spread_text(compared, figure['compared']['unit'])}" if compared else ""


def spread_text(spread: dict[str, Any], unit: str) -> str:
    """Median, and the least and the most of the rounds."""
    median = number_text(spread["median"])
    unit = unit if unit in ("x", "/s") else f" {unit}"
    if len(spread["rounds"]) == 1:
        return f"{median}{unit}"
    return f"{median}{unit} [{number_text(spread['min'])}-{number_text(spread['max'])}]"


def number_text(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def read(path: Path) -> dict[str, Any]:
    """Results of earlier runs, by scenario."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {"scenarios": {}}


def write(path: Path, results: dict[str, Any]) -> None:
    """Numbers of one list on one line: a file for people as well."""
    path.write_text(_compact(json.dumps(results, indent=1)) + "\n")


def _compact(text: str) -> str:
    lines: list[str] = []
    is_inside = False
    for line in text.split("\n"):
        bare = line.strip()
        if is_inside:
            lines[-1] += ("" if lines[-1].endswith("[") or bare.startswith("]") else " ") + bare
            is_inside = not bare.startswith("]")
        else:
            lines.append(line)
            is_inside = bare.endswith('"rounds": [')
    return "\n".join(lines)
