"""Memory, descriptors and sizes of files, sampled while the soak runs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from harness.process_facts import descriptors, memory
from harness.till_process import Till

MIB = 1 << 20
# What may be more in the end than in the middle.
GROWTH_PERCENT, GROWTH_BYTES = 10, 8 * MIB
# Lives are compared at this age.
AGE_SECONDS = 3.0


@dataclass
class Sample:
    part: str
    life: int
    # Of the process, in seconds.
    age: float
    memory: int
    descriptors: int
    database: int
    journal: int


class Measures:
    """One sample at a time, for whoever asks at the end."""

    def __init__(self, till: Till) -> None:
        self.till = till
        self.samples: list[Sample] = []
        self._life, self._born = -1, 0.0

    def take(self, part: str) -> None:
        """Not while it is being killed or started."""
        till, life = self.till, self.till.starts
        try:
            pid = till.pid
            if life != self._life:
                self._life, self._born = life, time.monotonic()
            sizes = [size(till.data / name) for name in ("till.db", "till.db-wal")]
            self.samples.append(Sample(part, life, time.monotonic() - self._born, memory(pid), descriptors(pid), *sizes))
        except (AssertionError, OSError):
            pass

    def of(self, part: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.part == part]

    def at_equal_age(self, part: str) -> list[Sample]:
        """One sample of each life that got so old."""
        first: dict[int, Sample] = {}
        for sample in self.of(part):
            if sample.age >= AGE_SECONDS:
                first.setdefault(sample.life, sample)
        return list(first.values())


def size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def growth(values: list[int]) -> tuple[int, int]:
    """The medians of the second and of the last quarter."""
    quarter = len(values) // 4
    assert quarter, f"{len(values)} samples are too few"
    return int(statistics.median(values[quarter:2 * quarter])), int(statistics.median(values[-quarter:]))


def is_flat(before: int, after: int) -> bool:
    return after <= before * (100 + GROWTH_PERCENT) // 100 + GROWTH_BYTES
