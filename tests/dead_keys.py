"""Keys that no longer work, or never did, and what a developer has to read about each."""

from __future__ import annotations

from harness.till_process import Key, Till

KINDS = ("exhausted", "revoked", "unknown")

LIMIT = 2
MESSAGES = {"exhausted": f"all {LIMIT} of its activations", "revoked": "revoked", "unknown": "not valid"}
CODES = {"exhausted": "activations_exhausted", "revoked": "key_revoked", "unknown": "invalid_key"}


def dead_key(till: Till, provider: str, kind: str) -> Key:
    key = till.mint(provider, max_activations=LIMIT)
    if kind == "exhausted":
        till.exhaust(key)
    elif kind == "revoked":
        till.revoke(key.id)
    else:
        key.token = with_typo(key.token)
    return key


def with_typo(token: str) -> str:
    """The token with one character changed in its middle."""
    middle = len(token) // 2
    other = "a" if token[middle] != "a" else "b"
    return token[:middle] + other + token[middle + 1 :]


def check_message(kind: str, message: str) -> None:
    """The message says which limit was reached, and nothing that makes clients retry."""
    assert MESSAGES[kind] in message
    assert "rate limit" not in message.lower()
    assert "quota" not in message.lower()
