"""Instructions of the hot paths, counted by callgrind: they don't depend on what else the machine does.

A path is run a few times and many times; the difference, divided by the runs between, leaves the start out.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from harness.bench import Bench
from harness.results import Figure, Outcome, Target
from harness.servers import Failed

FEW, MANY = 20, 120
# A start differs from the next by some thousand instructions (tables of hashes are seeded at random), so a path that is
# short runs more often.
SHORT, MANY_SHORT = 100_000, 4_020
# More than this times what the file of results said before is a regression.
REGRESSION = 1.02


def run(bench: Bench) -> Outcome:
    figures, raw = [], []
    for line in _run([str(bench.tools / "bench-hot")]).splitlines():
        name, what = line.split("\t")
        few, runs = _count(bench.tools, name, FEW), MANY
        many = _count(bench.tools, name, runs)
        if (many - few) / (runs - FEW) < SHORT:
            runs = MANY_SHORT
            many = _count(bench.tools, name, runs)
        each = (many - few) / (runs - FEW)
        raw.append({"path": name, "runs": [FEW, runs], "instructions": [few, many]})
        values = {"till": [each]}
        before = bench.before("instructions", name)
        if before:
            values["before"] = [before]
        figures.append(Figure("instructions", name, "", values, Target(REGRESSION) if before else None,
                              against="before" if before else None, note=what))
        bench.say(f"  {name}: {each:.0f} instructions" + (f", before {before:.0f}" if before else ""))
    return Outcome(figures, raw)


def _count(tools: Path, name: str, count: int) -> int:
    said = _run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(tools / "bench-hot"), name, str(count)])
    found = re.search(r"Collected : (\d+)", said)
    if found is None:
        raise Failed(f"callgrind did not count {name}:\n{said}")
    return int(found[1])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
