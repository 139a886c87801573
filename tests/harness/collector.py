"""A collector of traces: takes OTLP over HTTP in JSON, and checks it against the schema of the protocol."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.waiting import until


@dataclass
class Span:
    """One span, with its attributes as plain values."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    begin: int
    end: int
    is_error: bool
    attributes: dict[str, Any] = field(default_factory=dict)


class Collector:
    """Listens on a free loopback port until `close`. `status` is what it answers; while `gate` is closed it answers nothing."""

    def __init__(self) -> None:
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers["content-length"]))
                with collector._lock:
                    # Whoever sees a body finds its head.
                    collector.heads.append(f"{self.command} {self.path} {self.headers}")
                    collector.bodies.append(body)
                collector.gate.wait(60)
                try:
                    self.send_response(collector.status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")
                except OSError:
                    pass  # it was not waited for

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def resources(self) -> list[dict[str, Any]]:
        return [attributes(json.loads(body)["resourceSpans"][0]["resource"]["attributes"]) for body in list(self.bodies)]

    def spans(self) -> list[Span]:
        """Everything that came so far."""
        return [span for body in list(self.bodies) for span in parse(body)]

    def of_request(self, request_id: str, count: int) -> dict[str, Span]:
        """The spans of one request once there are `count`: `request`, `hold`, `upstream`, `stream`."""

        def found() -> dict[str, Span] | None:
            spans = self.spans()
            server = [span for span in spans if span.attributes.get("till.request_id") == request_id]
            if len(server) != 1:
                return None
            same = [span for span in spans if span.trace == server[0].trace]
            return named(server[0], same) if len(same) >= count else None

        spans = until(found, f"{count} spans of {request_id}")
        assert len(spans) == count, spans
        return spans


def named(server: Span, spans: list[Span]) -> dict[str, Span]:
    """By what they are: a server's, a client's, or what their name says."""
    children = {span.name: span for span in spans if span.kind == 1}
    clients = [span for span in spans if span.kind == 3]
    assert len(clients) <= 1, clients
    return {"request": server, **children, **({"upstream": clients[0]} if clients else {})}


def attributes(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    keys = [pair["key"] for pair in pairs]
    assert len(keys) == len(set(keys)), keys
    values = {}
    for pair in pairs:
        ((kind, value),) = pair["value"].items()
        values[pair["key"]] = int(value) if kind == "intValue" else value
    return values


def parse(body: bytes) -> list[Span]:
    """The spans of a request, after the whole of it was read with the protocol's own schema, which knows no other fields."""
    request = json.loads(body)
    strict = json.loads(body)
    spans = [span for resource in strict["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]]
    for span in spans:
        # Hexadecimal in OTLP, base64 in the general JSON form of protobuf.
        for name, length in (("traceId", 32), ("spanId", 16), ("parentSpanId", 16)):
            if name in span:
                assert len(span[name]) == length, span
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    message = json_format.ParseDict(strict, ExportTraceServiceRequest())
    assert sum(len(scope.spans) for resource in message.resource_spans for scope in resource.scope_spans) == len(spans)
    return [
        Span(span["traceId"], span["spanId"], span.get("parentSpanId", ""), span["name"], span["kind"],
             int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]), span.get("status", {}).get("code") == 2,
             attributes(span["attributes"]))
        for resource in request["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]
    ]
