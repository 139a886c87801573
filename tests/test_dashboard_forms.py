"""What the forms of the dashboard do: filled in by somebody in Chromium, compared with what the API says and with what calls
of scoped keys come to afterwards."""

from __future__ import annotations

import csv
import datetime
import json
import subprocess

import httpx

from harness import provider_answers
from harness.dashboard import PASSWORD, Visiting, made, member
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import ADMIN_KEY, BINARY, UPSTREAM_KEY, Till

OTHER_KEY = "sk-another-canary-7tY2pHs8DkLm9R"


def got(till: Till, path: str, field: str) -> dict:
    answer = till.admin("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()[field]


def self_of(till: Till, token: str) -> httpx.Response:
    return till.admin("GET", "/admin/self", key=token)


# Figures.


def test_export(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    """Each file has what the API says, to the nano-dollar; a text that a spreadsheet would run is a text."""
    formula = '=HYPERLINK("http://evil.example","x")'

    def echo(request) -> object:
        return provider_answers.as_json({**provider_answers._OPENAI, "model": json.loads(request.body)["model"]})

    upstream.on("/v1/chat/completions", echo)
    first, second = till.mint(name="first"), till.mint(name="second", max_activations=2)
    for key, model in ((first, "gpt-4o-mini"), (first, "gpt-4o"), (second, formula), (second, "gpt-4o-mini"), (second, "gpt-4o-mini")):
        till.call(key, body={"model": model, "messages": [{"role": "user", "content": "hi"}]})
    visit = visiting(till, path="/usage?by=model&range=today")
    visit.press(name="Export CSV")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    since = f"since={today}T00:00:00Z"

    def rows(button: str) -> list[dict[str, str]]:
        file = visit.save(name=button, within="dialog")
        assert file["name"].startswith("till-") and file["name"].endswith(f"{today}-to-{today}.csv"), file["name"]
        return list(csv.DictReader(file["text"].splitlines()))

    def sums(group: str) -> list[dict]:
        return got(till, f"/admin/usage/summary?group_by={group}&{since}", "sums")

    def row_of(sum_: dict, **first: object) -> dict[str, str]:
        tokens = sum_["tokens"]
        row = {**first, "calls": sum_["calls"], "input_tokens": tokens["input"], "cached_input_tokens": tokens["cacheRead"], "output_tokens": tokens["output"],
               "total_tokens": tokens["total"], "charged_tokens": sum_["chargedTokens"], "charged_usd": sum_["chargedUsd"]}
        return {name: str(value) for name, value in row.items()}

    def shown(text: str | None) -> str:
        return f"'{text}" if text == formula else text or ""

    by_model = rows("Sums by model")
    assert by_model == [row_of(one, model=shown(one["model"])) for one in sums("model")]
    assert f"'{formula}" in {row["model"] for row in by_model} and sum(int(row["calls"]) for row in by_model) == 4
    assert rows("Sums by day and model") == [row_of(one, day_utc=today, model=shown(one["model"])) for one in sums("day,model")]
    calls = rows("Single calls")
    records = got(till, f"/admin/usage?{since}", "records")
    assert len(calls) == len(records) == 5, "those that were denied, too"
    for row, record in zip(calls, records, strict=True):
        denial = record["denial"] or ""
        expected = (record["at"], record["requestId"], record["keyId"], shown(record["model"]), str(record["status"] or ""), record["outcome"], denial,
                    str(record["tokens"]["total"]), record["chargedUsd"], str(record["latencyMs"]), record["client"], str(record["streamed"]).lower())
        names = ("time_utc", "request", "key", "model", "status", "outcome", "denial", "total_tokens", "charged_usd", "latency_ms", "client", "streamed")
        assert tuple(row[name] for name in names) == expected
    # What the page is narrowed to, the file is.
    visit.go(path=f"/usage?by=model&range=today&key={first.id}")
    visit.press(name="Export CSV")
    assert {row["key"] for row in rows("Single calls")} == {first.id}
    assert rows("Sums by model") == [row_of(one, model=one["model"]) for one in got(till, f"/admin/usage/summary?group_by=model&{since}&key={first.id}", "sums")]


def test_forecast(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    """Keys that burn at a known rate. One that is younger than an hour counts as an hour old, so ten calls are ten an hour."""
    upstream.on("/v1/messages", lambda _: provider_answers.as_json({**provider_answers._ANTHROPIC, "usage": {"input_tokens": 20, "output_tokens": 30_000}}))
    calls = till.mint(name="out of calls", max_activations=40)
    for _ in range(10):
        assert till.call(calls).status_code == 200
    # 30,020 tokens an hour, and 5 times as many left.
    tokens = till.mint("anthropic", name="out of tokens", max_activations=1000, max_tokens=30_020 * 6)
    body = {"model": "claude-haiku-4-5", "max_tokens": 30_000, "messages": [{"role": "user", "content": "hi"}]}
    assert till.call(tokens, "/v1/messages", body).status_code == 200
    assert till.key(tokens.id)["usedTokens"] == 30_020
    # One that ends before it is used up, one that would last for months, one that is not used.
    short = till.mint(name="ends before", max_activations=40, ttl_seconds=7200)
    for _ in range(10):
        till.call(short)
    till.call(till.mint(name="lasts", max_activations=5000))
    till.mint(name="idle", max_activations=5)
    visit = visiting(till)
    panel = "section[aria-label='Keys about to run out']"
    visit.see(text="out of tokens", within=panel)
    rows = visit.texts(of=f"{panel} tbody tr")
    assert len(rows) == 2, rows
    # The clock goes on while the page is looked at.
    assert "out of calls" in rows[0] and ("calls in 3 h" in rows[0] or "calls in 2 h 59 min" in rows[0]), rows
    assert "out of tokens" in rows[1] and ("tokens in 5 h" in rows[1] or "tokens in 4 h" in rows[1]), rows
    assert "10 of 40 calls" in rows[0]
    expiring = visit.texts(of="section[aria-label='Keys about to expire'] tbody tr")
    assert len(expiring) == 1 and "ends before" in expiring[0] and ("in 2 h" in expiring[0] or "in 1 h 59 min" in expiring[0]), expiring
    visit.link(name="out of tokens", within=panel)
    visit.key_is(status="active")


# Administration.


def test_projects(till: Till, visiting: Visiting) -> None:
    visit = visiting(till, path="/admin/projects")
    visit.press(name="Make a project")
    visit.fill_in(fields={"Id": "search-team", "Name": "Search", "All its keys together, a day (UTC) > Calls": "two", "Models": "gpt-4o*"})
    visit.press(name="Make it", within="dialog")
    visit.see(text="A whole number from 1 on", within="dialog")
    visit.fill_in(fields={"All its keys together, a day (UTC) > Calls": "2"})
    visit.send(name="Make it")
    visit.see(text="The project search-team is made.")
    project = got(till, "/admin/projects/search-team", "project")
    assert (project["name"], project["policy"]["ceilings"]["day"]["maxActivations"], project["policy"]["models"]) == ("Search", 2, ["gpt-4o*"])
    # Its ceiling holds, and is shown as it fills.
    keys = [till.mint(name=f"key {number}", project="search-team") for number in range(2)]
    assert [till.call(keys[number % 2]).status_code for number in range(3)] == [200, 200, 403]
    visit.meter(says="2 of 2 calls today")
    visit.press(name="Change rules")
    visit.fill_in(fields={"All its keys together, a day (UTC) > Calls": "3", "Live keys at a time": "2", "Each key ends within": "7d"})
    visit.send(name="Save")
    visit.meter(says="2 of 3 calls today")
    assert till.call(keys[0]).status_code == 200
    policy = got(till, "/admin/projects/search-team", "project")["policy"]
    assert (policy["maxLiveKeys"], policy["maxKeyLifetimeSeconds"], policy["models"]) == (2, 7 * 86_400, ["gpt-4o*"])
    visit.press(name="Rename")
    visit.fill_in(fields={"Name": "Searchers"})
    visit.send(name="Save")
    visit.see(text="Searchers", within=".detail-name")
    # Somebody else changes it meanwhile: nothing is overwritten.
    visit.expect("status of 412")
    visit.press(name="Rename")
    assert till.admin("PATCH", "/admin/projects/search-team", {"name": "Elsewhere"}).status_code == 200
    visit.fill_in(fields={"Name": "Mine"})
    visit.press(name="Save", within="dialog")
    visit.see(text="Somebody else changed it meanwhile.")
    visit.keyboard(key="Escape")
    visit.see(text="Elsewhere", within=".detail-name")
    said = visit.question(name="End …")
    assert "2 live keys" in said
    visit.answer(name="End it", typed="search-team")
    visit.see(text="This project ended")
    assert {till.key(key.id)["status"] for key in keys} == {"revoked"}


def test_members(till: Till, visiting: Visiting) -> None:
    visit = visiting(till, path="/admin/members")
    visit.press(name="Add a member")
    visit.fill_in(fields={"Login": "ada@example.com", "Name": "Ada", "Role": "minter"})
    visit.press(name="Make one at random", within="dialog")
    password = visit.value(label="First password", within="dialog")
    visit.press_summary(text="Rules for the keys that they make")
    visit.fill_in(fields={"All their keys together, in all > US dollars": "$0.50", "Limits that each key needs, or lower ones > Calls": "10", "Each key ends within": "12h", "Providers": "openai"})
    visit.send(name="Add")
    visit.see(text="ada@example.com is a member.")
    ada = next(one for one in got(till, "/admin/members", "members") if one["login"] == "ada@example.com")
    assert (ada["role"], ada["name"], ada["canSignIn"]) == ("minter", "Ada", True)
    policy = ada["policy"]
    assert (policy["ceilings"]["lifetime"]["maxSpendUsd"], policy["keyLimits"]["maxActivations"], policy["maxKeyLifetimeSeconds"], policy["providers"]) == ("0.50", 10, 43_200, ["openai"])
    # She signs in with that, and the rules hold for what she makes.
    hers = visiting(till, token=None)
    hers.go(path="/keys/new")
    hers.enter(login="ada@example.com", password=password)
    hers.expect("status of 403")
    hers.press(name="A key that I paste")
    hers.fill(label="Real key", value=UPSTREAM_KEY)
    hers.fill(label="Calls", value="11")
    hers.fill(label="Money, US dollars", value="")
    hers.press(name="Create the key")
    hers.see(text="a key needs a limit of at most 10")
    hers.fill(label="Calls", value="10")
    hers.fill(label="Days until it ends", value="12h")
    hers.press(name="Create the key")
    hers.press(name="Copy the key")
    assert till.call(hers.clipboard()).status_code == 200
    # Another role counts at once; without a password she is out.
    visit.press(name="Change name or role")
    visit.fill_in(fields={"Role": "viewer"})
    visit.send(name="Save")
    assert got(till, f"/admin/members/{ada['id']}", "member")["role"] == "viewer"
    hers.go(path="/keys/new")
    assert hers.heading() == "Not for your role"
    hers.expect("status of 401")
    visit.question(name="Take password away …")
    visit.answer(name="Take it away")
    visit.see(text="not possible: no password")
    assert hers.signed_out() == "Your session has ended. Sign in to go on where you were."
    hers.try_to_enter(login="ada@example.com", password=password)
    hers.see(text="login_failed")
    visit.press(name="Set a password")
    visit.fill_in(fields={"New password": PASSWORD})
    visit.send(name="Set it")
    hers.enter(login="ada@example.com", password=PASSWORD)
    visit.question(name="Remove …")
    visit.answer(name="Remove")
    visit.see(text="This member was removed")
    assert hers.signed_out() == "Your session has ended. Sign in to go on where you were."


def test_tokens(till: Till, visiting: Visiting) -> None:
    made(till, "/admin/projects", {"id": "search-team"})
    visit = visiting(till, path="/admin/tokens")
    visit.press(name="Create a token")
    visit.fill_in(fields={"Name": "ci", "Role": "minter", "Project": "search-team", "Ends in": "On a date …"})
    visit.press(name="Create", within="dialog")
    visit.see(text="A date and a time that are still to come", within="dialog")
    visit.fill_in(fields={"Ends": "2099-01-31T09:00", "Networks": "127.0.0.0/8"})
    visit.press_summary(text="Rules for the keys that are made with it")
    visit.fill_in(fields={"Live keys at a time": "1", "Models": "gpt-4o-mini"})
    visit.press(name="Create", within="dialog")
    visit.see(text="It is shown this once.")
    visit.press(name="Copy the token")
    text = visit.clipboard()
    visit.press(name="I have stored it")
    visit.see(text="All admin tokens")
    token = next(one for one in got(till, "/admin/tokens", "tokens") if one["name"] == "ci")
    # 9 o'clock in Berlin, in winter.
    assert (token["role"], token["project"], token["expiresAt"], token["networks"]) == ("minter", "search-team", "2099-01-31T08:00:00.000Z", ["127.0.0.0/8"])
    assert (token["policy"]["maxLiveKeys"], token["policy"]["models"]) == (1, ["gpt-4o-mini"])
    assert visit.fact(term="Ends") == "2099-01-31 09:00"
    assert self_of(till, text).json()["self"]["role"] == "minter"
    body = {"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 1}
    assert [till.admin("POST", "/admin/keys", body, key=text).status_code for _ in range(2)] == [201, 403]
    # Another end, and networks that it is not in.
    visit.press(name="Change")
    assert visit.value(label="Ends", within="dialog") == "2099-01-31T09:00"
    visit.fill_in(fields={"Ends": "", "Networks": "10.0.0.0/8"})
    visit.send(name="Save")
    visit.see(text="10.0.0.0/8", within="main")
    assert visit.fact(term="Ends") == "never"
    assert self_of(till, text).status_code == 403
    visit.press(name="Change")
    visit.fill_in(fields={"Networks": ""})
    visit.send(name="Save")
    visit.see(text="from everywhere", within="main")
    assert self_of(till, text).status_code == 200
    # A new text, at once.
    visit.press(name="Rotate …")
    visit.fill_in(fields={"The old text": "Stops at once"})
    visit.press(name="Make a new text", within="dialog")
    visit.see(text="It is shown this once.")
    visit.press(name="Copy the token")
    new = visit.clipboard()
    visit.press(name="I have stored it")
    assert new != text and self_of(till, text).status_code == 401 and self_of(till, new).status_code == 200
    visit.question(name="Revoke …")
    visit.answer(name="Revoke")
    visit.see(text="This token was revoked")
    assert self_of(till, new).status_code == 401


def test_credentials(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    made(till, "/admin/projects", {"id": "search-team"})
    visit = visiting(till, path="/admin/credentials")
    visit.press(name="Store a credential")
    visit.fill_in(fields={"Name": "openai-prod", "Provider": "OpenAI", "Real key": UPSTREAM_KEY, "For keys of": "default\nsearch-team"})
    visit.press_summary(text="Rules for the keys that are minted from it")
    visit.fill_in(fields={"All its keys together, a month (UTC) > Calls": "2"})
    visit.send(name="Store")
    visit.see(text="openai-prod is stored.")
    stored = got(till, "/admin/credentials/openai-prod", "credential")
    assert (stored["provider"], stored["projects"], stored["policy"]["ceilings"]["month"]["maxActivations"]) == ("openai", ["default", "search-team"], 2)
    assert UPSTREAM_KEY not in visit.text(of="body")
    # Minted from it by the page, the real key goes upstream; another real key from the next call on.
    visit.go(path="/keys/new")
    visit.fill(label="Name", value="from the credential")
    visit.press(name="Create the key")
    visit.press(name="Copy the key")
    key = visit.clipboard()
    assert till.call(key).status_code == 200
    assert upstream.last().header("authorization") == f"Bearer {UPSTREAM_KEY}"
    visit.go(path="/admin/credentials/openai-prod")
    visit.press(name="Replace the real key")
    visit.fill_in(fields={"New real key": OTHER_KEY})
    visit.send(name="Replace")
    assert till.call(key).status_code == 200
    assert upstream.last().header("authorization") == f"Bearer {OTHER_KEY}"
    visit.meter(says="2 of 2 calls this month")
    assert till.call(key).status_code == 403
    visit.press(name="Change projects")
    visit.fill_in(fields={"Projects": "search-team"})
    visit.send(name="Save")
    visit.see(text="search-team", within="main")
    assert got(till, "/admin/credentials/openai-prod", "credential")["projects"] == ["search-team"]
    said = visit.question(name="Remove …")
    assert "1 live key" in said
    visit.answer(name="Remove", typed="openai-prod")
    visit.see(text="This credential was removed")
    assert "key_revoked" in till.call(key).text
    assert upstream.count == 2


def test_kill_switch(till: Till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    key = till.mint(name="works")
    viewer = visiting(till, login=member(till, "viewer"), path="/admin/kill-switch")
    viewer.connection(is_="Live")
    assert till.call(key).status_code == 200
    visit = visiting(till, path="/admin/kill-switch")
    said = visit.question(name="Stop everything …")
    assert "every call of every key" in said and "1 key is active" in said
    visit.keyboard(key="Escape")
    assert till.call(key).status_code == 200, "nothing happens before the answer"
    visit.question(name="Stop everything …")
    visit.answer(name="Stop everything", reason="a leak")
    refused = till.call(key)
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "instance_stopped"
    # Whoever looks on hears of it, on every page, and is not offered what they may not do.
    viewer.see(text="Everything is stopped", within=".banner")
    viewer.see(text="a leak", within=".banner")
    viewer.go(path="/keys")
    viewer.see(text="Everything is stopped", within=".banner")
    assert "Turn it on again" not in viewer.texts(of=".banner button")
    viewer.go(path="/admin/kill-switch")
    viewer.see(text="Owners and admins of the whole instance can turn it.")
    visit.press(name="Turn it on again", within=".banner")
    visit.answer(name="Let them work")
    visit.see(text="Keys work.")
    assert till.call(key).status_code == 200
    assert upstream.count == 3
    actions = [entry["action"] for entry in got(till, "/admin/audit?action=kill_switch.*", "entries")]
    assert actions == ["kill_switch.on", "kill_switch.off"]


def test_prices(new_till, upstream: ScriptedUpstream, visiting: Visiting) -> None:
    """What is in force, where it comes from, and how to change it: the text of the page is taken as it is."""
    till: Till = new_till({"openai": upstream.url}).start()
    visit = visiting(till, path="/admin/prices?provider=openai")
    visit.fill(label="Model", value="gpt-4o-mini")
    visit.see(text="0 of them of this instance")
    table = "[role=table][aria-label=Prices]"
    plain = next(row for row in visit.texts(of=f"{table} .table-body .table-row") if row.startswith("gpt-4o-mini\n"))
    assert "$0.15" in plain and "genai-prices" in plain
    visit.press_summary(text="Add or change a price")
    visit.press(name="Copy the row")
    row = visit.clipboard()
    assert 'model = "gpt-4o-mini"' in row and 'input = "0.15"' in row
    visit.press(name="Copy the commands")
    commands = visit.clipboard().splitlines()
    # As somebody would: the row with another price, and the commands one after the other.
    (till.directory / "my-prices.toml").write_text(row.replace('input = "0.15"', 'input = "15"'))
    assert [command.split()[0] for command in commands] == ["till", "till"]
    for command in commands:
        words = command.replace("DIR", str(till.data)).split()[1:]
        done = subprocess.run([str(BINARY), *words], cwd=till.directory, env=till.environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
    visit.allow(r"net::ERR_\w+")
    till.listen = till.url.removeprefix("http://")
    till.restart()
    visit.go(path="/admin/prices?provider=openai&search=gpt-4o-mini&custom=1")
    visit.see(text="1 of them of this instance")
    rows = visit.texts(of=f"{table} .table-body .table-row")
    assert len(rows) == 1 and "$15.00" in rows[0] and "configuration" in rows[0], rows
    version = json.loads(till.admin("GET", "/admin/prices").text)["version"]
    visit.see(text=version, within="main")
    # It is what calls are charged by: 12 tokens in, 4 out.
    key = till.mint(name="dear", max_spend_usd="1")
    assert till.call(key).status_code == 200
    visit.go(path=f"/keys/{key.id}")
    visit.see(text="$0.0001824", within="section[aria-label='Limits']")


def test_find_a_token(till: Till, visiting: Visiting) -> None:
    key = till.mint(name="leaked")
    till.revoke(key.id)
    visit = visiting(till, login=member(till, "auditor"), path="/audit")
    visit.press(name="Find a token")
    visit.fill(label="The whole token", value=key.token)
    visit.press(name="Find it")
    visit.see(text="The log has 2 entries about it, oldest first.")
    found = visit.texts(of="[aria-label='Entries about the token'] tbody tr")
    assert ["key.create" in found[0], "key.revoke" in found[1]] == [True, True], found
    assert visit.value(label="The whole token") == "", "it does not stay on the screen"
    assert key.token not in visit.place() and key.token not in json.dumps(visit.readable())
    visit.link(name=key.id)
    visit.key_is(status="revoked")
    visit.go(path="/audit")
    visit.press(name="Find a token")
    # One that is not whole, and one of somebody else.
    visit.expect("status of 400")
    visit.fill(label="The whole token", value="hello")
    visit.press(name="Find it")
    visit.see(text="must be a scoped key or an admin token")
    visit.fill(label="The whole token", value=ADMIN_KEY[:-4] + "0000")
    visit.press(name="Find it")
    visit.see(text="Nobody here knows this token")


def test_what_a_role_may_not_do(till: Till, visiting: Visiting) -> None:
    """Pages of single things, by their address: everything to see, and nothing to change."""
    made(till, "/admin/projects", {"id": "search-team"})
    made(till, "/admin/credentials", {"name": "openai-prod", "provider": "openai", "upstream_key": UPSTREAM_KEY})
    someone = made(till, "/admin/members", {"login": "ada@example.com", "role": "viewer"})["member"]["id"]
    harmless = {"Copy the id", "Copy the token", "Show removed ones", "Show ended ones", "Show revoked ones"}
    for role in ("viewer", "minter", "auditor"):
        visit = visiting(till, login=member(till, role))
        for path, needs in (("projects/search-team", "viewer minter auditor"), ("credentials/openai-prod", "viewer minter auditor"),
                            (f"members/{someone}", "auditor"), ("tokens/owner", "auditor")):
            visit.go(path=f"/admin/{path}")
            if role in needs.split():
                visit.see(text="About it" if not path.startswith("members") else "About them")
                assert set(visit.offered()) <= harmless, (role, path, visit.offered())
            else:
                visit.see(text=f"A role of {role} does not see this.")
        visit.go(path="/audit/1")
        assert visit.heading() == ("Entry 1" if role == "auditor" else "Not for your role")
    # Whoever is bound to a project administers that and nothing else.
    bound = visiting(till, login=member(till, "admin", project="search-team"), path="/admin/projects/search-team")
    bound.see(text="About it")
    assert "Change rules" not in bound.offered() and "End …" not in bound.offered()
    bound.go(path="/admin/kill-switch")
    assert not [name for name in bound.offered() if name.startswith("Stop")]
    bound.go(path="/admin/credentials/openai-prod")
    bound.see(text="About it")
    assert set(bound.offered()) <= harmless
    bound.go(path="/admin/members")
    bound.press(name="Add a member")
    assert bound.value(label="Project", within="dialog") == "search-team"
    assert "owner" not in bound.texts(of="dialog select option")
