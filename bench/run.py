#!/usr/bin/env python3
"""Measures till: builds it, starts it beside nginx in front of a mock provider, and compares them in alternating rounds.

The table goes to standard output, progress to standard error, all numbers and a picture to files. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import machine, picture, report  # noqa: E402
from harness.bench import Bench  # noqa: E402
from harness.scenarios import ALL, Scenario  # noqa: E402
from harness.servers import Failed  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Two sockets for each of 5,000 streams, in one process.
OPEN_FILES = 65_536


def arguments() -> argparse.Namespace:
    names = "\n".join(f"  {scenario.name:<18} {scenario.what}" for scenario in ALL)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"scenarios:\n{names}")
    parser.add_argument("--scenario", metavar="NAME", action="append", choices=[scenario.name for scenario in ALL],
                        help="measure only this one; may be given more than once")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds per scenario (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, metavar="S",
                        help="length of one measurement (default: %(default)s)")
    parser.add_argument("--with", dest="extra", default="", metavar="NAMES",
                        help="more contenders in the scenario busy-key, separated by commas: haproxy, litellm")
    parser.add_argument("--till", type=Path, metavar="PATH", help="measure this binary instead of building one")
    parser.add_argument("--no-build", action="store_true",
                        help="take the measuring programs, and till, from the target directory as they are")
    parser.add_argument("--litellm-python", type=Path, metavar="PATH",
                        help="Python with litellm[proxy] installed; without it one is made for the run")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", metavar="FILE",
                        help="where the numbers go, and the picture beside it; scenarios that are not measured "
                             "stay as they are (default: results.json beside this program)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return parser.parse_args()


def build(till: Path | None, no_build: bool) -> tuple[Path, Path]:
    """The binary of till and the directory with the measuring programs."""
    release = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"
    if not no_build:
        packages = ["-p", "till-bench"] + (["-p", "till-cli"] if till is None else [])
        subprocess.run(["cargo", "build", "--release", "--bins", *packages], cwd=ROOT, check=True)
    binary = (till or release / "till").resolve()
    for path in (binary, release / "bench-upstream"):
        if not path.exists():
            raise Failed(f"{path} is not there")
    return binary, release


def raise_open_files() -> None:
    """As far as this user may; root may go above the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, OPEN_FILES), max(hard, OPEN_FILES)))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(scenarios: list[Scenario], bench: Bench, run: dict, out: Path) -> list[dict]:
    """Runs them one after the other; what was found is written after each, so that Ctrl-C loses one only."""
    results = report.read(out)
    bench.earlier = dict(results["scenarios"])
    figures = []
    for scenario in scenarios:
        bench.say(f"{scenario.name}: {scenario.what}")
        outcome = scenario.run(bench)
        found = [figure.record() for figure in outcome.figures]
        results["scenarios"][scenario.name] = {"what": scenario.what, "run": run, "figures": found, "raw": outcome.raw}
        report.write(out, results)
        picture.draw(results, out.with_suffix(".svg"))
        figures += found
    return figures


def end_in_order(number: int, _frame: object) -> None:
    """Ends what was started, once: another signal does not interrupt that."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    asked = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_in_order)
    extra = {name for name in asked.extra.split(",") if name}
    if unknown := extra - {"haproxy", "litellm"}:
        raise Failed(f"--with knows haproxy and litellm, not {', '.join(sorted(unknown))}")
    scenarios = [scenario for scenario in ALL if not asked.scenario or scenario.name in asked.scenario]
    wanted = sorted((extra & {"haproxy"}) | {tool for scenario in scenarios for tool in scenario.tools})
    if problems := machine.missing(wanted):
        raise Failed("\n".join(problems))
    binary, tools = build(asked.till, asked.no_build)
    raise_open_files()
    with tempfile.TemporaryDirectory(prefix="till-bench-") as directory:
        bench = Bench(binary, tools, Path(directory), asked.rounds, asked.seconds, extra, asked.litellm_python)
        about = machine.describe(binary, is_built_here=asked.till is None and not asked.no_build)
        about |= {"rounds": asked.rounds, "seconds": asked.seconds}
        figures = measure(scenarios, bench, about, asked.out)
    print(report.table(figures))
    missed = [figure for figure in figures if figure.get("target", {}).get("met") is False]
    return 1 if missed and asked.strict else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        sys.exit(f"run.py: {failure}")
