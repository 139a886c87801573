"""What goes wrong on the side of till, and when: whoever explains an answer asks here."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from harness.shims import BadDisk
from harness.till_process import Till
from harness.waiting import until


class Trouble:
    """Intervals of the monotonic clock in which something was wrong."""

    def __init__(self) -> None:
        self._spans: list[tuple[str, float, float]] = []
        self._open: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, what: str) -> None:
        with self._lock:
            self._open[what] = time.monotonic()

    def end(self, what: str) -> None:
        with self._lock:
            self._spans.append((what, self._open.pop(what), time.monotonic()))

    def meets(self, kinds: tuple[str, ...], began: float, ended: float) -> bool:
        with self._lock:
            spans = [*self._spans, *((what, start, float("inf")) for what, start in self._open.items())]
        return any(what in kinds and start <= ended and end >= began for what, start, end in spans)

    def around(self, began: float, ended: float) -> str:
        """For a message: what was wrong within ten seconds."""
        with self._lock:
            spans = [*self._spans, *((what, start, time.monotonic()) for what, start in self._open.items())]
        near = [f"{what} from {start - began:+.2f} to {end - began:+.2f} s" for what, start, end in spans if start <= ended + 10 and end >= began - 10]
        return f"it took {ended - began:.2f} s, {'; '.join(near) or 'nothing was wrong'}"


class Faults:
    """Makes one fault after the other, each kind once before any comes again."""

    KINDS = ("kill", "kill", "killed in a write", "stop", "freeze", "disk", "disk")

    def __init__(self, till: Till, disk: BadDisk, trouble: Trouble, chance: random.Random, started: Callable[[], None]) -> None:
        self.till, self.disk, self.trouble, self.chance, self.started = till, disk, trouble, chance, started
        self.made: Counter[str] = Counter()
        self._next: list[str] = []

    def one(self) -> None:
        if not self._next:
            self._next = self.chance.sample(self.KINDS, len(self.KINDS))
        kind = self._next.pop()
        self.made[kind] += 1
        getattr(self, f"_{kind.replace(' ', '_')}")()

    def _kill(self) -> None:
        self.trouble.begin("kill")
        self.till.kill9()
        self._up("kill")

    def _killed_in_a_write(self) -> None:
        self.trouble.begin("kill")
        self.disk.begin(f"kill {self.chance.choice(['write', 'sync'])} {self.chance.randint(1, 30)}")
        until(self.till.is_dead, "the kill in a write")
        self.till.kill9()
        self.disk.end()
        self._up("kill")

    def _stop(self) -> None:
        self.trouble.begin("stop")
        self.till.stop(40)
        self._up("stop")

    def _freeze(self) -> None:
        self.trouble.begin("freeze")
        self.till.signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.3, 1.2))
        self.till.signal(signal.SIGCONT)
        self.trouble.end("freeze")

    def _disk(self) -> None:
        self.trouble.begin("disk")
        self.disk.begin(f"{self.chance.choice(['eio', 'enospc'])} {self.chance.choice(['write', 'sync'])} {self.chance.randint(1, 5)}")
        time.sleep(self.chance.uniform(0.3, 2))
        self.disk.end()
        self._works()
        self.trouble.end("disk")

    def _up(self, what: str) -> None:
        self.till.start()
        self.trouble.end(what)
        self.started()

    def _works(self) -> None:
        """An answer of `/readyz` counts for a second, so something is changed, which has to be written."""
        name = f"after fault {self.made.total()}"
        until(lambda: self.till.admin("PATCH", "/admin/projects/by-day", {"name": name}).status_code == 200, "the store to work again")
