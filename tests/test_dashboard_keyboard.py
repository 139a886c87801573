"""The dashboard by the keyboard alone. Each key is followed by a look at where the focus is: it has to be seen, whole and inside
of the dialog that is open (`dashboard/keyboard.mjs`), and must never be lost when something that had it goes away."""

from __future__ import annotations

import csv
import json

import pytest

from harness.browser import Visit
from harness.dashboard import PASSWORD, Visiting, made, member
from harness.open_stream import open_stream
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import UPSTREAM_KEY, Till

SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


def enter(visit: Visit, login: str) -> None:
    """Signs in on the page that waits for it; the first field has the focus already."""
    visit.focus_is(label="Login")
    visit.type(text=login)
    visit.write(label="Password", text=PASSWORD)
    visit.keys(press=["Enter"])


def page_of(visit: Visit, entry: str) -> None:
    """By the navigation; the heading of the page gets the focus."""
    visit.use(role="link", name=entry, within="nav[aria-label=Pages]")
    visit.focus_is(role="heading", name="Audit log" if entry == "Audit" else entry)


@pytest.fixture
def visit(till: Till, visiting: Visiting) -> Visit:
    """An owner's visit that used no mouse so far."""
    login = member(till, "owner")
    made_visit = visiting(till, token=None)
    made_visit.go(path="/")
    enter(made_visit, login)
    made_visit.focus_is(role="heading", name="Overview")
    return made_visit


@pytest.mark.parametrize("size", SIZES)
def test_coming_and_going(size: str, till: Till, visiting: Visiting) -> None:
    login = member(till, "owner")
    visit = visiting(till, token=None, **SIZES[size])
    visit.go(path="/usage")
    # The other way of signing in, and back.
    visit.focus_is(label="Login")
    visit.tab_to(role="button", name="Admin token", back=True)
    visit.keys(press=["Space"])
    visit.tab_to(label="Admin token")
    visit.tab_to(role="button", name="Password", back=True)
    visit.keys(press=["Space"])
    visit.tab_to(label="Login")
    enter(visit, login)
    visit.focus_is(role="heading", name="Usage")
    # Past the navigation.
    visit.go(path="/keys")
    visit.tab_to(role="link", name="Skip to the content")
    visit.keys(press=["Enter"])
    visit.focus_is(role="main")
    for entry in ("Overview", "Keys", "Usage", "Audit", "Admin"):
        if size == "phone":
            visit.use(role="button", name="Menu", key="Space")
        page_of(visit, entry)
    if size == "phone":
        visit.use(role="button", name="Menu", key="Space")
        # A link to the page that is shown closes the menu that it is in.
        visit.use(role="link", name="Admin", within="nav[aria-label=Pages]")
        visit.focus()
        visit.use(role="button", name="Menu", key="Space")
    visit.choose(role="combobox", name="Colours", text="Dark")
    visit.use(role="button", name="Sign out", key="Space")
    visit.see(text="You are signed out.")
    visit.focus_is(label="Login")


def test_create_a_key(till: Till, upstream: ScriptedUpstream, visit: Visit) -> None:
    page_of(visit, "Keys")
    visit.use(role="link", name="Create a key", within="main")
    visit.focus_is(role="heading", name="Create a key")
    visit.use(role="button", name="A key that I paste", key="Space")
    visit.choose(label="Provider", text="OpenAI")
    visit.write(label="Real key", text=UPSTREAM_KEY)
    visit.write(label="Name", text="by keyboard")
    visit.use(role="button", name="A demo 20 calls, one day", key="Space")
    visit.write(label="Calls", text="0")
    visit.use(role="button", name="Create the key", key="Space")
    visit.see(text="Some fields need another look.")
    assert "Create the key" in visit.focus(), "it stays where it is when something is wrong"
    visit.tab_to(label="Calls", back=True)
    visit.write(label="Calls", text="2")
    visit.use(role="button", name="+ chat", key="Space")
    visit.use(role="button", name="Create the key")
    visit.focus_is(role="heading", name="The key is made")
    visit.use(role="button", name="Copy the key", key="Space")
    token = visit.clipboard()
    assert token.startswith("till_sk_") and till.call(token).status_code == 200
    for kind in ("Python", "TypeScript", "curl", "Environment"):
        visit.use(role="button", name=kind, key="Space", within="section[aria-label='How to use it']")
        visit.use(role="button", name=f"Copy the text for {kind}", key="Enter")
        assert token in visit.clipboard() and till.url in visit.clipboard()
    visit.use(role="link", name="Go to its page")
    visit.key_is(status="active")
    visit.meter(says="1 of 2")
    assert upstream.count == 1


def test_key_page(till: Till, upstream: ScriptedUpstream, visit: Visit) -> None:
    key = till.mint(name="narrow", scope={"models": ["gpt-4o-mini"]})
    till.call(key)
    page_of(visit, "Keys")
    visit.use(role="link", name="narrow")
    visit.key_is(status="active")
    # Edit: the first field has the focus, Tab stays inside, Escape closes and gives the focus back.
    visit.use(role="button", name="Edit", key="Space")
    visit.focus_is(label="Name", within="dialog")
    inside = visit.round()
    assert {"button Close", "button Cancel", "button Save"} <= set(inside), inside
    assert visit.round(back=True)
    visit.keys(press=["Escape"])
    visit.dialog_is(open=False)
    visit.focus_is(role="button", name="Edit")
    visit.keys(press=["Enter"])
    visit.write(label="Calls", text="7")
    visit.use(role="button", name="Save")
    visit.dialog_is(open=False)
    visit.focus_is(role="button", name="Edit")
    visit.meter(says="1 of 7")
    # Would it pass?
    visit.write(label="Model", text="o3", within="section[aria-label='Would this call pass?']")
    visit.keys(press=["Enter"])
    visit.see(text="It would be refused.")
    visit.write(label="Model", text="gpt-4o-mini", within="section[aria-label='Would this call pass?']")
    visit.use(role="button", name="Explain", key="Space")
    visit.see(text="It would pass.")
    assert visit.focus() == "button Explain"
    # Kill now asks nothing; what had the focus goes, and what takes its place has it.
    visit.tab_to(role="button", name="Kill now", back=True)
    visit.keys(press=["Space"])
    visit.key_is(status="paused")
    visit.focus_is(role="button", name="Resume")
    visit.keys(press=["Space"])
    visit.key_is(status="active")
    visit.focus()
    # Pause asks: with a reason, sent with Enter.
    visit.use(role="button", name="Pause", key="Space")
    visit.focus_is(label="Why it is paused")
    visit.type(text="a holiday")
    visit.keys(press=["Enter"])
    visit.key_is(status="paused")
    visit.see(text="a holiday")
    visit.dialog_is(open=False)
    visit.focus_is(role="button", name="Resume")
    # Revoke: nothing happens with Escape, and the focus is back; then the buttons are gone, and it is at the heading.
    visit.use(role="button", name="Revoke", key="Space")
    visit.dialog_is(open=True)
    visit.round()
    visit.keys(press=["Escape"])
    visit.dialog_is(open=False)
    visit.focus_is(role="button", name="Revoke")
    assert till.key(key.id)["status"] == "paused"
    visit.keys(press=["Enter"])
    visit.use(role="button", name="Revoke the key", key="Space")
    visit.key_is(status="revoked")
    visit.dialog_is(open=False)
    visit.focus_is(role="heading", name="narrow revoked")


def test_a_live_change_takes_what_has_the_focus(till: Till, upstream: ScriptedUpstream, visit: Visit) -> None:
    """Somebody else revokes the key while its dialog is open: what opened the dialog is gone when it closes."""
    with open_stream(till, upstream, b"data: second\n\n") as stream:
        page_of(visit, "Keys")
        visit.connection(is_="Live")
        visit.use(role="link", name=till.key(stream.key.id)["metadata"].get("name") or stream.key.id)
        visit.key_is(status="active")
        visit.use(role="button", name="Revoke")
        visit.dialog_is(open=True)
        till.revoke(stream.key.id)
        visit.key_is(status="revoked")
        visit.keys(press=["Tab"])
        visit.use(role="button", name="Cancel")
        visit.dialog_is(open=False)
        assert visit.focus().startswith("h1")
        stream.gate.set()


def test_keys_table(till: Till, visit: Visit) -> None:
    for number in range(3):
        till.mint(name=f"batch {number}")
    till.mint(name="kept")
    page_of(visit, "Keys")
    visit.write(label="Search", text="batch")
    visit.counted(of=".table-body .table-row", count=3)
    visit.use(role="button", name="Last used", key="Space", within=".table-head")
    visit.see(text="Last used ↓")
    assert visit.focus().startswith("button Last used")
    visit.keys(press=["Space"])
    visit.see(text="Last used ↑")
    visit.use(label="Select batch 0", key="Space")
    visit.use(label="Select batch 2", key="Space")
    visit.tab_to(role="button", name="Pause", within=".bulk", back=True)
    visit.keys(press=["Space"])
    visit.focus_is(label="Why they are paused")
    visit.round()
    visit.type(text="by keyboard")
    visit.keys(press=["Enter"])
    visit.dialog_is(open=False)
    visit.see(text="2 keys paused.")
    visit.see(text="None selected")
    visit.focus()
    assert sorted(key["status"] for key in till.admin("GET", "/admin/keys?search=batch").json()["keys"]) == ["active", "paused", "paused"]
    # All of them.
    visit.tab_to(label="Select all that are shown", back=True)
    visit.keys(press=["Space"])
    visit.see(text="3 selected")
    visit.tab_to(role="button", name="Revoke", within=".bulk", back=True)
    visit.keys(press=["Enter"])
    visit.use(role="button", name="Revoke 3 keys", key="Space")
    visit.dialog_is(open=False)
    visit.see(text="3 keys revoked.")
    visit.see(text="None selected")
    visit.focus()
    # A filter that is put back by a button which goes with it.
    visit.choose(label="State", text="exhausted")
    visit.see(text="No key is like that.")
    visit.use(role="button", name="Show all keys", key="Space")
    visit.counted(of=".table-body .table-row", count=4)
    visit.focus()


def test_a_long_table(till: Till, visit: Visit) -> None:
    """Rows that are not in view are not in the page; Tab and arrows still get to all of them."""
    for number in range(40):
        till.mint(name=f"key {number:02}")
    page_of(visit, "Keys")
    visit.tab_to(role="link", name="key 39")
    visit.tab_to(role="link", name="key 05", far=True)
    visit.tab_to(role="link", name="key 38", back=True, far=True)
    # The table itself scrolls by arrows; the row that had the focus goes out of the page, and the table has it.
    visit.tab_to(role="table", name="Keys", back=True)
    visit.keys(press=["End"])
    visit.see(text="key 00")
    visit.focus_is(role="table", name="Keys")


def test_usage(till: Till, visit: Visit) -> None:
    key = till.mint(name="used")
    till.call(key)
    page_of(visit, "Usage")
    visit.use(role="button", name="7 days", key="Space")
    assert "range=7d" in visit.place()
    visit.use(role="button", name="Custom", key="Space")
    visit.tab_to(label="From (UTC day)")
    # Day and month, in whichever order this browser has them.
    visit.type(text="03032026")
    visit.keys(press=["Tab"])
    assert "from=2026-03-03" in visit.place(), visit.place()
    visit.use(role="button", name="30 days", key="Enter")
    visit.use(role="button", name="Key", key="Space", within="section[aria-label='Over time']")
    visit.use(role="button", name="Calls", key="Space", within="section[aria-label='Over time']")
    visit.see(text="In all", within="figure.chart")
    visit.use(role="button", name="Spend", key="Enter", within=".table-head")
    visit.see(text="Spend ↑")
    # A row leads to what is behind it, and is gone then.
    visit.use(role="link", name="used", within=".table-body")
    visit.see(text="gpt-4o-mini", within=".table-body")
    assert "key=key_" in visit.place() and "by=model" in visit.place()
    visit.focus()
    visit.tab_to(role="button", name="Clear filters", back=True)
    visit.keys(press=["Space"])
    visit.focus()
    visit.tab_to(role="button", name="Export CSV", back=True)
    visit.keys(press=["Enter"])
    visit.tab_to(role="button", name="Single calls")
    file = visit.download(key="Enter")
    rows = list(csv.DictReader(file["text"].splitlines()))
    assert [row["key"] for row in rows] == [key.id] and file["name"].startswith("till-calls-")
    assert "Single calls" in visit.focus()
    visit.keys(press=["Escape"])
    visit.dialog_is(open=False)
    visit.focus_is(role="button", name="Export CSV")


def test_audit(till: Till, visit: Visit) -> None:
    key = till.mint(name="first name")
    till.admin("PATCH", f"/admin/keys/{key.id}", {"name": "second name"})
    page_of(visit, "Audit")
    visit.choose(label="Action", text="Keys: changed")
    visit.counted(of=".table-body .table-row", count=1)
    # A time that is typed: while it is there half, nothing is asked for.
    visit.tab_to(label="From")
    visit.type(text="03032026")
    visit.keys(press=["Tab"])
    assert "from" not in visit.place()
    visit.type(text="0805A")
    visit.keys(press=["Tab"])
    assert "from=2026-03-03T07%3A05" in visit.place(), visit.place()
    visit.use(role="button", name="Clear filters", key="Space")
    visit.focus()
    visit.write(label="About (id)", text=key.id)
    visit.keys(press=["Enter"])
    visit.counted(of=".table-body .table-row", count=2)
    visit.use(role="link", name="key.update", within=".table-body")
    visit.see(text="second name", within="section[aria-label='What changed']")
    assert visit.focus().startswith("h1")
    visit.use(role="link", name="All entries")
    visit.focus_is(role="heading", name="Audit log")
    visit.use(role="button", name="Verify", key="Space")
    visit.use(role="button", name="Verify now", key="Space")
    visit.see(text="The log is sound, as far as this shows.")
    assert visit.focus() == "button Verify now"
    # A token that turned up.
    visit.tab_to(role="button", name="Find a token", back=True)
    visit.keys(press=["Space"])
    visit.write(label="The whole token", text=key.token)
    visit.keys(press=["Enter"])
    visit.see(text="The log has 2 entries about it, oldest first.")
    visit.focus()


def test_administration(till: Till, upstream: ScriptedUpstream, visit: Visit) -> None:
    page_of(visit, "Admin")

    def section(name: str) -> None:
        visit.use(role="link", name=name, within="nav.sections")
        visit.focus_is(role="heading", name="Admin")

    section("Projects")
    visit.use(role="button", name="Make a project", key="Space")
    visit.focus_is(label="Id", within="dialog")
    visit.round()
    visit.type(text="search-team")
    visit.keys(press=["Enter"])
    visit.see(text="All projects")
    visit.focus_is(role="heading", name="Admin")
    visit.use(role="button", name="Change rules", key="Space")
    visit.write(label="Live keys at a time", text="3")
    visit.keys(press=["Enter"])
    visit.dialog_is(open=False)
    visit.see(text="at most 3 keys")
    visit.focus_is(role="button", name="Change rules")
    visit.tab_to(role="button", name="End …", back=True)
    visit.keys(press=["Enter"])
    visit.focus_is(label="Type search-team to go on")
    visit.type(text="search-team")
    visit.keys(press=["Enter"])
    visit.see(text="This project ended")
    visit.dialog_is(open=False)
    visit.focus()

    section("Members")
    visit.use(role="button", name="Add a member", key="Space")
    visit.type(text="ada@example.com")
    visit.use(role="button", name="Make one at random", key="Space")
    visit.use(role="button", name="Copy the password", key="Space")
    assert len(visit.clipboard()) == 29
    visit.use(role="button", name="Add", key="Enter")
    visit.see(text="All members")
    visit.focus_is(role="heading", name="Admin")

    section("Admin tokens")
    visit.use(role="button", name="Create a token", key="Space")
    visit.type(text="ci")
    visit.keys(press=["Enter"])
    visit.see(text="It is shown this once.")
    visit.focus()
    visit.use(role="button", name="Copy the token", key="Space")
    assert visit.clipboard().startswith("till_admin_")
    # However often: a browser lets a page refuse the first Escape only.
    for _ in range(3):
        visit.hammer(key="Escape", times=3)
        visit.see(text="Is it stored?", within="dialog[open]")
        visit.focus()
    visit.use(role="button", name="I have stored it", key="Space")
    visit.see(text="All admin tokens")
    visit.focus_is(role="heading", name="Admin")

    section("Upstream credentials")
    visit.use(role="button", name="Store a credential", key="Space")
    visit.type(text="openai-prod")
    visit.write(label="Real key", text=UPSTREAM_KEY)
    visit.use(role="button", name="Store", key="Space")
    visit.see(text="All upstream credentials")
    visit.focus_is(role="heading", name="Admin")

    section("Prices")
    visit.write(label="Model", text="gpt-4o-mini")
    visit.tab_to(role="table", name="Prices")
    visit.keys(press=["PageDown", "Home"])

    for name in ("Master keys", "Holds left by a crash", "Instance", "Your account"):
        section(name)

    section("Kill switch")
    visit.use(role="button", name="Stop everything …", key="Space")
    visit.focus_is(label="Why")
    visit.keys(press=["Enter"])
    visit.see(text="Everything is stopped.", within="main")
    visit.dialog_is(open=False)
    visit.focus_is(role="button", name="Let keys work again …")
    visit.keys(press=["Enter"])
    visit.use(role="button", name="Let them work", key="Space")
    visit.see(text="Keys work.")
    visit.dialog_is(open=False)
    visit.focus_is(role="button", name="Stop everything …")


def test_every_page_shows_where_the_focus_is(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    """Tab through all that there is on each page, in a window and on a phone."""
    key = till.mint(name="used")
    till.call(key)
    made(till, "/admin/credentials", {"name": "openai-prod", "provider": "openai", "upstream_key": UPSTREAM_KEY})
    sections = ("projects", "members", "tokens", "credentials", "prices", "master-keys", "kill-switch", "holds", "instance", "account")
    paths = ["/", "/keys", "/keys/new", f"/keys/{key.id}", "/usage", "/usage?by=key&range=custom&from=2026-01-01&to=2026-01-31", "/audit", "/audit/1",
             *(f"/admin/{section}" for section in sections), "/admin/tokens/owner", "/admin/credentials/openai-prod"]
    wrong = {}
    for size in SIZES.values():
        visit = visiting(till, **size)
        for path in paths:
            visit.go(path=path)
            try:
                visit.tab_through()
            except AssertionError as error:
                wrong[f"{path} at {size['width']}"] = str(error).split("\n-- the page")[0]
    assert wrong == {}, json.dumps(wrong, indent=1)
