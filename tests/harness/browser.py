"""Chromium at the dashboard: `tests/dashboard/driver.mjs` does what it is told here, step by step."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.driver import Driver

DASHBOARD_TESTS = Path(__file__).resolve().parent.parent / "dashboard"
STEP_SECONDS = 100
_names = itertools.count()


class Browser:
    """One Chromium for all tests."""

    def __init__(self, home: Path) -> None:
        passed = {name: os.environ[name] for name in ("TILL_CHROMIUM", "TILL_DASHBOARD_FILES") if name in os.environ}
        self.home = home
        self._driver = Driver(["node", "driver.mjs"], DASHBOARD_TESTS, home, passed)

    def run(self, **job: Any) -> Any:
        answer = self._driver.run(STEP_SECONDS, **job)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def close(self) -> None:
        self._driver.close()


class Visit:
    """Somebody with cookies of their own. Steps are the functions of `steps.mjs`: `visit.see(text="Keys")`."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self._browser = browser
        self.name = f"visit-{next(_names)}"
        self._expected: list[str] = []
        self._allowed: list[str] = []
        browser.run(visit=self.name, step="open", url=url, **options)

    def __getattr__(self, name: str) -> Any:
        words = name.split("_")
        step = words[0] + "".join(word.title() for word in words[1:])
        return lambda **given: self.step(step, **given)

    def step(self, step: str, **given: Any) -> Any:
        return self._browser.run(visit=self.name, step=step, failed=str(self._browser.home / f"{self.name}-{step}.png"), **{name.rstrip("_"): value for name, value in given.items()})

    def expect(self, *patterns: str) -> None:
        """Lines of the console that belong to what the test does; each has to come."""
        self._expected += patterns

    def allow(self, *patterns: str) -> None:
        """Lines of the console that may come, and need not."""
        self._allowed += patterns

    def close(self) -> dict[str, list[str]]:
        return self._browser.run(visit=self.name, step="close")

    def close_clean(self) -> None:
        """Ends it; nothing may have gone wrong that nobody expected."""
        report = self.close()
        for pattern in self._expected:
            assert any(re.search(pattern, line) for line in report["console"]), f"the console never said {pattern}: {report['console']}"
        report["console"] = list(_others(report["console"], self._expected + self._allowed))
        assert report == {"console": [], "policy": [], "elsewhere": [], "dialogs": []}


def _others(lines: Iterable[str], known: list[str]) -> Iterable[str]:
    return (line for line in lines if not any(re.search(pattern, line) for pattern in known))
