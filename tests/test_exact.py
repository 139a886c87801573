"""Exactly N: never more than the limit reaches the upstream, and without faults never less."""

from __future__ import annotations

import os
import random
import threading

import pytest

from harness.raw_http import Burst, burst
from harness.scripted_upstream import Answer, RefusingUpstream, ScriptedUpstream
from harness.till_process import Till
from harness.waiting import until

REQUESTS = 400
CONNECTIONS = 64
ROUNDS = 24


@pytest.mark.parametrize("limit", [50, 1])
def test_concurrent_requests(limit: int, till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=limit)
    result = burst(till.url, key.token, REQUESTS, CONNECTIONS)
    assert result.broken == 0
    assert result.statuses == {"200": limit, "403 activations_exhausted": REQUESTS - limit}
    assert upstream.count == limit
    state = till.key(key.id)
    assert (state["usedActivations"], state["status"]) == (limit, "exhausted")
    statuses = [line["status"] for line in till.requests_since_mark(REQUESTS)]
    assert (len(statuses), statuses.count(200)) == (REQUESTS, limit)


def test_keys_do_not_share(till: Till, upstream: ScriptedUpstream) -> None:
    """Two keys of one upstream key, used at the same time, each have their own count."""
    keys = [till.mint(max_activations=limit) for limit in (7, 11)]
    results: list[Burst] = []
    threads = [threading.Thread(target=lambda key=key: results.append(burst(till.url, key.token, 60, 8))) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.statuses["200"] for result in results) == [7, 11]
    assert upstream.count == 18


def test_exact_over_a_clean_restart(till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=50)
    assert burst(till.url, key.token, 20, 8).statuses == {"200": 20}
    till.restart()
    assert till.key(key.id)["usedActivations"] == 20
    assert burst(till.url, key.token, REQUESTS, CONNECTIONS).statuses == {"200": 30, "403 activations_exhausted": REQUESTS - 30}
    assert upstream.count == 50


def test_kill_9_in_the_middle(till: Till, upstream: ScriptedUpstream) -> None:
    """Rounds on one data directory: a burst, kill -9 at a random request, a restart, another burst.

    Recorded is at least what was sent, and sent is never above the limit.
    """
    seed = int(os.environ.get("TILL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TILL_SEED={seed}")
    chance = random.Random(seed)
    for number in range(ROUNDS):
        limit = chance.choice([1, 2, 10, 50, 50, 50])
        fatal = chance.randint(1, limit)
        _one_round(till, upstream, limit, fatal, f"round {number}, TILL_SEED={seed}, limit {limit}, killed at {fatal}")


def _one_round(till: Till, upstream: ScriptedUpstream, limit: int, fatal: int, story: str) -> None:
    upstream.reset()
    key = till.mint(max_activations=limit)
    killed = threading.Event()

    def kill(count: int) -> None:
        if count == fatal:
            till.kill9()
            killed.set()

    upstream.on_request(kill)
    burst(till.url, key.token, REQUESTS, CONNECTIONS)
    until(killed.is_set, f"the kill; {story}")
    upstream.on_request(None)
    upstream.quiet()
    before = upstream.count
    till.start()
    state = till.key(key.id)
    assert state["usedActivations"] >= before, story
    result = burst(till.url, key.token, 120, 16)
    assert result.broken == 0, story
    assert set(result.statuses) <= {"200", "403 activations_exhausted"}, f"{result.statuses}; {story}"
    assert upstream.count - before == result.statuses["200"], story
    assert upstream.count <= limit, story
    assert till.key(key.id)["usedActivations"] == limit, story


def test_a_busy_key_is_exact_to_the_end(till: Till, upstream: ScriptedUpstream) -> None:
    """Most of its calls are granted out of units that were counted out ahead; the figures say nothing of that."""
    limit = 3000
    key = till.mint(max_activations=limit)
    assert burst(till.url, key.token, 1000, CONNECTIONS).statuses == {"200": 1000}
    assert till.key(key.id)["usedActivations"] == 1000
    till.restart()
    assert till.key(key.id)["usedActivations"] == 1000
    result = burst(till.url, key.token, 2500, CONNECTIONS)
    assert result.statuses == {"200": 2000, "403 activations_exhausted": 500}
    assert upstream.count == limit
    assert till.key(key.id)["usedActivations"] == limit
    assert till.admin("GET", "/admin/holds").json()["holds"] == []


def test_kill_9_of_a_busy_key(till: Till, upstream: ScriptedUpstream) -> None:
    """What a crash burns: at most a hundredth of what is left, and the requests in flight. It is listed."""
    seed = int(os.environ.get("TILL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TILL_SEED={seed}")
    chance = random.Random(seed)
    ahead = 0
    for number in range(ROUNDS // 2):
        upstream.reset()
        limit = chance.choice([2000, 20_000, 1_000_000])
        fatal = chance.randint(1, 1500)
        story = f"round {number}, TILL_SEED={seed}, limit {limit}, killed at {fatal}"
        key = till.mint(max_activations=limit)
        killed = threading.Event()

        def kill(count: int, fatal: int = fatal, killed: threading.Event = killed) -> None:
            if count == fatal:
                till.kill9()
                killed.set()

        upstream.on_request(kill)
        burst(till.url, key.token, 2000, CONNECTIONS)
        until(killed.is_set, f"the kill; {story}")
        upstream.on_request(None)
        upstream.quiet()
        till.start()
        used = till.key(key.id)["usedActivations"]
        assert upstream.count <= used, story
        assert used <= upstream.count + CONNECTIONS + limit // 100, story
        holds = [hold for hold in till.admin("GET", "/admin/holds?limit=1000").json()["holds"] if hold["keyId"] == key.id]
        ahead += sum(hold["kind"] == "escrow" for hold in holds)
        lost = sum(hold["activations"] for hold in holds)
        assert used <= upstream.count + lost, f"more is spent than was sent or is listed; {story}"
    assert ahead > 0, "no key was ever busy"


def test_nothing_is_spent_when_nothing_was_sent(new_till) -> None:
    """A refused connection is provably not sent: the hold is voided."""
    refusing = RefusingUpstream()
    till = new_till({"openai": refusing.url}).start()
    key = till.mint(max_activations=3)
    for _ in range(5):
        assert till.call(key).status_code == 502
    until(lambda: till.key(key.id)["usedActivations"] == 0, "the last hold to be given back")
    refusing.close()


def test_what_was_sent_is_spent(till: Till, upstream: ScriptedUpstream) -> None:
    """An upstream that closes without an answer has had the request."""
    upstream.on("/v1/chat/completions", Answer(raw=b""))
    key = till.mint(max_activations=2)
    for _ in range(2):
        assert till.call(key).status_code == 502
    assert till.call(key).status_code == 403
    assert upstream.count == 2
    assert till.key(key.id)["usedActivations"] == 2
