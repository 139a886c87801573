"""The official Node SDKs and the AI SDK (npm `ai`), unmodified, against aimock."""

from __future__ import annotations

import pytest

from dead_keys import KINDS, check_message, dead_key
from harness import aimock as mock
from harness.aimock import AiMock
from harness.driver import Driver
from harness.till_process import Till

# Client, provider, and the class of what it throws when it is refused.
CLIENTS = [
    ("ai-sdk-openai", "openai", "AI_APICallError"),
    ("ai-sdk-openai-chat", "openai", "AI_APICallError"),
    ("ai-sdk-anthropic", "anthropic", "AI_APICallError"),
    ("ai-sdk-google", "google", "AI_APICallError"),
    ("openai", "openai", "PermissionDeniedError"),
    ("anthropic", "anthropic", "PermissionDeniedError"),
    ("google-genai", "google", "ApiError"),
]

every_mode = pytest.mark.parametrize("mode", ("plain", "streamed"))


@pytest.mark.parametrize("client,provider", [row[:2] for row in CLIENTS])
@every_mode
def test_call_succeeds(client: str, provider: str, mode: str, node: Driver, sdk_till: Till, aimock: AiMock) -> None:
    key = sdk_till.mint(provider, max_activations=2)
    before = aimock.count("200")
    sdk_till.mark()
    assert node.run(client=client, mode=mode, url=sdk_till.url, key=key.token) == {"text": mock.TEXT}
    assert [line["status"] for line in sdk_till.requests_since_mark(1)] == [200]
    assert aimock.count("200") == before + 1
    assert sdk_till.key(key.id)["usedActivations"] == 1


@pytest.mark.parametrize("client,provider,thrown", CLIENTS, ids=[row[0] for row in CLIENTS])
@every_mode
@pytest.mark.parametrize("kind", KINDS)
def test_dead_key_is_one_request(client: str, provider: str, thrown: str, mode: str, kind: str, node: Driver,
                                 sdk_till: Till, aimock: AiMock) -> None:
    key = dead_key(sdk_till, provider, kind)
    before = aimock.count()
    sdk_till.mark()
    error = node.run(client=client, mode=mode, url=sdk_till.url, key=key.token)["error"]
    assert thrown in (error["name"], error["type"]), error
    assert error["status"] == 403
    check_message(kind, error["message"])
    assert [line["status"] for line in sdk_till.requests_since_mark(1)] == [403]
    assert aimock.count() == before
