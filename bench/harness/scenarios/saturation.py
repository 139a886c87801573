"""CPU per request and requests per second at saturation: 64 kept connections, each with its next request after the answer.

nginx forwards with another key. till forwards with another key too, and opens the scoped key, holds, counts and settles. The
floor forwards what it reads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.bench import Bench
from harness.measure import cost_of, wrk
from harness.results import Figure, Outcome, Target
from harness.servers import LiteLlm, Server, running

MANY_KEYS = 10_000
ACTIVATIONS = {"max_activations": 1_000_000_000}
WARM_UP_SECONDS = 2
TOKENS_AND_DOLLARS = {"max_tokens": 1_000_000_000_000, "max_spend_usd": "1000000"}


@dataclass
class Case:
    """Keys to ask with, and what is asked of the figures."""

    name: str
    what: str
    limits: dict[str, Any]
    cpu: Target | None
    keys: int = 1
    logs: bool = False
    rate: Target | None = None
    # Whether others than nginx may be measured beside it.
    is_open: bool = False
    # Whether the floor is measured beside it, and what of it.
    floor: Literal["sockets", "sockets and disk"] | None = None

    def run(self, bench: Bench) -> Outcome:
        upstream = bench.upstream()
        till = bench.till(upstream, logs=self.logs)
        servers: list[Server] = [bench.nginx(upstream, logs=self.logs), till]
        if self.floor:
            servers.append(bench.floor(upstream, is_durable=self.floor == "sockets and disk"))
        if self.is_open and "haproxy" in bench.extra:
            servers.append(bench.haproxy(upstream))
        if self.is_open and "litellm" in bench.extra:
            servers.append(bench.litellm(upstream))
        with running(upstream, *servers):
            tokens = bench.new_directory("tokens")
            tokens.write_text("\n".join(till.mint_many(self.keys, **self.limits)))
            return self._measure(bench, {server: _tokens(bench, server, tokens) for server in servers})

    def _measure(self, bench: Bench, servers: dict[Server, Path]) -> Outcome:
        names = [server.name for server in servers]
        cpu: dict[str, list[float]] = {name: [] for name in names}
        rate: dict[str, list[float]] = {name: [] for name in names}
        p99: dict[str, list[float]] = {name: [] for name in names}
        raw = []
        for server, tokens in servers.items():
            wrk(server, tokens, WARM_UP_SECONDS)
        for number, in_turn in bench.rounds_of(list(servers)):
            for server in in_turn:
                cost = cost_of(server, lambda: wrk(server, servers[server], bench.seconds))
                count = cost.said["requests"]
                cpu[server.name].append(cost.cpu_seconds / count * 1e6)
                rate[server.name].append(count / cost.said["micros"] * 1e6)
                p99[server.name].append(cost.said["p99_us"] / 1e3)
                raw.append(cost.record(round=number, contender=server.name))
                bench.say(f"  {number + 1}/{bench.rounds} {server.name}: {cpu[server.name][-1]:.2f} us/request, "
                          f"{rate[server.name][-1]:.0f}/s, p99 {p99[server.name][-1]:.2f} ms, {cost.disturbance()}")
        figures = [
            Figure(self.name, "CPU per request", "us", cpu, self.cpu, against="nginx", p99_ms=p99),
            Figure(self.name, "requests per second", "/s", rate, self.rate, against="nginx", p99_ms=p99),
        ]
        for server in servers:
            if not isinstance(server, LiteLlm):
                continue
            both = {name: rate[name] for name in ("litellm", "till")}
            figures.append(Figure(self.name, "requests per second against LiteLLM with a budget", "/s", both,
                                  Target(100, is_most=False), against="litellm", note=f"LiteLLM {server.version()}"))
        return Outcome(figures, raw)


def _tokens(bench: Bench, server: Server, tokens: Path) -> Path:
    """LiteLLM has keys of its own; the others get those of till, which they replace."""
    if server.name != "litellm":
        return tokens
    own = bench.new_directory("tokens")
    own.write_text(server.token)
    return own


CASES = [
    Case("busy-key", "one busy key with a durable activation limit", ACTIVATIONS,
         Target(1.1, stretch=0.95), rate=Target(0.9, is_most=False), is_open=True, floor="sockets"),
    Case("busy-key-each", "the same, with a key that has every call on disk by itself",
         {**ACTIVATIONS, "durability": "call"}, None, floor="sockets and disk"),
    Case("many-keys", "10,000 keys in turn, every call with a durable hold of its own",
         {**ACTIVATIONS, "durability": "call"}, Target(1.5, stretch=1.2), keys=MANY_KEYS,
         floor="sockets and disk"),
    Case("many-keys-ahead", "10,000 keys in turn, as keys are made by default",
         ACTIVATIONS, None, keys=MANY_KEYS),
    Case("spend", "one busy key with limits in tokens and dollars, and a usage record per call",
         TOKENS_AND_DOLLARS, Target(1.5)),
    Case("busy-key-logs", "one busy key, request logs on in both",
         ACTIVATIONS, None, logs=True),
]
