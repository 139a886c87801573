"""The scenarios, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.bench import Bench
from harness.results import Outcome
from harness.scenarios import footprint, instructions, key_count, latency, pressure, saturation, streams


@dataclass
class Scenario:
    """Something to measure."""

    name: str
    what: str
    run: Callable[[Bench], Outcome]
    # Programs that it needs, besides those of this repository.
    tools: tuple[str, ...] = ("nginx", "wrk")


ALL = [
    *(Scenario(case.name, case.what, case.run) for case in saturation.CASES),
    Scenario("latency", "what is added to a request at 500 per second", latency.run, ("nginx",)),
    Scenario("streams", "CPU per stream of 200 events and 60 KB, an event every 2 ms", streams.run_paced, ("nginx",)),
    Scenario("streams-spend", "the same, with limits in tokens and dollars", streams.run_paced_spend, ("nginx",)),
    Scenario("streams-fast", "the same as streams, events as fast as they go", streams.run_fast, ("nginx",)),
    Scenario("open-streams", "5,000 open streams with an event per second each", streams.run_open, ("nginx",)),
    Scenario("pressure", "three times as many clients as may be in flight", pressure.run, ()),
    Scenario("key-count", "a thousand and a million keys in the store", key_count.run),
    Scenario("footprint", "idle memory and size of the binary", footprint.run, ("nginx",)),
    Scenario("instructions", "instructions of the hot paths", instructions.run, ("valgrind",)),
]
