"""Mixed load for as long as one likes: a part without a fault, in which every figure agrees exactly, and a part with faults at
random, in which every difference and every answer that is not 2xx is explained.

Hundreds of keys of all kinds are called, minted, changed, paused, revoked, used up and expire; the wall clock is set forward
again and again, so that days end, records get too old and are deleted. `SOAK=1800 TILL_SEED=n` is the long run; without
it the soak takes half a minute.
"""

from __future__ import annotations

import faulthandler
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.process_facts import descriptors
from harness.shims import BadDisk, SetClock, compiled
from harness.till_process import Till
from harness.waiting import until
from soak.administrator import Administrator
from soak.books import Balance, Books
from soak.calls import DAY_SECONDS, Callers
from soak.faults import Faults, Trouble
from soak.measures import MIB, Measures, growth, is_flat
from soak.provider import BookedUpstream

SECONDS = int(os.environ.get("SOAK", "15"))
IS_LONG = SECONDS >= 300
PACE = 130.0
FAULTLESS_PARTS = 3
# Records are kept for a day. Two steps are more than that, and before each all records are read.
STEP_SECONDS = 13 * 3600
# No call lives through two of them. Old records are looked for once a minute, and deleted in pieces.
STEP_EVERY = 60.0 if IS_LONG else 7.0
STEPS_BEHIND_MAX = 5
SPARE_DESCRIPTORS = 10
CONFIGURATION = '[providers.plain]\nbase_url = "{url}/plain"\nauth = {{ header = "authorization", template = "Bearer {{key}}" }}\n'


class Soak:
    """Everything that takes part."""

    def __init__(self, directory: Path, seed: int) -> None:
        chance = random.Random(seed)
        self.seed, self.chance = seed, chance
        self.provider = BookedUpstream(seed)
        (directory / "till.toml").write_text(CONFIGURATION.format(url=self.provider.url))
        flags = ("--config", str(directory / "till.toml"), "--log-requests", "off", "--usage-retention-days", "1", "--audit-retention-days", "1",
                 "--trusted-proxies", "127.0.0.1", "--first-byte-timeout", "4s", "--idle-timeout", "5s", "--budget-wait", "10s", "--shutdown-grace", "3s",
                 "--worker-threads", "2")
        self.till = Till(directory, {name: f"{self.provider.url},bills-alike" for name in ("openai", "anthropic", "google")}, flags=flags)
        self.disk = BadDisk(self.till, compiled("disk_faults", directory))
        self.clock = SetClock(self.till, compiled("clock", directory))
        self.trouble = Trouble()
        self.till.start()
        # Whoever calls need not be told where it is after a restart.
        self.till.listen = self.till.url.removeprefix("http://")
        self.callers = Callers(self.till.url, self.provider, self.clock, self.trouble, random.Random(chance.random()), PACE)
        self.administrator = Administrator(self.till, self.callers, self.trouble, random.Random(chance.random()), 0.5 if IS_LONG else 0.15)
        self.books = Books(self.till, self.provider, self.callers, self.clock, self.trouble)
        self.faults = Faults(self.till, self.disk, self.trouble, random.Random(chance.random()),
                             started=self.administrator.warm if IS_LONG else lambda: None)
        self.measures = Measures(self.till)
        self.steps = 0
        self.failures: list[BaseException] = []

    def close(self) -> None:
        self.disk.end()
        self.till.kill9()
        self.provider.close()

    def part(self, name: str, seconds: float, with_faults: bool) -> None:
        """Load for so long; afterwards everything is at rest and read."""
        self.callers.with_faults = with_faults
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(name, over), daemon=True)
        for one in (self.callers, self.administrator, keeper):
            one.start()
        ends = time.monotonic() + seconds
        try:
            while time.monotonic() < ends and not self._is_wrong():
                if with_faults:
                    time.sleep(self.chance.uniform(0.2, 8 if IS_LONG else 0.8))
                    self.faults.one()
                else:
                    time.sleep(0.2)
        finally:
            self.administrator.stop()
            self.callers.stop()
            over.set()
            keeper.join(60)
        self.books.settle()
        self.fail_if_wrong()

    def _keep(self, part: str, over: threading.Event) -> None:
        """Samples, reads records, and sets the clock forward."""
        next_read, next_step = time.monotonic() + 3, time.monotonic() + STEP_EVERY
        try:
            while not over.wait(1 if IS_LONG else 0.25):
                self.measures.take(part)
                if time.monotonic() < min(next_read, next_step):
                    continue
                try:
                    self.books.take_in()
                    if IS_LONG and self.steps > STEPS_BEHIND_MAX and self.books.has_older_than(DAY_SECONDS + STEPS_BEHIND_MAX * STEP_SECONDS):
                        self.books.wrong.append("records that are too old are still there")
                except (httpx.HTTPError, AssertionError):
                    continue  # it is down, or its disk fails; the next time will do
                next_read = time.monotonic() + 3
                if time.monotonic() >= next_step:
                    self.clock.forward(STEP_SECONDS)
                    self.steps += 1
                    next_step = time.monotonic() + STEP_EVERY
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            self.failures.append(error)

    def _is_wrong(self) -> bool:
        return bool(self.callers.unexplained or self.administrator.unexplained or self.books.wrong or self.failures)

    def fail_if_wrong(self) -> None:
        told = [*self.callers.unexplained, *self.administrator.unexplained, *self.books.wrong, *map(repr, self.failures)]
        assert not told, f"TILL_SEED={self.seed}, {len(told)} things that nothing explains:\n" + "\n".join(told[:20]) + f"\n{dict(self.callers.seen)}"
        assert b"panicked" not in self.till.all_output()

    def rest(self) -> None:
        """Descriptors are those of a server that nobody calls."""
        self.provider.hang_up()
        until(lambda: descriptors(self.till.pid) <= self.at_rest + SPARE_DESCRIPTORS,
              f"descriptors to be given back: {descriptors(self.till.pid)} are open, {self.at_rest} were before", seconds=30)

    def begin(self, scale: float) -> None:
        self.administrator.furnish(scale)
        self.at_rest = descriptors(self.till.pid)

    def restarted(self, balance: Balance, story: str, with_faults: bool) -> None:
        """A stop and a start change no figure, and records that are too old go."""
        self.clock.forward(2 * STEP_SECONDS)
        self.trouble.begin("stop")
        self.till.restart()
        self.trouble.end("stop")
        until(lambda: not self.books.has_older_than(DAY_SECONDS), "records that are too old to be deleted", seconds=60)
        again = self.books.compare(f"{story}, after a restart", with_faults)
        assert (again.ledger, again.billed, again.orphans) == (balance.ledger, balance.billed, balance.orphans), story


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    seed = int(os.environ.get("TILL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TILL_SEED={seed}")
    made = Soak(tmp_path, seed)
    yield made
    made.close()


@pytest.mark.timeout(SECONDS * 2 + 240)
def test_soak(soak: Soak) -> None:
    if IS_LONG:
        # It does not hang because it takes so long.
        faulthandler.cancel_dump_traceback_later()
    soak.begin(1.0 if IS_LONG else 0.25)
    story = f"TILL_SEED={soak.seed}"

    soak.part("faultless", SECONDS / FAULTLESS_PARTS, with_faults=False)
    exact = soak.books.compare(f"without faults, {story}", with_faults=False)
    report(soak, "without faults", exact)
    assert exact.burnt == [0, 0, 0] == exact.arrived and exact.ledger == [one + other for one, other in zip(exact.billed, exact.unknown)]
    soak.rest()
    flat("memory", [sample.memory for sample in soak.measures.of("faultless")], story)
    middle, last = growth([sample.descriptors for sample in soak.measures.of("faultless")])
    print(f"descriptors: median of the second quarter {middle}, of the last {last}")
    soak.restarted(exact, f"without faults, {story}", with_faults=False)

    soak.part("faulty", SECONDS - SECONDS / FAULTLESS_PARTS, with_faults=True)
    balance = soak.books.compare(f"with faults, {story}", with_faults=True)
    report(soak, "with faults", balance)
    assert balance.ledger == [sum(parts) for parts in zip(balance.billed, balance.unknown, balance.arrived, balance.burnt)]
    assert soak.faults.made.total() >= SECONDS // 30 + 1, soak.faults.made
    assert balance.escrows or not IS_LONG, "no key was ever busy when till was killed"
    soak.rest()
    if IS_LONG:
        flat("memory of one life after the other", [sample.memory for sample in soak.measures.at_equal_age("faulty")], story)
        flat("database", [sample.database + sample.journal for sample in soak.measures.samples], story)
    soak.restarted(balance, f"with faults, {story}", with_faults=True)
    soak.till.stop()


def flat(what: str, values: list[int], story: str) -> None:
    before, after = growth(values)
    series = " ".join(f"{value / MIB:.0f}" for value in values[:: max(1, len(values) // 24)])
    print(f"{what}: median of the second quarter {before / MIB:.1f} MiB, of the last {after / MIB:.1f} MiB, over {len(values)} samples: {series}")
    assert is_flat(before, after), f"{what} grows from {before} to {after}: {series}; {story}"


def report(soak: Soak, part: str, balance: Balance) -> None:
    callers, samples = soak.callers, soak.measures.samples
    print(f"{part}: {sum(callers.seen.values())} calls so far, {soak.provider.count} arrived; {balance}")
    print(f"  answers {dict(sorted(callers.seen.items()))}")
    print(f"  records {dict(soak.books.outcomes)}; keys {dict(callers.kinds)}")
    print(f"  administration {dict(soak.administrator.done)}; faults {dict(soak.faults.made)}; the clock was set forward {soak.steps} times")
    for name, of in [("memory", lambda one: one.memory), ("database", lambda one: one.database), ("journal", lambda one: one.journal)]:
        values = [of(sample) / MIB for sample in samples]
        print(f"  {name} in MiB: first {values[0]:.1f}, last {values[-1]:.1f}, most {max(values):.1f}")
    print(f"  descriptors: {soak.at_rest} at rest, most {max(sample.descriptors for sample in samples)}", flush=True)
