"""Claim links from outside: made with the command line, opened once over HTTP, and the key works."""

from __future__ import annotations

import concurrent.futures
import re

import httpx

from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import UPSTREAM_KEY, Till

FLAGS = ("keys", "create", "--provider", "openai", "--max-activations", "2", "--upstream-key-env", "REAL", "--claim", "1h")
REAL = {"REAL": UPSTREAM_KEY}


def claim(till: Till, link: str) -> httpx.Response:
    """What the page does when its button is pressed. No admin token."""
    page, _, secret = link.partition("#")
    return httpx.post(till.url + page[page.index("/claim/"):], json={"secret": secret}, trust_env=False)


def test_a_link_hands_a_key_over_once(till: Till, upstream: ScriptedUpstream) -> None:
    made = till.cli_json(*FLAGS, environment=REAL)["key"]
    assert "scopedKey" not in made
    link, secret = made["claimUrl"], made["claimUrl"].partition("#")[2]
    assert link.startswith(f"{till.url}/claim/")
    page = httpx.get(link, trust_env=False)
    assert (page.status_code, page.headers["referrer-policy"], page.headers["cache-control"]) == (200, "no-referrer", "no-store")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert httpx.get(f"{till.url}/claim/claim.js", trust_env=False).headers["content-type"].startswith("text/javascript")
    # A restart in between changes nothing; a wrong secret neither.
    till.restart()
    link = till.url + link[link.index("/claim/"):]
    assert claim(till, link[:-1] + ("a" if link[-1] != "a" else "b")).status_code == 404
    with concurrent.futures.ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda _: claim(till, link), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + 7 * [404]
    shown = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (shown["keyId"], shown["provider"]) == (made["id"], "openai")
    assert till.call(shown["scopedKey"]).status_code == 200
    assert [request.header("authorization") for request in upstream.requests] == [f"Bearer {UPSTREAM_KEY}"]
    again = claim(till, link)
    assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")

    entries = till.admin("GET", "/admin/audit?limit=1000").json()["entries"]
    claimed = [entry for entry in entries if entry["action"] == "key.claim"]
    assert [entry["target"] for entry in claimed] == [made["id"]]
    assert claimed[0]["actor"]["address"].startswith("127.0.0.1")
    till.stop()
    for path in [file for file in till.directory.rglob("*") if file.is_file()]:
        found = path.read_bytes()
        assert secret.encode() not in found and shown["scopedKey"].encode() not in found, path


def test_the_command_line_shows_the_link(till: Till) -> None:
    said = till.cli(*FLAGS, environment=REAL).stdout
    link = re.search(r"^  (http\S+/claim/\w{22}#\w{44})$", said, re.M)
    assert link and "till_sk_" not in said, said
    assert claim(till, link[1]).status_code == 200
    refused = till.cli(*FLAGS[:-1], "8d", environment=REAL, check=False)
    assert refused.returncode == 1 and "claim_ttl_seconds" in refused.stderr, refused
