"""The official Python SDKs, unmodified, against aimock, which only answers who brings the real key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors

from dead_keys import KINDS, check_message, dead_key
from harness import aimock as mock
from harness.aimock import AiMock
from harness.driver import Driver
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import UPSTREAM_KEY, Till

MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Client:
    """How one SDK makes a plain and a streamed call, and what it raises when it is refused."""

    name: str
    provider: str
    plain: Callable[[str, str], str]
    streamed: Callable[[str, str], str]
    refused: type[Exception]
    status: Callable[[Exception], int]


def openai_client(url: str, token: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=token)


def openai_plain(url: str, token: str) -> str:
    answer = openai_client(url, token).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert answer.usage.total_tokens == 16
    return answer.choices[0].message.content


def openai_streamed(url: str, token: str) -> str:
    chunks = openai_client(url, token).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def responses_plain(url: str, token: str) -> str:
    return openai_client(url, token).responses.create(model="gpt-4o-mini", input="hi").output_text


def responses_streamed(url: str, token: str) -> str:
    events = openai_client(url, token).responses.create(model="gpt-4o-mini", input="hi", stream=True)
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def anthropic_client(url: str, token: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=token)


def anthropic_plain(url: str, token: str) -> str:
    client = anthropic_client(url, token)
    answer = client.messages.create(model="claude-sonnet-4-6", max_tokens=64, messages=MESSAGES)
    assert answer.usage.output_tokens == 4
    return answer.content[0].text


def anthropic_streamed(url: str, token: str) -> str:
    client = anthropic_client(url, token)
    with client.messages.stream(model="claude-sonnet-4-6", max_tokens=64, messages=MESSAGES) as stream:
        return "".join(stream.text_stream)


def google_client(url: str, token: str, version: str | None = "v1beta") -> genai.Client:
    options = {"base_url": url, "api_version": version} if version else {"base_url": url}
    return genai.Client(api_key=token, http_options=options)


def google_plain(url: str, token: str) -> str:
    client = google_client(url, token)  # it closes its connections when nothing refers to it any more
    return client.models.generate_content(model="gemini-2.5-flash", contents="hi").text


def google_streamed(url: str, token: str) -> str:
    client = google_client(url, token)
    return "".join(part.text or "" for part in client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))


CLIENTS = [
    Client("openai-chat", "openai", openai_plain, openai_streamed, openai.PermissionDeniedError, lambda e: e.status_code),
    Client("openai-responses", "openai", responses_plain, responses_streamed, openai.PermissionDeniedError, lambda e: e.status_code),
    Client("anthropic", "anthropic", anthropic_plain, anthropic_streamed, anthropic.PermissionDeniedError, lambda e: e.status_code),
    Client("google-genai", "google", google_plain, google_streamed, google_errors.ClientError, lambda e: e.code),
]
MODES = ("plain", "streamed")

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_client
@every_mode
def test_call_succeeds(client: Client, mode: str, sdk_till: Till, aimock: AiMock) -> None:
    key = sdk_till.mint(client.provider, max_activations=2)
    before = aimock.count("200")
    sdk_till.mark()
    assert getattr(client, mode)(sdk_till.url, key.token) == mock.TEXT
    lines = sdk_till.requests_since_mark(1)
    assert [line["status"] for line in lines] == [200]
    assert aimock.count("200") == before + 1
    assert sdk_till.key(key.id)["usedActivations"] == 1


@every_client
@every_mode
@pytest.mark.parametrize("kind", KINDS)
def test_dead_key_is_one_request(client: Client, mode: str, kind: str, sdk_till: Till, aimock: AiMock) -> None:
    key = dead_key(sdk_till, client.provider, kind)
    before = aimock.count()
    sdk_till.mark()
    with pytest.raises(client.refused) as raised:
        getattr(client, mode)(sdk_till.url, key.token)
    assert client.status(raised.value) == 403
    check_message(kind, str(raised.value))
    assert [line["status"] for line in sdk_till.requests_since_mark(1)] == [403]
    assert aimock.count() == before


def test_google_at_its_default_version(till: Till, upstream: ScriptedUpstream) -> None:
    """google-genai 3 calls `/v1` unless told otherwise."""
    key = till.mint("google", max_activations=2)
    client = google_client(till.url, key.token, version=None)
    assert client.models.generate_content(model="gemini-2.5-flash", contents="hi").text == mock.TEXT
    parts = client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi")
    assert "".join(part.text for part in parts) == mock.TEXT
    assert [request.path for request in upstream.requests] == [
        "/v1/models/gemini-2.5-flash:generateContent", "/v1/models/gemini-2.5-flash:streamGenerateContent"]
    assert [request.header("x-goog-api-key") for request in upstream.requests] == [UPSTREAM_KEY] * 2
    assert till.requests_since_mark(2)[0]["provider"] == "google"
    for request in upstream.requests:
        assert b"till_sk_" not in request.head + request.body


@pytest.mark.parametrize("name,provider", [("langchain-openai", "openai"), ("langchain-anthropic", "anthropic"), ("langchain-google-genai", "google")])
@every_mode
def test_langchain_call_succeeds(name: str, provider: str, mode: str, langchain: Driver, sdk_till: Till, aimock: AiMock) -> None:
    key = sdk_till.mint(provider, max_activations=2)
    before = aimock.count("200")
    sdk_till.mark()
    answer = langchain.run(client=name, mode=mode, url=sdk_till.url, key=key.token)
    assert answer == {"text": mock.TEXT}
    assert [line["status"] for line in sdk_till.requests_since_mark(1)] == [200]
    assert aimock.count("200") == before + 1


@pytest.mark.parametrize("name,provider,error", [
    ("langchain-openai", "openai", "OpenAIPermissionDeniedError"),
    ("langchain-anthropic", "anthropic", "AnthropicPermissionDeniedError"),
    ("langchain-google-genai", "google", "GooglePermissionDeniedError"),
])
@every_mode
@pytest.mark.parametrize("kind", KINDS)
def test_langchain_dead_key_is_one_request(name: str, provider: str, error: str, mode: str, kind: str, langchain: Driver,
                                           sdk_till: Till, aimock: AiMock) -> None:
    key = dead_key(sdk_till, provider, kind)
    before = aimock.count()
    sdk_till.mark()
    answer = langchain.run(client=name, mode=mode, url=sdk_till.url, key=key.token)
    assert answer["error"]["name"] == error
    check_message(kind, answer["error"]["message"])
    assert [line["status"] for line in sdk_till.requests_since_mark(1)] == [403]
    assert aimock.count() == before
