"""What till takes when nobody uses it: memory and disk."""

from __future__ import annotations

import shutil
import subprocess
import time

from harness import procfs
from harness.bench import Bench
from harness.results import Figure, Outcome, Target
from harness.scenarios.saturation import ACTIVATIONS
from harness.servers import running

IDLE_SECONDS = 2.0


def run(bench: Bench) -> Outcome:
    upstream = bench.upstream()
    nginx, till = bench.nginx(upstream), bench.till(upstream)
    with running(upstream, nginx, till):
        till.mint(**ACTIVATIONS)
        time.sleep(IDLE_SECONDS)
        resident = {server.name: [procfs.resident_bytes(server.pid) / 1e6] for server in (nginx, till)}
    size = _stripped_bytes(bench) / 1e6
    bench.say(f"  {resident['till'][0]:.1f} MB resident, binary {size:.1f} MB")
    return Outcome([
        Figure("footprint", "idle memory (RSS)", "MB", resident, Target(20)),
        Figure("footprint", "size of the binary, stripped", "MB", {"till": [size]}, Target(25)),
    ])


def _stripped_bytes(bench: Bench) -> int:
    """Without symbols: a release build has none, but `--till` may name another."""
    if shutil.which("strip") is None:
        return bench.till_binary.stat().st_size
    stripped = bench.new_directory("stripped")
    subprocess.run(["strip", "-o", str(stripped), str(bench.till_binary)], check=True)
    return stripped.stat().st_size
