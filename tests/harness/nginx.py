"""The real nginx as a reverse proxy before a server, with a log of every request as nginx reads it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from harness.waiting import until

# Debian has it where users don't look.
BINARY = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")

_CONFIGURATION = """
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log info;
events {{ worker_connections 512; }}
http {{
    log_format seen '$request_uri $status $upstream_status';
    access_log {directory}/access.log seen;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    # What is odd is passed on, so that whoever is behind it has to read it.
    ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;
    upstream behind {{ server {server}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering {buffering}; }}
    }}
}}
"""


class Nginx:
    """Runs until `close`. Requests go to the server at `url` over connections that are used again."""

    def __init__(self, directory: Path, url: str, *, buffering: bool = True) -> None:
        assert BINARY, "nginx is not installed; run ./test.sh"
        self._log = directory / "access.log"
        # Somebody else may take the port in between.
        for _ in range(5):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
            configuration = _CONFIGURATION.format(directory=directory, server=urlsplit(url).netloc, port=self.port,
                                                  buffering="on" if buffering else "off")
            (directory / "nginx.conf").write_text(configuration)
            self._process = subprocess.Popen([BINARY, "-p", str(directory), "-c", str(directory / "nginx.conf")], stderr=subprocess.DEVNULL)
            until(lambda: self._process.poll() is not None or self._answers(), "nginx to listen")
            if self._process.poll() is None:
                break
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def seen(self) -> list[tuple[str, str, str]]:
        """Target, status and the status that came from behind (`-` if nothing was sent there) of every request."""
        lines = (line.rsplit(" ", 2) for line in self._log.read_text(errors="replace").splitlines())
        return [(target, status, behind) for target, status, behind in lines]

    def passed_on(self, *, unanswered: bool = False) -> Counter[str]:
        """Targets of what was sent on and answered; with `unanswered` also of what may have been: clients did not wait (499)."""
        return Counter(target for target, status, behind in self.seen() if behind != "-" or (unanswered and status == "499"))

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
