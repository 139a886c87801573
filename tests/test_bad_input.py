"""What strangers send: refused with a reason, and nothing of it reaches the upstream."""

from __future__ import annotations

import json
import socket

import pytest

from dead_keys import with_typo
from harness.raw_http import RawAnswer, address, exchange, one, post
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import ADMIN_KEY, UPSTREAM_KEY, Till

CHAT = "/v1/chat/completions"


def code(answer: RawAnswer) -> str | None:
    """The stable code, wherever this provider's error shape has it."""
    body = json.loads(answer.body)
    error = body.get("error", body)
    details = error.get("details") or {}
    if isinstance(details, list):
        details = details[0]
    return error.get("reason") or details.get("reason") or details.get("error_code") or error.get("code")


# Tokens.

TOKENS = {
    "nothing behind the prefix": "till_sk_",
    "garbage": "till_sk_garbage",
    "long": "till_sk_" + "A" * 5000,
    "not base62": "till_sk_" + "é%$".encode("ascii", "replace").decode() * 20,
    "old format": "till_sk_abc123.xyz789",
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_malformed_token(token: str, till: Till, upstream: ScriptedUpstream) -> None:
    answer = one(till.url, post(token))
    assert (answer.status, code(answer)) == (403, "invalid_key")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert upstream.count == 0


def test_every_way_to_damage_a_token(till: Till, upstream: ScriptedUpstream) -> None:
    good = till.mint(max_activations=100).token
    head, tail = good[: len(good) // 2], good[len(good) // 2 :]
    damaged = [with_typo(good), good[:-1], good + "0", good + "_", tail + head, good.upper(), good.lower(), good.replace("till_sk_", "till_sk__"),
               head + head, good[:-7], good[:8] + good[9:]]
    for position in range(8, len(good), 7):
        other = "0" if good[position] != "0" else "1"
        damaged.append(good[:position] + other + good[position + 1 :])
    for token in damaged:
        if token == good:
            continue
        answer = one(till.url, post(token))
        # What no longer starts like a scoped key is no key at all.
        expected = (403, "invalid_key") if token.startswith("till_sk_") else (401, "missing_key")
        assert (answer.status, code(answer)) == expected, token
    assert upstream.count == 0


def test_token_of_another_instance(till: Till, new_till, upstream: ScriptedUpstream) -> None:
    other = new_till({"openai": upstream.url}).start()
    answer = one(till.url, post(other.mint(max_activations=5).token))
    assert (answer.status, code(answer)) == (403, "invalid_key")
    assert upstream.count == 0


def test_no_token_and_two_tokens(till: Till, upstream: ScriptedUpstream) -> None:
    first, second = till.mint().token, till.mint().token
    bare = f"POST {CHAT} HTTP/1.1\r\nhost: till\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    answer = one(till.url, bare)
    assert (answer.status, code(answer)) == (401, "missing_key")
    foreign = one(till.url, post("sk-somebody-elses-key"))
    assert (foreign.status, code(foreign)) == (401, "missing_key")
    both = one(till.url, post(first, extra=f"x-api-key: {second}\r\n".encode()))
    assert both.status in (400, 403)
    assert upstream.count == 0


# The admin API.

def admin_request(body: bytes, content_type: str = "application/json", method: str = "POST", path: str = "/admin/keys",
                  extra: str = "") -> bytes:
    return (f"{method} {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {ADMIN_KEY}\r\n{extra}"
            + (f"content-type: {content_type}\r\n" if content_type else "")
            + f"content-length: {len(body)}\r\n\r\n").encode() + body


GOOD = {"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 5}


def check_admin_error(answer: RawAnswer, statuses: set[int], word: str = "") -> None:
    """Always a JSON object with code and message."""
    assert answer.status in statuses, answer.body
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.error()
    assert isinstance(error["code"], str) and isinstance(error["message"], str)
    assert word in error["message"], error


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                          "application/jsonp", ""])
def test_wrong_content_type(content_type: str, till: Till) -> None:
    check_admin_error(one(till.url, admin_request(json.dumps(GOOD).encode(), content_type)), {415})
    assert till.admin("GET", "/admin/keys").json()["keys"] == []


BODIES = {
    "empty": b"", "not JSON": b"{", "list": b"[]", "null": b"null", "string": b'"x"', "not UTF-8": b'{"provider":"\xff"}',
    "twice": json.dumps(GOOD)[:-1].encode() + b',"provider":"openai"}',
    "deep": b'{"metadata":' + b"[" * 20000 + b"]" * 20000 + b"}",
    "trailing": json.dumps(GOOD).encode() + b"{}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bad_body(body: bytes, till: Till) -> None:
    check_admin_error(one(till.url, admin_request(body)), {400, 422})
    assert till.admin("GET", "/admin/keys").json()["keys"] == []


def test_long_body_and_wrong_methods(till: Till) -> None:
    check_admin_error(exchange(till.url, admin_request(b"x" * (4 << 20)))[0], {413})
    check_admin_error(one(till.url, admin_request(b"", method="PATCH")), {405})
    check_admin_error(one(till.url, admin_request(b"", method="GET", path="/admin/nothing")), {404})
    check_admin_error(one(till.url, admin_request(b"", method="GET", path="/admin/keys?limit=banana")), {400})


def test_admin_needs_its_key(till: Till) -> None:
    scoped = till.mint().token
    for authorization in ("", "Bearer", "Bearer x", f"Basic {ADMIN_KEY}x", f"Bearer {ADMIN_KEY}x", f"Bearer {scoped}"):
        request = f"GET /admin/keys HTTP/1.1\r\nhost: till\r\nauthorization: {authorization}\r\n\r\n".encode()
        check_admin_error(one(till.url, request), {401})


LIMITS = ["0", "-1", "-0", str(2**64), str(2**63), "1.0", "1.5", "1e3", "1e400", '"5"', "true", "null", "[5]", "{}", "NaN", "Infinity", "9" * 400]


@pytest.mark.parametrize("limit", LIMITS, ids=[text[:24] for text in LIMITS])
def test_absurd_limit(limit: str, till: Till) -> None:
    body = f'{{"provider":"openai","upstream_key":"{UPSTREAM_KEY}","max_activations":{limit}}}'.encode()
    answer = one(till.url, admin_request(body))
    check_admin_error(answer, {400})
    assert till.admin("GET", "/admin/keys").json()["keys"] == []


def test_largest_limit(till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=2**63 - 1)
    assert till.call(key).status_code == 200
    state = till.key(key.id)
    assert (state["maxActivations"], state["usedActivations"]) == (2**63 - 1, 1)


def test_missing_limit_or_key(till: Till) -> None:
    for field in GOOD:
        body = {name: value for name, value in GOOD.items() if name != field}
        check_admin_error(one(till.url, admin_request(json.dumps(body).encode())), {400}, field)


UNSUPPORTED = [("upstreamRef", "env:OPENAI_API_KEY")]


@pytest.mark.parametrize("field,value", UNSUPPORTED, ids=[name for name, _ in UNSUPPORTED])
def test_what_is_not_enforced_is_refused(field: str, value: object, till: Till) -> None:
    answer = one(till.url, admin_request(json.dumps({**GOOD, field: value}).encode()))
    check_admin_error(answer, {400})
    assert answer.error()["code"] == "unsupported_field"
    snake = "".join("_" + letter.lower() if letter.isupper() else letter for letter in field)
    assert field in answer.error()["message"] or snake in answer.error()["message"]
    assert till.admin("GET", "/admin/keys").json()["keys"] == []


def test_unknown_and_doubly_spelled_fields(till: Till) -> None:
    check_admin_error(one(till.url, admin_request(json.dumps({**GOOD, "max_activation": 1}).encode())), {400}, "max_activation")
    check_admin_error(one(till.url, admin_request(json.dumps({**GOOD, "maxActivations": 5}).encode())), {400}, "ctivations")
    assert till.admin("GET", "/admin/keys").json()["keys"] == []


# Paths.

PATHS = [
    "/proxy/openai/../admin/keys", "/proxy/openai/%2e%2e/admin/keys", "/proxy/openai/%2E%2e/%2e%2E/admin/keys", "/v1/../admin/keys",
    "/proxy/openai/v1/..%2f..%2fadmin", "/proxy/openai/v1%2fmodels", "/proxy/openai//v1/models", "//v1/models", "/v1/chat//completions",
    "/v1/./models", "/v1/%2e/models", "/v1/models/..", "/v1/models%00", "/v1/mod\\els", "/v1/models;a=b", "/v1/%252e%252e/admin",
    "/v1/%zz", "/v1/%", "/v1/organization/../models", "/proxy/openai/..", "/proxy/openai/v1/models/%5c..",
]


@pytest.mark.parametrize("path", PATHS)
def test_ambiguous_path(path: str, till: Till, upstream: ScriptedUpstream) -> None:
    token = till.mint().token
    answer = one(till.url, f"GET {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\n\r\n".encode())
    assert answer.status in (400, 404), answer.body
    assert UPSTREAM_KEY.encode() not in answer.wire and b'"keys"' not in answer.wire
    assert upstream.count == 0


def test_unknown_and_foreign_provider(till: Till, upstream: ScriptedUpstream) -> None:
    token = till.mint("openai").token
    answer = one(till.url, post(token, path="/proxy/nobody/v1/models"))
    assert (answer.status, code(answer)) == (404, "unknown_provider")
    answer = one(till.url, post(token, path="/proxy/anthropic/v1/messages"))
    assert (answer.status, code(answer)) == (403, "endpoint_denied")
    check_admin_error(one(till.url, admin_request(json.dumps({**GOOD, "provider": "nobody"}).encode())), {400}, "provider")
    assert upstream.count == 0


@pytest.mark.parametrize("path", ["/v1/organization/projects", "/v1/realtime/client_secrets", "/v1/batches", "/v1/chatkit/sessions"])
def test_no_way_around(path: str, till: Till, upstream: ScriptedUpstream) -> None:
    for written in (path, f"/proxy/openai{path}", path.replace("/v1", "/v1/v1", 1)):
        answer = one(till.url, post(till.mint().token, path=written))
        assert (answer.status, code(answer)) == (403, "endpoint_denied"), written
    assert upstream.count == 0


# Heads and framing.

def test_a_mebibyte_of_headers(till: Till, upstream: ScriptedUpstream) -> None:
    token = till.mint().token
    one_long = exchange(till.url, post(token, extra=b"x-long: " + b"a" * (1 << 20) + b"\r\n"))
    many = exchange(till.url, post(token, extra=b"".join(b"x-%d: %s\r\n" % (n, b"a" * 1000) for n in range(1000))))
    endless = exchange(till.url, b"GET / HTTP/1.1\r\nhost: till\r\nx: " + b"a" * (1 << 20))
    for answers in (one_long, many, endless):
        assert [(answer.status, code(answer)) for answer in answers] == [(431, "headers_too_large")]
    assert upstream.count == 0
    assert till.call(token).status_code == 200


def framed(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST " + CHAT.encode() + b" " + version + b"\r\n" + b"\r\n".join((b"host: till", b"authorization: Bearer TOKEN", *lines)) + b"\r\n\r\n" + body


SECOND = b"POST /v1/smuggled HTTP/1.1\r\nhost: till\r\nauthorization: Bearer TOKEN\r\ncontent-length: 0\r\n\r\n"
SMUGGLING = {
    "length and coding": framed(b"content-length: 5", b"transfer-encoding: chunked", body=b"0\r\n\r\n" + SECOND),
    "coding and length": framed(b"transfer-encoding: chunked", b"content-length: 3", body=b"1\r\na\r\n0\r\n\r\n" + SECOND),
    "two lengths": framed(b"content-length: 0", b"content-length: 5", body=b"hello"),
    "two equal lengths": framed(b"content-length: 5", b"content-length: 5", body=b"hello"),
    "list of lengths": framed(b"content-length: 5, 5", body=b"hello"),
    "signed length": framed(b"content-length: +5", body=b"hello"),
    "hex length": framed(b"content-length: 0x5", body=b"hello"),
    "empty length": framed(b"content-length:", body=b"hello"),
    "huge length": framed(b"content-length: 18446744073709551621", body=b"hello"),
    "two codings": framed(b"transfer-encoding: chunked", b"transfer-encoding: identity", body=b"0\r\n\r\n"),
    "coding list": framed(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "odd coding": framed(b"transfer-encoding: xchunked", body=b"0\r\n\r\n"),
    "coding with a tab": framed(b"transfer-encoding:\x0bchunked", body=b"0\r\n\r\n"),
    "coding in HTTP/1.0": framed(b"transfer-encoding: chunked", body=b"0\r\n\r\n", version=b"HTTP/1.0"),
    "folded line": framed(b"x-a: b", b" transfer-encoding: chunked", b"content-length: 0"),
    "folded with a tab": framed(b"x-a: b", b"\tc", b"content-length: 0"),
    "bare line feed": framed(b"x-a: b\nx-b: c", b"content-length: 0"),
    "bare carriage return": framed(b"x-a: b\rx-b: c", b"content-length: 0"),
    "line feeds only": framed(b"content-length: 0").replace(b"\r\n", b"\n"),
    "space before the colon": framed(b"content-length : 5", body=b"hello"),
    "nul": framed(b"x-a: \0", b"content-length: 0"),
    "no colon": framed(b"nonsense", b"content-length: 0"),
    "two hosts": framed(b"host: other", b"content-length: 0"),
    "odd version": framed(b"content-length: 0", version=b"HTTP/1.2"),
    "space in the target": framed(b"content-length: 0").replace(CHAT.encode(), b"/v1/a b", 1),
    "connect": b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\nauthorization: Bearer TOKEN\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_smuggling(request_bytes: bytes, till: Till, upstream: ScriptedUpstream) -> None:
    token = till.mint().token
    answers = exchange(till.url, request_bytes.replace(b"TOKEN", token.encode()))
    assert [answer.status for answer in answers] == [400]
    assert code(answers[0]) == "malformed_request"
    assert upstream.count == 0
    assert till.call(token).status_code == 200


CHUNKS = {
    "not hex": b"zz\r\nhello\r\n0\r\n\r\n", "negative": b"-5\r\nhello\r\n0\r\n\r\n", "huge": b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n", "wrong size": b"3\r\nhello\r\n0\r\n\r\n", "bare line feed": b"5\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n", "empty size": b"\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_chunk_nonsense(body: bytes, till: Till, upstream: ScriptedUpstream) -> None:
    """The request is never completed at the upstream, and nothing behind it is read as a second one."""
    token = till.mint(max_activations=3).token
    request = framed(b"transfer-encoding: chunked", body=body + SECOND).replace(b"TOKEN", token.encode())
    answers = exchange(till.url, request)
    assert len(answers) <= 1
    assert all(answer.status >= 400 for answer in answers), answers
    assert upstream.count == 0
    assert till.call(token).status_code == 200


def test_half_a_request_holds_nobody_up(till: Till, upstream: ScriptedUpstream) -> None:
    token = till.mint().token
    with socket.create_connection(address(till.url)) as idle:
        idle.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ti")
        assert till.call(token).status_code == 200
