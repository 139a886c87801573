"""A name server that never answers: what can't be sent is not counted, and everybody else is served."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.name_server import NameServer, TillWithNameServer
from harness.process_facts import descriptors
from harness.raw_http import Burst, burst
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import Till
from harness.waiting import until

CALLS = 300
# glibc asks twice, five seconds each, and so outlasts this.
CONNECT = 2


@pytest.fixture
def names() -> Iterator[NameServer]:
    if os.geteuid() != 0:
        pytest.skip("only root may take port 53 and have a view of the file system of its own")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("a view of the file system of its own can't be had here (unshare --mount)")
    server = NameServer()
    yield server
    server.close()


@pytest.fixture
def till(names: NameServer, upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Till]:
    """OpenAI has a name, Anthropic an address."""
    port = upstream.url.rsplit(":", 1)[1]
    providers = {"openai": f"http://api.of-a-silent-server.test:{port}", "anthropic": upstream.url}
    made = TillWithNameServer(tmp_path, names, providers, flags=("--connect-timeout", f"{CONNECT}s"))
    try:
        yield made.start()
    finally:
        made.stop()


def threads(till: Till) -> int:
    return len(os.listdir(f"/proc/{till.pid}/task"))


def test_a_name_server_that_never_answers(till: Till, names: NameServer, upstream: ScriptedUpstream) -> None:
    key, other = till.mint(max_activations=CALLS + 10), till.mint("anthropic", max_activations=1000)
    assert till.call(other, "/v1/messages").status_code == 200
    threads_before, open_before = threads(till), descriptors(till.pid)
    outcome: list[Burst] = []
    began = time.monotonic()
    crowd = threading.Thread(target=lambda: outcome.append(burst(till.url, key.token, CALLS, CALLS)))
    crowd.start()
    until(lambda: names.asked > 0, "the name to be asked for")
    until(lambda: till.in_flight() >= CALLS, "all calls to be under way")
    most = threads(till)
    served = 0
    while crowd.is_alive():
        # Reading keys takes one of the threads that look-ups take too.
        assert till.call(other, "/v1/messages").status_code == 200
        assert till.admin("GET", "/admin/keys").status_code == 200
        served += 1
        most = max(most, threads(till))
    crowd.join()
    took = time.monotonic() - began
    print(f"{CALLS} calls in {took:.1f} s, {served} others served, {threads_before} threads before and at most {most}, {names.asked} questions")
    assert outcome[0].statuses == {"502 upstream_unreachable": CALLS} and outcome[0].broken == 0, outcome
    assert served > 0
    # One for the name, and those that read.
    assert most <= threads_before + 16, f"{threads_before} threads became {most}"
    assert till.used(key) == 0, "it is proven that nothing was sent"
    until(lambda: descriptors(till.pid) <= open_before + 20, "connections to be closed")
    # As soon as it answers, so does till.
    names.answer = "127.0.0.1"
    sent = upstream.count
    until(lambda: till.call(key).status_code == 200, "the name to be found")
    assert till.used(key) == 1 and upstream.count == sent + 1
    assert "panicked" not in till.output()
