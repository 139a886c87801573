"""Nobody but the operator says where requests go, and nobody gets at the administration by another way than its own."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from harness.listener import Listener
from harness.raw_http import RawAnswer, address, exchange, one, post
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import ADMIN_KEY, UPSTREAM_KEY, Till

CHAT = "/v1/chat/completions"
PASSWORD = "correct horse battery staple"


class Inside:
    """A server that only the machine itself reaches, as a metadata service is: it must never be connected to."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = Listener(self._serve)
        self.port = self._listener.port

    def close(self) -> None:
        self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        connection.close()


@pytest.fixture
def inside() -> Iterator[Inside]:
    server = Inside()
    yield server
    server.close()


def test_the_inside_is_seen_when_it_is_reached(inside: Inside, new_till) -> None:
    """The operator may configure what is private; then the trap of these tests springs."""
    till = new_till({"openai": f"http://127.0.0.1:{inside.port}"}).start()
    assert till.call(till.mint()).status_code == 502
    assert inside.connections == 1


def _minter(till: Till) -> str:
    answer = till.admin("POST", "/admin/tokens", {"name": "minter", "role": "minter", "project": "default"})
    assert answer.status_code in (200, 201), answer.text
    body = answer.json()
    return body.get("token", body).get("adminToken") or body["adminToken"]


DESTINATIONS = ["url", "base_url", "baseUrl", "upstream_url", "upstreamUrl", "provider_url", "providerUrl", "origin", "destination", "host", "endpoint",
                "upstream_origin", "placement", "webhook", "webhook_url", "callback", "callback_url", "proxy", "upstream_proxy", "icon", "avatar_url"]


# What a field that says where to connect to would be called. A new one must not get in unseen: whoever adds it has to filter what it
# may name (loopback, link-local and private addresses, names that lead there, also when they change) before it is added here.
LIKE_A_DESTINATION = re.compile(r"ur[il]|host|origin|domain|endpoint|addr|hook|callback|proxy|server|target|base|redirect|region|dest|link|image|avatar|icon|fetch", re.I)
KNOWN_FIELDS = {
    "endpoints": "path patterns of a scope", "client_address": "a filter, and what `explain` pretends", "target": "a filter of the audit log",
    "image_input": "a count of tokens", "hosted_tools": "a count of calls",
}


def _fields(document: dict[str, Any], schema: dict[str, Any], seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that somebody may send, however deep."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in seen:
            yield from _fields(document, document["components"]["schemas"][name], seen | {name})
        return
    for part in (*schema.get("allOf", ()), *schema.get("oneOf", ()), *schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(part, dict):
            yield from _fields(document, part, seen)
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from _fields(document, field, seen)


def test_no_field_of_a_request_is_for_a_destination(till: Till) -> None:
    """By the API's own description, so that a field that is added later is seen."""
    document = till.admin("GET", "/admin/openapi.json").json()
    found: dict[str, dict[str, Any]] = {}
    for operations in document["paths"].values():
        for operation in operations.values():
            found.update((parameter["name"], parameter.get("schema", {})) for parameter in operation.get("parameters", ()))
            for content in operation.get("requestBody", {}).get("content", {}).values():
                found.update(_fields(document, content["schema"]))
    assert len(found) > 80 and "upstream_key" in found, sorted(found)
    named = {name for name in found if LIKE_A_DESTINATION.search(name)}
    assert named == set(KNOWN_FIELDS), f"new or gone: {named ^ set(KNOWN_FIELDS)}"
    assert not {name for name, field in found.items() if field.get("format") in ("uri", "url", "hostname", "ipv4", "ipv6", "iri", "uri-reference")}


def test_no_field_of_the_api_takes_a_destination(till: Till, upstream: ScriptedUpstream, inside: Inside) -> None:
    """Neither for a minter nor for the owner: where a provider is comes from the operator's configuration alone."""
    addresses = [f"http://127.0.0.1:{inside.port}/", f"http://localhost:{inside.port}", f"http://[::ffff:127.0.0.1]:{inside.port}", f"//127.0.0.1:{inside.port}",
                 "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", f"http://127.0.0.1.nip.io:{inside.port}/", "file:///etc/passwd"]
    good = {"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 5}
    stored = {"name": "stored", "provider": "openai", "upstream_key": UPSTREAM_KEY}
    for key in (ADMIN_KEY, _minter(till)):
        for url in addresses:
            for field in DESTINATIONS:
                for path, body in (("/admin/keys", good), ("/admin/credentials", stored)):
                    answer = till.admin("POST", path, {**body, field: url}, key=key)
                    assert answer.status_code in (400, 403), (path, field, answer.text)
            for changed in ({"provider": url}, {"upstream_key": None, "upstream_ref": url}, {"upstream_key": None, "upstream": url}):
                body = {name: value for name, value in {**good, **changed}.items() if value is not None}
                assert till.admin("POST", "/admin/keys", body, key=key).status_code in (400, 403), changed
    assert till.admin("GET", "/admin/keys").json()["keys"] == []
    # Nor does text that is stored make anybody fetch something.
    till.mint(name=addresses[0], metadata={"url": addresses[0]})
    assert (upstream.count, inside.connections) == (0, 0)


def test_a_request_does_not_say_where_it_goes(till: Till, upstream: ScriptedUpstream, inside: Inside) -> None:
    token = till.mint(max_activations=100).token
    where = f"127.0.0.1:{inside.port}"
    heads = [f"GET http://{where}/v1/models HTTP/1.1\r\nhost: {where}", f"GET http://{where}@{where}/v1/models HTTP/1.1\r\nhost: x",
             f"GET /v1/models HTTP/1.1\r\nhost: {where}", f"GET //{where}/v1/models HTTP/1.1\r\nhost: x", f"GET /@{where}/v1/models HTTP/1.1\r\nhost: x",
             f"GET @{where}/v1/models HTTP/1.1\r\nhost: x", f"GET :{inside.port}/ HTTP/1.1\r\nhost: x", f"GET /proxy/{where}/v1/models HTTP/1.1\r\nhost: x",
             f"GET /proxy/http://{where}/v1/models HTTP/1.1\r\nhost: x", f"GET /proxy/openai@{where}/v1 HTTP/1.1\r\nhost: x", f"GET /v1/models?url=http://{where}/ HTTP/1.1\r\nhost: x",
             f"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-forwarded-host: {where}\r\nforwarded: host={where}\r\nx-original-url: http://{where}/\r\nx-rewrite-url: http://{where}/",
             f"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-till-upstream: http://{where}\r\nx-upstream: {where}\r\nx-base-url: http://{where}\r\nproxy: http://{where}",
             f"GET /v1/models HTTP/1.1\r\nhost: x\r\nalt-svc: h2=\"{where}\"\r\nlocation: http://{where}/\r\nreferer: http://{where}/\r\norigin: http://{where}"]
    for head in heads:
        one(till.url, f"{head}\r\nauthorization: Bearer {token}\r\n\r\n".encode())
    assert inside.connections == 0
    assert upstream.count >= 5, "those that are odd but clear go to the provider"
    assert {request.header("host") for request in upstream.requests} == {upstream.url.removeprefix("http://")}
    assert all(request.target.startswith("/") for request in upstream.requests)


def test_a_row_that_was_tampered_with_sends_nothing_elsewhere(till: Till, upstream: ScriptedUpstream, inside: Inside) -> None:
    """The destination is sealed in the token: what somebody writes into the database is not believed."""
    key = till.mint(max_activations=5)
    till.stop()
    [database] = [path for path in till.data.rglob("*") if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"]
    changed = 0
    with sqlite3.connect(database) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                if row[1] == "origin":
                    changed += connection.execute(f'UPDATE "{table}" SET origin = ?', (f"http://127.0.0.1:{inside.port}",)).rowcount
    connection.close()
    till.start()
    till.call(key)
    print(f"{changed} rows changed, {upstream.count} at the provider")
    assert changed == 1
    assert inside.connections == 0


# The administration.

HOSTS = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example@127.0.0.1", "127.0.0.1@evil.example", "[::1].evil.example",
         "localhost,evil.example", "evil.example#127.0.0.1", "10.0.0.1", "0.0.0.0", "169.254.169.254", "", " "]


def ask(till: Till, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> RawAnswer:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, f"content-length: {len(body)}"])
    return one(till.url, head.encode("latin-1") + b"\r\n\r\n" + body)


@pytest.mark.parametrize("host", HOSTS)
def test_pages_that_are_open_here_are_not_to_another_host(host: str, till: Till) -> None:
    """A name that a browser was made to resolve to this machine (DNS rebinding) opens nothing."""
    for path in ("/metrics", "/docs", "/admin/openapi.json"):
        assert ask(till, path, "host: localhost").status == 200
        answer = ask(till, path, f"host: {host}")
        assert answer.status in (400, 401), (path, answer)
        assert ask(till, path, "host: localhost", f"x-forwarded-host: {host or 'x'}").status == 401


def test_no_answer_repeats_the_host(till: Till) -> None:
    """Links for people come from the configuration: who sends another Host gets no link to elsewhere."""
    member = till.admin("POST", "/admin/members", {"login": "ada", "name": "Ada", "role": "admin", "password": PASSWORD})
    assert member.status_code in (200, 201), member.text
    body = json.dumps({"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 5, "claim": True}).encode()
    login = json.dumps({"login": "ada", "password": PASSWORD}).encode()
    lines = ("host: evil.example", "x-forwarded-host: evil.example", "forwarded: host=evil.example;proto=https", "content-type: application/json")
    for method, path, sent in (("POST", "/admin/keys", body), ("POST", "/admin/login", login), ("GET", "/dashboard", b""), ("GET", "/dashboard/", b""), ("GET", "/", b""),
                               ("GET", "/docs/", b""), ("GET", "/claim/x", b""), ("GET", "/nowhere", b""), ("GET", "/admin", b"")):
        authorization = (f"authorization: Bearer {ADMIN_KEY}",) if path.startswith("/admin/keys") else ()
        answer = ask(till, path, *lines, *authorization, method=method, body=sent)
        assert b"evil.example" not in answer.wire, (path, answer)


def _session(till: Till) -> tuple[str, str]:
    answer = httpx.post(f"{till.url}/admin/login", json={"login": "ada", "password": PASSWORD}, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.headers["set-cookie"].split(";")[0], answer.json()["csrfToken"]


@pytest.fixture
def with_member(till: Till) -> Till:
    for login in ("ada", "eve"):
        answer = till.admin("POST", "/admin/members", {"login": login, "name": login, "role": "admin", "password": PASSWORD})
        assert answer.status_code in (200, 201), answer.text
    return till


def test_a_page_of_somebody_else_changes_nothing(with_member: Till) -> None:
    """Whatever a foreign page can make a browser send, with the cookie that it would not even have."""
    till = with_member
    cookie, word = _session(till)
    eve = httpx.post(f"{till.url}/admin/login", json={"login": "eve", "password": PASSWORD}, trust_env=False).json()["csrfToken"]
    body = json.dumps({"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 5}).encode()
    foreign = ("origin: http://evil.example", "sec-fetch-site: cross-site")
    attempts = [("content-type: application/json",), ("content-type: text/plain",), ("content-type: application/x-www-form-urlencoded",), (),
                ("content-type: application/json", "x-till-csrf: "), ("content-type: application/json", f"x-till-csrf: {eve}"),
                ("content-type: application/json", f"x-till-csrf: {word[:-1]}"), ("content-type: application/json", f"x-till-csrf: {word}x"),
                ("content-type: application/json", "x-till-csrf: x", f"x-till-csrf: {word}"), ("content-type: application/json", f"x-http-method-override: POST")]
    before = till.admin("GET", "/admin/audit?limit=1000").json()["entries"]
    for lines in attempts:
        for method, path in (("POST", "/admin/keys"), ("POST", "/admin/keys/revoke"), ("DELETE", "/admin/members/mem_x"), ("PATCH", "/admin/instance"), ("POST", "/admin/logout")):
            answer = ask(till, path, "host: localhost", f"cookie: {cookie}", *foreign, *lines, method=method, body=body)
            assert answer.status in (400, 401, 403, 404, 405, 415), (path, lines, answer)
    # As in a link or an image: what only reads changes nothing.
    for path in ("/admin/keys?max_activations=5&provider=openai", "/admin/logout", "/admin/keys/revoke", "/admin/login?login=ada"):
        ask(till, path, "host: localhost", f"cookie: {cookie}", *foreign)
    assert till.admin("GET", "/admin/keys").json()["keys"] == []
    assert ask(till, "/admin/self", "host: localhost", f"cookie: {cookie}").status == 200, "the session goes on"
    after = [entry["action"] for entry in till.admin("GET", "/admin/audit?limit=1000").json()["entries"]]
    assert Counter(after) - Counter(entry["action"] for entry in before) == {}, "nothing was done"
    # And with its word it does something: the check can tell.
    assert ask(till, "/admin/keys", "host: localhost", f"cookie: {cookie}", f"x-till-csrf: {word}", "content-type: application/json", method="POST", body=body).status in (200, 201)


def test_passwords_are_not_guessed_at_once_either(with_member: Till) -> None:
    """Two hundred guesses at the same time are no more than five in turn, whatever is said about who sends them."""
    till = with_member

    def guess(number: int) -> int:
        headers = {"x-forwarded-for": f"10.1.{number}.1", "forwarded": f"for=10.2.{number}.1", "x-real-ip": f"10.3.{number}.1", "user-agent": f"browser {number}"}
        login = ["ada", "ADA", " ada", "ada "][number % 4]
        body = {"login": login, "password": PASSWORD + ("" if number == 199 else str(number))}
        return httpx.post(f"{till.url}/admin/login", json=body, headers=headers, trust_env=False, timeout=60).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = Counter(pool.map(guess, range(200)))
    print(statuses)
    assert statuses[401] <= 20 and statuses[200] == 0
    assert statuses[429] >= 200 - 20 - statuses[400]
    assert httpx.post(f"{till.url}/admin/login", json={"login": "ada", "password": PASSWORD}, trust_env=False).status_code == 429
    assert till.admin("GET", "/admin/account").status_code == 200, "an admin token is not locked out"
    refused = [entry for entry in till.admin("GET", "/admin/audit?limit=1000").json()["entries"] if "login" in entry["action"]]
    assert refused, "and it is in the log"


CONFUSIONS = ["/v1/../admin/keys", "/v1/..%2fadmin/keys", "/v1/%2e%2e/admin/keys", "//admin/keys", "/./admin/keys", "/%61dmin/keys", "/ADMIN/keys", "/Admin/keys", "/admin%2fkeys", "/admin\\keys",
              "/admin;x/keys", "/admin/./keys", "/admin//keys", "/admin/../admin/keys", "/proxy/openai/../../admin/keys", "/proxy/openai/admin/keys", "/proxy/admin/keys", "/admin/keys/../../v1/models",
              "/admin/keys%00", "/admin%00/keys", "/admin/keys/..;/", "/dashboard/../admin/keys", "/docs/../admin/keys", "/key/../admin/keys", "/healthz/../admin/keys", "/admin.json/keys", "/adminx/keys",
              "/%2561dmin/keys", "/admin%20/keys", "/admin?/../v1/models", "http://x/admin/keys", "http://x//admin/keys", "*", "/proxy//admin/keys", "/proxy/openai//admin/keys"]


@pytest.mark.parametrize("path", CONFUSIONS)
def test_paths_between_the_planes(path: str, till: Till, upstream: ScriptedUpstream) -> None:
    """A scoped key never gets an answer of the administration, and an admin key never reaches a provider."""
    scoped = till.mint(max_activations=50).token
    for method in ("GET", "POST"):
        answer = exchange(till.url, f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {scoped}\r\ncontent-length: 0\r\n\r\n".encode())
        assert len(answer) == 1 and b'"keys"' not in answer[0].body, answer
        # The pages of the dashboard are the same file whatever stands behind `/dashboard`, and open to everybody.
        assert answer[0].status != 200 or upstream.count or b"<noscript>" in answer[0].body, answer
    for lines in (f"authorization: Bearer {ADMIN_KEY}", f"x-api-key: {scoped}\r\nauthorization: Bearer {ADMIN_KEY}"):
        exchange(till.url, f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n\r\n".encode())
    for request in upstream.requests:
        assert ADMIN_KEY.encode() not in request.head
        assert "admin" not in request.path.split("/") or path == "/proxy/openai/admin/keys", request.target
