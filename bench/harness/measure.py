"""One measurement: put load on a server, and see what that cost it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import procfs
from harness.servers import Failed, Server

REQUESTS = Path(__file__).resolve().parent.parent / "requests"
PATH = "/v1/chat/completions"
CONNECTIONS = 64
# What a server still does for requests that are answered belongs to them.
SETTLE_SECONDS = 0.1


@dataclass
class Cost:
    """What a load said, and what it cost the server and the machine."""

    said: dict[str, Any]
    cpu_seconds: float
    wall_seconds: float
    # Parts of the machine's time that went to its host and to other programs: where they are large, the round says little.
    stolen: float
    others: float

    def record(self, **more: Any) -> dict[str, Any]:
        """The raw numbers, for the file of results."""
        return {**self.said, "cpu_seconds": round(self.cpu_seconds, 4), "wall_seconds": round(self.wall_seconds, 3),
                "stolen_share": round(self.stolen, 4), "others_share": round(self.others, 4), **more}

    def disturbance(self) -> str:
        return f"others {self.others:.0%}" + (f", stolen {self.stolen:.0%}" if self.stolen >= 0.005 else "")


def cost_of(server: Server, load: Callable[[], dict[str, Any]]) -> Cost:
    """Runs `load` and reads what `server` used meanwhile."""
    before, cpu, begun = procfs.Moment.now(), procfs.cpu_seconds(server.pid), time.monotonic()
    said = load()
    wall, after = time.monotonic() - begun, procfs.Moment.now()
    time.sleep(SETTLE_SECONDS)
    used = procfs.cpu_seconds(server.pid) - cpu
    return Cost(said, used, wall, after.stolen_since(before), after.others_since(before))


def wrk(server: Server, tokens: Path, seconds: float) -> dict[str, Any]:
    """As many requests as go through 64 kept connections, the tokens of a file in turn."""
    # It takes whole seconds only.
    whole = max(1, round(seconds))
    said = _json_lines(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", "--timeout", "30s", "--latency", "-s", str(REQUESTS / "load.lua"),
                        f"http://{server.address}{PATH}", "--", str(REQUESTS / "chat.json"), str(tokens)])[-1]
    if said["not_2xx"] or said["broken"] or not said["requests"]:
        raise Failed(f"not every request to {server.name} was served: {said}\n{server.said()}")
    return said


def bench_load(tools: Path, server: Server, *arguments: str) -> dict[str, Any]:
    """One command of `bench-load`, to its end."""
    return _json_lines(load_command(tools, server, *arguments))[-1]


def load_command(tools: Path, server: Server, *arguments: str) -> list[str]:
    return [str(tools / "bench-load"), *arguments, "--to", server.address, "--key", server.token]


def _json_lines(command: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise Failed(f"{command[0]} failed ({done.returncode}): {done.stdout}{done.stderr}")
    return lines


def fdatasync_micros(directory: Path, count: int = 200) -> float:
    """The median of overwriting 4 KiB and making it durable, on the disk of the data directories."""
    block, times = os.urandom(4096), []
    file = os.open(directory / "fdatasync", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, bytes(1 << 20), 0)
        os.fsync(file)
        for number in range(count):
            begun = time.perf_counter()
            os.pwrite(file, block, number % 256 * 4096)
            os.fdatasync(file)
            times.append((time.perf_counter() - begun) * 1e6)
    finally:
        os.close(file)
    return statistics.median(times)
