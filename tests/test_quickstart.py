"""The README's quick start runs as written.

Its code blocks stand behind `<!-- quickstart:NAME -->`. The test starts the server in the default data directory
with the provider pointed at the scripted upstream, and puts in what a reader puts in: the two keys, and where the
binary and the server are.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import BINARY, ROOT, UPSTREAM_KEY, Till

README = ROOT / "README.md"
BLOCK = re.compile(r"^<!-- quickstart:(\w+) -->\n+```\w+\n(.*?)^```", re.M | re.S)
LIMIT = 50


def blocks(till: Till) -> dict[str, str]:
    found = {}
    for name, text in BLOCK.findall(README.read_text()):
        for placeholder, value in [("till_admin_…", till.admin_key), ("sk-…", UPSTREAM_KEY), ("target/release/till", str(BINARY)),
                                   ("http://127.0.0.1:4100", till.url)]:
            text = text.replace(placeholder, value)
        found[name] = text
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_quick_start(new_till, upstream: ScriptedUpstream, home: Path) -> None:
    if not README.exists():
        pytest.skip("there is no README yet")
    till = new_till({"openai": upstream.url})
    till.data = home / ".local" / "share" / "till"
    till.data.parent.mkdir(parents=True)
    till.start()
    block = blocks(till)
    assert set(block) == {"mint", "dollars", "scope", "curl", "python"}

    def run(*command: str, **variables: str) -> str:
        environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home), "NO_PROXY": "*"}
        done = subprocess.run(command, env={**environment, **variables}, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    minted = re.search(r"till_sk_\w+", run("bash", "-euc", "shopt -s expand_aliases\n" + block["mint"]))
    assert minted
    key = minted[0]
    assert "Hello from upstream" in run("bash", "-euc", block["curl"], SCOPED_KEY=key)
    assert run(sys.executable, "-c", block["python"], SCOPED_KEY=key).strip() == "Hello from upstream"

    both = run("bash", "-euc", "shopt -s expand_aliases\n" + block["mint"] + block["dollars"])
    _, dollars = dict.fromkeys(re.findall(r"till_sk_\w+", both))
    assert "0.25" in both
    answer = openai.OpenAI(base_url=f"{till.url}/v1", api_key=dollars).chat.completions.with_raw_response.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": "Say hello."}])
    assert "x-till-spend-remaining-usd" in answer.headers
    narrowed = run("bash", "-euc", "shopt -s expand_aliases\n" + block["mint"] + block["scope"])
    _, scoped = dict.fromkeys(re.findall(r"till_sk_\w+", narrowed))
    client = openai.OpenAI(base_url=f"{till.url}/v1", api_key=scoped)
    with pytest.raises(openai.PermissionDeniedError, match="is not among those that this scoped key may ask"):
        client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "Say hello."}])
    with pytest.raises(openai.PermissionDeniedError, match="is outside of what this scoped key may call"):
        client.embeddings.create(model="gpt-5-mini", input="hello")

    calls = json.loads(run(str(BINARY), "usage", "--calls", "--output", "json", TILL_ADMIN_KEY=till.admin_key, TILL_URL=till.url))
    assert calls["records"][0]["chargedUsd"] > "0.00", "the call and what it cost"

    client = openai.OpenAI(base_url=f"{till.url}/v1", api_key=key)
    messages = [{"role": "user", "content": "Say hello."}]
    for _ in range(LIMIT - 2):
        client.chat.completions.create(model="gpt-5-mini", messages=messages)
    with pytest.raises(openai.PermissionDeniedError, match=f"has used all {LIMIT} of its activations"):
        client.chat.completions.create(model="gpt-5-mini", messages=messages)
    assert upstream.count == LIMIT + 1
    assert {request.header("authorization") for request in upstream.requests} == {f"Bearer {UPSTREAM_KEY}"}
