"""The scoped keys of the soak: what each may do, what is done to it, and when."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soak.calls import Call

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}
DIMENSIONS = ("activations", "tokens", "nanos")
UNBOUNDED = {"activations": 100_000_000, "tokens": 10_000_000_000, "nanos": 1_000_000 * 10**9}
# What is held for a small request of the soak: nothing is refused as used up while more is left.
ROOM = {"activations": 0, "tokens": 2_000, "nanos": 5_000_000}

PROJECTS = {
    "by-day": {"ceilings": {"day": {"max_activations": 60}}},
    "by-month": {"ceilings": {"month": {"max_spend_usd": "50"}, "lifetime": {"max_tokens": 10**12}}},
    "for-life": {"ceilings": {"lifetime": {"max_spend_usd": "0.2"}}},
}
# Less than a long text has bytes, more than it has tokens.
TIGHT = {"provider": "openai", "max_tokens": 6_000}
LIMITED_ABOVE = {"by-month": {"tokens", "nanos"}, "for-life": {"nanos"}}
SPEND_FOR_LIFE_NANOS = 200_000_000
ACTIVATIONS_BY_DAY = 60


@dataclass
class SoakKey:
    """One key, as its holder and its administrator know it."""

    id: str
    token: str
    provider: str
    kind: str
    # The highest that each limit ever was; absent is none.
    limits: dict[str, int]
    project: str | None = None
    rate: dict[str, int] = field(default_factory=dict)
    is_scoped: bool = False
    # By the clock of the server.
    expires_at: float | None = None
    # A limit was changed: what it was when something was refused is not known any more.
    was_changed: bool = False
    # When an administrator began to revoke or pause it, when a revocation was answered and a pause was over; by the monotonic clock.
    revoked_at: float | None = None
    revoked: float | None = None
    pauses: list[list[float]] = field(default_factory=list)
    # Refusals that only the figures explain: dimensions of which nothing should be left.
    exhausted: set[str] = field(default_factory=set)
    # Its latest calls, without those that till has refused.
    recent: deque[Call] = field(default_factory=lambda: deque(maxlen=400))

    @property
    def needed(self) -> set[str]:
        """Dimensions that count against a limit, its own or one above it. Activations always do."""
        return {"activations"} | set(self.limits) | LIMITED_ABOVE.get(self.project or "", set())

    @property
    def is_metered(self) -> bool:
        return len(self.needed) > 1

    def was_revoked(self, ended: float) -> bool:
        return self.revoked_at is not None and self.revoked_at <= ended

    def had_ended(self, began: float) -> bool:
        """Whether nothing that began then may pass."""
        return self.revoked is not None and self.revoked < began

    def was_paused(self, began: float, ended: float) -> bool:
        return any(pause[0] <= ended and (len(pause) < 2 or pause[1] >= began) for pause in self.pauses)

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def has_ended(self, began: float, ended: float, now: float) -> bool:
        """Whether a call in that time may have been cut, because the key ended or was paused."""
        return self.was_revoked(ended) or self.was_paused(began, ended) or self.is_expired(now)

    def passed_within(self, seconds: float, but: Call, lingers: float | None = None) -> int:
        """Calls of that time but one that were let through; with `lingers` those that were under way at the same time, or ended
        so shortly before that till may not have known."""
        calls = [call for call in self.recent if call is not but and call.began >= but.began - seconds]
        if lingers is not None:
            calls = [call for call in calls if call.began <= (but.ended or but.began) and (call.ended is None or call.ended >= but.began - lingers)]
        return len(calls)


def usd(nanos: int) -> str:
    return f"{nanos // 10**9}.{nanos % 10**9:09}"


def nanos_of(text: str) -> int:
    """Whole nano-dollars of a decimal text, without floating point."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 10**9 + int(f"{fraction:0<9}")


def limits_of(shown: dict[str, Any]) -> dict[str, int]:
    found = {"activations": shown["maxActivations"], "tokens": shown["maxTokens"],
             "nanos": nanos_of(shown["maxSpendUsd"]) if shown["maxSpendUsd"] is not None else None}
    return {name: value for name, value in found.items() if value is not None}


def used_of(shown: dict[str, Any]) -> tuple[int, int, int]:
    return shown["usedActivations"], shown["usedTokens"], nanos_of(shown["usedSpendUsd"])


def key_of(shown: dict[str, Any], kind: str, body: dict[str, Any]) -> SoakKey:
    """The key that was made with `body`, as the answer of the API has it."""
    expires = shown.get("expiresAt")
    until = datetime.fromisoformat(expires.replace("Z", "+00:00")).timestamp() if expires else None
    return SoakKey(shown["id"], shown["scopedKey"], shown["provider"], kind, limits_of(shown), body.get("project"), body.get("rate", {}),
                   "scope" in body, until)


def body_of_limit(dimension: str, amount: int) -> dict[str, Any]:
    if dimension == "activations":
        return {"max_activations": amount}
    return {"max_tokens": amount} if dimension == "tokens" else {"max_spend_usd": usd(amount)}


def lasting(scale: float) -> list[tuple[str, dict[str, Any]]]:
    """Kind and body of the keys that are there from beginning to end."""
    wide = [body_of_limit(dimension, UNBOUNDED[dimension]) for dimension in DIMENSIONS]
    both = {**wide[0], **wide[2]}
    made: list[tuple[str, dict[str, Any]]] = []

    def some(count: int, kind: str, provider: str, **fields: Any) -> None:
        made.extend((kind, {"provider": provider, **fields}) for _ in range(max(1, round(count * scale))))

    for provider in MODELS:
        some(20, "activations", provider, **wide[0])
        some(20, "tokens", provider, **wide[1])
        some(20, "dollars", provider, **wide[2])
        some(5, "all", provider, **both, **wide[1])
    some(12, "plain", "plain", **wide[0])
    some(1, "busy", "openai", **wide[0])
    some(1, "busy", "anthropic", **both)
    some(1, "busy", "plain", **wide[0], durability="call")
    some(6, "rate", "openai", **wide[0], rate={"requests_per_minute": 6})
    some(6, "rate", "anthropic", **wide[0], rate={"concurrent": 1})
    some(20, "scoped", "openai", **both, scope={"models": ["gpt-4o-mini*"], "endpoints": ["POST /v1/chat/completions"], "networks": ["fd00::/16"]})
    some(5, "ceiling", "openai", **wide[0], project="by-day")
    some(10, "ceiling", "anthropic", **wide[0], project="by-month")
    some(3, "ceiling", "openai", **wide[1], project="for-life")
    return made


def fleeting(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """One that will be used up, or end some other way."""
    provider = chance.choice(list(MODELS))
    dimension = chance.choice(DIMENSIONS)
    amount = {"activations": chance.randint(1, 30), "tokens": chance.randint(2_000, 8_000), "nanos": chance.randint(500_000, 6_000_000)}[dimension]
    body: dict[str, Any] = {"provider": provider, **body_of_limit(dimension, amount)}
    if chance.random() < 0.3:
        body["ttl_seconds"] = chance.randint(3, 20)
    return "small", body
