"""The books: every call that arrived at the provider against its record at till, and all of them against the ledger.

Per key and dimension, at rest:

- what till counts is what the records of calls say, and what it lists as left open by crashes; nothing else;
- a call whose answer was read costs what the provider billed, to the nano-dollar;
- a call of which that is not known costs at least what was billed, and something has to explain it;
- calls that arrived and have no record are covered by what is listed; the rest of what is listed is burnt.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Address
from typing import Any

import httpx

from harness.shims import SetClock
from harness.till_process import Till
from soak.calls import DAY_SECONDS, Call, Callers
from soak.faults import Trouble
from soak.keys import ACTIVATIONS_BY_DAY, DIMENSIONS, ROOM, SPEND_FOR_LIFE_NANOS, nanos_of, used_of
from soak.provider import Arrived, BookedUpstream

Amounts = list[int]


def nothing() -> Amounts:
    return [0, 0, 0]


def add(to: Amounts, what: Amounts) -> None:
    for dimension, amount in enumerate(what):
        to[dimension] += amount


def day_of(at: str) -> int:
    return int(datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() // DAY_SECONDS)


@dataclass
class Balance:
    """What came of one comparison, over all keys: activations, tokens, nano-dollars."""

    ledger: Amounts = field(default_factory=nothing)
    billed: Amounts = field(default_factory=nothing)
    # What calls cost above their bill because nobody knows what they used.
    unknown: Amounts = field(default_factory=nothing)
    # Of what crashes left open: what had arrived, by its bill, and the rest.
    arrived: Amounts = field(default_factory=nothing)
    burnt: Amounts = field(default_factory=nothing)
    keys: int = 0
    exact: int = 0
    orphans: int = 0
    # Of them, units that were counted out ahead.
    escrows: int = 0

    def __str__(self) -> str:
        return (f"{self.keys} keys, {self.exact} of them equal in every dimension; ledger {self.ledger}, billed {self.billed}, unknown and charged "
                f"{self.unknown}, {self.orphans} orphans ({self.escrows} of them counted out ahead), burnt {self.burnt}")


class Books:
    """Takes in what till records, and compares."""

    def __init__(self, till: Till, provider: BookedUpstream, callers: Callers, clock: SetClock, trouble: Trouble) -> None:
        self.till, self.provider, self.callers, self.clock, self.trouble = till, provider, callers, clock, trouble
        self.wrong: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.charged: defaultdict[str, Amounts] = defaultdict(nothing)
        self.billed: defaultdict[str, Amounts] = defaultdict(nothing)
        self.unknown: defaultdict[str, Amounts] = defaultdict(nothing)
        self.lost: defaultdict[str, Amounts] = defaultdict(nothing)
        self.by_day: defaultdict[tuple[str, int], Amounts] = defaultdict(nothing)
        self._newest = 0
        self._done: set[int] = set()

    def take_in(self) -> int:
        """Reads what was recorded since the last time; how many records that were."""
        records: list[dict] = []
        path = "/admin/usage?limit=1000"
        while True:
            answer = self.till.admin("GET", path)
            if answer.status_code != 200:
                raise httpx.HTTPError(f"{answer.status_code} {answer.text}")
            page = answer.json()
            records += [record for record in page["records"] if record["seq"] > self._newest]
            if page["nextBefore"] is None or len(page["records"]) > 0 and page["records"][-1]["seq"] <= self._newest:
                break
            path = f"/admin/usage?limit=1000&before={page['nextBefore']}"
        for record in reversed(records):
            self._enter(record)
            self._newest = record["seq"]
        return len(records)

    def _enter(self, record: dict) -> None:
        outcome = record["outcome"]
        self.outcomes[outcome] += 1
        if outcome in ("lost", "denied"):
            return
        number = int(IPv6Address(record["client"])) & 0xFFFF_FFFF
        call, arrived = self.callers.calls.pop(number, None), self.provider.arrived.pop(number, None)
        if number in self._done:
            self.wrong.append(f"a second record of a call: {record}")
        self._done.add(number)
        if outcome == "unsent":
            if arrived or record["chargedTokens"] or nanos_of(record["chargedUsd"]):
                self.wrong.append(f"given back, and it arrived or was charged: {record}")
            return
        charged = [1, record["chargedTokens"], nanos_of(record["chargedUsd"])]
        bill = [1, arrived.tokens, arrived.nanos] if arrived else nothing()
        why_not = self._judge(outcome, record, charged, bill, call, arrived)
        if why_not:
            self.wrong.append(f"{why_not}: charged {charged}, billed {bill}, {call}, {record}; {self._around(call)}")
        add(self.charged[record["keyId"]], charged)
        add(self.billed[record["keyId"]], bill)
        if outcome == "charged":
            add(self.unknown[record["keyId"]], [one - other for one, other in zip(charged, bill)])
        if call and call.key.project:
            add(self.by_day[call.key.project, day_of(record["at"])], charged)

    def _around(self, call: Call | None) -> str:
        return self.trouble.around(call.began, call.ended or time.monotonic()) if call else ""

    def _judge(self, outcome: str, record: dict, charged: Amounts, bill: Amounts, call: Call | None, arrived: Arrived | None) -> str | None:
        """What is wrong with a record, if anything."""
        if call is None:
            return "a record of a call that nobody made"
        ended = time.monotonic()
        fault = arrived.fault if arrived else call.fault
        if arrived is None:
            broke_off = call.hangs_up or self.trouble.meets(("kill", "stop"), call.began, ended)
            return None if outcome == "charged" and broke_off else "spent, and it did not arrive"
        match outcome:
            case "complete":
                return None if charged == bill else "not what was billed"
            case "free" | "unmetered":
                if outcome == "unmetered" and (call.key.is_metered or charged[1] > bill[1] or charged[2] > bill[2]):
                    return "a key with limits is not metered, or nothing says what it was charged"
                return None if outcome == "unmetered" or charged == [1, 0, 0] == bill else "free, and charged or billed"
            case "unbilled":
                # As the provider documents it: Google does not bill what has failed on its side either.
                is_so = fault == "429" or fault == "500" and call.key.provider == "google"
                return None if is_so and charged == [1, 0, 0] == bill else "not billed, says till"
            case "charged":
                if any(charged[n] < bill[n] for n, name in enumerate(DIMENSIONS) if name in call.key.needed):
                    return "less than was billed"
                known = (fault in ("500", "cut", "silent", "reset", "hang", "stall") or call.key.has_ended(call.began, ended, self.clock.now())
                         or self.trouble.meets(("kill", "stop"), call.began, ended))
                return None if known else "charged in full, and nothing explains it"
        return "an outcome that is not known"

    def settle(self) -> None:
        """Waits until till is at rest and everything that ended is recorded."""
        self.till.settled()
        # What ended is recorded a moment later; what has no record by then was left open by a crash, or is a mistake.
        patience = time.monotonic() + 3
        while self.take_in() or self.provider.arrived and time.monotonic() < patience:
            time.sleep(0.1)

    def compare(self, story: str, with_faults: bool) -> Balance:
        """All figures, of every key and every project. Fails with all that is wrong."""
        wrong, balance = self.wrong, Balance()
        shown = {one["id"]: one for one in self.till.admin("GET", "/admin/keys").json()["keys"]}
        known = {key.id: key for key in self.callers.everybody}
        listed, holds = defaultdict(nothing), self._holds()
        balance.orphans, balance.escrows = len(holds), sum(hold["kind"] == "escrow" for hold in holds)
        for hold in holds:
            add(listed[hold["keyId"]], [hold["activations"], hold["tokens"], nanos_of(hold["spendUsd"])])
        for number in list(self.provider.arrived):
            # No record: only a crash explains that.
            arrived, call = self.provider.arrived.pop(number), self.callers.calls.pop(number, None)
            if call is None:
                wrong.append(f"call {number} was refused by till, and it arrived")
                continue
            add(self.lost[call.key.id], [1, arrived.tokens, arrived.nanos])
        self.callers.calls.clear()
        if not with_faults and holds:
            wrong.append(f"{len(holds)} holds are listed, and nothing went wrong")
        if self.outcomes["lost"] != len(holds):
            wrong.append(f"{len(holds)} holds are listed, and {self.outcomes['lost']} records say lost")
        wrong += [f"call {number} arrived twice" for number in self.provider.twice]
        sums = {one["keyId"]: one for one in self.till.admin("GET", "/admin/usage/summary?group_by=key").json()["sums"]}
        for id, state in shown.items():
            used, key = list(used_of(state)), known.get(id)
            if key is None:
                if used != [0, 0, 0]:
                    wrong.append(f"{id} is used by nobody: {used}")
                continue
            charged, billed, lost, unknown = self.charged[id], self.billed[id], self.lost[id], self.unknown[id]
            tally = [one + other for one, other in zip(billed, lost)]
            what = f"{key.kind} {id}: ledger {used}, records {charged}, listed {listed[id]}, billed {billed}, lost {lost}"
            burnt = [one - other for one, other in zip(listed[id], lost)]
            for dimension, name in enumerate(DIMENSIONS):
                if used[dimension] != charged[dimension] + listed[id][dimension]:
                    wrong.append(f"{name} are not what is recorded and listed: {what}")
                if name in key.needed and (used[dimension] < tally[dimension] or burnt[dimension] < 0):
                    wrong.append(f"LOST: fewer {name} are counted than were billed: {what}")
                if name in key.needed and used[dimension] != tally[dimension] + unknown[dimension] + burnt[dimension]:
                    wrong.append(f"{name} differ from the bill by more than is explained: unknown {unknown}, {what}")
                if name in key.limits and used[dimension] > key.limits[name]:
                    wrong.append(f"OVER: {name} beyond {key.limits}: {what}")
                left = key.limits.get(name, 0) - used[dimension]
                if name in key.exhausted and not key.was_changed and left > ROOM[name]:
                    wrong.append(f"{name} were said to be used up, and {left} are left: {what}")
            if id in sums or any(used):
                summed = [sums[id]["chargedTokens"], nanos_of(sums[id]["chargedUsd"])] if id in sums else [0, 0]
                if summed != used[1:]:
                    wrong.append(f"the sums say {summed}: {what}")
            balance.keys += 1
            balance.exact += all(used[dimension] == tally[dimension] for dimension, name in enumerate(DIMENSIONS) if name in key.needed)
            for to, amounts in [(balance.ledger, used), (balance.billed, billed), (balance.unknown, unknown), (balance.arrived, lost), (balance.burnt, burnt)]:
                add(to, [amount if name in key.needed else 0 for amount, name in zip(amounts, DIMENSIONS)])
        self._compare_projects(shown, known, holds)
        assert not wrong, f"{story}, {len(wrong)} mistakes:\n" + "\n".join(wrong[:20])
        return balance

    def _compare_projects(self, shown: dict[str, Any], known: dict[str, Any], holds: list[dict]) -> None:
        by_day = defaultdict(nothing, {place: list(amounts) for place, amounts in self.by_day.items()})
        for hold in holds:
            key = known.get(hold["keyId"])
            if key and key.project:
                add(by_day[key.project, day_of(hold["at"])], [hold["activations"], hold["tokens"], nanos_of(hold["spendUsd"])])
        for project in ("by-day", "by-month", "for-life"):
            windows = {one["window"]: one for one in self.till.admin("GET", f"/admin/projects/{project}").json()["ceilingsUsed"]}
            life = nothing()
            for id, key in known.items():
                if key.project == project and id in shown:
                    add(life, list(used_of(shown[id])))
            today = by_day[project, int(self.clock.now() // DAY_SECONDS)]
            for window, expected in [("lifetime", life), ("day", today)]:
                if window in windows and list(used_of(windows[window])) != expected:
                    self.wrong.append(f"project {project}, {window}: {used_of(windows[window])}, and its keys come to {expected}")
            if project == "for-life" and life[2] > SPEND_FOR_LIFE_NANOS:
                self.wrong.append(f"OVER: project {project} has spent {life[2]}")
            is_told = project == "for-life" and any(told == project for told, _ in self.callers.exhausted_projects)
            if is_told and SPEND_FOR_LIFE_NANOS - life[2] > ROOM["nanos"]:
                self.wrong.append(f"project {project} was used up, it is said, and has spent {life[2]}")
        for (project, day), amounts in by_day.items():
            if project == "by-day" and amounts[0] > ACTIVATIONS_BY_DAY:
                self.wrong.append(f"OVER: project by-day has used {amounts[0]} on day {day}")
        for project, day in self.callers.exhausted_projects:
            if project == "by-day" and by_day[project, day][0] != ACTIVATIONS_BY_DAY:
                self.wrong.append(f"project by-day was used up on day {day}, it is said, with {by_day[project, day][0]}")

    def _holds(self) -> list[dict]:
        holds: list[dict] = []
        path: str | None = "/admin/holds?limit=1000"
        while path:
            page = self.till.admin("GET", path).json()
            holds += page["holds"]
            path = f"/admin/holds?limit=1000&before={page['nextBefore']}" if page["nextBefore"] else None
        return holds

    def has_older_than(self, seconds: float) -> bool:
        """Whether till still has a record of a call from before that."""
        moment = datetime.fromtimestamp(self.clock.now() - seconds).astimezone().isoformat().replace("+00:00", "Z")
        answer = self.till.admin("GET", f"/admin/usage?limit=1&until={moment.replace('+', '%2B')}")
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["records"])
