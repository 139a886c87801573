"""The real binary as a process: started, asked, stopped, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from harness.waiting import until

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("TILL_BIN", ROOT / "target" / "debug" / "till")).resolve()
ADMIN_KEY = "till_admin_" + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
# Paths that till serves itself; asking for them is no request of an agent.
OWN_PATHS = {"admin", "claim", "docs", "healthz", "metrics", "readyz"}
UPSTREAM_KEY = "sk-canary-Zq7wXv3TnB5kLm9RtY2pHs8D+/=end"


# One client for all calls: making one is slow. It keeps no connection open, so none outlives a server.
# For many callers at once.
CROWD = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_HTTP = httpx.Client(trust_env=False, verify=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass
class Key:
    """A minted scoped key."""

    id: str
    token: str
    provider: str


class Till:
    """One data directory and the process that serves it, if it runs.

    The owner key is preset, so that tests need not read it from the output; `preset_admin_key=False` lets till
    make its own. Nothing of the caller's environment gets through but PATH.
    """

    def __init__(self, directory: Path, providers: dict[str, str] | None = None, *, preset_admin_key: bool = True,
                 flags: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.providers = dict(providers or {})
        self.flags = flags
        self.admin_key = ADMIN_KEY
        self.listen = "127.0.0.1:0"
        self.url = ""
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "NO_PROXY": "*", "RUST_BACKTRACE": "1"}
        if preset_admin_key:
            self.environment["TILL_ADMIN_KEY"] = ADMIN_KEY
        self.environment.update(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._log_seen = 0

    # The process.

    def command(self) -> list[str]:
        pointed = [part for name, url in self.providers.items() for part in ("--provider-url", f"{name}={url}")]
        return [str(BINARY), "start", "--data", str(self.data), "--listen", self.listen, *pointed, *self.flags]

    def start(self) -> Till:
        """Starts it and waits until it says that it is ready."""
        assert self._process is None, "it runs already"
        self.starts += 1
        (self.data / "address").unlink(missing_ok=True)
        flags = () if any(flag.startswith("--log-format") for flag in self.flags) else ("--log-format", "json")
        with self._out().open("wb") as out, self._err().open("wb") as err:
            self._process = subprocess.Popen([*self.command(), *flags], env=self.environment, cwd=self.directory,
                                             stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.url = until(self._ready, "till to be ready")
        return self

    def _ready(self) -> str | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"till ended with {self._process.returncode}:\n{self.output()}")
        try:
            text = (self.data / "address").read_text().strip()
        except FileNotFoundError:
            return None
        url = text if text.startswith("http") else f"http://{text}"
        try:
            answer = _HTTP.get(f"{url}/readyz")
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        # Fenced is not ready, but it is as far as such a start gets.
        return url if answer.status_code == 200 or b"fence" in answer.content else None

    def stop(self, seconds: float = 20) -> None:
        """SIGTERM; it has to end by itself with exit code 0."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        self.wait_stopped(seconds)

    def terminate(self) -> None:
        """SIGTERM without waiting."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait_stopped(self, seconds: float = 20) -> None:
        assert self._process is not None
        code = self._process.wait(seconds)
        self._process = None
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.output()}"

    def kill9(self) -> None:
        """No warning, no clean-up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def is_dead(self) -> bool:
        """Whether it has ended although nobody here has ended it."""
        return self._process is not None and self._process.poll() is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def restart(self) -> Till:
        self.stop()
        return self.start()

    def refuses_to_start(self, *flags: str, **options: Any) -> str:
        """Starts it, expects it to end with an error that is no panic, and returns what it said.

        `options` go to `subprocess.run`, for a start as somebody else.
        """
        done = subprocess.run([*self.command(), *flags], capture_output=True, text=True, timeout=20,
                              **{"env": self.environment, "cwd": self.directory, **options})
        said = done.stdout + done.stderr
        assert done.returncode > 0, f"exit code {done.returncode}:\n{said}"
        assert "panicked" not in said
        return said

    # What it said.

    def _out(self) -> Path:
        return self.directory / f"stdout-{self.starts}.log"

    def _err(self) -> Path:
        return self.directory / f"stderr-{self.starts}.log"

    def stdout(self) -> str:
        return self._out().read_text()

    def output(self) -> str:
        """Both outputs of the latest start."""
        return self._out().read_text() + self._err().read_text()

    def all_output(self) -> bytes:
        """Both outputs of every start."""
        return b"".join(path.read_bytes() for path in sorted(self.directory.glob("std*.log")))

    def request_lines(self) -> list[dict[str, Any]]:
        """The log line of every data-plane request of the latest start that has ended."""
        lines = []
        for line in self.output().splitlines():
            if not line.startswith("{"):
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line while it is being written
            fields = {**value, **value.get("fields", {})}
            if fields.get("message") == "request" and fields["path"].split("/")[1] not in OWN_PATHS:
                lines.append(fields)
        return lines

    def mark(self) -> None:
        """Later calls of `requests_since_mark` count from here."""
        self._log_seen = len(self.request_lines())

    def requests_since_mark(self, expected: int | None = None) -> list[dict[str, Any]]:
        """Requests that reached till since `mark`. A line is written when its answer has ended, a moment after the
        client may have seen that, so this waits for `expected` of them."""
        if expected is not None:
            until(lambda: len(self.request_lines()) - self._log_seen >= expected,
                  f"{expected} request lines in the log of till")
        return self.request_lines()[self._log_seen :]

    # Talking to it.

    def admin(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.admin_key}"}
        return _HTTP.request(method, self.url + path, json=body, headers=headers)

    def mint(self, provider: str = "openai", max_activations: int | None = 50, upstream_key: str = UPSTREAM_KEY, **fields: Any) -> Key:
        body = {"provider": provider, "upstream_key": upstream_key, "max_activations": max_activations, **fields}
        answer = self.admin("POST", "/admin/keys", body)
        assert answer.status_code in (200, 201), answer.text
        key = answer.json()["key"]
        return Key(key["id"], key["scopedKey"], provider)

    def key(self, key_id: str) -> dict[str, Any]:
        answer = self.admin("GET", f"/admin/keys/{key_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["key"]

    def in_flight(self) -> int:
        """Requests under way, without the one that asks."""
        return int(self.admin("GET", "/metrics").text.split("\ntill_requests_in_flight ")[1].split("\n")[0]) - 1

    def settled(self) -> None:
        until(lambda: self.in_flight() == 0, "all requests to end")

    def used(self, key: Key) -> int:
        """Activations that it has used, once nothing is under way."""
        self.settled()
        return self.key(key.id)["usedActivations"]

    def revoke(self, key_id: str) -> dict[str, Any]:
        answer = self.admin("DELETE", f"/admin/keys/{key_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["key"]

    def call(self, key: Key | str, path: str = "/v1/chat/completions", body: Any = None, method: str = "POST",
             headers: dict[str, str] | None = None) -> httpx.Response:
        """One data-plane request, with an ordinary chat body unless told otherwise."""
        token = key.token if isinstance(key, Key) else key
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]} if body is None else body
        return _HTTP.request(method, self.url + path, json=body if method != "GET" else None,
                             headers={"authorization": f"Bearer {token}", **(headers or {})})

    def exhaust(self, key: Key) -> None:
        """Uses the key up with plain requests."""
        path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages",
                "google": "/v1beta/models/gemini-2.5-flash:generateContent"}[key.provider]
        body = {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
        if key.provider == "google":
            body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        for _ in range(1000):
            if self.call(key, path, body).status_code == 403:
                return
        raise AssertionError("the key lives on")

    def cli(self, *arguments: str, stdin: str = "", environment: dict[str, str] | None = None,
            check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of the binary against this server."""
        variables = {**self.environment, "TILL_URL": self.url, "TILL_ADMIN_KEY": self.admin_key, **(environment or {})}
        variables = {name: value for name, value in variables.items() if value}
        done = subprocess.run([str(BINARY), *arguments], env=variables, cwd=self.directory, input=stdin, text=True,
                              capture_output=True, timeout=30)
        assert not check or done.returncode == 0, f"{arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def cli_json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.cli(*arguments, "--output", "json", **options).stdout)
