"""The PyPI client `till-ac` 0.1.1, unmodified, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from till import TillClient
from till.client import AsyncTillClient, TillError
from till.openai_compat import patched_openai

from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import ADMIN_KEY, UPSTREAM_KEY, Till

Call = Callable[..., Any]


def sync_call(url: str, key: str = ADMIN_KEY) -> Call:
    def call(method: str, *arguments: Any, **named: Any) -> Any:
        with TillClient(admin_key=key, base_url=url) as client:
            return getattr(client, method)(*arguments, **named)

    return call


def async_call(url: str, key: str = ADMIN_KEY) -> Call:
    def call(method: str, *arguments: Any, **named: Any) -> Any:
        async def run() -> Any:
            async with AsyncTillClient(admin_key=key, base_url=url) as client:
                return await getattr(client, method)(*arguments, **named)

        return asyncio.run(run())

    return call


both = pytest.mark.parametrize("make", [sync_call, async_call], ids=["sync", "async"])


@both
def test_life_of_a_key(make: Callable[[str], Call], till: Till, upstream: ScriptedUpstream) -> None:
    call = make(till.url)
    made = call("create_key", "openai", UPSTREAM_KEY, 3, name="crawler", metadata={"team": "search"})
    assert made.scoped_key.startswith("till_sk_")
    assert made.id.startswith("key_")
    assert (made.provider, made.status, made.tenant_id) == ("openai", "active", "default")
    assert (made.max_activations, made.used_activations) == (3, 0)
    assert made.metadata == {"team": "search", "name": "crawler"}
    assert (made.ip_whitelist, made.max_tokens, made.used_tokens, made.max_spend_cents) == ([], None, 0, None)
    assert made.created_at and made.last_used_at is None

    answer = patched_openai(made.scoped_key, base_url=f"{till.url}/v1").chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hello from upstream"
    assert upstream.count == 1

    fetched = call("get_key", made.id)
    assert (fetched.used_activations, fetched.scoped_key) == (1, None)
    assert fetched.last_used_at
    assert call("list_keys") == [fetched]

    revoked = call("revoke_key", made.id)
    assert (revoked.id, revoked.status) == (made.id, "revoked")
    assert call("get_key", made.id).status == "revoked"
    assert till.call(made.scoped_key).status_code == 403
    assert upstream.count == 1


@both
def test_account(make: Callable[[str], Call], till: Till) -> None:
    call = make(till.url)
    key = till.mint(max_activations=5)
    till.call(key)
    account = call("account")
    assert (account.scope, account.tenant, account.tenants) == ("global", None, 1)
    assert (account.keys_used, account.activations_used_this_month) == (1, 1)


@both
def test_list_has_every_key(make: Callable[[str], Call], till: Till) -> None:
    call = make(till.url)
    assert call("list_keys") == []
    ids = {till.mint(max_activations=1).id for _ in range(120)}
    assert {key.id for key in call("list_keys")} == ids


@both
def test_ip_whitelist(make: Callable[[str], Call], till: Till, upstream: ScriptedUpstream) -> None:
    call = make(till.url)
    for networks, passes in ((["127.0.0.0/8", "::1"], True), (["192.0.2.0/24"], False)):
        made = call("create_key", "openai", UPSTREAM_KEY, 3, ip_whitelist=networks)
        assert made.ip_whitelist == networks
        assert call("get_key", made.id).ip_whitelist == networks
        answer = httpx.get(f"{till.url}/v1/models", headers={"authorization": f"Bearer {made.scoped_key}"})
        assert answer.status_code == (200 if passes else 403), answer.text
        assert passes or answer.json()["error"]["code"] == "network_denied"
        assert call("get_key", made.id).used_activations == int(passes)
    assert upstream.count == 1


@both
@pytest.mark.parametrize("arguments,named,status,code,word", [
    (("openai", UPSTREAM_KEY, 0), {}, 400, None, "max_activations"),
    (("openai", UPSTREAM_KEY, -1), {}, 400, None, "max_activations"),
    (("openai", "short", 1), {}, 400, None, "upstream_key"),
    (("nobody", UPSTREAM_KEY, 1), {}, 400, None, "provider"),
    (("openai", UPSTREAM_KEY, 1), {"max_tokens": -5}, 400, None, "max_tokens"),
    (("openai", UPSTREAM_KEY, 1), {"max_spend_cents": -5}, 400, None, "max_spend_cents"),
    (("openai", UPSTREAM_KEY, 1), {"ip_whitelist": ["127.0.0.1/33"]}, 400, "invalid_field", "ip_whitelist"),
], ids=["zero", "negative", "short-key", "provider", "tokens", "spend", "networks"])
def test_bad_create(make: Callable[[str], Call], arguments: tuple, named: dict, status: int, code: str | None, word: str,
                    till: Till) -> None:
    with pytest.raises(TillError) as raised:
        make(till.url)("create_key", *arguments, **named)
    assert raised.value.status_code == status
    assert code is None or raised.value.code == code
    assert word in str(raised.value)
    assert till.admin("GET", "/admin/keys").json()["keys"] == []


@both
def test_unknown_key_and_wrong_admin_key(make: Callable[..., Call], till: Till) -> None:
    for method in ("get_key", "revoke_key"):
        for key_id, status in [("key_0000000000000000000000", 404), ("key_nonsense", 400)]:
            with pytest.raises(TillError) as raised:
                make(till.url)(method, key_id)
            assert raised.value.status_code == status
    with pytest.raises(TillError) as raised:
        make(till.url, "till_admin_" + "x" * 43)("list_keys")
    assert raised.value.status_code == 401
