"""Traces: the spans of each kind of request and their parents, what providers learn, and collectors that don't work."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from harness.collector import Collector, Span
from harness.exposition import parse
from harness.open_stream import open_stream
from harness.scripted_upstream import Answer, ScriptedUpstream
from harness.till_process import Till
from harness.waiting import until

PATH = "/v1/chat/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.close()


@pytest.fixture
def traced(new_till, upstream: ScriptedUpstream, collector: Collector) -> Callable[..., Till]:
    """Starts a server that is traced, with these flags besides."""

    def start(*flags: str, endpoint: str = "", **providers: str) -> Till:
        urls = {"openai": upstream.url, "anthropic": upstream.url, **providers}
        return new_till(urls, flags=("--otlp-endpoint", endpoint or collector.url, *flags)).start()

    return start


def inside(child: Span, parent: Span) -> None:
    assert (child.trace, child.parent) == (parent.trace, parent.id)
    assert parent.begin <= child.begin <= child.end


def spans_dropped(till: Till, reason: str) -> int:
    return int(parse(till.admin("GET", "/metrics").text).value("till_otlp_spans_dropped_total", reason=reason))


def test_an_ordinary_call(traced, collector: Collector) -> None:
    till = traced()
    before = time.time_ns()
    key = till.mint()
    answer = till.call(key)
    after = time.time_ns()
    spans = collector.of_request(answer.headers["x-till-request-id"], 4)
    request, hold, upstream, stream = (spans[name] for name in ("request", "hold", "upstream", "stream"))
    assert request.parent == "" and request.kind == 2 and request.name == "POST" and not request.is_error
    inside(hold, request)
    inside(upstream, request)
    inside(stream, upstream)
    assert hold.end <= upstream.begin and stream.end == upstream.end
    assert before - 10**8 <= request.begin <= request.end <= after + 10**9
    assert request.attributes["http.request.method"] == "POST"
    assert request.attributes["url.path"] == PATH
    assert request.attributes["url.scheme"] == "http"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["till.key_id"] == key.id
    assert request.attributes["client.address"] == "127.0.0.1"
    wanted = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-4o-mini",
              "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 4, "server.address": "127.0.0.1",
              "http.response.status_code": 200, "till.stream": False}
    assert wanted.items() <= upstream.attributes.items()
    resource = collector.resources()[0]
    assert resource["service.name"] == "till" and resource["service.version"]
    assert len({span.id for span in spans.values()}) == 4
    assert "POST /v1/traces" in collector.heads[0] and "application/json" in collector.heads[0]


def test_a_metered_call_names_its_model(traced, collector: Collector) -> None:
    till = traced()
    answer = till.call(till.mint(max_activations=None, max_spend_usd="1"))
    upstream = collector.of_request(answer.headers["x-till-request-id"], 4)["upstream"]
    assert upstream.name == "chat gpt-4o-mini"
    assert upstream.attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert upstream.attributes["till.spend_nano_dollars"] == 4200


def test_a_denied_call(traced, collector: Collector) -> None:
    till = traced()
    key = till.mint(max_activations=1)
    till.call(key)
    answer = till.call(key)
    assert answer.status_code == 403
    spans = collector.of_request(answer.headers["x-till-request-id"], 2)
    inside(spans["hold"], spans["request"])
    assert spans["request"].attributes["till.denial"] == "activations_exhausted"
    assert not spans["request"].is_error, "a client's fault is no error of the server"
    answer = till.call("till_sk_wrong")
    spans = collector.of_request(answer.headers["x-till-request-id"], 1)
    assert spans["request"].attributes["till.denial"] == "invalid_key"


def test_a_stream(traced, collector: Collector, upstream: ScriptedUpstream) -> None:
    till = traced()
    with open_stream(till, upstream, b"data: second\n\n") as stream:
        time.sleep(0.05)
        stream.gate.set()
        assert b"".join(stream.parts) == b"data: second\n\n"
    request_id = till.requests_since_mark(1)[0]["request"]
    spans = collector.of_request(request_id, 4)
    inside(spans["stream"], spans["upstream"])
    assert spans["stream"].end - spans["stream"].begin >= 5 * 10**7
    assert spans["request"].end >= spans["stream"].end - 10**6
    assert spans["upstream"].attributes["till.stream"] is True


def test_an_upstream_that_fails(traced, collector: Collector, upstream: ScriptedUpstream) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    till = traced(google=nowhere)
    answer = till.call(till.mint("google"), "/v1beta/models/gemini-2.5-flash:generateContent")
    assert answer.status_code == 502
    spans = collector.of_request(answer.headers["x-till-request-id"], 3)
    inside(spans["upstream"], spans["request"])
    for name in ("request", "upstream"):
        assert spans[name].is_error and spans[name].attributes["error.type"] == "upstream_unreachable", name
    upstream.on("/v1/broken", Answer(status=500, pieces=[b"{}"]))
    answer = till.call(till.mint(), "/v1/broken")
    spans = collector.of_request(answer.headers["x-till-request-id"], 4)
    assert spans["upstream"].is_error and spans["upstream"].attributes["error.type"] == "500"


@pytest.mark.parametrize("propagate", ["off", "on"])
def test_the_parent_of_the_client(propagate: str, traced, collector: Collector, upstream: ScriptedUpstream) -> None:
    till = traced("--otlp-propagate", propagate)
    key = till.mint()
    answer = till.call(key, headers={"traceparent": SAMPLED, "tracestate": "vendor=1"})
    spans = collector.of_request(answer.headers["x-till-request-id"], 4)
    assert (spans["request"].trace, spans["request"].parent) == (TRACE, PARENT)
    ours = f"00-{TRACE}-{spans['upstream'].id}-01"
    assert upstream.last().header("traceparent") == (ours if propagate == "on" else SAMPLED)
    assert upstream.last().header("tracestate") == "vendor=1"
    # Without one a new trace begins, which the provider learns of only if that is wanted.
    answer = till.call(key, headers={"tracestate": "vendor=1"})
    spans = collector.of_request(answer.headers["x-till-request-id"], 4)
    ours = f"00-{spans['upstream'].trace}-{spans['upstream'].id}-01"
    assert upstream.last().header("traceparent") == (ours if propagate == "on" else None)
    assert upstream.last().header("tracestate") == (None if propagate == "on" else "vendor=1")


def test_off_nothing_is_touched(till: Till, upstream: ScriptedUpstream) -> None:
    till.call(till.mint(), headers={"traceparent": SAMPLED, "tracestate": "vendor=1"})
    assert upstream.last().header("traceparent") == SAMPLED
    assert upstream.last().header("tracestate") == "vendor=1"
    page = parse(till.admin("GET", "/metrics").text)
    assert page.value("till_otlp_spans_exported_total") == 0
    assert "trace_id" not in till.requests_since_mark(1)[0]


def test_who_is_sampled(traced, collector: Collector, upstream: ScriptedUpstream) -> None:
    """The client decides for its own requests, the ratio for all others."""
    till = traced("--otlp-sample-ratio", "0", "--otlp-propagate", "on")
    key = till.mint()
    unsampled = f"00-{TRACE}-{PARENT}-00"
    till.call(key, headers={"traceparent": unsampled})
    assert upstream.last().header("traceparent") == unsampled
    till.call(key)
    assert upstream.last().header("traceparent") is None
    wanted = till.call(key, headers={"traceparent": SAMPLED})
    collector.of_request(wanted.headers["x-till-request-id"], 4)
    lines = till.requests_since_mark(3)
    assert [line["trace_id"] for line in lines][0] == TRACE
    assert all(len(line["trace_id"]) == 32 for line in lines)
    till.stop()
    assert len(collector.spans()) == 4, "a stop sends what is left, so nothing else comes"


def test_own_paths_are_not_traced(traced, collector: Collector) -> None:
    till = traced()
    for path in ("/healthz", "/metrics", "/admin/keys"):
        till.admin("GET", path)
    wanted = till.call(till.mint())
    till.stop()
    assert [span.attributes["till.request_id"] for span in collector.spans() if span.kind == 2] == [wanted.headers["x-till-request-id"]]


@pytest.mark.parametrize("fault", ["down", "refuses", "hangs"])
def test_a_collector_that_does_not_work(fault: str, traced, collector: Collector) -> None:
    """Requests go on as if it were not there, what can't be sent is counted, and a stop does not wait for ever."""
    if fault == "down":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            till = traced(endpoint=f"http://127.0.0.1:{probe.getsockname()[1]}")
    else:
        till = traced()
    if fault == "hangs":
        collector.gate.clear()
    collector.status = 503
    key = till.mint(max_activations=2_000)
    begin = time.monotonic()
    for _ in range(50):
        assert till.call(key).status_code == 200
    assert time.monotonic() - begin < 20, "no call waits for the collector"
    until(lambda: spans_dropped(till, "not_taken") > 0, "spans that were dropped", seconds=30)
    if fault == "refuses":
        until(lambda: spans_dropped(till, "not_taken") == 200, "all of them to be dropped", seconds=30)
        collector.status = 200
        wanted = till.call(key)
        collector.of_request(wanted.headers["x-till-request-id"], 4)
        assert "the collector takes traces again" in till.output() or until(
            lambda: "the collector takes traces again" in till.output(), "a line in the log")
    assert till.output().count("the collector does not take traces") == 1
    begin = time.monotonic()
    till.stop()
    assert time.monotonic() - begin < 10


def test_the_queue_is_bounded(traced, collector: Collector) -> None:
    collector.gate.clear()
    till = traced()
    key = till.mint(max_activations=100_000)
    body = json.dumps({"model": "gpt-4o-mini", "messages": []})

    def many() -> None:
        import http.client

        connection = http.client.HTTPConnection(till.url.removeprefix("http://"), timeout=60)
        for _ in range(600):
            connection.request("POST", PATH, body, {"authorization": f"Bearer {key.token}", "content-type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
            # Nobody's, and as long as a head may be.
            connection.request("GET", "/v1/" + "x" * 60_000, headers={"traceparent": SAMPLED})
            answer = connection.getresponse()
            assert answer.status == 401
            answer.read()

    threads = [threading.Thread(target=many) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spans_dropped(till, "queue_full") + spans_dropped(till, "not_taken") > 0
    resident = parse(till.admin("GET", "/metrics").text).value("process_resident_memory_bytes")
    assert resident < 200_000_000
    collector.gate.set()


def test_strangers_do_not_decide_what_is_traced(traced, collector: Collector) -> None:
    till = traced("--otlp-sample-ratio", "0")
    path = "/v1/" + "x" * 5_000
    assert till.call("nobody", path, method="GET", headers={"traceparent": SAMPLED}).status_code == 401
    assert till.call("till_sk_nobody", path, method="GET", headers={"traceparent": SAMPLED}).status_code == 403
    key = till.mint()
    known = till.call(key, path, method="GET", headers={"traceparent": SAMPLED})
    span = collector.of_request(known.headers["x-till-request-id"], 4)["request"]
    assert span.attributes["url.path"].startswith("/v1/xxx") and len(span.attributes["url.path"]) < 2_200
    lines = till.requests_since_mark(3)
    assert all(len(line["path"]) < 2_200 and line["path"].endswith("(5004 bytes)") for line in lines)
    till.stop()
    assert len(collector.spans()) == 4, "a stop sends what is left, so nothing else comes"
