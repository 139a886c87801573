"""The life of a key from outside: its time, pauses, changes, rates, and the switch that stops everything."""

from __future__ import annotations

import signal
import time

import httpx
import openai
import pytest

from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import UPSTREAM_KEY, Till
from harness.waiting import until

CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


def mint(till: Till, *flags: str) -> tuple[str, str]:
    made = till.cli_json("keys", "create", "--provider", "openai", "--upstream-key-env", "REAL", *flags,
                         environment={"REAL": UPSTREAM_KEY})["key"]
    return made["id"], made["scopedKey"]


def ask(till: Till, token: str) -> httpx.Response:
    return httpx.post(till.url + CHAT, json=BODY, headers={"authorization": f"Bearer {token}"}, trust_env=False)


def code(answer: httpx.Response) -> str:
    return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['error']['code']}"


def test_a_suspended_process_makes_no_key_live_longer(till: Till, upstream: ScriptedUpstream) -> None:
    """While till is stopped nothing of it runs, and the key's time runs out all the same."""
    key, token = mint(till, "--max-activations", "50", "--ttl", "3s")
    assert code(ask(till, token)) == "200"
    till.signal(signal.SIGSTOP)
    try:
        time.sleep(4)
    finally:
        till.signal(signal.SIGCONT)
    assert code(ask(till, token)) == "403 key_expired"
    assert till.key(key)["status"] == "expired"
    # Nor does a crash and a new start.
    till.kill9()
    till.start()
    assert code(ask(till, token)) == "403 key_expired"
    assert upstream.count == 1


def test_pauses_changes_and_the_switch(till: Till, upstream: ScriptedUpstream) -> None:
    key, token = mint(till, "--max-activations", "1", "--metadata", "team=search")
    assert code(ask(till, token)) == "200"
    assert code(ask(till, token)) == "403 activations_exhausted"
    till.cli("keys", "update", key, "--add-activations", "5", "--name", "crawler")
    assert till.key(key)["maxActivations"] == 6 and till.key(key)["metadata"]["name"] == "crawler"
    assert code(ask(till, token)) == "200"
    till.cli("keys", "pause", key, "--reason", "odd traffic")
    assert code(ask(till, token)) == "403 key_paused"
    till.cli("keys", "resume", key)
    till.cli("kill-switch", "on", "--reason", "a key leaked")
    assert code(ask(till, token)) == "403 instance_stopped"
    till.restart()
    assert code(ask(till, token)) == "403 instance_stopped"
    till.cli("kill-switch", "off")
    assert code(ask(till, token)) == "200"
    other, _ = mint(till, "--max-activations", "1", "--metadata", "team=other")
    till.cli("keys", "revoke", "--where", "team=search", "--yes")
    assert code(ask(till, token)) == "403 key_revoked"
    assert till.key(other)["status"] == "active"
    assert upstream.count == 3
    actions = [entry["action"] for entry in till.admin("GET", "/admin/audit?limit=1000").json()["entries"]]
    assert {"key.create", "key.revoke"} <= set(actions) and len(actions) >= 9, actions


def test_official_sdk_waits_for_its_rate(till: Till, upstream: ScriptedUpstream) -> None:
    """One a second: the SDK sleeps for as long as `retry-after` says, and its second call works."""
    _, token = mint(till, "--max-activations", "100", "--rpm", "60")
    client = openai.OpenAI(base_url=f"{till.url}/v1", api_key=token, max_retries=5)
    for _ in range(61):
        client.chat.completions.create(**BODY)
    assert upstream.count == 61
    slow, token = mint(till, "--max-activations", "50", "--rpm", "1")
    client = openai.OpenAI(base_url=f"{till.url}/v1", api_key=token, max_retries=0)
    client.chat.completions.create(**BODY)
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**BODY)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    assert until(lambda: till.key(slow)["usedActivations"] == 1, "only one to be counted")
