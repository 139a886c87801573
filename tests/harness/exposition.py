"""What `/metrics` says, read without a library: samples, and the families that they belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass
class Family:
    """One `# TYPE` with its help."""

    name: str
    kind: str
    help: str


@dataclass
class Exposition:
    """A page."""

    families: dict[str, Family] = field(default_factory=dict)
    samples: dict[tuple[str, frozenset[tuple[str, str]]], Decimal] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> Decimal:
        """The sample with exactly these labels; 0 if there is none."""
        return self.samples.get((name, frozenset(labels.items())), Decimal(0))

    def total(self, name: str, **labels: str) -> Decimal:
        """The sum of all samples that have these labels among theirs."""
        wanted = set(labels.items())
        return sum((value for (other, has), value in self.samples.items() if other == name and wanted <= has), Decimal(0))


def parse(text: str) -> Exposition:
    page = Exposition()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, help_ = line.split(" ", 3)
            assert name not in page.families, f"{name} stands twice"
            page.families[name] = Family(name, "", help_)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            page.families[name].kind = kind
        else:
            found = _SAMPLE.match(line)
            assert found, line
            key = (found[1], frozenset(_LABEL.findall(found[2] or "")))
            assert key not in page.samples, f"{line} stands twice"
            page.samples[key] = Decimal(found[3])
    return page


def family_of(sample: str, families: dict[str, Family]) -> str | None:
    """The family of a sample's name, histograms included."""
    if sample in families:
        return sample
    base = re.sub(r"_(bucket|sum|count)$", "", sample)
    return base if base in families and families[base].kind == "histogram" else None
