"""Where the figures come from: the machine and the versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
# What a program needs that is not part of this repository, and how to get it.
TOOLS = {
    "nginx": "apt-get install nginx-light",
    "wrk": "apt-get install wrk",
    "valgrind": "apt-get install valgrind",
    "haproxy": "apt-get install haproxy",
}


def missing(names: list[str]) -> list[str]:
    """What is not installed, with how to get it. Nothing is installed silently."""
    return [f"{name} is missing: {TOOLS[name]}" for name in names if shutil.which(name) is None]


def describe(till_binary: Path, is_built_here: bool) -> dict[str, Any]:
    """`is_built_here` says that the binary is of this checkout as it is now."""
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _first_match(Path("/proc/cpuinfo"), r"model name\s*:\s*(.+)"),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _first_match(Path("/etc/os-release"), r'PRETTY_NAME="(.+)"'),
        "load_before": os.getloadavg()[0],
        "versions": {
            "till": _said([str(till_binary), "version"]),
            "commit": _said(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]) if is_built_here else "",
            "rustc": _said(["rustc", "--version"]),
            "nginx": _said(["nginx", "-v"]).removeprefix("nginx version: "),
            "wrk": _said(["wrk", "-v"]).split(" Copyright")[0],
            "haproxy": _said(["haproxy", "-v"]),
            "valgrind": _said(["valgrind", "--version"]),
            "python": platform.python_version(),
        },
    }


def _said(command: list[str]) -> str:
    """The first line that a program says."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().split("\n")[0]


def _first_match(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return found[1] if found else ""
