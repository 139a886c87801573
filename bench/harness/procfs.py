"""What the kernel says about processes: time on the processor and memory."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    found, ahead = [], [root]
    while ahead:
        pid = ahead.pop()
        found.append(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                ahead.extend(int(child) for child in children.read_text().split())
            except FileNotFoundError:
                pass  # the thread has ended
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of a process tree so far. What has been waited for is not in it: servers keep their workers."""
    ticks = 0
    for pid in tree(root):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def memory_bytes(root: int) -> int:
    """Resident memory of a process tree; pages that several processes share count in parts (PSS)."""
    return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in tree(root))


def resident_bytes(root: int) -> int:
    """RSS of a process tree, as `ps` shows it."""
    return sum(_kilobytes(Path(f"/proc/{pid}/status"), "VmRSS") for pid in tree(root))


def _kilobytes(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{path} does not say {name}")


@dataclass
class Moment:
    """What all processors have done so far, in ticks, and what of it was for this program and what it started."""

    total: int
    stolen: int
    busy: int
    own: float

    @classmethod
    def now(cls) -> Moment:
        user, nice, system, idle, wait, irq, soft, stolen = (
            int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
        busy = user + nice + system + irq + soft
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = cpu_seconds(os.getpid()) + ended.ru_utime + ended.ru_stime
        return cls(busy + idle + wait + stolen, stolen, busy, own * _TICKS)

    def stolen_since(self, before: Moment) -> float:
        """Part of the time that the host took away."""
        return (self.stolen - before.stolen) / max(1, self.total - before.total)

    def others_since(self, before: Moment) -> float:
        """Part of the time that went to programs that have nothing to do with the measurement."""
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others / max(1, self.total - before.total))
