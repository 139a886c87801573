"""$5 means $5: what the upstream bills is never above a key's limit, and nearly all of the limit can be used."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import Counter

import httpx
import pytest

from harness.metered_upstream import MeteredUpstream
from harness.till_process import BINARY, CROWD, Till
from harness.waiting import until

CALLERS = 200
BUDGET = "0.10"
BUDGET_NANOS = 100_000_000
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}


def ask(provider: str, *, streamed: bool = False, cap: int | None = None) -> tuple[str, dict]:
    """Path and body of a request."""
    if provider == "google":
        verb = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        body: dict = {"contents": [{"role": "user", "parts": [{"text": "Tell me a story."}]}]}
        if cap:
            body["generationConfig"] = {"maxOutputTokens": cap}
        return f"/v1beta/models/{MODELS[provider]}:{verb}", body
    body = {"model": MODELS[provider], "messages": [{"role": "user", "content": "Tell me a story."}], "stream": streamed}
    if cap:
        body["max_tokens"] = cap
    return ("/v1/messages" if provider == "anthropic" else "/v1/chat/completions"), body


def dollars(nanos: int) -> str:
    text = f"{nanos // 10**9}.{nanos % 10**9:09}".rstrip("0")
    whole, fraction = text.split(".")
    return f"{whole}.{fraction:0<2}"


async def storm(till: Till, token: str, requests: list[tuple[str, dict]], callers: int = CALLERS) -> Counter:
    """Callers that go on until they are told that the key is used up. Counts what they were told."""
    seen: Counter = Counter()
    async with httpx.AsyncClient(base_url=till.url, limits=CROWD, timeout=120, trust_env=False) as client:
        async def caller(number: int) -> None:
            path, body = requests[number % len(requests)]
            while True:
                answer = await client.post(path, json=body, headers={"authorization": f"Bearer {token}"})
                code = "200" if answer.status_code == 200 else f"{answer.status_code} {code_of(answer)}"
                seen[code] += 1
                if answer.status_code == 403:
                    return
        await asyncio.gather(*[caller(number) for number in range(callers)])
    return seen


def code_of(answer: httpx.Response) -> str:
    text = answer.text
    known = ("spend_exhausted", "tokens_exhausted", "activations_exhausted", "budget_busy", "unbounded_request", "unpriced_model")
    return next((code for code in known if code in text), text[:200])


@pytest.fixture
def metered(request: pytest.FixtureRequest):
    server = MeteredUpstream(**getattr(request, "param", {}))
    yield server
    server.close()


@pytest.fixture
def shop(new_till, metered: MeteredUpstream) -> Till:
    return new_till({name: f"{metered.url},bills-alike" for name in MODELS}, flags=("--log-requests", "off")).start()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("cap", [None, 2_000])
@pytest.mark.parametrize("provider", list(MODELS))
def test_dollars_under_a_crowd(provider: str, cap: int | None, streamed: bool, shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint(provider, max_activations=None, max_spend_usd=BUDGET)
    seen = asyncio.run(storm(shop, key.token, [ask(provider, streamed=streamed, cap=cap)]))
    tally = metered.tally
    print(f"{provider} cap={cap} streamed={streamed}: {dict(seen)}, {tally.requests} billed, {dollars(tally.nanos)} of {BUDGET}")
    assert tally.nanos <= BUDGET_NANOS
    assert tally.nanos >= BUDGET_NANOS * 9 // 10, "most of it can be used"
    assert seen["403 spend_exhausted"] == CALLERS
    assert set(seen) == {"200", "403 spend_exhausted"}, "nobody is sent away while there is money"
    assert seen["200"] == tally.requests
    state = shop.key(key.id)
    assert state["usedSpendUsd"] == dollars(tally.nanos), "to the nano-dollar"
    assert (state["usedTokens"], state["usedActivations"]) == (tally.tokens, tally.requests)


def test_tokens_under_a_crowd(shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint("openai", max_activations=None, max_tokens=100_000)
    seen = asyncio.run(storm(shop, key.token, [ask("openai"), ask("openai", cap=2_000), ask("openai", streamed=True)]))
    print(f"{dict(seen)}, {metered.tally.tokens} tokens")
    assert 90_000 <= metered.tally.tokens <= 100_000
    assert set(seen) == {"200", "403 tokens_exhausted"}
    assert shop.key(key.id)["usedTokens"] == metered.tally.tokens


@pytest.mark.parametrize("metered", [{"latency": 0.02}], indirect=True)
def test_clients_that_hang_up(shop: Till, metered: MeteredUpstream) -> None:
    """At any byte, or before the first one: the key is charged at least what the upstream bills."""
    key = shop.mint("openai", max_activations=None, max_spend_usd="1")
    chance = random.Random(11)

    async def hang_up(number: int) -> None:
        path, body = ask("openai", streamed=number % 3 > 0, cap=2_000)
        payload = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(shop.url.rsplit(":", 1)[1]))
        writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key.token}\r\ncontent-type: application/json\r\n"
                     f"content-length: {len(payload)}\r\n\r\n".encode() + payload)
        await writer.drain()
        if number % 4:
            await reader.read(chance.randrange(1, 4_000))
        writer.transport.abort()

    async def all_of_them() -> None:
        for _ in range(4):
            await asyncio.gather(*[hang_up(number) for number in range(50)])

    asyncio.run(all_of_them())
    # The one that asks is under way itself.
    until(lambda: "till_requests_in_flight 1\n" in shop.admin("GET", "/metrics").text, "nothing else to be under way")

    def records() -> list[dict]:
        return shop.admin("GET", "/admin/usage?limit=1000").json()["records"]

    def unsent() -> int:
        return sum(record["outcome"] == "unsent" for record in records())

    # A settle is written a moment after its request has ended.
    until(lambda: len(records()) == shop.key(key.id)["usedActivations"] + unsent(), "every call to have its record")
    used = shop.key(key.id)["usedSpendUsd"]
    print(f"{metered.tally.requests} billed: {dollars(metered.tally.nanos)}, charged {used}")
    assert float(used) * 1e9 >= metered.tally.nanos - 1
    assert sum(int(round(float(record["chargedUsd"]) * 1e9)) for record in records()) >= metered.tally.nanos


@pytest.mark.parametrize("metered", [{"fault": "cut", "latency": 0.01}, {"fault": "silent", "latency": 0.01}], indirect=True)
def test_what_is_not_known_is_spent(shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint("openai", max_activations=None, max_spend_usd=BUDGET)
    for number in range(30):
        path, body = ask("openai", streamed=number % 2 == 0, cap=2_000)
        try:
            httpx.post(f"{shop.url}{path}", json=body, headers={"authorization": f"Bearer {key.token}"}, trust_env=False)
        except httpx.HTTPError:
            pass
    charged = round(float(shop.key(key.id)["usedSpendUsd"]) * 1e9)
    print(f"{metered.fault}: billed {metered.tally.nanos}, charged {charged}")
    assert metered.tally.nanos <= charged <= BUDGET_NANOS


@pytest.mark.parametrize("metered", [{"fault": "429", "latency": 0.0}, {"fault": "529", "latency": 0.0}], indirect=True)
def test_refusals_of_the_upstream_cost_activations_only(shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint("anthropic", max_activations=20, max_spend_usd="0.01")
    path, body = ask("anthropic", cap=500)
    codes = Counter(code_of(answer) if answer.status_code == 403 else str(answer.status_code) for answer in (
        httpx.post(f"{shop.url}{path}", json=body, headers={"x-api-key": key.token}, trust_env=False) for _ in range(25)))
    assert codes == {metered.fault: 20, "activations_exhausted": 5}
    state = shop.key(key.id)
    assert (state["usedActivations"], state["usedTokens"], state["usedSpendUsd"]) == (20, 0, "0.00")


@pytest.mark.parametrize("metered", [{"fault": "lie", "latency": 0.0}], indirect=True)
def test_a_lying_upstream_stops_the_key(shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint("openai", max_activations=None, max_spend_usd="0.001")
    path, body = ask("openai", cap=2_000)
    post = lambda token: httpx.post(f"{shop.url}{path}", json=body, headers={"authorization": f"Bearer {token}"}, trust_env=False)  # noqa: E731
    assert post(key.token).status_code == 200
    until(lambda: shop.key(key.id)["status"] == "exhausted", "the key to be stopped")
    assert code_of(post(key.token)) == "spend_exhausted"
    assert float(shop.key(key.id)["usedSpendUsd"]) > 0.001, "charged in full"
    actions = [entry["action"] for entry in shop.admin("GET", "/admin/audit?limit=1000").json()["entries"]]
    assert {"hold.exceeded", "ledger.overrun"} <= set(actions)
    other = shop.mint("openai", max_activations=None, max_spend_usd="1")
    assert post(other.token).status_code == 200, "other keys go on"


@pytest.mark.parametrize("metered", [{"fault": "endless", "latency": 0.0}], indirect=True)
def test_an_endless_stream_is_cut(shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint("openai", max_activations=None, max_spend_usd=BUDGET)
    path, body = ask("openai", streamed=True, cap=100)
    answer = httpx.post(f"{shop.url}{path}", json=body, headers={"authorization": f"Bearer {key.token}"}, trust_env=False, timeout=60)
    assert '"error"' in answer.text.rsplit("data: ", 1)[1]
    assert len(answer.content) < 1_000_000
    assert shop.key(key.id)["usedSpendUsd"] != "0.00"


@pytest.mark.parametrize("metered", [{"latency": 0.03}], indirect=True)
def test_kill_9_never_gives_money_back(shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint("openai", max_activations=None, max_spend_usd=BUDGET)
    path, body = ask("openai", cap=2_000)

    async def until_it_dies(after: int) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=shop.url, limits=limits, timeout=30, trust_env=False) as client:
            async def caller() -> None:
                try:
                    while (await client.post(path, json=body, headers={"authorization": f"Bearer {key.token}"})).status_code == 200:
                        if metered.tally.requests >= goal:
                            shop.kill9()
                except httpx.HTTPError:
                    pass
            goal = metered.tally.requests + after
            await asyncio.gather(*[caller() for _ in range(20)])

    seed = random.Random().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(4):
        asyncio.run(until_it_dies(chance.randrange(1, 15)))
        shop.kill9()
        shop.start()
        charged = round(float(shop.key(key.id)["usedSpendUsd"]) * 1e9)
        print(f"billed {metered.tally.nanos}, charged {charged}")
        assert metered.tally.nanos <= charged <= BUDGET_NANOS
    holds = json.loads(till_json(shop, "holds", "list"))["holds"]
    assert holds, "requests were under way"
    lost = sum(record["outcome"] == "lost" for record in shop.admin("GET", "/admin/usage?limit=1000").json()["records"])
    assert lost == len(holds)
    before = float(shop.key(key.id)["usedSpendUsd"])
    till_json(shop, "holds", "forgive", holds[0]["id"])
    after = float(shop.key(key.id)["usedSpendUsd"])
    assert before - after == pytest.approx(float(holds[0]["spendUsd"]))
    assert "hold.forgive" in [entry["action"] for entry in shop.admin("GET", "/admin/audit?limit=1000").json()["entries"]]


def till_json(till: Till, *command: str) -> str:
    """What a command prints as JSON."""
    environment = till.environment | {"TILL_URL": till.url}
    done = subprocess.run([str(BINARY), *command, "--output", "json"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("metered", [{"latency": 0.0}], indirect=True)
def test_usage_is_shown(shop: Till, metered: MeteredUpstream) -> None:
    key = shop.mint("openai", max_activations=None, max_spend_usd=BUDGET)
    path, body = ask("openai", cap=2_000)
    for _ in range(3):
        answer = httpx.post(f"{shop.url}{path}", json=body, headers={"authorization": f"Bearer {key.token}"}, trust_env=False)
        assert answer.status_code == 200
    left = BUDGET_NANOS - metered.tally.nanos
    mine = httpx.get(f"{shop.url}/key", headers={"authorization": f"Bearer {key.token}"}, trust_env=False).json()["key"]
    assert (mine["maxSpendUsd"], mine["remainingSpendUsd"]) == ("0.10", dollars(left))
    sums = json.loads(till_json(shop, "usage", "--by", "key,model,day"))["sums"]
    assert [(one["keyId"], one["model"], one["calls"], one["chargedUsd"]) for one in sums] == [(key.id, "gpt-4o-mini", 3, dollars(metered.tally.nanos))]
    records = json.loads(till_json(shop, "usage", "--calls", "--key", key.id))["records"]
    assert [record["outcome"] for record in records] == ["complete"] * 3
    assert all(record["client"] == "127.0.0.1" and record["priceVersion"] for record in records)
    environment = shop.environment | {"TILL_URL": shop.url}
    csv = subprocess.run([str(BINARY), "usage", "--by", "model", "--output", "csv"], env=environment, capture_output=True, text=True, check=True)
    assert csv.stdout.splitlines()[1].startswith("gpt-4o-mini,3,")


@pytest.mark.parametrize("metered", [{"latency": 0.0}], indirect=True)
def test_official_sdks_show_why(shop: Till, metered: MeteredUpstream) -> None:
    """What can't be bounded is refused once, and the developer reads what is at fault."""
    import anthropic
    import openai

    key = shop.mint("openai", max_activations=None, max_spend_usd=BUDGET)
    client = openai.OpenAI(api_key=key.token, base_url=f"{shop.url}/v1")
    for changes, code, part in [
        ({"model": "model-of-tomorrow"}, "unpriced_model", "model-of-tomorrow"),
        ({"extra_body": {"web_search_options": {}}}, "unbounded_request", "web_search_options"),
    ]:
        wanted: dict = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50} | changes
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.chat.completions.create(**wanted)
        assert refused.value.code == code and part in str(refused.value)
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}], max_tokens=50)
    assert answer.choices[0].message.content == "Hi"
    chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}], stream=True))
    assert all(chunk.choices for chunk in chunks), "the chunk with the usage was not asked for"
    key = shop.mint("anthropic", max_activations=None, max_tokens=100_000)
    claude = anthropic.Anthropic(api_key=key.token, base_url=shop.url)
    with pytest.raises(anthropic.PermissionDeniedError) as refused:
        claude.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": "Hi"}],
                               tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert "web_search_20250305" in str(refused.value)
    assert claude.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": "Hi"}]).content[0].text == "Hi"
    assert metered.tally.requests == 3, "what was refused was not sent"
