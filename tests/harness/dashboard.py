"""Who is at the dashboard, and what is there for them."""

from __future__ import annotations

from collections.abc import Callable

from harness.browser import Visit
from harness.till_process import Till

PASSWORD = "correct horse battery staple"

Visiting = Callable[..., Visit]
"""Opens a visit, as the fixture `visiting` does."""


def made(till: Till, path: str, body: dict, key: str | None = None) -> dict:
    """What the API answers to the making of something."""
    answer = till.admin("POST", path, body, key=key)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def member(till: Till, role: str, **fields) -> str:
    """The login of a new member of this role."""
    login = f"{role}@example.com"
    made(till, "/admin/members", {"login": login, "name": f"The {role}", "role": role, "password": PASSWORD, **fields})
    return login
