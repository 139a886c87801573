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
        self._command, self._directory = command, directory
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "*", "LANGSMITH_TRACING": "false", **(variables or {})}
        self._log = (home / f"{Path(command[-1]).stem}-driver.log").open("wb")
        self._process = self._started()
        # An answer is on its way that nobody waits for: the next one read would be that of another job.
        self._out_of_step = False

    def run(self, seconds: float = 60, **job: Any) -> dict[str, Any]:
        """Runs one job and returns its answer: `text`, or `error` with what the client raised."""
        if self._out_of_step:
            self._end()
            self._process = self._started()
        assert self._process.stdin and self._process.stdout
        self._out_of_step = True
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        assert ready, f"no answer within {seconds:g} s to {job}; see {self._log.name}"
        line = self._process.stdout.readline()
        assert line, f"the driver ended; see {self._log.name}: {Path(self._log.name).read_text()}"
        self._out_of_step = False
        return json.loads(line)

    def close(self) -> None:
        self._end()
        self._log.close()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=self._directory, env=self._environment, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=self._log)

    def _end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
