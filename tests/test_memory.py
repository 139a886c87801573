"""Real keys and master keys in the memory of the process: none is left of what it has let go of."""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import subprocess
import sys

import httpx
import pytest

from harness.raw_http import one, post
from harness.scripted_upstream import Answer, ScriptedUpstream
from harness.till_process import Till
from harness.waiting import until

PATH = "/v1/chat/completions"

pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can look into till")


def found(till: Till, secret: bytes) -> list[bytes]:
    """Where it stands in memory that can be written, each with what stands around it."""
    places = []
    with open(f"/proc/{till.pid}/mem", "rb", buffering=0) as memory:
        for line in open(f"/proc/{till.pid}/maps"):
            addresses, permissions = line.split()[:2]
            if "w" not in permissions:
                continue
            first, last = (int(address, 16) for address in addresses.split("-"))
            try:
                memory.seek(first)
                content = memory.read(last - first)
            except OSError:
                continue
            places += [content[max(0, at.start() - 32) : at.end() + 16] for at in re.finditer(re.escape(secret), content)]
    return places


def test_a_real_key_is_gone_with_its_scoped_key(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url}, flags=("--connect-timeout", "2s")).start()
    canary = "sk-canary-" + secrets.token_hex(20)
    key = till.mint(upstream_key=canary, max_activations=500)
    # What the administration was given is not what this is about: see docs/threat-model.md.
    till.restart()
    assert found(till, canary.encode()) == [], "it is in no file, so it is not there before it is used"
    large = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 20_000}]}).encode()
    for body in (large, large[:300] + b'"}]}', b"{}"):
        for _ in range(10):
            assert one(till.url, post(key.token, body)).status == 200
    # A head that is longer than most; answers that say the key, and that break off.
    assert till.call(key, headers={f"x-{number}": "y" * 90 for number in range(30)}).status_code == 200
    upstream.on(PATH, Answer(status=500, headers=[("x-debug", canary)], pieces=[canary.encode()]))
    assert till.call(key).status_code == 500
    # In fields that are not passed on.
    upstream.on(PATH, Answer(status=500, headers=[("connection", "x-debug"), ("x-debug", canary)], pieces=[b"{}"]))
    assert till.call(key).status_code == 500
    upstream.on(PATH, Answer(headers=[("content-encoding", "unknown"), ("x-debug", canary)], pieces=[b"{}"]))
    assert till.call(key).status_code == 502
    upstream.on(PATH, Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"))
    with pytest.raises(httpx.HTTPError):
        till.call(key)
    upstream.reset()
    # What is read next is read into the same memory, each thread's its own.
    assert all(till.call(key).status_code == 200 for _ in range(20))
    assert found(till, canary.encode()), "a search that finds nothing shows nothing"
    till.revoke(key.id)
    assert till.call(key).json()["error"]["code"] == "key_revoked"
    until(lambda: till.in_flight() == 0, "all requests to end")
    left = found(till, canary.encode())
    assert left == [], f"{len(left)} copies are left: {left}"


def test_a_master_key_is_there_once_and_its_text_is_not(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url})
    till.environment["TILL_MASTER_KEY_FILE"] = str(till.directory / "given")
    raw = secrets.token_bytes(32)
    (till.directory / "given").write_text(raw.hex() + "\n")
    till.start()
    assert till.call(till.mint()).status_code == 200
    # Once; what functions have left on their stacks is not wiped, and is overwritten sooner or later.
    places = found(till, raw)
    assert 1 <= len(places) <= 3, f"{len(places)} copies: {places}"
    assert found(till, raw.hex().encode()) == []


def test_memory_is_locked_where_any_amount_may_be(new_till, upstream: ScriptedUpstream) -> None:
    def locked(till: Till) -> int:
        line = next(line for line in open(f"/proc/{till.pid}/status") if line.startswith("VmLck:"))
        return int(line.split()[1])

    till = new_till({"openai": upstream.url}).start()
    soft = resource.prlimit(till.pid, resource.RLIMIT_MEMLOCK)[0]
    if soft != resource.RLIM_INFINITY:
        assert locked(till) == 0
    till.stop()
    wrapped = till.command
    till.command = lambda: ["sh", "-c", 'ulimit -l unlimited && exec "$@"', "sh", *wrapped()]
    if subprocess.run(["sh", "-c", "ulimit -l unlimited"], capture_output=True).returncode != 0:
        pytest.skip("the limit of locked memory can't be raised here")
    till.start()
    assert locked(till) > 0
    key = till.mint(max_activations=20)
    assert all(till.call(key).status_code == 200 for _ in range(20))
