"""The dashboard in a real browser against the real binary: what somebody does with it, and what it must never do.

Every visit is watched: an error on the console, a report of the content security policy, a request to another origin or a
dialog of the browser fails the test, unless it belongs to what the test does.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from harness import provider_answers
from harness.browser import Browser, Visit
from harness.dashboard import PASSWORD, Visiting, made, member
from harness.open_stream import open_stream
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import ADMIN_KEY, UPSTREAM_KEY, Till
from harness.waiting import until

SCHEMES = ("light", "dark")
# What Chromium says of a server that is not there.
GONE = r"net::ERR_\w+"
PHONE = {"width": 390, "height": 844}


# Coming and going.


def test_sign_in_and_out(till: Till, visiting: Visiting) -> None:
    login = member(till, "admin")
    visit = visiting(till, token=None)
    visit.expect(r"status of 401 .*/admin/login\)")
    visit.go(path="/keys?status=active")
    visit.try_to_enter(login=login, password="wrong horse battery staple")
    visit.see(text="login_failed")
    visit.enter(login=login, password=PASSWORD)
    assert visit.place() == "/dashboard/keys?status=active", "where somebody wanted to go"
    assert visit.heading() == "Keys"
    visit.see(text="The admin", within="header")
    # The session is a cookie that no script can read; what a script can read opens nothing.
    readable = visit.readable()
    assert readable["cookie"] == "" and readable["session"] == {}
    for word in json.loads(readable["local"]["till.session"]).values():
        for header in ({"authorization": f"Bearer {word}"}, {"cookie": f"till_session={word}"}, {"x-till-csrf": word}):
            assert httpx.get(f"{till.url}/admin/self", headers=header, trust_env=False).status_code == 401
    visit.go(path="/keys")  # loaded anew, the session goes on
    assert visit.heading() == "Keys"
    cookie = visit.cookies()["till_session"]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    session = {"cookie": f"till_session={cookie['value']}"}
    assert httpx.get(f"{till.url}/admin/self", headers=session, trust_env=False).status_code == 200
    visit.sign_out()
    visit.see(text="You are signed out.")
    assert httpx.get(f"{till.url}/admin/self", headers=session, trust_env=False).status_code == 401, "over on the server as well"
    visit.go(path="/keys")
    assert visit.heading() == "till"
    assert visit.readable()["local"] == {}


def test_session_end(till: Till, visiting: Visiting) -> None:
    token = made(till, "/admin/tokens", {"name": "for a while", "role": "admin"})
    visit = visiting(till, token=token["adminToken"], path="/audit?action=token.create")
    visit.expect("status of 401")
    visit.connection(is_="Live")
    assert till.admin("DELETE", f"/admin/tokens/{token['token']['id']}").status_code == 200
    # Nobody pressed anything: the page hears that its session is over.
    assert visit.signed_out() == "Your session has ended. Sign in to go on where you were."
    visit.enter(token=ADMIN_KEY)
    assert visit.place() == "/dashboard/audit?action=token.create"
    # And a cookie that is gone shows with the next thing that is done.
    visit.forget_cookies()
    visit.filter(label="Action", value="")
    assert visit.signed_out() == "Your session has ended. Sign in to go on where you were."


def test_server_restart(till: Till, visiting: Visiting) -> None:
    key = till.mint(name="before and after")
    visit = visiting(till)
    visit.allow(GONE)
    visit.connection(is_="Live")
    assert visit.stat(label="Calls today") == "0"
    visit.mark()
    till.listen = till.url.removeprefix("http://")
    till.stop()
    visit.connection(is_="Not connected")
    till.start()
    # Most likely before the page is back: it has to ask for what happened meanwhile.
    assert till.call(key).status_code == 200
    visit.connection(is_="Live")
    assert visit.stat_becomes(label="Calls today", value="1") == "1"
    assert visit.is_marked(), "the page was not loaded anew, and nobody had to sign in again"


# Keys.


def test_a_name_that_one_part_of_a_page_knows_is_known_to_all(till: Till, visiting: Visiting) -> None:
    key = till.mint(name="used")
    till.call(key)
    visit = visiting(till, path="/usage")
    visit.hold_back(asking="top=1000")
    visit.press(name="Key", within="section[aria-label='Over time']")
    visit.see(text="used", within="figure.chart")
    # The rows of the table come when the chart has long asked what the key is called.
    visit.let_go()
    visit.see(text="used", within=".table-body")
    assert [request for request in visit.asked() if "/admin/keys/" in request] == [f"GET /admin/keys/{key.id}"], "asked for once"


def test_more_rows_are_loaded_also_when_they_were_wanted_during_a_change(till: Till, visiting: Visiting) -> None:
    for number in range(150):
        till.mint(name=f"key {number}")
    table = "[role=table][aria-label=Keys]"
    visit = visiting(till, path="/keys")
    visit.connection(is_="Live")
    visit.hold_back(asking="/admin/keys?")
    visit.asked()
    till.mint(name="a change")
    until(lambda: "GET /admin/keys" in visit.asked(), "what is in view to be loaded again")
    visit.scroll_to_end(of=table)
    visit.let_go()
    assert visit.wheel_through(of=table)["rows"] == 151


def test_mint_use_exhaust_edit(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    watcher = visiting(till)
    watcher.connection(is_="Live")
    assert [watcher.stat(label=label) for label in ("Spend today", "Calls today", "Tokens today", "Denials today", "Live keys")] == [
        "$0.00", "0", "0", "0", "0"]
    watcher.mark()

    visit = visiting(till)
    shown = visit.mint(name="two calls", realKey=UPSTREAM_KEY, calls="2", money="1", days="1")
    token = shown["token"]
    assert shown["copied"] == token and token.startswith("till_sk_")
    for kind, text in shown["snippets"].items():
        assert token in text and till.url in text, kind
    assert UPSTREAM_KEY not in json.dumps(shown)
    assert watcher.stat_becomes(label="Live keys", value="1")

    # The key works, with the real key behind it; whoever looks on sees it without doing anything.
    assert till.call(token).status_code == 200
    assert upstream.last().header("authorization") == f"Bearer {UPSTREAM_KEY}"
    assert watcher.stat_becomes(label="Calls today", value="1")
    assert watcher.stat_becomes(label="Tokens today", value="16")
    spent = watcher.stat_becomes(label="Spend today", **{"not": "$0.00"})
    assert spent.lstrip("<").startswith("$0.0")
    watcher.see(text="two calls", within="main")

    # Its page counts along until it is used up.
    visit.link(name="Go to its page")
    visit.key_is(status="active")
    visit.meter(says="1 of 2")
    visit.mark()
    assert till.call(token).status_code == 200
    visit.key_is(status="exhausted")
    visit.meter(says="2 of 2")
    assert till.call(token).status_code == 403
    visit.see(text="activations_exhausted", within="section[aria-label='Why calls were denied']")
    visit.counted(of="section[aria-label='Recent calls'] .table-body .table-row", count=3)
    assert watcher.stat_becomes(label="Denials today", value="1")
    assert watcher.stat_becomes(label="Live keys", value="0")

    # More of it, and it goes on.
    visit.edit(fields={"Calls": "3", "Name": "three calls"})
    visit.key_is(status="active")
    visit.see(text="three calls", within="h1")
    assert till.call(token).status_code == 200
    visit.meter(says="3 of 3")
    assert till.call(token).status_code == 403
    assert upstream.count == 3
    assert visit.is_marked() and watcher.is_marked(), "nothing was loaded anew"


def test_explain_and_kill(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    key = till.mint(name="narrow", scope={"models": ["gpt-4o-mini"]})
    visit = visiting(till, path=f"/keys/{key.id}")
    for model, says in (("gpt-4o-mini", "It would pass."), ("o3", "It would be refused.")):
        visit.fill(label="Model", value=model, within="section[aria-label='Would this call pass?']")
        visit.press(name="Explain")
        visit.see(text=says)
    assert upstream.count == 0
    visit.press(name="Kill now")  # asks nothing
    visit.key_is(status="paused")
    assert till.call(key).status_code == 403
    visit.press(name="Resume")
    visit.key_is(status="active")
    assert till.call(key).status_code == 200


def test_revoke_cuts_an_open_stream(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    with open_stream(till, upstream, b"data: second\n\n") as stream:
        visit = visiting(till, path=f"/keys/{stream.key.id}")
        visit.key_is(status="active")
        said = visit.question(name="Revoke")
        assert "streams are cut at once" in said and "never comes back" in said
        assert till.key(stream.key.id)["status"] == "active", "nothing happens before the answer"
        visit.answer(name="Revoke the key")
        visit.key_is(status="revoked")
        rest = b""
        # It ends although the upstream has not: that one waits for the gate, which stays shut.
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
            for part in stream.parts:
                rest += part
        assert b"second" not in rest
        assert not stream.gate.is_set()
        stream.gate.set()
    assert till.call(stream.key).status_code == 403
    assert not {"Edit", "Pause", "Revoke"} & set(visit.offered())


def test_bulk_revoke(till: Till, visiting: Visiting) -> None:
    batch = [till.mint(name=f"batch {number}") for number in range(21)]
    kept = [till.mint(name="kept"), till.mint("anthropic", name="kept as well")]
    visit = visiting(till, path="/keys")
    visit.select_all(search="batch", count=21)
    said = visit.question(name="Revoke", within=".bulk")
    assert "Revoke 21 keys?" in said and "and 16 more" in said
    visit.answer(name="Revoke 21 keys", typed="revoke")
    visit.see(text="21 keys revoked.")
    assert {till.key(key.id)["status"] for key in batch} == {"revoked"}
    assert {till.key(key.id)["status"] for key in kept} == {"active"}
    assert till.call(batch[0]).status_code == 403
    # And by what they have in common, which the server counts.
    visit.go(path="/keys?provider=anthropic")
    said = visit.question(name="Revoke all that match", within=".bulk")
    assert "Revoke all 1 key" in said and "provider: anthropic" in said
    visit.answer(name="Revoke 1 key", typed="revoke")
    visit.see(text="1 key revoked.")
    assert [till.key(key.id)["status"] for key in kept] == ["active", "revoked"]


# The audit log.


def test_audit(till: Till, visiting: Visiting) -> None:
    key = till.mint(name="first name")
    till.admin("PATCH", f"/admin/keys/{key.id}", {"name": "second name", "max_activations": 70})
    visit = visiting(till, path="/audit")
    visit.filter(label="Action", value="key.update")
    visit.counted(of=".table-body .table-row", count=1)
    visit.link(name="key.update", within=".table-body")
    changed = visit.text(of="section[aria-label='What changed']")
    assert "50" in changed and "70" in changed and "first name" in changed and "second name" in changed
    visit.see(text=key.id)

    visit.go(path="/audit")
    sound = visit.verify()
    assert sound["verdict"] == "The log is sound, as far as this shows.", sound
    assert any(line.startswith("Verified") for line in sound["statements"])
    # An entry more, and the head of before is still in the log.
    till.revoke(key.id)
    again = visit.verify(head=sound["head"])
    assert again["verdict"] == sound["verdict"] and again["head"] != sound["head"]
    seq, _, digest = sound["head"].partition(":")
    other = visit.verify(head=f"{seq}:{digest[::-1]}")
    assert other["verdict"] == "The log is not as it was written."

    # Somebody writes in the database what never happened.
    visit.allow(GONE)
    till.stop()
    with sqlite3.connect(till.data / "till.db") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'audit%'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        wrote = connection.execute("UPDATE audit SET target = 'key_00000000000000000000' WHERE target = ? AND action = 'key.update'", [key.id])
        assert wrote.rowcount == 1
    till.start()
    later = visiting(till, path="/audit")
    forged = later.verify()
    assert forged["verdict"] == "The log is not as it was written.", forged


# Roles.

CHANGES = {"Create a key", "Edit", "Pause", "Kill now", "Revoke", "Stop everything", "Resume"}


@pytest.mark.parametrize("role", ("viewer", "minter", "auditor"))
def test_roles(role: str, till: Till, visiting: Visiting) -> None:
    login = member(till, role)
    of_others = till.mint(name="made by the owner")
    visit = visiting(till, login=login)
    assert visit.pages() == {"viewer": ["Overview", "Keys", "Usage", "Admin"], "minter": ["Overview", "Keys", "Usage", "Admin"],
                             "auditor": ["Overview", "Keys", "Usage", "Audit", "Admin"]}[role]
    may_make = role == "minter"
    assert CHANGES & set(visit.offered()) == ({"Create a key"} if may_make else set())

    visit.go(path="/keys")
    assert CHANGES & set(visit.offered()) == ({"Create a key"} if may_make else set())
    assert "Select made by the owner" not in visit.offered()
    visit.go(path=f"/keys/{of_others.id}")
    visit.key_is(status="active")
    assert not CHANGES & set(visit.offered())

    visit.go(path="/keys/new")
    assert visit.heading() == ("Create a key" if may_make else "Not for your role")
    visit.go(path="/audit")
    assert visit.heading() == ("Audit log" if role == "auditor" else "Not for your role")
    if may_make:
        shown = visit.mint(name="of my own", realKey=UPSTREAM_KEY, calls="5")
        visit.link(name="Go to its page")
        visit.key_is(status="active")
        assert {"Edit", "Pause", "Kill now", "Revoke"} <= set(visit.offered())
        assert till.call(shown["token"]).status_code == 200
        visit.go(path="/keys")
        assert "Select of my own" in visit.offered() and "Select made by the owner" not in visit.offered()

    visit.go(path="/admin")
    sections = visit.sections()
    shown = {"projects", "credentials", "prices", "kill-switch", "instance", "account"}
    shown |= {"viewer": {"holds"}, "minter": set(), "auditor": {"holds", "members", "tokens", "master-keys"}}[role]
    assert len(sections) == len(shown), sections
    for section in SECTIONS:
        visit.go(path=f"/admin/{section}")
        if section not in shown:
            visit.see(text=f"A role of {role} does not see this.")
            continue
        offered = set(visit.offered())
        assert not [name for name in offered if name.endswith("…") or name.startswith(("Make", "Add", "Create", "Store", "Forgive", "Retire"))], (section, offered)
    # The page asked for nothing that this role may not: a 403 would be an error on the console, and fail this test.


# What it must never do.

SECTIONS = ("projects", "members", "tokens", "credentials", "prices", "master-keys", "kill-switch", "holds", "instance", "account")


class Furnished(NamedTuple):
    till: Till
    key: str
    """The id of a key that was used."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """An instance with something of everything."""
    upstream = ScriptedUpstream()
    till = Till(tmp_path_factory.mktemp("furnished"), {name: upstream.url for name in ("openai", "anthropic", "google")}).start()
    yield Furnished(till, furnish(till))
    till.stop()
    upstream.close()


def furnish(till: Till) -> str:
    made(till, "/admin/projects", {"id": "search-team", "name": "Search team", "policy": {"ceilings": {"day": {"max_spend_usd": "5"}}, "models": ["gpt-*"]}})
    member(till, "viewer")
    made(till, "/admin/tokens", {"name": "ci", "role": "minter", "project": "search-team"})
    made(till, "/admin/credentials", {"name": "openai-prod", "provider": "openai", "upstream_key": UPSTREAM_KEY})
    for number in range(4):
        till.mint(name=f"key {number}", project="search-team", max_spend_usd="1", ttl_seconds=86_400, metadata={"team": "search"})
    used = till.mint(name="used", max_activations=3, max_spend_usd="0.5", max_tokens=100_000)
    for _ in range(4):
        till.call(used)
    till.mint(name="paused")
    keys = {key["metadata"]["name"]: key["id"] for key in till.admin("GET", "/admin/keys").json()["keys"]}
    assert till.admin("PATCH", f"/admin/keys/{keys['paused']}", {"paused": True, "paused_reason": "a holiday"}).status_code == 200
    till.revoke(keys["key 0"])
    return keys["used"]


def pages_of(furnished: Furnished) -> list[str]:
    return ["/", "/keys", "/keys/new", f"/keys/{furnished.key}", "/usage", "/usage?by=key&show=calls", "/audit", "/audit/1",
            *(f"/admin/{section}" for section in SECTIONS), "/admin/projects/search-team", "/admin/tokens/owner", "/admin/credentials/openai-prod", "/nowhere"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_is_accessible(scheme: str, furnished: Furnished, visiting: Visiting) -> None:
    visit = visiting(furnished.till, token=None, scheme=scheme)
    visit.go(path="/")
    found = {"sign in": visit.axe()}
    visit.enter(token=ADMIN_KEY)
    for path in pages_of(furnished):
        visit.go(path=path)
        if path in ("/", "/usage", f"/keys/{furnished.key}"):
            visit.see(text="In all", within="figure.chart")
        found[path] = visit.axe()
    # What opens on top of pages.
    visit.go(path=f"/keys/{furnished.key}")
    visit.press(name="Edit")
    found["edit"] = visit.axe()
    visit.keyboard(key="Escape")
    visit.question(name="Revoke")
    found["question"] = visit.axe()
    visit.keyboard(key="Escape")
    visit.press(name="Explain")
    visit.see(text="It would")
    found["explained"] = visit.axe()
    for path, button in (("projects", "Make a project"), ("members", "Add a member"), ("tokens", "Create a token"), ("credentials", "Store a credential")):
        visit.go(path=f"/admin/{path}")
        visit.press(name=button)
        if path != "projects":
            visit.press_summary(text="Rules for the keys")
        found[button] = visit.axe()
    visit.go(path="/admin/prices")
    visit.press_summary(text="Add or change a price")
    found["a price"] = visit.axe()
    visit.go(path="/audit")
    visit.verify()
    found["verified"] = visit.axe()
    visit.press(name="Find a token")
    visit.fill(label="The whole token", value=ADMIN_KEY)
    visit.press(name="Find it")
    visit.see(text="It is owner")
    found["a token"] = visit.axe()
    visit.mint(name=f"shown once in {scheme}", realKey=UPSTREAM_KEY, calls="5")
    found["new key"] = visit.axe()
    assert {page: violations for page, violations in found.items() if violations} == {}


def test_every_page_fits_a_phone(furnished: Furnished, visiting: Visiting) -> None:
    visit = visiting(furnished.till, **PHONE)
    too_wide = {}
    for path in pages_of(furnished):
        visit.go(path=path)
        if (over := visit.overflow()) > 0:
            too_wide[path] = over
    assert too_wide == {}
    visit.go(path="/")
    assert "Menu" in visit.texts(of="header button")
    visit.press(name="Menu")
    visit.link(name="Keys", within="nav")
    assert visit.heading() == "Keys"


LONG = "x" * 10_000
HOSTILE = (
    "<img src=x onerror='pwned=1'><b class=pwned>bold</b>",
    "</title><script>pwned=1</script>",
    "\u202egnp.exe\u202c \u2066turned",
    "javascript:pwned=1",
    "{{pwned=1}} ${pwned=1} %00 &lt;b&gt;",
)


def test_hostile_texts(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    def echo(request) -> object:
        value = {**provider_answers._OPENAI, "model": json.loads(request.body)["model"]}
        return provider_answers.as_json(value)

    upstream.on("/v1/chat/completions", echo)
    ids = []
    for number, text in enumerate((*HOSTILE, LONG)):
        key = till.mint(name=text[:256], metadata={"note": text, text[:500]: [text[:3000], {"deep": text[:1000]}]} if number < 5 else {"note": text})
        ids.append(key.id)
        body = {"model": text, "messages": [{"role": "user", "content": "hi"}]}
        till.call(key, body=body)
        till.call(key, body=body, headers={"user-agent": text.encode("ascii", "ignore").decode()[:200]})
        till.admin("PATCH", f"/admin/keys/{key.id}", {"name": f"{text}"[:255] + "!"})
        made(till, "/admin/tokens", {"name": text[:64] if len(text) < 64 else text[:60], "role": "viewer"}) if number != 2 else None
        project = till.admin("POST", "/admin/projects", {"id": f"p-{number}", "name": text[:256]})
        assert project.status_code in (201, 400), project.text
    paused = till.mint(name="paused")
    assert till.admin("PATCH", f"/admin/keys/{paused.id}", {"paused": True, "paused_reason": HOSTILE[0]}).status_code == 200
    ids.append(paused.id)
    assert till.admin("PUT", "/admin/kill-switch", {"on": True, "reason": HOSTILE[0] + HOSTILE[2]}).status_code == 200
    models = {record["model"] for record in till.admin("GET", "/admin/usage?limit=100").json()["records"]}
    assert any("<img" in (model or "") for model in models), models
    last = till.admin("GET", "/admin/audit?order=desc&limit=1").json()["entries"][0]["seq"]

    for size in ({"width": 1280, "height": 900}, PHONE):
        visit = visiting(till, **size)
        lists = ("/?by=model", "/?by=key", "/keys", "/usage?by=model", "/usage?by=key", "/usage?by=project", "/audit", "/admin/projects", "/admin/tokens")
        single = (f"/keys/{ids[0]}", f"/keys/{ids[5]}", f"/audit/{last}", "/admin/projects/p-0")
        more = (*(f"/keys/{key}" for key in ids[1:5] + ids[6:]), *(f"/audit/{last - number}" for number in (1, 2, 3, 4)), "/admin/kill-switch")
        for path in (*lists, *single, *(more if size != PHONE else ())):
            visit.go(path=path)
            harm = visit.harm()
            tallest = harm.pop("tallest")
            assert harm == {"scripts": [], "strange": 0, "pwned": None, "turned": [], "title": False, "overflow": 0}, path
            assert tallest < 400, (path, tallest)
    # It is shown, as the text that it is.
    visit = visiting(till, path="/keys")
    visit.see(text=HOSTILE[0][:40], within=".table-body")
    visit.go(path=f"/keys/{ids[0]}")
    visit.see(text=HOSTILE[0][:40], within="h1")
    visit.see(text=HOSTILE[0][:40], within="section[aria-label='Recent calls']")
    visit.see(text=HOSTILE[0][:40], within="pre.metadata")
    said = visit.question(name="Revoke")
    assert HOSTILE[0][:40] in said
    assert visit.harm()["pwned"] is None


def test_the_watches_see_what_they_are_for(till: Till, browser: Browser) -> None:
    """A visit that does everything that no visit may do."""
    visit = Visit(browser, till.url)
    visit.sign_in(token=ADMIN_KEY)
    assert visit.axe() == [] and visit.overflow() == 0
    other = till.url.replace("127.0.0.1", "127.0.0.2") + "/"
    visit.misbehave(elsewhere=other)
    assert any("image-alt" in line for line in visit.axe())
    assert visit.overflow() > 0
    assert visit.harm()["strange"] == 1
    report = until(lambda: (found := visit.report()) and any("thrown on purpose" in line for line in found["console"]) and found, "the error")
    assert any("an error on purpose" in line for line in report["console"])
    assert {line.split()[0] for line in report["policy"]} >= {"style-src-attr", "connect-src", "img-src"}, report["policy"]
    assert report["dialogs"] == ["alert: said on purpose"]
    with pytest.raises(AssertionError):
        visit.close_clean()
