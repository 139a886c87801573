"""The servers that are measured, each started for one scenario and ended with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

UPSTREAM_KEY = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyz"
ADMIN_KEY = "till_admin_" + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
START_SECONDS = 60.0
LITELLM_START_SECONDS = 180.0
STOP_SECONDS = 30.0


class Failed(Exception):
    """Something could not be measured. The text says what and why."""


def free_port() -> int:
    """A port that was free a moment ago, for servers that can't pick one themselves."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def answers(port: int, path: str) -> bool:
    """Whether a server says 200 to a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


class Server:
    """A process that serves on a port of this machine."""

    name = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self.token = UPSTREAM_KEY
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def spawn(self, command: list[str], environment: dict[str, str] | None = None, **options: Any) -> None:
        """Starts it in a session of its own, so that Ctrl-C reaches this program only, which then ends it in order."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.directory), **(environment or {})}
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "stderr.log").open("ab") as errors:
            self._process = subprocess.Popen(
                command, env=variables, cwd=self.directory, stdin=subprocess.DEVNULL, stderr=errors,
                start_new_session=True, **{"stdout": errors, **options})

    def wait_for(self, ready: Any, seconds: float = START_SECONDS) -> None:
        """Waits until `ready()`; fails with what the server said when it ends or takes too long."""
        end = time.monotonic() + seconds
        while not ready():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                raise Failed(f"{self.name} did not start:\n{self.said()}")
            time.sleep(0.002)

    def spawn_and_read_port(self, command: list[str]) -> None:
        """Starts a program that prints the address that it listens on."""
        self.spawn(command, stdout=subprocess.PIPE)
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line:
            raise Failed(f"{self.name} did not start:\n{self.said()}")
        self.port = int(line.rsplit(":", 1)[1])

    def said(self) -> str:
        return (self.directory / "stderr.log").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to its whole group if that does not help."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Upstream(Server):
    """The mock provider. Asked without a proxy it is the contender `direct`."""

    name = "direct"

    def __init__(self, directory: Path, tools: Path, *flags: str) -> None:
        super().__init__(directory)
        self._command = [str(tools / "bench-upstream"), *flags]

    def start(self) -> None:
        self.spawn_and_read_port(self._command)


class Floor(Server):
    """A forwarder that does what no proxy can avoid; `is_durable` makes each request wait until a record of it is on disk."""

    name = "floor"

    def __init__(self, directory: Path, tools: Path, upstream: Upstream, *, is_durable: bool = False) -> None:
        super().__init__(directory)
        self._tools, self._upstream, self._is_durable = tools, upstream, is_durable

    def start(self) -> None:
        durable = ["--durable", str(self.directory / "journal")] if self._is_durable else []
        self.spawn_and_read_port([str(self._tools / "bench-floor"), "--to", self._upstream.address, *durable])


NGINX = """
daemon off; worker_processes {workers}; pid nginx.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
    access_log {access_log};
    keepalive_requests 1000000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream provider {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {key}";
            proxy_buffering {buffering};
        }}
    }}
}}
"""


class Nginx(Server):
    """nginx that replaces the key and nothing else."""

    name = "nginx"

    def __init__(self, directory: Path, upstream: Upstream, *, logs: bool = False, buffering: bool = True) -> None:
        super().__init__(directory)
        self._upstream, self._logs, self._buffering = upstream, logs, buffering

    def start(self) -> None:
        self.directory.mkdir(parents=True)
        self.port = free_port()
        (self.directory / "nginx.conf").write_text(NGINX.format(
            workers=os.cpu_count(), port=self.port, upstream=self._upstream.address, key=UPSTREAM_KEY,
            access_log="access.log" if self._logs else "off", buffering="on" if self._buffering else "off"))
        self.spawn(["nginx", "-p", str(self.directory), "-c", "nginx.conf", "-e", "stderr"])
        self.wait_for(lambda: accepts(self.port))


HAPROXY = """
global
    nbthread {threads}
    maxconn 4000
defaults
    mode http
    timeout connect 10s
    timeout client 300s
    timeout server 300s
    http-reuse always
frontend front
    bind 127.0.0.1:{port}
    default_backend provider
backend provider
    http-request set-header Authorization "Bearer {key}"
    server provider {upstream}
"""


class HaProxy(Server):
    """HAProxy that replaces the key and nothing else."""

    name = "haproxy"

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        super().__init__(directory)
        self._upstream = upstream

    def start(self) -> None:
        self.directory.mkdir(parents=True)
        self.port = free_port()
        (self.directory / "haproxy.cfg").write_text(HAPROXY.format(
            threads=os.cpu_count(), port=self.port, upstream=self._upstream.address, key=UPSTREAM_KEY))
        self.spawn(["haproxy", "-db", "-f", "haproxy.cfg"])
        self.wait_for(lambda: accepts(self.port))


LITELLM = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://{upstream}/v1", api_key: "{key}"}}
router_settings:
  provider_budget_config:
    openai: {{budget_limit: 1000000, time_period: 30d}}
general_settings:
  master_key: {token}
"""


class LiteLlm(Server):
    """LiteLLM's proxy with a budget for the provider, which each of its workers keeps in memory.

    A budget of a virtual key is nearer to what till does, but needs a database, and a program to speak to it that is not
    on PyPI. It was not measured.
    """

    name = "litellm"

    def __init__(self, directory: Path, upstream: Upstream, python: Path) -> None:
        super().__init__(directory)
        self.token = "sk-bench"
        self._upstream, self._python = upstream, python

    def version(self) -> str:
        ask = "from importlib.metadata import version; print(version('litellm'))"
        return subprocess.run([str(self._python), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()

    def start(self) -> None:
        self.directory.mkdir(parents=True)
        self.port = free_port()
        (self.directory / "config.yaml").write_text(
            LITELLM.format(upstream=self._upstream.address, key=UPSTREAM_KEY, token=self.token))
        # The prices from the package, errors only in the log, and no bar on the way to the mock provider.
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
                       "LITELLM_DISABLE_ACCESS_LOG_PATHS": "/v1/chat/completions", "NO_PROXY": "*"}
        self.spawn([str(self._python.with_name("litellm")), "--config", "config.yaml", "--host", "127.0.0.1",
                    "--port", str(self.port), "--num_workers", str(os.cpu_count()), "--telemetry", "False"], environment)
        self.wait_for(lambda: answers(self.port, "/health/liveliness"), LITELLM_START_SECONDS)


class Till(Server):
    """till as its README starts it, with an address of the provider and a port of its own."""

    name = "till"

    def __init__(self, directory: Path, binary: Path, upstream: Upstream, *flags: str, logs: bool = False) -> None:
        super().__init__(directory)
        self.data = directory / "data"
        self._binary, self._upstream, self._flags, self._logs = binary, upstream, flags, logs

    def start(self) -> float:
        """Starts it and says how many seconds passed until it was ready."""
        (self.data / "address").unlink(missing_ok=True)
        begun = time.monotonic()
        self.spawn(
            [str(self._binary), "start", "--data", str(self.data), "--listen", "127.0.0.1:0",
             "--log-requests", "on" if self._logs else "off",
             "--provider-url", f"openai=http://{self._upstream.address},bills-alike", *self._flags],
            {"TILL_ADMIN_KEY": ADMIN_KEY})
        self.wait_for(self._is_ready)
        return time.monotonic() - begun

    def _is_ready(self) -> bool:
        try:
            text = (self.data / "address").read_text().strip()
        except FileNotFoundError:
            return False
        if not text:
            return False
        self.port = int(text.rsplit(":", 1)[1].strip("/"))
        return answers(self.port, "/readyz")

    def mint(self, **limits: Any) -> str:
        """A scoped key."""
        return self.mint_many(1, **limits)[0]

    def mint_many(self, count: int, **limits: Any) -> list[str]:
        """Scoped keys, made by several clients at once, because each is on disk before it is answered."""
        tokens: list[str] = []
        failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()

        def work(share: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                tokens.extend(self._mint_one(connection, limits) for _ in range(share))
            except Exception as error:  # noqa: BLE001 - told by the caller's thread
                failures.put(error)
            finally:
                connection.close()

        workers = min(count, 16)
        shares = [count // workers + (number < count % workers) for number in range(workers)]
        threads = [threading.Thread(target=work, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not failures.empty():
            raise Failed(f"minting keys: {failures.get()}")
        return tokens

    def _mint_one(self, connection: http.client.HTTPConnection, limits: dict[str, Any]) -> str:
        body = json.dumps({"provider": "openai", "upstream_key": UPSTREAM_KEY, **limits})
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
        connection.request("POST", "/admin/keys", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise Failed(f"{answer.status} {text.decode(errors='replace')}")
        return json.loads(text)["key"]["scopedKey"]


@contextlib.contextmanager
def running(*servers: Any) -> Iterator[None]:
    """Starts servers in order and ends them in the opposite order, whatever happens."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
        yield
