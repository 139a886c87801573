"""Projects, members and admin tokens by the command line, and totals that hold: what a project may spend is never exceeded by all
of its keys together, and after a crowd of changes and calls every figure agrees with what the clients saw."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import random
import select
import stat
import termios
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.metered_upstream import PRICES, MeteredUpstream
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import BINARY, CROWD, UPSTREAM_KEY, Till

# As after `till login`: neither address nor key in the environment.
LOGGED_IN = {"TILL_URL": "", "TILL_ADMIN_KEY": "", "REAL": UPSTREAM_KEY}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


class Person:
    """Somebody with a home of their own who uses the commands. What the commands say is kept."""

    def __init__(self, till: Till, home: Path) -> None:
        self.till = till
        self.home = home
        self.said = ""

    def run(self, *arguments: str, code: int = 0, stdin: str = "", secret: bool = False, environment: dict[str, str] | None = None) -> str:
        """Both outputs of a command that has to end with `code`."""
        variables = LOGGED_IN | {"HOME": str(self.home)} | (environment or {})
        done = self.till.cli(*arguments, stdin=stdin, environment=variables, check=False)
        text = done.stdout + done.stderr
        assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{text}"
        assert "panicked" not in text
        if not secret:
            self.said += text
        return done.stdout if code == 0 else text

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.run(*arguments, "--output", "json", **options))

    def login(self, token: str, *arguments: str) -> Any:
        return self.json("login", *arguments, "--admin-key-file", "-", stdin=token + "\n")

    def terminal(self, *arguments: str, answers: list[tuple[str, str]]) -> tuple[str, int]:
        """Runs a command on a terminal and answers its questions: what to wait for, and what to type then."""
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(self.home)
            os.execve(BINARY, [str(BINARY), *arguments], {"HOME": str(self.home), "PATH": os.environ["PATH"], "REAL": UPSTREAM_KEY})
        shown, waiting = "", list(answers)
        try:
            while select.select([terminal], [], [], 20)[0]:
                try:
                    data = os.read(terminal, 65536)
                except OSError:  # the other side has closed it
                    break
                if not data:
                    break
                shown += data.decode(errors="replace")
                if waiting and waiting[0][0] in shown:
                    # Nobody types faster than the terminal stops to show it; a program does.
                    deadline = time.monotonic() + 20
                    is_secret = "[y/N]" not in waiting[0][0]
                    while is_secret and termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < deadline:
                        time.sleep(0.01)
                    os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
        finally:
            os.close(terminal)
            _, status = os.waitpid(process, 0)
        assert not waiting, f"it did not ask {waiting[0][0]!r}:\n{shown}"
        self.said += shown
        return shown, os.waitstatus_to_exitcode(status)


@pytest.fixture
def ada(till: Till, tmp_path: Path) -> Person:
    """The owner, logged in."""
    (tmp_path / "ada").mkdir()
    person = Person(till, tmp_path / "ada")
    person.login(till.admin_key, till.url)
    return person


def call(till: Till, scoped_key: str) -> str:
    """`200`, or the status and the code of the refusal."""
    answer = till.call(scoped_key, body=CHAT)
    return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['error']['code']}"


def test_a_project_from_its_making_to_its_end(till: Till, upstream: ScriptedUpstream, ada: Person) -> None:
    profiles = ada.home / ".config" / "till" / "profiles.toml"
    assert stat.S_IMODE(profiles.stat().st_mode) == 0o600
    assert stat.S_IMODE(profiles.parent.stat().st_mode) == 0o700
    who = ada.json("whoami")
    assert (who["profile"], who["url"], who["self"]["role"]) == ("default", till.url, "owner")

    made = ada.json("projects", "create", "search-team", "--name", "Search team", "--lifetime-activations", "5", "--provider", "openai",
                    "--key-max-activations", "10", "--max-live-keys", "10", "--model", "gpt-4o*", "--key-max-lifetime", "7d")
    rules = made["project"]["policy"]
    assert (rules["ceilings"]["lifetime"]["maxActivations"], rules["maxLiveKeys"], rules["models"]) == (5, 10, ["gpt-4o*"])
    minter = ada.run("tokens", "create", "ci", "--role", "minter", "--project", "search-team", "-o", "raw", secret=True).strip()
    assert minter.startswith("till_admin_") and "\n" not in minter
    tokens = ada.json("tokens", "list")["tokens"]
    minter_id = next(token["id"] for token in tokens if token["name"] == "ci")

    # The minter, in another profile of the same person; the first one stays the chosen one.
    logged_in = ada.login(minter, till.url, "--profile", "ci")
    assert (logged_in["chosen"], logged_in["self"]["role"], logged_in["self"]["project"]) == (False, "minter", "search-team")
    assert ada.json("whoami", "--profile", "ci")["self"]["id"] == minter_id
    assert ada.json("whoami", environment={"TILL_PROFILE": "ci"})["self"]["id"] == minter_id
    assert [(one["name"], one["chosen"]) for one in ada.json("profiles", "list")["profiles"]] == [("ci", False), ("default", True)]
    mint = ("keys", "create", "--provider", "openai", "--upstream-key-env", "REAL", "--ttl", "1d", "--profile", "ci")
    first = ada.json(*mint, "--max-activations", "10", "--name", "first", secret=True)["key"]
    second = ada.run(*mint, "--max-activations", "10", "-o", "raw", secret=True).strip()
    assert first["tenantId"] == "search-team" and second.startswith("till_sk_")
    assert "not_allowed" in ada.run(*mint, "--max-activations", "11", code=1)
    refused = ada.run("tokens", "list", "--profile", "ci", code=1)
    assert "tokens.read" in refused and "till whoami" in refused
    # A minter has no project but its own.
    assert "none that there is" in ada.run(*mint, "--max-activations", "1", "--project", "default", code=1)

    # Both keys together reach what the project has.
    assert [call(till, key) for key in (first["scopedKey"], second) * 2] == ["200"] * 4
    assert call(till, second) == "200"
    assert call(till, second) == call(till, first["scopedKey"]) == "403 project_exhausted"
    assert upstream.count == 5
    used = ada.json("projects", "show", "search-team")["ceilingsUsed"]
    assert [(one["window"], one["usedActivations"]) for one in used] == [("lifetime", 5)]
    assert "5/5 calls" in ada.run("projects", "show", "search-team")
    assert sum(one["calls"] for one in ada.json("usage", "--project", "search-team")["sums"]) == 5
    assert ada.json("usage", "--project", "default")["sums"] == []
    listed = ada.json("keys", "list", "--project", "search-team", "--created-by", minter_id)["keys"]
    assert len(listed) == 2 and ada.json("keys", "list", "--project", "default")["keys"] == []

    # More, without losing the other rules; and only from the version that one has seen.
    version = made["project"]["version"]
    raised = ada.json("projects", "update", "search-team", "--lifetime-activations", "6", "--if-version", str(version))["project"]
    assert raised["policy"] == rules | {"ceilings": rules["ceilings"] | {"lifetime": rules["ceilings"]["lifetime"] | {"maxActivations": 6}}}
    assert "changed, status 412" in ada.run("projects", "update", "search-team", "--day-usd", "1", "--if-version", str(version), code=1)
    assert (call(till, second), call(till, second)) == ("200", "403 project_exhausted")
    assert ada.json("projects", "update", "search-team", "--clear", "lifetime,models")["project"]["policy"]["models"] is None
    assert call(till, second) == "200"

    # A new text for the minter; the old one goes on for an hour. Its profile is another token's, so it stays.
    new = ada.run("tokens", "rotate", minter_id, "--overlap", "1h", "-o", "raw", secret=True).strip()
    assert new not in (minter, "") and till.admin("GET", "/admin/self", key=new).status_code == 200
    assert ada.json("whoami", "--profile", "ci")["self"]["id"] == minter_id
    # Without overlap nobody is cut off by accident, and a profile that rotates its own token has the new one.
    assert "--yes" in ada.run("tokens", "rotate", minter_id, code=2)
    newest = ada.json("tokens", "rotate", minter_id, "--yes", secret=True)["adminToken"]
    for old in (minter, new):
        assert till.admin("GET", "/admin/self", key=old).status_code == 401
    assert f"till login {till.url} --profile ci" in ada.run("whoami", "--profile", "ci", code=1)
    ada.login(newest, "--profile", "ci")
    assert ada.json("whoami", "--profile", "ci")["self"]["id"] == minter_id

    # The end says what it does.
    refused = ada.run("projects", "end", "search-team", code=2)
    assert "2 live keys are revoked" in refused and "1 admin token" in refused
    shown, code = ada.terminal("projects", "end", "search-team", answers=[("[y/N]", "n")])
    assert code == 1 and "2 live keys" in shown and call(till, second) == "200"
    ended = ada.json("projects", "end", "search-team", "--yes")
    assert ended["project"]["endedAt"] and call(till, second) == "403 key_revoked"
    assert {key["status"] for key in ada.json("keys", "list", "--project", "search-team")["keys"]} == {"revoked"}
    ada.run("whoami", "--profile", "ci", code=1)
    assert "search-team" not in [project["id"] for project in ada.json("projects", "list")["projects"]]
    assert "search-team" in [project["id"] for project in ada.json("projects", "list", "--ended")["projects"]]

    assert ada.json("logout", "--profile", "ci") == {"profile": "ci", "removed": True, "wasChosen": False}
    for token in (till.admin_key, minter, new, newest):
        assert token not in ada.said, "no token is shown but where it is made"
        assert token not in till.output()
    assert newest not in profiles.read_text() and till.admin_key in profiles.read_text()


def test_logging_in_on_a_terminal(till: Till, tmp_path: Path) -> None:
    person = Person(till, tmp_path)
    shown, code = person.terminal("login", till.url, answers=[("(not shown): ", till.admin_key)])
    assert code == 0 and "owner" in shown and till.admin_key not in shown
    assert till.admin_key not in json.dumps(person.json("profiles", "list"))
    file = tmp_path / ".config" / "till" / "profiles.toml"
    before = file.read_text()
    for wrong in ("till_admin_" + "x" * 43, "sk-a-key-of-a-provider"):
        refused = person.run("login", till.url, "--profile", "other", "--admin-key-file", "-", stdin=wrong, code=1)
        assert wrong not in refused
    assert person.run("login", "till_admin_oops", code=2) and person.run("login", till.url, code=2)
    assert file.read_text() == before, "what did not work is not kept"
    file.chmod(0o640)
    assert f"chmod 600 {file}" in person.run("whoami", code=1)
    # Who says where to go otherwise is not kept from it.
    assert person.json("whoami", environment={"TILL_URL": till.url, "TILL_ADMIN_KEY": till.admin_key})["profile"] is None


def test_members_by_the_command_line(till: Till, ada: Person) -> None:
    password = "correct horse battery staple"
    bob = ada.json("members", "create", "Bob@Example.com", "--role", "minter", "--month-usd", "20", "--password-file", "-", stdin=password + "\n")["member"]
    assert (bob["login"], bob["canSignIn"], bob["policy"]["ceilings"]["month"]["maxSpendUsd"]) == ("bob@example.com", True, "20.00")

    def signs_in(word: str) -> bool:
        answer = httpx.post(f"{till.url}/admin/login", json={"login": "bob@example.com", "password": word}, trust_env=False)
        return answer.status_code == 200

    assert signs_in(password)
    shown, code = ada.terminal("members", "password", "bob@example.com", answers=[("(not shown): ", "another long password"), ("Again: ", "another long password")])
    assert code == 0 and "another long" not in shown
    assert signs_in("another long password") and not signs_in(password)
    shown, code = ada.terminal("members", "password", bob["id"], answers=[("(not shown): ", "another long password"), ("Again: ", "something else")])
    assert code == 1
    raised = ada.json("members", "update", "bob@example.com", "--role", "viewer", "--day-usd", "2")["member"]
    assert (raised["role"], raised["policy"]["ceilings"]["month"]["maxSpendUsd"], raised["policy"]["ceilings"]["day"]["maxSpendUsd"]) == ("viewer", "20.00", "2.00")
    ada.run("tokens", "create", "of bob", "--role", "viewer", "--member", "bob@example.com", "--network", "127.0.0.1", secret=True)
    assert "1 admin token" in ada.run("members", "remove", "bob@example.com", code=2)
    assert ada.json("members", "password", "bob@example.com", "--clear")["member"]["canSignIn"] is False
    assert "bob@example.com" in ada.run("members", "list") and "$20.00" in ada.run("members", "show", "bob@example.com")
    assert ada.json("members", "remove", bob["id"], "--yes")["member"]["removedAt"]
    assert ada.json("members", "list")["members"] == []
    assert "no member with the login" in ada.run("members", "show", "bob@example.com", code=1)
    assert password not in ada.said and password not in till.output()


def test_keys_of_a_member_share_what_the_member_has(till: Till, upstream: ScriptedUpstream, ada: Person) -> None:
    ada.json("members", "create", "bob@example.com", "--role", "minter", "--lifetime-activations", "3")
    # Rules of a token that stands for them would not count.
    assert "unsupported_field" in ada.run("tokens", "create", "of bob", "--role", "minter", "--member", "bob@example.com", "--day-usd", "1", code=1)
    token = ada.run("tokens", "create", "of bob", "--role", "minter", "--member", "bob@example.com", "-o", "raw", secret=True).strip()
    ada.login(token, till.url, "--profile", "bob")
    mint = ("keys", "create", "--provider", "openai", "--upstream-key-env", "REAL", "--max-activations", "9", "--profile", "bob", "-o", "raw")
    keys = [ada.run(*mint, secret=True).strip() for _ in range(2)]
    assert [call(till, key) for key in (keys[0], keys[1], keys[0])] == ["200"] * 3
    assert [call(till, key) for key in keys] == ["403 project_exhausted"] * 2
    assert upstream.count == 3
    assert "3/3 calls" in ada.run("members", "show", "bob@example.com")


def test_tokens_by_the_command_line(till: Till, ada: Person) -> None:
    text = ada.run("tokens", "create", "ci", "--role", "minter", "--ttl", "90d", "--network", "10.0.0.0/8", "--day-usd", "5", secret=True)
    secret = next(line.strip() for line in text.splitlines() if line.strip().startswith("till_admin_"))
    token = next(one for one in ada.json("tokens", "list")["tokens"] if one["name"] == "ci")
    assert "network" in till.admin("GET", "/admin/self", key=secret).json()["error"]["message"]
    assert "$0.00/$5.00" in ada.run("tokens", "show", token["id"]), "what was used of its ceilings"
    changed = ada.json("tokens", "update", token["id"], "--clear-networks", "--clear-expires-at", "--role", "viewer", "--clear", "day")["token"]
    assert (changed["networks"], changed["expiresAt"], changed["role"]) == (None, None, "viewer")
    assert changed["policy"]["ceilings"]["day"]["maxSpendUsd"] is None
    assert till.admin("GET", "/admin/self", key=secret).status_code == 200
    assert "nothing to change" in ada.run("tokens", "update", token["id"], code=2)
    assert "ci" in ada.run("tokens", "list") and "viewer" in ada.run("tokens", "show", token["id"])
    assert ada.json("tokens", "revoke", token["id"], "--yes")["token"]["revokedAt"]
    assert till.admin("GET", "/admin/self", key=secret).status_code == 401
    # The owner's own token: the profile that asks goes on with the new text.
    new = ada.run("tokens", "rotate", "owner", "--yes", "-o", "raw", secret=True).strip()
    assert ada.json("whoami")["self"]["id"] == "owner"
    till.admin_key = new
    assert "till tokens" not in ada.run("keys", "revoke", "--where", "project=default", "--yes")


# Totals.


def billed(model: str, asked: int, made: int) -> int:
    each_in, each_out = PRICES[model]
    return -(-(asked * each_in + made * each_out) // 1_000)


@dataclass
class Bill:
    """What one key came to at the provider."""

    requests: int = 0
    tokens: int = 0
    nanos: int = 0


class PerKey(MeteredUpstream):
    """Tells its bills apart by the key, which each request names in its message."""

    def __init__(self, **options: Any) -> None:
        self.bills: dict[str, Bill] = defaultdict(Bill)
        self.asks = ""
        super().__init__(**options)

    async def _answer(self, writer: asyncio.StreamWriter, path: str, body: dict) -> bool:
        self.asks = body["messages"][0]["content"]  # nothing else runs before it is billed
        return await super()._answer(writer, path, body)

    def _bill(self, model: str, asked: int, made: int) -> None:
        super()._bill(model, asked, made)
        bill = self.bills[self.asks]
        bill.requests += 1
        bill.tokens += asked + made
        bill.nanos += billed(model, asked, made)


@pytest.fixture
def per_key():
    server = PerKey(latency=0.02)
    yield server
    server.close()


@pytest.fixture
def shop(new_till, per_key: PerKey) -> Till:
    return new_till({"openai": f"{per_key.url},bills-alike"}, flags=("--log-requests", "off")).start()


def nanos(dollars: str) -> int:
    whole, fraction = dollars.split(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


def body_of(key_id: str, cap: int = 2_000, model: str = "gpt-4o-mini") -> dict:
    return {"model": model, "messages": [{"role": "user", "content": key_id}], "max_tokens": cap}


def client_of(till: Till) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=till.url, limits=CROWD, timeout=120, trust_env=False)


def test_a_hundred_keys_of_one_dollar_in_a_project_of_five(shop: Till, per_key: PerKey) -> None:
    """500 callers, each with its key, until all of them are told that there is nothing left."""
    limit = 5 * 10**9
    answer = shop.admin("POST", "/admin/projects", {"id": "team", "policy": {"ceilings": {"lifetime": {"max_spend_usd": "5"}}}})
    assert answer.status_code == 201, answer.text
    keys = [shop.mint("openai", max_activations=None, max_spend_usd="1", project="team") for _ in range(100)]
    seen: Counter = Counter()

    async def crowd() -> None:
        async with client_of(shop) as client:
            async def caller(number: int) -> None:
                key = keys[number % len(keys)]
                while per_key.tally.nanos <= limit:
                    answer = await client.post("/v1/chat/completions", json=body_of(key.id, model="gpt-4o"), headers={"authorization": f"Bearer {key.token}"})
                    code = "200" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['error']['code']}"
                    seen[code] += 1
                    if answer.status_code == 403:
                        return
            await asyncio.gather(*[caller(number) for number in range(500)])

    asyncio.run(crowd())
    tally = per_key.tally
    print(f"{dict(seen)}, {tally.requests} billed, {tally.nanos / 1e9} of 5 dollars")
    assert tally.nanos <= limit
    assert tally.nanos >= limit * 9 // 10, "most of it can be used"
    assert set(seen) == {"200", "403 project_exhausted"} and seen["403 project_exhausted"] == 500
    assert seen["200"] == tally.requests
    used = [shop.key(key.id) for key in keys]
    assert [nanos(key["usedSpendUsd"]) for key in used] == [per_key.bills[key.id].nanos for key in keys]
    project = shop.admin("GET", "/admin/projects/team").json()["ceilingsUsed"]
    assert [(one["window"], nanos(one["usedSpendUsd"]), one["usedActivations"]) for one in project] == [("lifetime", tally.nanos, tally.requests)]
    sums = shop.admin("GET", "/admin/usage/summary?project=team").json()["sums"]
    assert [(one["calls"], nanos(one["chargedUsd"])) for one in sums] == [(tally.requests, tally.nanos)]


@dataclass
class Seen:
    """What the clients were told."""

    changes: dict[str, tuple[str, str]] = field(default_factory=dict)  # request id: action, target
    answered: Counter = field(default_factory=Counter)  # key: calls with 200
    in_flight: Counter = field(default_factory=Counter)
    cut: set[str] = field(default_factory=set)  # revoked while a call was under way
    outcomes: Counter = field(default_factory=Counter)


def test_64_clients_that_change_and_call_at_once(shop: Till, per_key: PerKey) -> None:
    seed = int(os.environ.get("TILL_SEED", random.randrange(2**32)))
    print(f"TILL_SEED={seed}")
    # From the beginning: a ceiling that is set later counts what is in flight at that moment as used.
    policy = {"ceilings": {"lifetime": {"max_spend_usd": "100"}}}
    for project in ("red", "blue"):
        assert shop.admin("POST", "/admin/projects", {"id": project, "policy": policy}).status_code == 201
    before = last_entry(shop)
    seen = Seen()
    alive: list[tuple[str, str]] = []  # id, scoped key
    all_keys: list[str] = []
    headers = {"authorization": f"Bearer {shop.admin_key}"}

    async def crowd() -> None:
        async with client_of(shop) as client:
            async def change(action: str, method: str, path: str, body: Any = None, target: str | None = None) -> dict | None:
                answer = await client.request(method, path, json=body, headers=headers)
                seen.outcomes[f"{action} {answer.status_code}"] += 1
                if not answer.is_success:
                    return None
                value = answer.json()
                [request_id] = answer.headers.get_list("x-till-request-id")
                assert request_id not in seen.changes
                seen.changes[request_id] = (action, target or value["key"]["id"])
                return value

            async def mint(chance: random.Random) -> None:
                body = {"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_spend_usd": "1", "project": chance.choice(["red", "blue"])}
                made = await change("key.create", "POST", "/admin/keys", body)
                assert made
                all_keys.append(made["key"]["id"])
                alive.append((made["key"]["id"], made["key"]["scopedKey"]))

            async def step(chance: random.Random, number: int) -> None:
                what = chance.random()
                if not alive or what < 0.08:
                    return await mint(chance)
                key_id, token = chance.choice(alive)
                if what < 0.2:
                    await change("key.update", "PATCH", f"/admin/keys/{key_id}", {"name": f"n{number}", "add_spend_usd": "0.01"})
                elif what < 0.25:
                    alive.remove((key_id, token))
                    if seen.in_flight[key_id]:
                        seen.cut.add(key_id)
                    assert await change("key.revoke", "DELETE", f"/admin/keys/{key_id}")
                elif what < 0.3:
                    project = chance.choice(["red", "blue"])
                    policy = {"max_live_keys": 10_000, "ceilings": {"lifetime": {"max_spend_usd": str(100 + number)}}}
                    await change("project.update", "PATCH", f"/admin/projects/{project}", {"name": f"n{number}", "policy": policy}, project)
                else:
                    seen.in_flight[key_id] += 1
                    try:
                        answer = await client.post("/v1/chat/completions", json=body_of(key_id, 200), headers={"authorization": f"Bearer {token}"})
                        code = "" if answer.status_code == 200 else answer.json()["error"]["code"]
                        seen.outcomes[f"call {answer.status_code} {code}"] += 1
                        seen.answered[key_id] += answer.status_code == 200
                    except httpx.HTTPError:  # cut in the middle
                        seen.outcomes["call cut"] += 1
                        assert key_id in seen.cut or not any(key_id == one for one, _ in alive)
                    finally:
                        seen.in_flight[key_id] -= 1

            async def caller(number: int) -> None:
                chance = random.Random(f"{seed}-{number}")
                for turn in range(40):
                    await step(chance, number * 1000 + turn)

            await asyncio.gather(*[caller(number) for number in range(64)])

    asyncio.run(crowd())
    print(dict(seen.outcomes), f"{per_key.tally.requests} billed, {len(seen.cut)} keys revoked under way")
    assert not [outcome for outcome in seen.outcomes if outcome.split()[1].startswith("5")], "nothing broke"
    assert all(seen.outcomes[f"{action}"] for action in ("key.create 201", "key.update 200", "key.revoke 200", "project.update 200", "call 200 "))

    # Every change that a client was told of has exactly one entry, and there is no other.
    entries = [entry for entry in audit(shop, before) if entry["actor"]["kind"] == "admin"]
    assert Counter(entry["actor"]["requestId"] for entry in entries) == Counter(list(seen.changes))
    assert {entry["actor"]["requestId"]: (entry["action"], entry["target"]) for entry in entries} == seen.changes

    # Every key was charged what the provider billed; one that ended under way at least that, because it is not known.
    listed = {key["id"]: key for key in shop.admin("GET", "/admin/keys").json()["keys"]}
    assert set(listed) == set(all_keys)
    sums = {one["keyId"]: one for one in shop.admin("GET", "/admin/usage/summary?group_by=key").json()["sums"]}
    for key_id, key in listed.items():
        bill = per_key.bills[key_id]
        used = (key["usedActivations"], key["usedTokens"], nanos(key["usedSpendUsd"]))
        if key_id in seen.cut:
            assert used[0] >= bill.requests and used[1] >= bill.tokens and used[2] >= bill.nanos, key_id
        else:
            assert used == (bill.requests, bill.tokens, bill.nanos), key_id
            assert seen.answered[key_id] == bill.requests, key_id
        if used[0]:
            charged = (sums[key_id]["calls"], sums[key_id]["chargedTokens"], nanos(sums[key_id]["chargedUsd"]))
            assert charged == used, key_id
        else:
            assert key_id not in sums or sums[key_id]["calls"] == 0
    # The projects add up to their keys.
    for project in ("red", "blue"):
        of_keys = sum(nanos(key["usedSpendUsd"]) for key in listed.values() if key["tenantId"] == project)
        sums_of = shop.admin("GET", f"/admin/usage/summary?project={project}").json()["sums"]
        assert sum(nanos(one["chargedUsd"]) for one in sums_of) == of_keys
        ceilings = shop.admin("GET", f"/admin/projects/{project}").json()["ceilingsUsed"]
        assert [(one["window"], nanos(one["usedSpendUsd"])) for one in ceilings] == [("lifetime", of_keys)]


def audit(till: Till, after: int) -> list[dict]:
    entries: list[dict] = []
    while True:
        page = till.admin("GET", f"/admin/audit?after={after}&limit=1000").json()
        entries += page["entries"]
        if page["nextAfter"] == after:
            return entries
        after = page["nextAfter"]


def last_entry(till: Till) -> int:
    entries = audit(till, 0)
    return entries[-1]["seq"] if entries else 0
