"""The real key stays inside: no form of it in files, logs, errors and answers, even when the upstream echoes it."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from pathlib import Path

import pytest

from harness.collector import Collector
from harness.raw_http import RawAnswer, exchange, one, post
from harness.open_stream import open_stream
from harness.scripted_upstream import Answer, Request, ScriptedUpstream
from harness.secret_forms import forms, leaks
from harness.till_process import UPSTREAM_KEY, Till

PATH = "/v1/chat/completions"
SSE = [("content-type", "text/event-stream")]


def escaped(secret: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in secret)


def check_clean(answer: RawAnswer) -> None:
    """No form of the key, neither in the bytes on the wire nor in what they decode to."""
    coding = answer.headers.get("content-encoding", "identity")
    body = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(coding, bytes)(answer.body)
    for bytes_ in (answer.wire, answer.body, body):
        assert leaks(UPSTREAM_KEY, bytes_) == []


@pytest.mark.parametrize("name", sorted(forms(UPSTREAM_KEY)))
def test_the_search_finds_every_form(name: str) -> None:
    """A canary that can't be found proves nothing."""
    assert name in leaks(UPSTREAM_KEY, b"before " + forms(UPSTREAM_KEY)[name] + b" after")
    for shift in range(3):
        whole = base64.b64encode(b"x" * shift + f"Bearer {UPSTREAM_KEY}!".encode())
        assert any(found.startswith("base64") for found in leaks(UPSTREAM_KEY, whole))


def test_no_file_no_log_no_answer(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A whole life of keys, with everything that till says on the way collected and searched."""
    said: list[bytes] = []
    key_file = tmp_path / "upstream-key"
    key_file.write_text(UPSTREAM_KEY + "\n")
    minted = till.admin("POST", "/admin/keys", {"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 2})
    token, key_id = minted.json()["key"]["scopedKey"], minted.json()["key"]["id"]
    said.append(minted.content)
    for arguments in (("keys", "create", "--provider", "openai", "--max-activations", "5", "--name", "cli",
                       "--upstream-key-file", str(key_file), "--output", "json"),
                      ("keys", "create", "--provider", "anthropic", "--max-activations", "5",
                       "--upstream-key-env", "REAL_KEY"),
                      ("keys", "list"), ("keys", "list", "--output", "json"), ("keys", "show", key_id),
                      ("status",), ("status", "--output", "json")):
        done = till.cli(*arguments, environment={"REAL_KEY": UPSTREAM_KEY})
        said.append((done.stdout + done.stderr).encode())
    for fields in ({"max_activations": 0}, {"provider": "nobody"}, {"max_tokens": -5}, {"surprise": 1}, {"metadata": {"a": UPSTREAM_KEY}},
                   {"name": UPSTREAM_KEY}):
        body = {"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 5, **fields}
        said.append(till.admin("POST", "/admin/keys", body).content)
    said.append(till.admin("POST", "/admin/keys", {"provider": "openai", "upstreamKey": UPSTREAM_KEY + "\n", "max_activations": 5}).content)
    said.append(till.admin("GET", f"/admin/keys/{UPSTREAM_KEY[:12]}").content)

    upstream.on(PATH, Answer(status=500, pieces=[f'{{"error":"{UPSTREAM_KEY}"}}'.encode()]))
    for _ in range(3):
        said.append(one(till.url, post(token)).wire)
    said.append(till.call(token, f"{PATH}?q={token}").content)
    for path in ("/admin/keys", f"/admin/keys/{key_id}", "/admin/account", "/admin/openapi.json", "/metrics", "/key"):
        said.append(till.admin("GET", path).content)
    till.revoke(key_id)
    said.append(one(till.url, post(token)).wire)
    till.restart()
    said.append(till.admin("GET", "/admin/keys").content)
    till.stop()

    for text in said:
        assert leaks(UPSTREAM_KEY, text) == []
    assert leaks(UPSTREAM_KEY, till.all_output()) == []
    files = [path for path in till.data.rglob("*") if path.is_file()]
    assert len(files) >= 2, files
    for path in files:
        assert leaks(UPSTREAM_KEY, path.read_bytes()) == [], path
        assert token.encode() not in path.read_bytes(), path
    assert token.encode() not in till.all_output()


def test_no_trace_and_no_log_of_any_form(new_till, upstream: ScriptedUpstream) -> None:
    """Keys in every place where a client could put one, and an upstream that says them: none is in what is told of it."""
    collector = Collector()
    try:
        for form in ("json", "human"):
            till = new_till({name: upstream.url for name in ("openai", "anthropic", "google")}, flags=(
                "--otlp-endpoint", collector.url, "--log-format", form, "--log-level", "trace"),
                environment={"TILL_OTLP_PROPAGATE": "on"}).start()
            key, metered = till.mint(max_activations=20), till.mint(max_activations=None, max_spend_usd="1")
            upstream.on("/v1/echo", Answer(status=500, headers=[("x-debug", UPSTREAM_KEY), ("content-type", "application/json")],
                                           pieces=[f'{{"model":"{UPSTREAM_KEY}","usage":{{"prompt_tokens":1}}}}'.encode()]))
            answer = json.dumps({"model": UPSTREAM_KEY, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
            upstream.on(PATH, Answer(pieces=[answer.encode()]))
            for secret in (UPSTREAM_KEY, key.token):
                for token in (key, metered):
                    till.call(token, headers={"traceparent": secret, "tracestate": f"a={secret}", "user-agent": secret})
                    till.call(token, body={"model": secret, "messages": [{"role": "user", "content": secret}]})
                till.call(key, f"/v1/echo?q={secret}")
                till.call(key, f"/v1/{secret.replace('/', '')}")
            one(till.url, post(key.token).replace(b"POST", key.token.encode(), 1))
            upstream.on(PATH, Answer(raw=f"{UPSTREAM_KEY} is not HTTP\r\n\r\n".encode()))
            broke_off = one(till.url, post(key.token))
            assert (broke_off.status, b"upstream_protocol" in broke_off.body) == (502, True), broke_off
            check_clean(broke_off)
            till.stop()
            assert leaks(UPSTREAM_KEY, till.all_output()) == []
            assert key.token.encode() not in till.all_output()
            spans = b"".join(collector.bodies)
            assert spans.count(b'"kind":2') >= 12
            assert leaks(UPSTREAM_KEY, spans) == []
            for secret in (key.token, metered.token, till.admin_key):
                assert secret.encode() not in spans
            collector.bodies.clear()
    finally:
        collector.close()


def test_files_of_a_killed_process(till: Till, upstream: ScriptedUpstream) -> None:
    """The write-ahead log is what a crash leaves behind."""
    key = till.mint(max_activations=3)
    till.call(key)
    till.kill9()
    for path in (path for path in till.data.rglob("*") if path.is_file()):
        assert leaks(UPSTREAM_KEY, path.read_bytes()) == [], path
        assert key.token.encode() not in path.read_bytes(), path


def test_nothing_of_the_scoped_key_reaches_the_upstream(till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=9)
    request = (f"POST {PATH}?key={key.token}&a=b HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {key.token}\r\n"
               f"x-api-key: {key.token}\r\nx-goog-api-key: {key.token}\r\napi-key: {key.token}\r\n"
               "x-till-request-id: abc\r\ncontent-length: 2\r\n\r\n{}").encode()
    assert one(till.url, request).status == 200
    assert b"till_sk_" not in upstream.last().head
    assert upstream.last().target == f"{PATH}?a=b"
    assert upstream.last().header("authorization") == f"Bearer {UPSTREAM_KEY}"
    assert not [name for name, _ in upstream.last().headers if name.lower().startswith("x-till")]


ECHOES = {
    "plain": UPSTREAM_KEY,
    "bearer": f"Bearer {UPSTREAM_KEY}",
    "json-escaped": escaped(UPSTREAM_KEY),
    "json-escaped slash": UPSTREAM_KEY.replace("/", "\\/"),
    "percent-encoded": "".join(f"%{ord(letter):02X}" for letter in UPSTREAM_KEY),
    "percent-encoded lower": "".join(f"%{ord(letter):02x}" for letter in UPSTREAM_KEY),
    "percent-encoded where needed": UPSTREAM_KEY.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    "hex": UPSTREAM_KEY.encode().hex(),
    "HEX": UPSTREAM_KEY.encode().hex().upper(),
    **{f"base64+{n}": base64.b64encode(b"xyz"[:n] + UPSTREAM_KEY.encode() + b"tail").decode() for n in range(3)},
    **{f"base64url+{n}": base64.urlsafe_b64encode(b"xyz"[:n] + UPSTREAM_KEY.encode() + b"tail").decode() for n in range(3)},
}


def check_echo(answer: RawAnswer, echo: str, shape: str) -> None:
    """The echo is gone, its place is kept, and everything around it is still there."""
    check_clean(answer)
    before, after = shape.split("ECHO")
    text = answer.body.decode("latin-1")
    assert text.startswith(before) and text.endswith(after)
    assert len(text) == len(before) + len(echo) + len(after)
    # A base64 of more than the key may keep the characters that belong to the rest.
    assert echo not in text
    assert UPSTREAM_KEY not in text and UPSTREAM_KEY not in text.replace("\\/", "/")


@pytest.mark.parametrize("form", sorted(ECHOES))
def test_echo_in_a_body(form: str, till: Till, upstream: ScriptedUpstream) -> None:
    shape = '{"error":{"message":"Incorrect API key provided: ECHO. You can find it elsewhere."}}'
    echo = ECHOES[form]
    key = till.mint(max_activations=2)
    upstream.on(PATH, Answer(status=401, pieces=[shape.replace("ECHO", echo).encode()]))
    answer = one(till.url, post(key.token))
    assert answer.status == 401
    check_echo(answer, echo, shape)
    upstream.on(PATH, Answer(status=401, pieces=[shape.replace("ECHO", echo).encode()], chunked=True))
    check_echo(one(till.url, post(key.token)), echo, shape)


@pytest.mark.parametrize("form", sorted(ECHOES))
def test_echo_in_headers_and_trailers(form: str, till: Till, upstream: ScriptedUpstream) -> None:
    echo = ECHOES[form]
    key = till.mint(max_activations=1)
    # The name of a header has no room for every form.
    named = [(f"x-{echo}", "dropped")] if form in ("hex", "HEX") else []
    upstream.on(PATH, Answer(headers=[("x-debug", f"a {echo} b"), ("content-type", "text/plain"), ("x-other", "kept"), *named],
                             pieces=[b"body"], chunked=True, trailers=[("x-trailer", echo)]))
    request = post(key.token, extra=b"te: trailers\r\n")
    answer = one(till.url, request)
    assert (answer.status, answer.body) == (200, b"body")
    check_clean(answer)
    assert echo.encode() not in answer.wire
    assert answer.headers["x-other"] == "kept"
    assert "dropped" not in answer.headers.values()


def test_echo_in_an_event_stream_split_at_every_byte(till: Till, upstream: ScriptedUpstream) -> None:
    shape = 'data: {"delta":"ECHO"}\n\ndata: [DONE]\n\n'
    whole = shape.replace("ECHO", UPSTREAM_KEY).encode()
    start = whole.index(UPSTREAM_KEY.encode())
    cuts = range(start, start + len(UPSTREAM_KEY) + 1)
    key = till.mint(max_activations=len(cuts) + 1)
    for cut in cuts:
        upstream.on(PATH, Answer(headers=SSE, pieces=[whole[:cut], whole[cut:]], chunked=True, pause=0.003))
        check_echo(one(till.url, post(key.token)), UPSTREAM_KEY, shape)
    single = [whole[n : n + 1] for n in range(len(whole))]
    upstream.on(PATH, Answer(headers=SSE, pieces=single, chunked=True, pause=0.001))
    check_echo(one(till.url, post(key.token)), UPSTREAM_KEY, shape)


@pytest.mark.parametrize("form", ["base64+0", "base64+1", "base64+2", "hex", "json-escaped", "percent-encoded"])
def test_encoded_echo_split_at_every_byte(form: str, till: Till, upstream: ScriptedUpstream) -> None:
    shape, echo = "data: ECHO\n\n", ECHOES[form]
    whole = shape.replace("ECHO", echo).encode()
    cuts = range(1, len(whole), 1 if len(whole) < 100 else 5)
    key = till.mint(max_activations=len(cuts))
    for cut in cuts:
        upstream.on(PATH, Answer(headers=SSE, pieces=[whole[:cut], whole[cut:]], chunked=True, pause=0.002))
        check_echo(one(till.url, post(key.token)), echo, shape)


@pytest.mark.parametrize("coding,pack", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_echo_in_a_compressed_body(coding: str, pack, till: Till, upstream: ScriptedUpstream) -> None:
    """The upstream is asked for identity; if it compresses all the same, the agent gets it decoded and clean."""
    shape = '{"message":"ECHO"}'
    key = till.mint(max_activations=3)
    headers = [("content-type", "application/json"), ("content-encoding", coding)]
    packed = pack(shape.replace("ECHO", UPSTREAM_KEY).encode())
    upstream.on(PATH, Answer(headers=headers, pieces=[packed]))
    request = post(key.token, extra=b"accept-encoding: gzip, deflate, br\r\n")
    answer = one(till.url, request)
    assert upstream.last().header("accept-encoding") in (None, "identity")
    assert "content-encoding" not in answer.headers
    check_echo(answer, UPSTREAM_KEY, shape)
    upstream.on(PATH, Answer(headers=headers, pieces=[packed[n : n + 1] for n in range(len(packed))], chunked=True))
    check_echo(one(till.url, request), UPSTREAM_KEY, shape)


def test_unknown_coding_is_refused(till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=1)
    upstream.on(PATH, Answer(headers=[("content-encoding", "rot13")], pieces=[UPSTREAM_KEY.encode()]))
    answer = one(till.url, post(key.token))
    assert answer.status == 502
    check_clean(answer)


def test_echo_of_what_the_upstream_received(till: Till, upstream: ScriptedUpstream) -> None:
    """A debugging endpoint that answers with the whole request, as some gateways have."""

    def mirror(request: Request) -> Answer:
        return Answer(headers=[("content-type", "application/json"), ("set-cookie", request.header("authorization") or "")],
                      pieces=[json.dumps({"headers": request.headers, "raw": base64.b64encode(request.head).decode()}).encode()])

    upstream.on("/v1/mirror", mirror)
    key = till.mint(max_activations=1)
    answer = one(till.url, post(key.token, path="/v1/mirror"))
    assert answer.status == 200
    check_clean(answer)


def test_stream_is_not_delayed(till: Till, upstream: ScriptedUpstream) -> None:
    """What stands before a possible start of the key comes through while the upstream is silent."""
    with open_stream(till, upstream, b"data: second\n\n") as stream:
        stream.gate.set()
        assert b"".join(stream.parts) == b"data: second\n\n"


def test_interim_answers_do_not_carry_it(till: Till, upstream: ScriptedUpstream) -> None:
    raw = (f"HTTP/1.1 103 Early Hints\r\nlink: <{UPSTREAM_KEY}>\r\n\r\n"
           f"HTTP/1.1 200 {UPSTREAM_KEY}\r\ncontent-length: 2\r\n\r\nok").encode()
    upstream.on(PATH, Answer(raw=raw))
    key = till.mint(max_activations=1)
    for answer in exchange(till.url, post(key.token)):
        check_clean(answer)
