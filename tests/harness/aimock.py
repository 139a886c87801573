"""npm `@copilotkit/aimock` as upstream. It refuses every key but the one it was told, so an answer proves that
the real key was put in."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import httpx

from harness.waiting import until

NODE_DIR = Path(__file__).resolve().parent.parent / "node"
TEXT = "Hello from upstream"

_USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
_FIXTURES = {"fixtures": [{"match": {"endpoint": "chat"}, "response": {"content": TEXT, "usage": _USAGE}}]}


class AiMock:
    """One aimock process for the whole session; tests look at the growth of its counters."""

    def __init__(self, upstream_key: str, directory: Path) -> None:
        fixtures = directory / "fixtures.json"
        fixtures.write_text(json.dumps(_FIXTURES))
        self._log = directory / "aimock.log"
        command = ["node", "node_modules/@copilotkit/aimock/dist/cli.js", "--port", "0", "--fixtures", str(fixtures),
                   "--validate-on-load", "--metrics"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "AIMOCK_API_KEYS": upstream_key}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=NODE_DIR, env=environment, stdout=log, stderr=log)
        self.url = until(self._address, "aimock to listen")

    def _address(self) -> str | None:
        text = self._log.read_text()
        assert self._process.poll() is None, f"aimock ended: {text}"
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", text)
        return found and found[1]

    def count(self, status: str = r"\d+", path: str = ".*") -> int:
        """Requests answered so far with a status and path that match, its own pages left out."""
        total = 0
        for line in httpx.get(f"{self.url}/metrics", trust_env=False).text.splitlines():
            found = re.match(r'aimock_requests_total\{method="(\w+)",path="([^"]*)",status="(\d+)"\} (\d+)', line)
            if found and not found[2].startswith(("/__aimock", "/metrics")):
                if re.fullmatch(status, found[3]) and re.fullmatch(path, found[2]):
                    total += int(found[4])
        return total

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
