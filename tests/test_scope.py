"""Scopes from outside: made with the command line, seen by an agent, explained, and where requests come from."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import pytest

from harness.raw_http import RawAnswer, one
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import UPSTREAM_KEY, Till

CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


def mint(till: Till, *flags: str) -> tuple[str, str]:
    made = till.cli_json("keys", "create", "--provider", "openai", "--max-activations", "50", "--upstream-key-env", "REAL", *flags,
                         environment={"REAL": UPSTREAM_KEY})["key"]
    return made["id"], made["scopedKey"]


def ask(till: Till, token: str, path: str = CHAT, body: object = BODY, method: str = "POST", **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, till.url + path, json=body, headers={"authorization": f"Bearer {token}", **headers}, trust_env=False)


def test_command_line_to_agent(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    key, token = mint(till, "--allow-endpoint", "chat", "--allow-model", "gpt-4o-mini*", "--allow-network", "127.0.0.0/8",
                      "--max-output-tokens", "100", "--no-tools", "--no-store", "--allow-value", "service_tier=default,flex")
    shown = httpx.get(f"{till.url}/key", headers={"authorization": f"Bearer {token}"}, trust_env=False).json()["key"]["scope"]
    assert shown == {
        "endpoints": ["POST /v1/chat/completions", "POST /v1/responses"], "models": ["gpt-4o-mini*"], "networks": ["127.0.0.0/8"],
        "parameters": {"maxOutputTokens": 100, "tools": False, "store": False, "values": {"service_tier": ["default", "flex"]}},
    }
    assert till.key(key)["scope"] == shown
    answer = ask(till, token)
    assert answer.status_code == 200
    assert answer.headers["x-till-clamped"] == "max_completion_tokens=100"
    for body, code in [({**BODY, "model": "gpt-4o"}, "model_denied"), ({**BODY, "service_tier": "priority"}, "parameter_denied"),
                       ({**BODY, "tools": [{"type": "function", "function": {"name": "f"}}]}, "parameter_denied")]:
        answer = ask(till, token, body=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
        file = tmp_path / "body.json"
        file.write_text(json.dumps(body))
        told = till.cli("keys", "explain", key, "--path", CHAT, "--body", str(file), "--from", "127.0.0.1", "--output", "json",
                        check=False)
        assert told.returncode == 1
        assert json.loads(told.stdout)["explanation"]["code"] == code
    told = till.cli("keys", "explain", key, "--path", CHAT, "--model", "gpt-4o-mini", "--from", "127.0.0.1")
    assert told.returncode == 0 and told.stdout.endswith("yes\n"), told
    told = till.cli("keys", "explain", key, "--path", CHAT, "--model", "gpt-4o-mini", "--from", "192.0.2.1", check=False)
    assert told.returncode == 1 and told.stdout.endswith("no: network_denied\n"), told
    assert upstream.count == 1
    assert till.key(key)["usedActivations"] == 1
    # A restart changes nothing.
    till.restart()
    assert till.key(key)["scope"] == shown
    assert ask(till, token, body={**BODY, "model": "gpt-4o"}).json()["error"]["code"] == "model_denied"


# One endpoint that is allowed, and what looks like it: longer, shorter, spelled otherwise, beside it, with what a table of versions
# puts in front or takes away.
AROUND = [
    "/v1/chat/completions/", "/v1/chat/completions/x", "/v1/chat/completions-x", "/v1/chat/completionsx", "/v1/chat/completions.json",
    "/v1/chat", "/v1/chat/", "/v1/chat/Completions", "/V1/chat/completions", "/v1/chat/completion", "/v1/responses",
    "/v1/chat/completions%2Fx", "/v1/chat%2Fcompletions", "/v1/chat/%63ompletions", "/v1/chat/completions%20", "/v1/chat/completions%00",
    "/v1//chat/completions", "/v1/./chat/completions", "/v1/chat/../chat/completions", "/v1/chat/completions/..", "/v1/chat/completions;x",
    "/v1/chat/completions/../../embeddings", "/v1/chat/completions%3F/x", "/v1/chat/completions%23",
    "/chat/completions/x", "/proxy/openai/v1/chat/completions/x", "/proxy/openai/chat/completionsx", "/proxy/anthropic/v1/chat/completions",
]


def test_what_looks_like_the_endpoint_of_a_key(till: Till, upstream: ScriptedUpstream) -> None:
    """What is compared is the path that is sent, all of it."""
    _, token = mint(till, "--allow-endpoint", f"POST {CHAT}")
    start = f"host: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    body = json.dumps(BODY)

    def answer(method: str, path: str) -> RawAnswer:
        return one(till.url, f"{method} {path} HTTP/1.1\r\n{start}content-length: {len(body)}\r\n\r\n{body}".encode())

    for path in AROUND:
        refused = answer("POST", path)
        assert refused.status in (400, 403, 404), (path, refused)
        assert any(code in refused.body for code in (b"endpoint_denied", b"malformed_request", b"unknown_provider")), (path, refused)
    for method in ("PUT", "DELETE", "PATCH", "post", "POSTX"):
        assert answer(method, CHAT).status in (400, 403, 405, 501), method
    assert upstream.count == 0
    # The same endpoint as clients write it whose base URL has the version, has it twice, or has not.
    ways = [CHAT, f"{CHAT}?stream=1", "/chat/completions", "/v1/v1/chat/completions", "/v1/v1/v1/chat/completions", "/proxy/openai/v1/chat/completions"]
    for path in ways:
        assert answer("POST", path).status == 200, path
        assert upstream.last().target.split("?")[0] == CHAT, path
    assert upstream.count == len(ways)
    # A key for the path as it comes is no key for the one that is sent.
    _, raw = mint(till, "--allow-endpoint", "POST /chat/completions")
    assert ask(till, raw, "/chat/completions").json()["error"]["code"] == "endpoint_denied"
    assert upstream.count == len(ways)


def test_providers_show(till: Till) -> None:
    shown = till.cli_json("providers", "show", "openai")["provider"]
    assert {preset["name"] for preset in shown["presets"]} >= {"chat", "embeddings", "models", "read-only"}
    assert "POST /v1/chat/completions" in {row["endpoint"] for row in shown["endpoints"]}
    text = till.cli("providers", "show", "openai").stdout
    assert "chat (asking a model): POST /v1/chat/completions, POST /v1/responses" in text


@pytest.mark.parametrize("header,value", [("x-forwarded-for", "198.51.100.1, 192.0.2.7"), ("forwarded", "for=192.0.2.7")])
def test_trusted_proxies(new_till, upstream: ScriptedUpstream, header: str, value: str) -> None:
    till = new_till({"openai": upstream.url}, flags=("--trusted-proxies", "127.0.0.0/8", "--client-address-header", header)).start()
    _, token = mint(till, "--allow-network", "192.0.2.0/24")
    assert ask(till, token).json()["error"]["code"] == "network_denied"
    assert ask(till, token, **{header: value}).status_code == 200
    assert ask(till, token, **{header: "nonsense"}).json()["error"]["code"] == "network_denied"
    assert upstream.count == 1
    records = till.cli_json("usage", "--calls")["records"]
    assert {record["client"] for record in records if record["outcome"] != "denied"} == {"192.0.2.7"}
    made = httpx.post(f"{till.url}/admin/keys", headers={"authorization": f"Bearer {till.admin_key}", header: value}, trust_env=False,
                      json={"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 1})
    entries = till.admin("GET", "/admin/audit?limit=1000").json()["entries"]
    [entry] = [entry for entry in entries if entry["target"] == made.json()["key"]["id"]]
    assert entry["actor"]["address"] == "192.0.2.7"


def test_proxy_protocol(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url}, flags=("--trusted-proxies", "127.0.0.2", "--proxy-protocol", "on")).start()
    _, token = mint(till, "--allow-network", "192.0.2.0/24")
    port = int(till.url.rsplit(":", 1)[1])

    def answer(source: str, first: bytes) -> bytes:
        request = f"GET /v1/models HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        received = b""
        with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as client:
            client.sendall(first + request.encode())
            try:
                while chunk := client.recv(65536):
                    received += chunk
            except ConnectionResetError:
                pass
        return received

    assert answer("127.0.0.2", b"PROXY TCP4 192.0.2.7 127.0.0.1 1234 80\r\n").startswith(b"HTTP/1.1 200")
    assert b"network_denied" in answer("127.0.0.2", b"PROXY TCP4 198.51.100.1 127.0.0.1 1234 80\r\n")
    assert answer("127.0.0.2", b"") == b"", "a trusted proxy must say it"
    assert b"200 OK" not in answer("127.0.0.1", b"PROXY TCP4 192.0.2.7 127.0.0.1 1234 80\r\n"), "nobody else may"
    assert b"network_denied" in answer("127.0.0.1", b"")
    assert upstream.count == 1


def test_proxy_protocol_needs_trusted_proxies(new_till) -> None:
    assert "trusted-proxies" in new_till().refuses_to_start("--proxy-protocol", "on")
