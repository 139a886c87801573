"""What comes out: figures with the value of every round, and what is asked of them."""

from __future__ import annotations

import operator
import statistics
from dataclasses import dataclass, field
from typing import Any, Callable


@dataclass
class Target:
    """A bound for a figure."""

    bound: float
    is_most: bool = True
    # A better one, which is not asked for.
    stretch: float | None = None

    def is_met_by(self, value: float) -> bool:
        return value <= self.bound if self.is_most else value >= self.bound

    def text(self, unit: str = "") -> str:
        sign = "<=" if self.is_most else ">="
        stretch = f" (stretch {self.stretch:g})" if self.stretch is not None else ""
        return f"{sign} {self.bound:g}{unit}{stretch}"


@dataclass
class Figure:
    """One line of the table: a quantity, for each contender the values of the rounds.

    With `against` the target is for till divided by that contender, round by round; `combine` says another way to compare.
    """

    scenario: str
    quantity: str
    unit: str
    values: dict[str, list[float]]
    target: Target | None = None
    against: str | None = None
    combine: Callable[[float, float], float] = operator.truediv
    compared_unit: str = "x"
    note: str = ""
    # Beside the values: the 99th percentile of each contender, in milliseconds, where there is one.
    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    of: str = "till"

    def compared(self) -> list[float]:
        """What the target is for, round by round."""
        own = self.values[self.of]
        if self.against is None:
            return own
        return [self.combine(mine, other) for mine, other in zip(own, self.values[self.against], strict=True)]

    def others_compared(self) -> dict[str, list[float]]:
        """The same for the contenders that no target is for, such as the floor."""
        if self.against is None:
            return {}
        base = self.values[self.against]
        others = {name: own for name, own in self.values.items() if name not in (self.of, self.against)}
        return {name: [self.combine(mine, other) for mine, other in zip(own, base, strict=True)] for name, own in others.items()}

    def is_met(self) -> bool | None:
        return self.target.is_met_by(statistics.median(self.compared())) if self.target else None

    def record(self) -> dict[str, Any]:
        """For the file of results."""
        record: dict[str, Any] = {
            "scenario": self.scenario, "quantity": self.quantity, "unit": self.unit,
            "values": {name: _spread(values) for name, values in self.values.items()},
        }
        if self.p99_ms:
            record["p99_ms"] = {name: _spread(values) for name, values in self.p99_ms.items()}
        if self.against is not None:
            record["compared"] = {"against": self.against, "unit": self.compared_unit, **_spread(self.compared())}
        if others := self.others_compared():
            record["others_compared"] = {name: _spread(compared) for name, compared in others.items()}
        if self.target:
            record["target"] = {
                "text": self.target.text(self._target_unit()), "bound": self.target.bound, "met": self.is_met()}
        if self.note:
            record["note"] = self.note
        return record

    def _target_unit(self) -> str:
        unit = self.compared_unit if self.against is not None else self.unit
        return unit if unit == "x" else f" {unit}"


def _spread(values: list[float]) -> dict[str, Any]:
    rounded = [round(value, 4) for value in values]
    return {"median": round(statistics.median(values), 4), "min": min(rounded), "max": max(rounded), "rounds": rounded}


@dataclass
class Outcome:
    """What a scenario found: figures for the table, and the raw numbers they are made of."""

    figures: list[Figure]
    raw: list[dict[str, Any]] = field(default_factory=list)
