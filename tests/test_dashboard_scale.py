"""The dashboard over many keys and calls: rows in the page and requests stay few. Says how long everything takes.

`TILL_SCALE=full ./test.sh e2e -k dashboard_scale -s` does it with 10,000 keys and 1,000,000 calls, and prints the times;
every day there are fewer. How many rows of the database each query looks at is asserted in the store
(`crates/store/src/sqlite/scale_tests.rs`).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from harness.browser import Browser, Visit
from harness.till_process import ADMIN_KEY, BINARY, Till

FULL = os.environ.get("TILL_SCALE") == "full"
KEYS, CALLS, DAYS, PROJECTS = (10_000, 1_000_000, 90, 20) if FULL else (1_500, 6_000, 40, 20)
PAGE = 100
# In view at once, in a window of this height, with those that are kept ready.
ROWS_MAX = 60
TIMES = 7 if FULL else 1


@pytest.fixture
def filled(new_till) -> Till:
    """A server whose store was filled while it was stopped."""
    till = new_till().start()
    for number in range(PROJECTS):
        answer = till.admin("POST", "/admin/projects", {"id": f"project-{number}", "name": f"Project {number}"})
        assert answer.status_code == 201, answer.text
    till.stop()
    begun = time.monotonic()
    fill = BINARY.parent / "examples" / "fill"
    subprocess.run([fill, till.data, *map(str, (KEYS, CALLS, DAYS, PROJECTS))], check=True, timeout=1_500)
    print(f"\n{KEYS} keys and {CALLS} calls made in {time.monotonic() - begun:.0f} s")
    return till.start()


def query_times(till: Till) -> None:
    def days(count: int) -> str:
        return f"since={(datetime.now(UTC) - timedelta(days=count - 1)).date()}T00:00:00Z"

    a_key = till.admin("GET", "/admin/keys?limit=1").json()["keys"][0]["id"]
    queries = {
        "overview": "/admin/overview",
        "by provider and day, 30 days": f"/admin/usage/summary?group_by=day,provider&top=7&{days(30)}",
        "by model and day, 90 days": f"/admin/usage/summary?group_by=day,model&top=7&{days(90)}",
        "by project and day, 30 days": f"/admin/usage/summary?group_by=day,project&top=7&{days(30)}",
        "by key and day, 30 days": f"/admin/usage/summary?group_by=day,key&top=7&{days(30)}",
        "by key and day, 90 days": f"/admin/usage/summary?group_by=day,key&top=7&{days(90)}",
        "by key, 30 days": f"/admin/usage/summary?group_by=key&top=1000&{days(30)}",
        "by key of a project, 30 days": f"/admin/usage/summary?group_by=key&top=1000&project=project-3&{days(30)}",
        "denials, 30 days": f"/admin/denials/summary?group_by=code&{days(30)}",
        "a key by day and model": f"/admin/usage/summary?group_by=day,model&key={a_key}&{days(30)}",
        "keys": "/admin/keys?limit=100",
        "keys by their last use": "/admin/keys?limit=100&sort=last_used&status=active",
        "keys by their end": "/admin/keys?limit=100&sort=expires&order=asc",
        "keys with a name": "/admin/keys?limit=100&search=agent%207",
        "calls": "/admin/usage?limit=100",
        "calls of a key": f"/admin/usage?limit=100&key={a_key}",
        "the audit log": "/admin/audit?limit=100&order=desc",
        "projects": "/admin/projects?limit=1000",
    }
    for name, path in queries.items():
        took = []
        for _ in range(TIMES):
            if name == "overview" and FULL:
                time.sleep(1.1)  # an answer is good for a second
            begun = time.perf_counter()
            answer = till.admin("GET", path)
            took.append((time.perf_counter() - begun) * 1000)
            assert answer.status_code == 200, (path, answer.text)
        print(f"{name:>30}: {statistics.median(took):6.0f} ms, at most {max(took):.0f} ms, {len(answer.content)} bytes")


@pytest.mark.timeout(2_400 if FULL else 300)
def test_dashboard_scale(filled: Till, browser: Browser) -> None:
    total = filled.admin("GET", "/admin/usage/summary?group_by=project").json()["sums"]
    assert sum(one["calls"] for one in total) == CALLS and len(total) == PROJECTS
    query_times(filled)
    visit = Visit(browser, filled.url)
    visit.sign_in(token=ADMIN_KEY, path="/")
    for path in ("/", "/?by=key", "/keys", "/keys?sort=last_used", "/usage", "/usage?by=key"):
        visit.asked()
        painted = [visit.painted(path=path) for _ in range(TIMES)]
        first, full = (statistics.median(one[what] for one in painted) for what in ("first", "full"))
        asked = len([one for one in visit.asked() if " /admin/" in one]) / TIMES
        print(f"{path:>30}: first paint {first:.0f} ms, figures {full:.0f} ms, {asked:.0f} requests, {painted[0]['rows']} rows")
        # Names of keys are asked for one by one, as many as are in view.
        assert asked <= 20 + (ROWS_MAX if "by=key" in path else 0)
        assert painted[0]["rows"] <= ROWS_MAX
    visit.painted(path="/keys")
    visit.connection(is_="Live")
    visit.asked()
    seen = visit.wheel_through(of="[role=table][aria-label=Keys]")
    pages = visit.asked().count("GET /admin/keys")
    print(f"{seen['rows']} keys scrolled through in {seen['ms'] / 1000:.1f} s with {seen['wheels']} turns of the wheel: at most "
          f"{seen['most']} rows in the page, {pages} requests, the longest frame {seen['frame']:.0f} ms")
    assert seen["rows"] == KEYS, "all of them are there"
    assert seen["most"] <= ROWS_MAX
    assert pages <= KEYS // PAGE * 1.1 + 5
    visit.close_clean()
