"""Streams of 200 events and 60 KB: what each costs, and what 5,000 of them cost that stay open."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from harness import procfs
from harness.bench import Bench
from harness.measure import bench_load, cost_of, load_command
from harness.results import Figure, Outcome, Target
from harness.scenarios.saturation import ACTIVATIONS, TOKENS_AND_DOLLARS
from harness.servers import Failed, Server, running

EVENTS = 200
# Slow enough that each event is read and written by itself, as it is with a model that thinks about every token.
EVENT_GAP_MICROS = 2_000
CONNECTIONS = 32

OPEN = 5_000
OPEN_EVENT_GAP_MICROS = 1_000_000
OPEN_ROUNDS_MAX = 3
# Processes settle: what they gave back to the allocator is given back to the kernel.
OPEN_SETTLE_SECONDS = 1.0


def run_paced(bench: Bench) -> Outcome:
    return _streams(bench, "streams", ACTIVATIONS, EVENT_GAP_MICROS, Target(1.2))


def run_paced_spend(bench: Bench) -> Outcome:
    return _streams(bench, "streams-spend", TOKENS_AND_DOLLARS, EVENT_GAP_MICROS, None)


def run_fast(bench: Bench) -> Outcome:
    return _streams(bench, "streams-fast", ACTIVATIONS, 0, None)


def _streams(bench: Bench, name: str, limits: dict[str, Any], gap_micros: int, target: Target | None) -> Outcome:
    upstream = bench.upstream("--event-gap-us", str(gap_micros))
    nginx, till = bench.nginx(upstream, buffering=False), bench.till(upstream)
    contenders = [nginx, till]
    cpu: dict[str, list[float]] = {server.name: [] for server in contenders}
    p99: dict[str, list[float]] = {server.name: [] for server in contenders}
    raw = []
    with running(upstream, *contenders):
        till.token = till.mint(**limits)
        for server in contenders:
            _load(bench, server, 0.5)
        for number, in_turn in bench.rounds_of(contenders):
            for server in in_turn:
                cost = cost_of(server, lambda: _load(bench, server, bench.seconds))
                streams = cost.said["streams"]
                cpu[server.name].append(cost.cpu_seconds / streams * 1e6)
                p99[server.name].append(cost.said["whole"]["p99_us"] / 1e3)
                raw.append(cost.record(round=number, contender=server.name))
                bench.say(f"  {number + 1}/{bench.rounds} {server.name}: {cpu[server.name][-1]:.0f} us/stream, "
                          f"{streams / cost.wall_seconds:.0f} streams/s, "
                          f"{cost.said['reads'] / streams:.0f} reads per stream, {cost.disturbance()}")
    return Outcome([Figure(name, "CPU per stream", "us", cpu, target, against="nginx", p99_ms=p99)], raw)


def _load(bench: Bench, server: Server, seconds: float) -> dict[str, Any]:
    said = bench_load(bench.tools, server, "streams", "--connections", str(CONNECTIONS), "--millis", str(round(seconds * 1e3)))
    if said["not_200"]:
        raise Failed(f"not every stream of {server.name} was served: {said}\n{server.said()}")
    return said


def run_open(bench: Bench) -> Outcome:
    names = ["nginx", "till"]
    memory: dict[str, list[float]] = {name: [] for name in names}
    pace: dict[str, list[float]] = {name: [] for name in (*names, "till alone")}
    way: dict[str, list[float]] = {name: [] for name in names}
    p99: dict[str, list[float]] = {name: [] for name in names}
    raw = []
    for number in range(min(bench.rounds, OPEN_ROUNDS_MAX)):
        upstream = bench.upstream("--event-gap-us", str(OPEN_EVENT_GAP_MICROS), "--events", "1000000")
        for server in (bench.nginx(upstream, buffering=False), bench.till(upstream)):
            with running(upstream, server):
                if server.name == "till":
                    server.token = server.mint(**ACTIVATIONS)
                alone, together, bytes_each = _open(bench, server)
            memory[server.name].append(bytes_each / 1e3)
            pace[server.name].append(together["pace"]["max_us"] / 1e3)
            if server.name == "till":
                pace["till alone"].append(alone["pace"]["p50_us"] / 1e3)
            way[server.name].append(together["way"]["p50_us"] / 1e3)
            p99[server.name].append(together["way"]["p99_us"] / 1e3)
            raw.append({"round": number, "contender": server.name, "bytes_each": round(bytes_each), "alone": alone,
                        "together": together})
            bench.say(f"  {number + 1} {server.name}: {memory[server.name][-1]:.1f} kB per stream, slowest "
                      f"{pace[server.name][-1]:.1f} ms between events, way p50 {way[server.name][-1]:.3f} ms, "
                      f"p99 {p99[server.name][-1]:.3f} ms")
    return Outcome([
        Figure("open-streams", f"memory per stream, {OPEN} open", "kB", memory, Target(20)),
        Figure("open-streams", "between events, the slowest of all", "ms", pace, Target(1.1), against="till alone"),
        Figure("open-streams", "way of an event, p50", "ms", way, p99_ms=p99),
    ], raw)


def _open(bench: Bench, server: Server) -> tuple[dict[str, Any], dict[str, Any], float]:
    """One stream alone, then all together: what each sees, and the memory that each takes."""
    millis = str(round(max(bench.seconds, 4) * 1e3))
    alone = _held(bench, server, 1, millis)[0]
    before = procfs.memory_bytes(server.pid)
    together, during = _held(bench, server, OPEN, millis)
    return alone, together, (during - before) / OPEN


def _held(bench: Bench, server: Server, streams: int, millis: str) -> tuple[dict[str, Any], float]:
    """Opens streams and says what they saw, and the memory of the server while they were open."""
    command = load_command(bench.tools, server, "hold-open", "--streams", str(streams), "--millis", millis)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        try:
            assert load.stdout is not None and load.stderr is not None
            if '"open"' not in load.stdout.readline():
                raise Failed(f"{streams} streams through {server.name}: {load.stderr.read()}\n{server.said()}")
            time.sleep(OPEN_SETTLE_SECONDS)
            memory = procfs.memory_bytes(server.pid)
            said = json.loads(load.stdout.readline())
        finally:
            load.terminate()
    if said["broken"]:
        raise Failed(f"{said['broken']} of {streams} streams through {server.name} broke")
    return said, memory
