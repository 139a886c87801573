"""Back-pressure instead of collapse: three times as many clients as may be in flight, against a provider that takes 20 ms.

Clients that are refused ask again at once, which is the worst that they can do: on a small machine their asking alone
fills the processors. So the same is measured with clients that wait a little, though not as long as `retry-after` says.
"""

from __future__ import annotations

from typing import Any

from harness import procfs
from harness.bench import Bench
from harness.measure import bench_load
from harness.results import Figure, Outcome, Target
from harness.scenarios.saturation import ACTIVATIONS
from harness.servers import Till, running

IN_FLIGHT_MAX = 64
DELAY_MILLIS = 20
CROWD = 3 * IN_FLIGHT_MAX
PAUSE_MILLIS = 100


def run(bench: Bench) -> Outcome:
    upstream = bench.upstream("--delay-ms", str(DELAY_MILLIS))
    till = bench.till(upstream, "--in-flight-max", str(IN_FLIGHT_MAX))
    loads = {"at the limit": (IN_FLIGHT_MAX, 0), "pausing": (CROWD, PAUSE_MILLIS), "till": (CROWD, 0)}
    served: dict[str, list[float]] = {name: [] for name in loads}
    p99: dict[str, list[float]] = {name: [] for name in loads}
    in_form, others, memory, raw = [], [], [], []
    with running(upstream, till):
        till.token = till.mint(**ACTIVATIONS)
        _load(bench, till, IN_FLIGHT_MAX, 0, 0.5)
        for number in range(bench.rounds):
            for name, (clients, pause) in loads.items():
                said = _load(bench, till, clients, pause, bench.seconds)
                served[name].append(said["served"]["count"] / said["millis"] * 1e3)
                p99[name].append(said["served"]["p99_us"] / 1e3)
                raw.append({"round": number, "clients": clients, "pause_ms": pause, **said})
                bench.say(f"  {number + 1}/{bench.rounds} {clients} clients, {pause} ms pause: {served[name][-1]:.0f}/s served, "
                          f"{said['refused']['count'] / said['millis'] * 1e3:.0f}/s refused, p99 {p99[name][-1]:.1f} ms")
            refused = said["refused"]["count"]
            in_form.append(said["refused_in_form"] / refused if refused else 1.0)
            others.append(sum(said["statuses"].values()) - refused - said["served"]["count"])
            memory.append(procfs.resident_bytes(till.pid) / 1e6)
            raw[-1]["resident_bytes"] = round(memory[-1] * 1e6)
    at_limit = served["at the limit"]
    return Outcome([
        Figure("pressure", f"served with {CROWD} clients", "/s", {"at the limit": at_limit, "till": served["till"]},
               Target(0.9, is_most=False), against="at the limit", p99_ms={"till": p99["till"]}),
        Figure("pressure", f"the same, refused ones wait {PAUSE_MILLIS} ms", "/s",
               {"at the limit": at_limit, "till": served["pausing"]},
               Target(0.9, is_most=False), against="at the limit", p99_ms={"till": p99["pausing"]}),
        Figure("pressure", "refusals that are 503 overloaded with retry-after", "of all", {"till": in_form},
               Target(1, is_most=False)),
        Figure("pressure", "answers other than 200 and 503", "", {"till": others}, Target(0)),
        Figure("pressure", "memory after a round, against the first", "MB", {"till": memory, "first": memory[:1] * len(memory)},
               Target(1.25), against="first"),
    ], raw)


def _load(bench: Bench, till: Till, clients: int, pause_millis: int, seconds: float) -> dict[str, Any]:
    return bench_load(bench.tools, till, "closed", "--clients", str(clients), "--pause-ms", str(pause_millis),
                      "--millis", str(round(seconds * 1e3)))
