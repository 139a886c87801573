"""kill -9 of the real binary at every place where it would hurt, under load.

The binary is one with failpoints (`./test.sh` builds it: `cargo build --bin till --features till-cli/failpoints`), which
ends by SIGKILL at the Nth pass of a place that a file names: around every write, answer, fold and stop, in escrow grant and recall, before a
request is sent, between the provider's answer and the settle. Each place is one round here; `KILLS=500` goes on until so
many processes were killed, at random passes. After each the next start has to come up, with nothing over, nothing lost, and
no more burnt than what is listed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from harness.raw_http import burst
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import BINARY, Till

FAILPOINTS = Path(os.environ.get("TILL_FAILPOINTS_BIN", BINARY.parent / "till-failpoints"))
KILLS = int(os.environ.get("KILLS", "0"))
CONNECTIONS = 24
REQUESTS = 240
TOKENS = 20_000
# As the scripted upstream bills it.
TOKENS_OF_A_CALL = 16

# The highest pass that is tried; the first is tried where that one is not reached.
UNDER_LOAD = {
    "answer.begin": 20, "answer.end": 20, "audit.append": 3, "close.begin": 20, "close.parts": 6, "commit.begin": 20,
    "escrow.count_out": 5, "escrow.open": 5, "escrow.shut": 4, "escrow.taken_back": 4, "fold.begin": 1, "fold.committed": 1,
    "fold.written": 1, "forward.answered": 150, "forward.hold": 150, "journal.appended": 1, "journal.committed": 20,
    "limit.adjusted": 2, "revoke.done": 1, "settle.begin": 150, "settle.end": 10, "tables.committed": 3, "tables.written": 3,
}
AT_START = {"start.orphans": 1, "start.orphans_spent": 1, "raise.stored": 1, "raise.witnessed": 1}
AT_STOP = {"stop.begin": 1, "stop.marked": 1, "checkpoint.begin": 1, "checkpoint.folded": 1}
# Folded is seconds later, if nobody reads.
LATE = ("fold.begin", "fold.written", "fold.committed", "journal.appended")
IN_A_BACKUP = ("backup.copied", "backup.verified", "backup.noted")

pytestmark = pytest.mark.skipif(not FAILPOINTS.exists(), reason=f"{FAILPOINTS} is not there: ./test.sh e2e builds it")


class Armed(Till):
    """A server that ends where a test says."""

    def command(self) -> list[str]:
        return [str(FAILPOINTS), *super().command()[1:]]

    @property
    def failpoint(self) -> Path:
        return self.directory / "failpoint"

    def arm(self, place: str | None) -> None:
        """From now on, or from the next start on; `None` ends it."""
        self.environment["TILL_FAILPOINT"] = str(self.failpoint)
        self.failpoint.unlink(missing_ok=True)
        if place:
            draft = self.failpoint.with_suffix(".new")
            draft.write_text(place)
            draft.rename(self.failpoint)

    def bury(self) -> None:
        """It has ended as by kill -9, and not by a panic."""
        assert self._process is not None
        code = self._process.wait(20)
        self._process = None
        assert code == -signal.SIGKILL, f"exit code {code}:\n{self.output()}"

    def dies_at_start(self) -> None:
        self.starts += 1
        (self.data / "address").unlink(missing_ok=True)
        with self._out().open("wb") as out, self._err().open("wb") as err:
            self._process = subprocess.Popen([*self.command(), "--log-format", "json"], env=self.environment,
                                             cwd=self.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.bury()


@pytest.fixture
def armed(tmp_path: Path, upstream: ScriptedUpstream):
    till = Armed(tmp_path, {"openai": upstream.url}, flags=("--log-requests", "off"))
    yield till
    till.kill9()


class Round:
    """Keys of their own, what is done with them, and what has to be true afterwards."""

    def __init__(self, till: Armed, upstream: ScriptedUpstream, number: int, chance: random.Random) -> None:
        self.till, self.upstream, self.chance = till, upstream, chance
        self.limits = {"quiet": chance.choice([5, 20, 60]), "busy": chance.choice([2_000, 20_000]), "ending": 5_000}
        self.names = {name: f"sk-round-{number}-{name}-0123456789" for name in self.limits}
        self.keys = {name: till.mint(max_activations=limit, upstream_key=self.names[name]) for name, limit in self.limits.items()}
        # One whose calls are bounded in tokens: what they used is read out of their answers.
        self.names["metered"] = f"sk-round-{number}-metered-0123456789"
        self.metered = till.mint(max_activations=None, max_tokens=TOKENS, upstream_key=self.names["metered"])
        self.steady = till.mint(max_activations=1_000_000, durability="call")
        self.was_revoked = False
        self.raised_to: set[int] = {self.limits["busy"]}

    def sent(self) -> Counter[str]:
        """What reached the provider, by key."""
        seen = Counter(request.header("authorization") for request in self.upstream.requests)
        return Counter({name: seen[f"Bearer {key}"] for name, key in self.names.items()})

    def load(self, requests: int = REQUESTS) -> None:
        """Calls on all keys, and an administrator who reads, changes a limit and revokes meanwhile."""
        till, url = self.till, self.till.url
        threads = [threading.Thread(target=burst, args=(url, self.keys[name].token, requests, CONNECTIONS // 3)) for name in self.keys]
        threads += [threading.Thread(target=self._administer), threading.Thread(target=self._ask)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Figures that somebody reads are folded first.
        try:
            till.admin("GET", f"/admin/keys/{self.keys['busy'].id}")
        except httpx.HTTPError:
            pass

    def _ask(self) -> None:
        try:
            for _ in range(25):
                self.till.call(self.metered)
        except httpx.HTTPError:
            pass  # as below

    def idle(self, place: str) -> None:
        """What is done when nobody asks for anything, or when nobody reads: the fold, giving back."""
        ends = time.monotonic() + (20 if place in LATE else 0.5)
        while not self.till.is_dead() and time.monotonic() < ends:
            if place == "journal.appended":
                # Each of its calls is a write of its own, also at the moment when a fold is due.
                burst(self.till.url, self.steady.token, 4, 1)
            time.sleep(0.02)

    def _administer(self) -> None:
        till = self.till
        try:
            for step in range(3):
                time.sleep(0.05)
                till.admin("GET", f"/admin/keys/{self.keys['busy'].id}")
                limit = self.limits["busy"] + 100 * step
                self.raised_to.add(limit)
                till.admin("PATCH", f"/admin/keys/{self.keys['busy'].id}", {"max_activations": limit})
            self.was_revoked = till.admin("DELETE", f"/admin/keys/{self.keys['ending'].id}").status_code == 200
        except httpx.HTTPError:
            pass  # it is dead, which is what this is about

    def check(self, story: str) -> int:
        """After a start: never over, never lost, and no more burnt than is listed. Answers what was burnt."""
        till, sent = self.till, self.sent()
        listed: Counter[str] = Counter()
        holds = till.admin("GET", "/admin/holds?limit=1000").json()["holds"]
        for name, key in self.keys.items():
            state = till.key(key.id)
            limit = max(self.raised_to) if name == "busy" else self.limits[name]
            listed[name] = sum(hold["activations"] for hold in holds if hold["keyId"] == key.id)
            used = state["usedActivations"]
            assert sent[name] <= used, f"LOST: {name}: {sent[name]} sent, {used} counted; {story}"
            assert used <= limit, f"OVER: {name}: {used} of {limit}; {story}"
            assert used <= sent[name] + listed[name], f"BURNT: {name}: {used} counted, {sent[name]} sent, {listed[name]} listed; {story}"
            if name == "busy":
                assert used <= sent[name] + limit // 100 + CONNECTIONS, f"BURNT: {used} counted, {sent[name]} sent; {story}"
        used, held = (till.key(self.metered.id)["usedTokens"], sum(hold["tokens"] for hold in holds if hold["keyId"] == self.metered.id))
        billed = sent["metered"] * TOKENS_OF_A_CALL
        assert billed <= used <= TOKENS, f"{billed} tokens billed, {used} counted; {story}"
        assert used <= billed + held, f"BURNT: {billed} tokens billed, {used} counted, {held} listed; {story}"
        if self.was_revoked:
            assert till.key(self.keys["ending"].id)["status"] == "revoked", story
            assert till.call(self.keys["ending"]).json()["error"]["code"] == "key_revoked", story
        # What is left of the quiet key passes, and not one more.
        left = self.limits["quiet"] - till.key(self.keys["quiet"].id)["usedActivations"]
        rest = burst(till.url, self.keys["quiet"].token, left + 10, 8)
        assert rest.statuses["200"] == left and rest.broken == 0, f"{rest.statuses} with {left} left; {story}"
        after = self.sent()
        assert after["quiet"] <= self.limits["quiet"], f"OVER: {after['quiet']} sent; {story}"
        assert after["ending"] == sent["ending"], story
        return sum(till.key(key.id)["usedActivations"] for key in self.keys.values()) - sum(after[name] for name in self.keys)


def one_round(till: Armed, upstream: ScriptedUpstream, place: str, nth: int, number: int, chance: random.Random, story: str) -> int | None:
    """Kills it there; what was burnt, or `None` when the place was not passed so often."""
    upstream.reset()
    till.arm(None)
    if till._process is None:
        till.start()
    round = Round(till, upstream, number, chance)
    if place in AT_START:
        killer = threading.Timer(chance.uniform(0.05, 0.4), till._process.kill)
        killer.start()
        round.load()
        killer.join()
        till.bury()
        till.arm(f"{place}:{nth}")
        till.dies_at_start()
    else:
        till.arm(f"{place}:{nth}")
        stopper = threading.Timer(chance.uniform(0.05, 0.3), till.terminate)
        if place in AT_STOP:
            stopper.start()
        round.load()
        round.idle(place)
        if place in AT_STOP:
            stopper.join()
        elif not till.is_dead():
            till.arm(None)
            till.kill9()
            till.start()
            round.check(f"not killed at {story}")
            return None
        till.bury()
    upstream.quiet()
    till.arm(None)
    till.start()
    return round.check(story)


def seeded() -> tuple[int, random.Random]:
    seed = int(os.environ.get("TILL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TILL_SEED={seed}")
    return seed, random.Random(seed)


PLACES = {**UNDER_LOAD, **AT_START, **AT_STOP}


@pytest.mark.parametrize("place", sorted(PLACES))
def test_killed_once_at_each_place(place: str, armed: Armed, upstream: ScriptedUpstream) -> None:
    seed, chance = seeded()
    for nth in (chance.randint(1, PLACES[place]), 1):
        story = f"{place}:{nth}, TILL_SEED={seed}"
        if one_round(armed, upstream, place, nth, nth, chance, story) is not None:
            return
    raise AssertionError(f"{place} is never passed")


def test_killed_in_a_backup(armed: Armed, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """The command dies, the server does not notice, and there is no half file under the name of the backup."""
    armed.start()
    round = Round(armed, upstream, 0, random.Random(1))
    for place in IN_A_BACKUP:
        file = tmp_path / f"{place}.backup"
        (wanted := tmp_path / "backup-failpoint").write_text(f"{place}:1")
        environment = {**armed.environment, "TILL_FAILPOINT": str(wanted), "TILL_URL": armed.url}
        loading = threading.Thread(target=round.load, args=(100,))
        loading.start()
        made = subprocess.run([str(FAILPOINTS), "backup", str(file), "--data", str(armed.data)], env=environment,
                              cwd=tmp_path, capture_output=True, text=True, timeout=60)
        loading.join()
        assert made.returncode == -signal.SIGKILL, made.stdout + made.stderr
        assert not file.exists(), f"a backup that was not finished has its name; {place}"
        armed.cli("backup", str(file), "--data", str(armed.data))
        armed.cli("backup", "--verify", str(file))
    armed.kill9()
    upstream.quiet()
    armed.start()
    round.check("after the backups")


@pytest.mark.skipif(not KILLS, reason="KILLS=500 asks for the long run")
@pytest.mark.timeout(7200)
def test_killed_many_times(armed: Armed, upstream: ScriptedUpstream) -> None:
    """One data directory, killed again and again, each time at another place."""
    seed, chance = seeded()
    killed: Counter[str] = Counter()
    burnt, number, begun = 0, 0, time.monotonic()
    while sum(killed.values()) < KILLS:
        # Those first that were killed least.
        fewest = min(killed[place] for place in PLACES)
        place = chance.choice([place for place in sorted(PLACES) if killed[place] <= fewest + 2])
        number += 1
        nth = chance.randint(1, PLACES[place])
        lost = one_round(armed, upstream, place, nth, number, chance, f"kill {sum(killed.values())}, {place}:{nth}, TILL_SEED={seed}")
        if lost is None:
            continue
        burnt += lost
        killed[place] += 1
        done = sum(killed.values())
        if done % 50 == 0:
            print(f"{done} kills in {time.monotonic() - begun:.0f} s, {burnt} activations burnt", flush=True)
    print(f"{sum(killed.values())} kills at {len(killed)} places in {time.monotonic() - begun:.0f} s: {dict(killed)}; {burnt} activations burnt")
    armed.stop()
