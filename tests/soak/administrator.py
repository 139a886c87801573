"""Somebody who mints, changes, pauses and revokes keys all the while."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any

import httpx

from harness.till_process import Till
from soak.calls import Callers
from soak.faults import Trouble
from soak.keys import PROJECTS, TIGHT, SoakKey, fleeting, key_of, lasting

# Fleeting keys that are called at the same time; the oldest one goes.
FLEETING_MAX = 40
UPSTREAM_KEY = "sk-soak-0123456789abcdef"


class Administrator:
    """A thread that goes through the admin API until `stop`."""

    def __init__(self, till: Till, callers: Callers, trouble: Trouble, chance: random.Random, pause: float) -> None:
        self.till, self.callers, self.trouble, self.chance, self.pause = till, callers, trouble, chance, pause
        self.done: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self._fleeting: list[SoakKey] = []
        self._stopped = threading.Event()
        self._minting = threading.Lock()
        self._thread: threading.Thread | None = None

    def furnish(self, scale: float) -> None:
        """Projects, and the keys that last."""
        for name, policy in PROJECTS.items():
            answer = self.till.admin("POST", "/admin/projects", {"id": name, "policy": policy})
            assert answer.status_code in (200, 201), answer.text
        for kind, body in lasting(scale):
            assert self._mint(kind, body), "there is no fault yet"
        self.warm()

    def warm(self) -> None:
        """What a process loads at its first use, it loads: a request that only fits its limit when its tokens are counted by a
        tokenizer, which takes 40 MiB. Otherwise one would come upon it at some time, and that would look like growth."""
        if key := self._mint("tight", TIGHT, is_called=False):
            self.callers.once(key)

    def start(self) -> None:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        assert self._thread is not None
        self._stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the administrator does not end"

    def _work(self) -> None:
        while not self._stopped.wait(self.chance.uniform(0, 2 * self.pause)):
            step = self.chance.choice(["mint", "mint", "mint", "revoke", "pause", "raise", "look"])
            try:
                getattr(self, f"_{step}_one")()
            except Exception as error:  # noqa: BLE001 - a mistake of the soak itself must not pass as silence
                self.unexplained.append(f"the administrator failed at {step}: {error!r}")
                raise

    def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """`None` when something that went wrong explains that there is no good answer."""
        began = time.monotonic()
        said = ""
        try:
            answer = self.till.admin(method, path, body)
            if answer.status_code < 300:
                self.done[f"{method} {answer.status_code}"] += 1
                return answer
            said = f"{answer.status_code} {answer.text}"
            explained = answer.status_code == 503 and self.trouble.meets(("disk", "kill", "stop"), began, time.monotonic())
        except httpx.HTTPError as error:
            said = repr(error)
            explained = self.trouble.meets(("kill", "stop"), began, time.monotonic())
        if explained:
            self.done[f"{method} not answered"] += 1
        else:
            self.unexplained.append(f"{method} {path}: {said}; {self.trouble.around(began, time.monotonic())}")
        return None

    def _mint(self, kind: str, body: dict[str, Any], is_called: bool = True) -> SoakKey | None:
        answer = self._ask("POST", "/admin/keys", {"upstream_key": UPSTREAM_KEY, **body})
        if answer is None:
            return None
        key = key_of(answer.json()["key"], kind, body)
        with self._minting:
            self.callers.everybody = [*self.callers.everybody, key]
            self.callers.keys = [*self.callers.keys, key] if is_called else self.callers.keys
        return key

    def _mint_one(self) -> None:
        key = self._mint(*fleeting(self.chance))
        if key:
            self._fleeting.append(key)
        if len(self._fleeting) > FLEETING_MAX:
            gone = self._fleeting.pop(0)
            with self._minting:
                self.callers.keys = [key for key in self.callers.keys if key is not gone]

    def _some(self) -> SoakKey | None:
        return self.chance.choice(self._fleeting) if self._fleeting else None

    def _revoke_one(self) -> None:
        if (key := self._some()) and key.revoked_at is None and self.chance.random() < 0.5:
            key.revoked_at = time.monotonic()
            if self._ask("DELETE", f"/admin/keys/{key.id}"):
                key.revoked = time.monotonic()

    def _pause_one(self) -> None:
        key = self.chance.choice(self.callers.keys)
        if key.kind in ("busy", "ceiling", "small"):
            return
        pause = [time.monotonic()]
        key.pauses.append(pause)
        self._ask("PATCH", f"/admin/keys/{key.id}", {"paused": True})
        self._stopped.wait(self.chance.uniform(0, 0.3))
        for _ in range(300):
            if self._ask("PATCH", f"/admin/keys/{key.id}", {"paused": False}):
                pause.append(time.monotonic())
                return
            time.sleep(0.1)
        self.unexplained.append(f"{key.id} stays paused")

    def _raise_one(self) -> None:
        key = self._some()
        if not key or key.revoked_at is not None:
            return
        dimension, amount = next(iter(key.limits.items()))
        key.was_changed = True
        more = max(1, amount // 4)
        key.limits[dimension] += more
        field = {"activations": "add_activations", "tokens": "add_tokens"}.get(dimension)
        self._ask("PATCH", f"/admin/keys/{key.id}", {field: more} if field else {"add_spend_usd": f"{more // 10**9}.{more % 10**9:09}"})

    def _look_one(self) -> None:
        path = self.chance.choice(["/admin/usage/summary?group_by=model,day", "/admin/usage?limit=50", "/admin/keys?limit=50", "/admin/denials/summary",
                                   f"/admin/keys/{self.chance.choice(self.callers.keys).id}", "/admin/audit?limit=20"])
        self._ask("GET", path)
