"""A streamed answer that is half way: the first event has arrived, the second waits for the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from harness.scripted_upstream import Answer, ScriptedUpstream
from harness.till_process import Key, Till

PATH = "/v1/chat/completions"
FIRST = b"data: first\n\n"


@dataclass
class Stream:
    key: Key
    parts: Iterator[bytes]
    """What arrives after the first event."""
    gate: threading.Event
    """Lets the upstream send the second event."""


@contextmanager
def open_stream(till: Till, upstream: ScriptedUpstream, second: bytes) -> Iterator[Stream]:
    gate = threading.Event()
    upstream.on(PATH, Answer(headers=[("content-type", "text/event-stream")], pieces=[FIRST, second], chunked=True, gate=gate))
    key = till.mint(max_activations=5)
    with httpx.stream("POST", till.url + PATH, headers={"authorization": f"Bearer {key.token}"}, json={}, trust_env=False,
                      timeout=20) as answer:
        parts = answer.iter_raw()
        assert next(parts) == FIRST
        yield Stream(key, parts, gate)
