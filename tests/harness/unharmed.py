"""Whether an attack left till as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from harness.process_facts import descriptors, memory
from harness.raw_http import one, post
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import Till
from harness.waiting import until

MIB = 1 << 20
# A call that is bounded.
BODY = json.dumps({"model": "gpt-4o-mini", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}).encode()


@contextmanager
def unharmed(till: Till, upstream: ScriptedUpstream, megabytes: int = 100, pooled: int = 0) -> Iterator[None]:
    """What happens inside takes no more memory than this, leaves no connection behind, and till goes on.

    `pooled` connections to the upstream may be kept for the next requests."""
    pid = till.pid
    before, open_before = memory(pid), descriptors(pid)
    yield
    assert memory(pid) - before < megabytes * MIB
    upstream.reset()
    assert one(till.url, post(till.mint(max_activations=1).token, BODY)).status == 200
    until(lambda: descriptors(pid) <= open_before + 20 + pooled, "connections to be closed")
    assert memory(pid) - before < megabytes * MIB
    assert b"panicked" not in till.all_output()
