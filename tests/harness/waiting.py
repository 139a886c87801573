"""Waiting for a state instead of sleeping and hoping."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 20.0


def until(state: Callable[[], T], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """Polls `state` until it is truthy and returns it; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = state()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for: {what}")
        time.sleep(0.01)
