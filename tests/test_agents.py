"""One turn each of Claude Code and Codex, unmodified, through till; and what they do with a dead key.

No machine that runs this needs the internet: updates, telemetry and everything else on the side are switched
off, the home directory is empty.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dead_keys import KINDS, check_message, dead_key
from harness import aimock as mock
from harness.aimock import NODE_DIR, AiMock
from harness.till_process import Till

pytestmark = [pytest.mark.agent, pytest.mark.timeout(180)]

# What Codex does with a dead key: one request and five retries. Set to 0 in the provider's table it makes one.
CODEX_REQUESTS_DEAD = 6

# With its built-in provider it tries to open a WebSocket before that.
CODEX_WEBSOCKET_TRIES_DEAD = 7


def environment(home: Path, **more: str) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "*", "TERM": "dumb", "CI": "1", **more}


def claude(till: Till, token: str, home: Path, *, variable: str = "ANTHROPIC_API_KEY") -> subprocess.CompletedProcess[str]:
    off = {name: "1" for name in ("DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING",
                                  "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_BUG_COMMAND")}
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    return subprocess.run([str(NODE_DIR / "node_modules/.bin/claude"), "-p", "hi", "--model", "claude-sonnet-4-6"],
                          env=environment(home, ANTHROPIC_BASE_URL=till.url, **{variable: token}, **off), cwd=work,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def codex(till: Till, token: str, home: Path, config: str) -> subprocess.CompletedProcess[str]:
    settings = home / ".codex"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "config.toml").write_text(
        'model = "gpt-5"\ncheck_for_update_on_startup = false\n' + config.replace("URL", till.url)
        + "\n[analytics]\nenabled = false\n")
    return subprocess.run([str(NODE_DIR / "node_modules/.bin/codex"), "exec", "--skip-git-repo-check", "--sandbox", "read-only", "hi"],
                          env=environment(home, CODEX_HOME=str(settings), CODEX_API_KEY=token, TILL_KEY=token), cwd=home,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


BUILT_IN = 'openai_base_url = "URL/v1"\n'
CUSTOM = """model_provider = "till"
[model_providers.till]
name = "till"
base_url = "URL/v1"
env_key = "TILL_KEY"
wire_api = "responses"
"""
NO_SEARCH = 'web_search = "disabled"\n'
CUSTOM_NO_RETRIES = CUSTOM + "request_max_retries = 0\nstream_max_retries = 0\n"


def model_calls(lines: list[dict], path: str) -> list[dict]:
    """Log lines of calls to the model; agents also list models and the like."""
    return [line for line in lines if line["method"] == "POST" and line["path"].endswith(path)]


@pytest.mark.parametrize("variable", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_claude_code_turn(variable: str, sdk_till: Till, aimock: AiMock, tmp_path: Path) -> None:
    key = sdk_till.mint("anthropic", max_activations=20)
    before = aimock.count("200", "/v1/messages")
    sdk_till.mark()
    done = claude(sdk_till, key.token, tmp_path / "home", variable=variable)
    assert (done.returncode, done.stdout.strip()) == (0, mock.TEXT), done.stderr
    calls = model_calls(sdk_till.requests_since_mark(1), "/messages")
    assert calls and all(line["status"] == 200 for line in calls)
    assert aimock.count("200", "/v1/messages") == before + len(calls)
    assert sdk_till.key(key.id)["usedActivations"] == len(calls)


@pytest.mark.parametrize("kind", KINDS)
def test_claude_code_dead_key(kind: str, sdk_till: Till, aimock: AiMock, tmp_path: Path) -> None:
    key = dead_key(sdk_till, "anthropic", kind)
    before = aimock.count()
    sdk_till.mark()
    done = claude(sdk_till, key.token, tmp_path / "home")
    assert done.returncode != 0
    check_message(kind, done.stdout + done.stderr)
    lines = sdk_till.requests_since_mark(1)
    assert [line["status"] for line in model_calls(lines, "/messages")] == [403]
    assert aimock.count() == before


def test_codex_turn_over_a_websocket(sdk_till: Till, aimock: AiMock, tmp_path: Path) -> None:
    """The built-in provider opens a WebSocket and sends two requests over it: one to warm up (`generate: false`) and
    the turn itself. Each is an activation."""
    key = sdk_till.mint("openai", max_activations=20)
    sdk_till.mark()
    done = codex(sdk_till, key.token, tmp_path, BUILT_IN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert mock.TEXT in done.stdout
    calls = [line for line in sdk_till.requests_since_mark(1) if line["path"].endswith("/responses")]
    assert [(line["method"], line["status"]) for line in calls] == [("GET", 101)]
    assert sdk_till.key(key.id)["usedActivations"] == 2


def test_codex_turn_over_http(sdk_till: Till, aimock: AiMock, tmp_path: Path) -> None:
    key = sdk_till.mint("openai", max_activations=20)
    before = aimock.count("200", "/v1/responses")
    sdk_till.mark()
    done = codex(sdk_till, key.token, tmp_path, CUSTOM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert mock.TEXT in done.stdout
    calls = [line for line in sdk_till.requests_since_mark(1) if line["path"].endswith("/responses")]
    assert [(line["method"], line["status"]) for line in calls] == [("POST", 200)]
    assert aimock.count("200", "/v1/responses") == before + 1
    assert sdk_till.key(key.id)["usedActivations"] == 1


def test_agents_under_a_limit_in_dollars(sdk_till: Till, aimock: AiMock, tmp_path: Path) -> None:
    """What they really send, tools and all, has a bound. Codex must not ask for the search that OpenAI runs, whose cost
    nothing bounds; it falls back to HTTP when its WebSocket is refused."""
    key = sdk_till.mint("anthropic", max_activations=None, max_spend_usd="5")
    done = claude(sdk_till, key.token, tmp_path / "claude")
    assert (done.returncode, done.stdout.strip()) == (0, mock.TEXT), done.stdout + done.stderr
    for config in (NO_SEARCH + CUSTOM, NO_SEARCH + BUILT_IN):
        key = sdk_till.mint("openai", max_activations=None, max_spend_usd="5")
        done = codex(sdk_till, key.token, tmp_path, config)
        assert done.returncode == 0 and mock.TEXT in done.stdout, done.stdout + done.stderr
        assert 0 < float(sdk_till.key(key.id)["usedSpendUsd"]) < 5


def test_codex_built_in_dead_key(sdk_till: Till, aimock: AiMock, tmp_path: Path) -> None:
    key = dead_key(sdk_till, "openai", "exhausted")
    before = aimock.count()
    sdk_till.mark()
    done = codex(sdk_till, key.token, tmp_path, BUILT_IN)
    assert done.returncode != 0
    check_message("exhausted", done.stdout + done.stderr)
    requests = CODEX_WEBSOCKET_TRIES_DEAD + CODEX_REQUESTS_DEAD
    calls = [line for line in sdk_till.requests_since_mark(requests) if line["path"].endswith("/responses")]
    assert [line["method"] for line in calls] == ["GET"] * CODEX_WEBSOCKET_TRIES_DEAD + ["POST"] * CODEX_REQUESTS_DEAD
    assert {line["status"] for line in calls} == {403}
    assert aimock.count() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config,posts", [(CUSTOM, CODEX_REQUESTS_DEAD), (CUSTOM_NO_RETRIES, 1)], ids=["default", "no-retries"])
def test_codex_dead_key(config: str, posts: int, kind: str, sdk_till: Till, aimock: AiMock, tmp_path: Path) -> None:
    key = dead_key(sdk_till, "openai", kind)
    before = aimock.count()
    sdk_till.mark()
    done = codex(sdk_till, key.token, tmp_path, config)
    assert done.returncode != 0
    check_message(kind, done.stdout + done.stderr)
    calls = model_calls(sdk_till.requests_since_mark(posts), "/responses")
    assert [line["status"] for line in calls] == [403] * posts
    assert aimock.count() == before
