"""`/metrics`: figures that equal known traffic, and the real Prometheus with its tools, rules and dashboard."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import httpx

from harness.exposition import Exposition, family_of, parse
from harness.open_stream import open_stream
from harness.scripted_upstream import Answer, ScriptedUpstream
from harness.till_process import ROOT, Till
from harness.waiting import until

PATH = "/v1/chat/completions"
PAGE = ROOT / "docs" / "observability.md"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "till.json"
BEGIN, END = "<!-- metrics: written by tests/test_metrics.py with TILL_UPDATE=1 -->", "<!-- end of metrics -->"
# One call of the answer that the scripted upstream gives: 12 and 4 tokens of gpt-4o-mini, 0.15 and 0.60 dollars a million.
DOLLARS = Decimal("0.0000042")


def page_of(till: Till) -> Exposition:
    return parse(till.admin("GET", "/metrics").text)


def becomes(till: Till, check: Callable[[Exposition], bool], what: str) -> Exposition:
    """Waits for a state: a request is counted when its answer has ended, a moment after the client saw that."""
    page = Exposition()

    def seen() -> bool:
        nonlocal page
        page = page_of(till)
        return check(page)

    until(seen, what)
    return page


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def promtool(*arguments: str, stdin: str = "") -> str:
    """Runs it; it has to be content, and to say nothing that is a warning."""
    done = subprocess.run(["promtool", *arguments], input=stdin, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def traffic(till: Till, upstream: ScriptedUpstream) -> None:
    """Seven answers, five denials and one failure."""
    key = till.mint(max_activations=4)
    for _ in range(3):
        assert till.call(key).status_code == 200
    upstream.on("/v1/broken", Answer(status=500, pieces=[b"{}"]))
    assert till.call(key, "/v1/broken").status_code == 500
    for _ in range(2):
        assert till.call(key).status_code == 403
    metered = till.mint(max_activations=None, max_spend_usd="1")
    for _ in range(2):
        assert till.call(metered).status_code == 200
    assert till.call(metered, "/v1/nothing").status_code == 403
    anthropic = till.mint("anthropic", max_activations=9)
    assert till.call(anthropic, "/v1/messages").status_code == 200
    assert till.call(key.token[:-7] + "1234567").status_code in (401, 403)
    assert till.call("no key").status_code == 401
    google = till.mint("google", max_activations=9)
    assert till.call(google, "/v1beta/models/gemini-2.5-flash:generateContent").status_code == 502


def started(new_till, upstream: ScriptedUpstream, **options) -> Till:
    """A server whose google is not there."""
    providers = {"openai": upstream.url, "anthropic": upstream.url, "google": f"http://127.0.0.1:{free_port()}"}
    return new_till(providers, **options).start()


def test_figures_equal_the_traffic(new_till, upstream: ScriptedUpstream) -> None:
    till = started(new_till, upstream)
    traffic(till, upstream)
    page = becomes(till, lambda page: page.total("till_requests_total") == 13 and page.total("till_store_settles_total") == 8,
                   "13 requests and 8 ends of calls")
    requests = {(dict(labels)["provider"], dict(labels)["outcome"]): value
                for (name, labels), value in page.samples.items() if name == "till_requests_total" and value}
    assert requests == {
        ("openai", "answered"): 6, ("anthropic", "answered"): 1, ("openai", "denied_exhausted"): 2, ("openai", "denied_unbounded"): 1,
        ("other", "denied_credential"): 2, ("google", "failed_upstream"): 1,
    }
    refused = {dict(labels)["code"]: value for (name, labels), value in page.samples.items()
               if name == "till_requests_refused_total" and value}
    assert refused == {"activations_exhausted": 2, "unbounded_request": 1, "invalid_key": 1, "missing_key": 1, "upstream_unreachable": 1}
    assert page.value("till_unknown_tokens_total") == 1
    assert page.value("till_upstream_responses_total", provider="openai", status="2xx") == 5
    assert page.value("till_upstream_responses_total", provider="openai", status="5xx") == 1
    for provider, answers in (("openai", 6), ("anthropic", 1), ("google", 0)):
        for name in ("till_upstream_first_byte_duration_seconds", "till_request_preparation_duration_seconds", "till_request_duration_seconds"):
            assert page.value(f"{name}_count", provider=provider) == answers, name
            assert page.value(f"{name}_bucket", provider=provider, le="+Inf") == answers, name
    sent = page.total("till_upstream_connects_total") + page.total("till_upstream_connections_reused_total")
    assert sent == 8
    assert page.value("till_upstream_connect_failures_total", provider="google") == 1
    assert page.total("till_upstream_connect_failures_total") == 1
    # The key without limits in money is charged nothing for it, but what it used is known and shown as well.
    assert page.value("till_spend_dollars_total", provider="openai") == 5 * DOLLARS
    assert page.value("till_tokens_used_total", provider="openai", kind="input") == 60
    assert page.value("till_tokens_used_total", provider="openai", kind="output") == 20
    assert page.value("till_tokens_charged_total", provider="openai") == 80
    assert page.value("till_tokens_used_total", provider="anthropic", kind="input") == 12
    assert page.value("till_requests_in_flight") == 1, "the one that asks"
    assert page.value("till_upstream_connections", state="busy") == 0
    assert page.total("till_upstream_connections") >= 1
    assert page.value("till_store_commit_duration_seconds_count") == page.value("till_store_batches_total") > 0
    assert page.value("till_store_hold_duration_seconds_count") > 0
    assert page.value("till_store_settle_duration_seconds_count") == 7, "all that got an answer"
    for name in ("till_store_overruns_total", "till_store_holds_exceeded_total", "till_store_commit_failures_total",
                 "till_store_fenced", "till_kill_switch", "till_streams_open"):
        assert page.value(name) == 0, name


def test_what_is_open_now(till: Till, upstream: ScriptedUpstream) -> None:
    with open_stream(till, upstream, b"data: second\n\n") as stream:
        page = becomes(till, lambda page: page.value("till_streams_open") == 1, "an open stream")
        assert page.value("till_requests_in_flight") == 2, "and the one that asks"
        assert page.value("till_upstream_connections", state="busy") == 1
        stream.gate.set()
        assert b"".join(stream.parts) == b"data: second\n\n"
    becomes(till, lambda page: page.value("till_streams_open") == 0, "no open stream")


def test_control_plane_by_operation(till: Till) -> None:
    before = page_of(till)
    key = till.mint()
    till.key(key.id)
    assert till.admin("GET", "/admin/keys/key_nothing").status_code == 400
    assert till.admin("GET", "/admin/keys", key="till_admin_wrong").status_code == 401
    assert till.admin("GET", "/admin/nowhere").status_code == 404
    after = page_of(till)

    def more(operation: str, status: str) -> Decimal:
        name = "till_admin_requests_total"
        labels = {"operation": operation, "status": status}
        return after.value(name, **labels) - before.value(name, **labels)

    assert (more("keys", "2xx"), more("keys", "4xx"), more("other", "4xx")) == (2, 2, 1)
    assert after.value("till_admin_unauthorized_total") - before.value("till_admin_unauthorized_total") == 1


def test_strangers_add_no_series(till: Till) -> None:
    key = till.mint()
    till.call(key)
    before = becomes(till, lambda page: page.total("till_requests_total") == 1 and page.total("till_store_settles_total") == 1, "one answer")
    for n in range(20):
        till.call(f"till_sk_{n}", f"/v1/{n}")
        till.call(key.token, f"/proxy/provider-{n}/v1/models")
        till.call(key.token, f"/v1/path-{n}", {"model": f"model-{n}"}, headers={"user-agent": f"agent-{n}"})
        till.admin("GET", f"/admin/{n}")
    after = becomes(till, lambda page: page.total("till_requests_total") == 61, "61 requests")
    assert set(after.samples) == set(before.samples)


def test_promtool_has_no_complaint(new_till, upstream: ScriptedUpstream) -> None:
    till = started(new_till, upstream)
    traffic(till, upstream)
    becomes(till, lambda page: page.total("till_requests_total") == 13, "13 requests")
    assert promtool("check", "metrics", stdin=till.admin("GET", "/metrics").text) == ""


@contextmanager
def prometheus(directory: Path, config: str) -> Iterator[tuple[str, Path]]:
    """The real one, until the block ends: where it answers, and its log."""
    directory.mkdir()
    (directory / "prometheus.yml").write_text(config)
    promtool("check", "config", str(directory / "prometheus.yml"))
    port, log = free_port(), directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=out, stderr=out, cwd=directory)
    try:
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        until(ready, "Prometheus to be ready", seconds=60)
        yield url, log
    finally:
        process.terminate()
        process.wait(20)


def test_prometheus_scrapes_it(new_till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    till = started(new_till, upstream)
    traffic(till, upstream)
    becomes(till, lambda page: page.total("till_requests_total") == 13, "13 requests")
    token = tmp_path / "token"
    token.write_text(till.admin_key)
    config = json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "till", "static_configs": [{"targets": [till.url.removeprefix("http://")]}],
                            "authorization": {"credentials_file": str(token)}}],
    })
    with prometheus(tmp_path / "prometheus", config) as (url, log):
        def api(path: str, **query: str) -> dict:
            return httpx.get(f"{url}/api/v1/{path}", params=query, trust_env=False).raise_for_status().json()["data"]

        def sum_of(query: str) -> Decimal:
            return sum((Decimal(one["value"][1]) for one in api("query", query=query)["result"]), Decimal(0))

        until(lambda: [one["health"] for one in api("targets")["activeTargets"]] == ["up"], "the target to be up", seconds=30)
        until(lambda: sum_of("till_requests_total") == 13, "13 requests in Prometheus", seconds=30)
        assert sum_of("scrape_samples_scraped") > 100
        assert sum_of("till_requests_total{outcome='answered'}") == 7
        assert api("targets")["activeTargets"][0]["lastError"] == ""
        until(lambda: api("rules")["groups"] and all(rule["health"] == "ok" for group in api("rules")["groups"] for rule in group["rules"]),
              "all rules to be evaluated", seconds=30)
        firing = [alert["labels"]["alertname"] for alert in api("alerts")["alerts"] if alert["state"] == "firing"]
        assert firing == []
        # Every query of the dashboard is one that Prometheus understands, and most find something.
        found = {query: len(api("query", query=query)["result"]) for query in dashboard_queries()}
        assert sum(1 for count in found.values() if count) > len(found) / 2, found
        text = log.read_text()
    assert not [line for line in text.splitlines() if "level=error" in line or ("level=warn" in line and "till" in line)], text


def dashboard_queries() -> list[str]:
    """With what Grafana would put in for its variables."""
    def panels(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            if "expr" in value:
                yield value["expr"]
            for part in value.values():
                yield from panels(part)
        elif isinstance(value, list):
            for part in value:
                yield from panels(part)

    return [query.replace("$__rate_interval", "1m").replace("$provider", ".*").replace("$instance", ".*").replace("$job", ".*")
            for query in panels(json.loads(DASHBOARD.read_text()))]


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:till|process)_[a-z0-9_]+", text))


def test_rules_and_dashboard_name_only_what_is_served(till: Till) -> None:
    families = page_of(till).families
    promtool("check", "rules", str(RULES))
    for file in (RULES, DASHBOARD):
        names = names_in(file.read_text())
        assert len(names) >= 5
        assert [name for name in names if family_of(name, families) is None] == [], file


def test_the_page_of_metrics_is_in_step(till: Till) -> None:
    """Every metric with its type and meaning, as the code has them. TILL_UPDATE=1 writes it anew."""
    families = page_of(till).families
    rows = [f"| `{family.name}` | {family.kind} | {unit(family.name)} | {family.help} |" for family in families.values()]
    table = "\n".join(["| metric | type | unit | meaning |", "| --- | --- | --- | --- |", *rows])
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
    if os.environ.get("TILL_UPDATE"):
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "run this with TILL_UPDATE=1 and look at the difference"


def unit(name: str) -> str:
    base = name.removesuffix("_total")
    for unit_ in ("seconds", "bytes", "dollars"):
        if base.endswith(f"_{unit_}"):
            return unit_
    return "number"
