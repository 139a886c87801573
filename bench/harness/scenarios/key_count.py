"""A thousand keys in the store, and a million: what a request costs, how long a start takes, what stays in memory.

Only 256 keys are used. The others are rows that were copied from them into the database while till was stopped, with ids
of their own, because making them over the API, some 4,000 per second, takes minutes and ends in rows of the same kind.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from harness import procfs
from harness.bench import Bench
from harness.measure import cost_of, wrk
from harness.results import Figure, Outcome, Target
from harness.scenarios.saturation import ACTIVATIONS
from harness.servers import Failed, Till, running

USED = 256
FEW, MANY = 1_000, 1_000_000
STARTS = 3
IDLE_SECONDS = 2.0


def run(bench: Bench) -> Outcome:
    upstream = bench.upstream()
    nginx = bench.nginx(upstream)
    stores = {"few": bench.till(upstream), "till": bench.till(upstream)}
    starts: dict[str, list[float]] = {name: [] for name in stores}
    idle: dict[str, list[float]] = {name: [] for name in stores}
    tokens = {}
    with running(upstream, nginx):
        for name, count in (("few", FEW), ("till", MANY)):
            till = stores[name]
            with running(till):
                tokens[name] = bench.new_directory("tokens")
                tokens[name].write_text("\n".join(till.mint_many(USED, **ACTIVATIONS)))
            bench.say(f"  filling a store with {count} keys")
            fill(till.data, count)
            for _ in range(STARTS):
                seconds = till.start()
                try:
                    time.sleep(IDLE_SECONDS)
                    starts[name].append(seconds)
                    idle[name].append(procfs.resident_bytes(till.pid) / 1e6)
                finally:
                    till.stop()
            bench.say(f"  {count} keys: start {starts[name][-1]:.3f} s, idle {idle[name][-1]:.1f} MB")
        with running(*stores.values()):
            cpu, p99, raw = _measure(bench, {"nginx": nginx, **stores}, {"nginx": tokens["few"], **tokens})
    return Outcome([
        Figure("key-count", f"CPU per request, {MANY} keys against {FEW} (few)", "us", cpu, Target(1.1), against="few", p99_ms=p99),
        Figure("key-count", f"start until ready, {MANY} keys", "s", starts, Target(1)),
        Figure("key-count", f"idle memory (RSS), {MANY} keys", "MB", idle, Target(60)),
    ], raw)


def _measure(bench: Bench, servers: dict, tokens: dict[str, Path]) -> tuple[dict, dict, list]:
    cpu: dict[str, list[float]] = {name: [] for name in servers}
    p99: dict[str, list[float]] = {name: [] for name in servers}
    raw = []
    for name, server in servers.items():
        wrk(server, tokens[name], 1)
    for number, in_turn in bench.rounds_of(list(servers)):
        for name in in_turn:
            cost = cost_of(servers[name], lambda: wrk(servers[name], tokens[name], bench.seconds))
            cpu[name].append(cost.cpu_seconds / cost.said["requests"] * 1e6)
            p99[name].append(cost.said["p99_us"] / 1e3)
            raw.append(cost.record(round=number, contender=name))
            bench.say(f"  {number + 1}/{bench.rounds} {name}: {cpu[name][-1]:.2f} us/request, p99 {p99[name][-1]:.2f} ms, "
                      f"{cost.disturbance()}")
    return cpu, p99, raw


def fill(data: Path, count: int) -> None:
    """Copies the newest key of a store that is stopped until there are `count`."""
    found = [path for path in data.iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3")]
    if len(found) != 1:
        raise Failed(f"no database in {data}: {sorted(path.name for path in data.iterdir())}")
    with closing(sqlite3.connect(found[0])) as database:
        database.execute("PRAGMA temp_store = MEMORY")
        have, newest = database.execute("SELECT count(*), max(row) FROM keys").fetchone()
        # In the order of the ids, because that is the order of the table of accounts.
        database.execute("CREATE TEMP TABLE ids AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                         "SELECT randomblob(16) AS id FROM n", (count - have,))
        for table, model in (("accounts", "id = (SELECT id FROM keys WHERE row = ?)"), ("keys", "row = ?")):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "row"]
            chosen = ["ids.id" if column == "id" else f"model.{column}" for column in columns]
            database.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(chosen)} "
                             f"FROM (SELECT id FROM ids ORDER BY id) AS ids, (SELECT * FROM {table} WHERE {model}) AS model",
                             (newest,))
        database.commit()
        have = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("accounts", "keys")]
        if have != [count, count]:
            raise Failed(f"wanted {count} accounts and keys in {found[0]}, have {have}")
