"""Latency that a proxy adds at a moderate rate: 500 requests per second over 8 kept connections.

Times are from when a request was due, so that what waits behind a slow one counts as slow too.
"""

from __future__ import annotations

import statistics

from harness.bench import Bench
from harness.measure import bench_load, fdatasync_micros
from harness.results import Figure, Outcome, Target
from harness.scenarios.saturation import ACTIVATIONS
from harness.servers import running

RATE = 500
# What till may add to one write of the disk.
ADDED_MS_MAX = 0.15


def run(bench: Bench) -> Outcome:
    upstream = bench.upstream()
    nginx, till = bench.nginx(upstream), bench.till(upstream)
    contenders = [upstream, nginx, till]
    p50: dict[str, list[float]] = {server.name: [] for server in contenders}
    p99: dict[str, list[float]] = {server.name: [] for server in contenders}
    disk, raw = [], []
    with running(*contenders):
        till.token = till.mint(**ACTIVATIONS)
        for server in contenders:
            bench_load(bench.tools, server, "latency", "--rate", str(RATE), "--millis", "500")
        for number, in_turn in bench.rounds_of(contenders):
            disk.append(fdatasync_micros(till.data) / 1e3)
            raw.append({"round": number, "fdatasync_ms": disk[-1]})
            for server in in_turn:
                millis = str(round(bench.seconds * 1e3))
                said = bench_load(bench.tools, server, "latency", "--rate", str(RATE), "--millis", millis)
                p50[server.name].append(said["p50_us"] / 1e3)
                p99[server.name].append(said["p99_us"] / 1e3)
                raw.append({"round": number, "contender": server.name, **said})
                bench.say(f"  {number + 1}/{bench.rounds} {server.name}: p50 {p50[server.name][-1]:.3f} ms, "
                          f"p99 {p99[server.name][-1]:.3f} ms, {said['late']} sent late")
    bound = ADDED_MS_MAX + statistics.median(disk)
    return Outcome([
        Figure("latency", f"p50 at {RATE}/s, added to direct", "ms", p50, Target(round(bound, 3)), against="direct",
               combine=_added, compared_unit="ms", p99_ms=p99,
               note=f"{ADDED_MS_MAX} ms and one fdatasync of the same disk ({statistics.median(disk):.3f} ms)"),
        Figure("latency", f"p99 at {RATE}/s, added to direct", "ms", p99, against="direct", combine=_added,
               compared_unit="ms"),
        Figure("latency", "4 KiB written and fdatasync, p50", "ms", {"disk": disk}, of="disk"),
    ], raw)


def _added(proxied: float, direct: float) -> float:
    return proxied - direct
