"""A client in a process of its own: one JSON job per line in, one JSON answer per line out.

Its imports, which take seconds for some, are paid once per session.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any


class Driver:
    """Clients of another language or another Python environment."""

    def __init__(self, command: list[str], directory: Path, home: Path, variables: dict[str, str] | None = None) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "*", "LANGSMITH_TRACING": "false", **(variables or {})}
        self._log = (home / f"{Path(command[-1]).stem}-driver.log").open("wb")
        self._process = subprocess.Popen(command, cwd=directory, env=environment, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=self._log)

    def run(self, seconds: float = 60, **job: Any) -> dict[str, Any]:
        """Runs one job and returns its answer: `text`, or `error` with what the client raised."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        assert ready, f"no answer within {seconds:g} s to {job}; see {self._log.name}"
        line = self._process.stdout.readline()
        assert line, f"the driver ended; see {self._log.name}: {Path(self._log.name).read_text()}"
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)
        self._log.close()
