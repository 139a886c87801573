"""The log in JSON: one object per line, with names that scripts can rely on. And `/readyz`, which names reasons."""

from __future__ import annotations

import json
import resource
import sys

from harness.raw_http import one, post
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import Till
from harness.waiting import until

# Ignores the signal that comes with a file that gets too long, so that writing fails instead, and then becomes till.
FAILS_TO_WRITE = "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
ALWAYS = {"timestamp", "level", "message", "target"}
REQUEST = {"request", "peer", "client", "method", "path", "key", "provider", "status", "denial", "cut", "bytes", "ms", "trace_id"}


def test_every_line_is_an_object(till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=1)
    till.call(key)
    refused = till.call(key)
    till.call("till_sk_wrong")
    # What would break a line, or look like another one.
    one(till.url, post(key.token, path="/v1/%0A%22x"))
    till.requests_since_mark(4)
    till.stop()
    lines = [json.loads(line) for line in till._err().read_text().splitlines()]  # noqa: SLF001
    assert len(lines) > 4
    for line in lines:
        assert ALWAYS <= set(line), line
        assert line["level"] in ("ERROR", "WARN", "INFO", "DEBUG", "TRACE")
    requests = [line for line in lines if line["message"] == "request"]
    for line in requests:
        assert set(line) - ALWAYS <= REQUEST, line
        assert {"request", "peer", "method", "path", "bytes", "ms"} <= set(line)
    assert [line.get("denial") for line in requests][:3] == [None, "activations_exhausted", "invalid_key"]
    assert requests[1]["request"] == refused.headers["x-till-request-id"]
    assert (requests[1]["key"], requests[1]["status"], requests[1]["provider"]) == (key.id, 403, "openai")


def test_ready_says_why_not(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url})
    command = till.command
    till.command = lambda: [sys.executable, "-c", FAILS_TO_WRITE, *command()]
    till.start()
    key = till.mint()
    assert till.call(key).status_code == 200
    assert till.admin("GET", "/readyz").json() == {"status": "ok"}
    process = till._process.pid  # noqa: SLF001
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (0, before[1]))
    answer = until(lambda: (found := till.admin("GET", "/readyz")).status_code == 503 and found, "it to be not ready").json()
    assert answer["status"] == "unavailable"
    assert [reason["code"] for reason in answer["reasons"]] == ["ledger_unavailable"]
    assert answer["error"] == answer["reasons"][0]
    assert "the store could not" in answer["error"]["message"]
    assert str(till.directory) not in json.dumps(answer), "no paths for strangers"
    assert till.admin("GET", "/healthz").status_code == 200
    refused = till.call(key)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "ledger_unavailable"
    resource.prlimit(process, resource.RLIMIT_FSIZE, before)
    until(lambda: till.admin("GET", "/readyz").status_code == 200, "it to be ready again")
    assert till.call(key).status_code == 200
