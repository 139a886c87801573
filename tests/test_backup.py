"""Backups of a running server, and what they are worth when they are put back."""

from __future__ import annotations

import random
import resource
import shutil
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import httpx

from harness.raw_http import burst
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import BINARY, Till

CLIENTS = 64


def back_up(till: Till, file: Path, *flags: str, **options):
    return till.cli_json("backup", str(file), "--data", str(till.data), *flags, **options)["backup"]


def put_back(till: Till, file: Path, *flags: str, **options):
    return till.cli("restore", str(file), "--data", str(till.data), *flags, **options)


def audit_actions(till: Till) -> list[str]:
    return [entry["action"] for entry in till.admin("GET", "/admin/audit?limit=1000").json()["entries"]]


def figures(database: Path) -> dict[str, tuple[int, int, int, int]]:
    """Of every key: limit, held, spent and escrowed, as the tables have it. What is in the journal is not looked at."""
    connection = sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)
    rows = connection.execute("SELECT hex(id), activations_limit, activations_held, activations_spent, activations_escrowed FROM accounts")
    found = {row[0]: row[1:] for row in rows}
    connection.close()
    return found


def test_backup_under_load_and_restore_on_a_new_machine(till: Till, new_till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    keys = [till.mint(max_activations=3000) for _ in range(4)]
    threads = [threading.Thread(target=lambda key=key: burst(till.url, key.token, 1500, CLIENTS // 4)) for key in keys]
    for thread in threads:
        thread.start()
    files = []
    while any(thread.is_alive() for thread in threads) or not files:
        files.append(tmp_path / f"backup-{len(files)}")
        made = back_up(till, files[-1])
        assert made["keys"] == 4 and files[-1].stat().st_mode & 0o777 == 0o600
        for limit, held, spent, escrowed in figures(files[-1]).values():
            assert held + spent + escrowed <= limit
    for thread in threads:
        thread.join()
    assert upstream.count == 6000
    assert audit_actions(till).count("backup.make") == len(files)
    for file in files:
        assert till.cli_json("backup", "--verify", str(file))["backup"]["keys"] == 4
    till.stop()

    for file in {files[0], files[-1]}:
        elsewhere = new_till({"openai": upstream.url})
        said = put_back(elsewhere, file).stdout
        assert "ALL KEYS ARE REFUSED" in said and "accept-rollback" in said
        assert "which is not in" in said, "the master key is missing, and that is said"
        assert "master key is missing" in elsewhere.refuses_to_start()
        # It is put back by hand; there is no witness.
        (elsewhere.data / "keys").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(till.data / "keys" / "master.key", elsewhere.data / "keys")
        elsewhere.start()
        assert "restored from a backup" in elsewhere.output() and "till admin accept-rollback" in elsewhere.output()
        before = upstream.count
        for key in keys:
            answer = elsewhere.call(key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_fenced")
        elsewhere.restart()
        assert elsewhere.call(keys[0]).json()["error"]["code"] == "key_fenced", "a restart alone accepts nothing"
        assert upstream.count == before, "nothing is handed out twice"
        used = [elsewhere.key(key.id)["usedActivations"] for key in keys]
        sums = elsewhere.admin("GET", "/admin/usage/summary?group_by=key").json()["sums"]
        calls = {row["keyId"]: row["calls"] for row in sums}
        for key, units in zip(keys, used):
            # What was counted out ahead or in flight at that moment is one record for all of it.
            assert 0 <= units - calls.get(key.id, 0) <= 30 + CLIENTS
            assert units <= 1500 + 30 + CLIENTS
        elsewhere.cli("admin", "accept-rollback")
        assert elsewhere.call(keys[0]).status_code == 200
        assert upstream.count == before + 1
        actions = audit_actions(elsewhere)
        assert (actions.count("backup.restore"), actions.count("fence.accept")) == (1, 1)
        elsewhere.stop()


def test_restore_over_a_newer_database(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Backup, use, kill -9, restore: the witness can't tell, and still no unit is handed out twice."""
    key = till.mint(max_activations=3)
    assert till.call(key).status_code == 200
    file = tmp_path / "backup"
    back_up(till, file)
    assert [till.call(key).status_code for _ in range(3)] == [200, 200, 403]
    assert "already running" in put_back(till, file, "--replace", check=False).stderr
    till.kill9()
    refused = put_back(till, file, check=False)
    assert refused.returncode == 1 and "--replace" in refused.stderr
    put_back(till, file, "--replace")
    assert list(till.data.glob("till.db.before-restore-*"))
    till.start()
    assert till.call(key).json()["error"]["code"] == "key_fenced"
    assert upstream.count == 3
    till.cli("admin", "accept-rollback")
    assert [till.call(key).status_code for _ in range(3)] == [200, 200, 403]


def test_who_was_taken_away_since_is_not_let_in(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A token of the highest role, a session and a stored key were ended after the backup: nobody uses them before the owner looks."""
    body = {"name": "ops", "role": "owner"}
    made = till.admin("POST", "/admin/tokens", body).json()
    token, text = made["token"]["id"], made["adminToken"]
    till.admin("POST", "/admin/credentials", {"name": "prod", "provider": "openai", "upstream_key": "sk-stored-0123456789"})
    signed_in = httpx.post(till.url + "/admin/login", json={"admin_token": text}, trust_env=False)
    session = signed_in.headers["set-cookie"].split(";")[0]
    by_session = lambda: httpx.get(till.url + "/admin/self", headers={"cookie": session}, trust_env=False)  # noqa: E731
    assert (till.admin("GET", "/admin/self", key=text).status_code, by_session().status_code) == (200, 200)
    back_up(till, tmp_path / "backup")
    till.admin("DELETE", f"/admin/tokens/{token}")
    till.admin("DELETE", "/admin/credentials/prod")
    assert till.admin("GET", "/admin/self", key=text).status_code == 401
    till.stop()
    said = put_back(till, tmp_path / "backup", "--replace").stdout
    for word in ("admin tokens", "members", "passwords", "credentials", "projects", "master keys", "reset-owner"):
        assert word in said, said
    till.start()
    assert by_session().status_code == 401
    for method, path in [("GET", "/admin/self"), ("GET", "/admin/credentials/prod"), ("POST", "/admin/instance/accept-rollback")]:
        refused = till.admin(method, path, key=text)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "instance_fenced")
    again = httpx.post(till.url + "/admin/login", json={"admin_token": text}, trust_env=False)
    assert again.status_code == 503
    minted = till.admin("POST", "/admin/keys", {"upstream": "prod", "max_activations": 1}, key=text)
    assert minted.status_code == 503
    # The owner sees that they are back, and takes them away again before anybody else is let in.
    assert till.admin("DELETE", f"/admin/tokens/{token}").status_code == 200
    assert till.admin("DELETE", "/admin/credentials/prod").status_code == 200
    accepted = till.cli("admin", "accept-rollback").stdout
    assert "admin tokens" in accepted and "credentials" in accepted
    assert till.admin("GET", "/admin/self", key=text).status_code == 401
    assert upstream.count == 0


def test_backup_of_a_stopped_server(till: Till, tmp_path: Path) -> None:
    till.mint()
    till.stop()
    made = back_up(till, tmp_path / "backup", environment={"TILL_URL": "", "TILL_ADMIN_KEY": ""})
    assert made["keys"] == 1
    till.start()
    assert audit_actions(till).count("backup.make") == 1
    refused = till.cli("backup", str(tmp_path / "backup"), "--data", str(till.data), check=False)
    assert refused.returncode == 1 and "exists already" in refused.stderr
    back_up(till, tmp_path / "backup", "--replace")
    for file in (till.data / "keys" / "master.key", till.data / "till.db", tmp_path / "mine"):
        (tmp_path / "mine").write_text("mine")
        before = file.read_bytes()
        refused = till.cli("backup", str(file), "--replace", "--data", str(till.data), check=False)
        assert refused.returncode == 1 and "another" in refused.stderr, refused.stderr
        assert file == till.data / "till.db" or file.read_bytes() == before


def test_a_running_server_lets_only_admins_have_a_backup_noted(till: Till, tmp_path: Path) -> None:
    for key in ("", "till_admin_" + "x" * 43):
        refused = till.cli("backup", str(tmp_path / "backup"), "--data", str(till.data), environment={"TILL_ADMIN_KEY": key}, check=False)
        assert refused.returncode != 0
        assert not list(tmp_path.glob("backup*"))


def test_no_secret_is_in_a_backup(till: Till, tmp_path: Path) -> None:
    key = till.mint(upstream_key="sk-canary-in-a-backup-0123456789")
    till.call(key)
    back_up(till, tmp_path / "backup")
    content = (tmp_path / "backup").read_bytes()
    master = (till.data / "keys" / "master.key").read_text().strip().encode()
    witness = (till.data / "keys" / "witness").read_bytes().split(b"\n")[3]
    for secret in (b"sk-canary-in-a-backup", master, master[12:40], key.token.encode(), till.admin_key.encode(), witness):
        assert secret not in content


def test_damaged_files_are_refused(till: Till, tmp_path: Path) -> None:
    till.mint()
    file, bad = tmp_path / "backup", tmp_path / "bad"
    back_up(till, file)
    till.stop()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    before = (till.data / "till.db").read_bytes()
    for content, word in [(whole[:-1], "not a backup"), (whole[: len(whole) // 3], "not a backup"), (bytes(flipped), "SHA-256"),
                          (b"", "not a backup"), (b"SQLite format 3\0" + bytes(8192), "not a backup"), (before, "not a backup")]:
        bad.write_bytes(content)
        for done in (till.cli("backup", "--verify", str(bad), check=False), put_back(till, bad, "--replace", check=False)):
            assert done.returncode == 1 and word in done.stderr, done.stderr
            assert "panicked" not in done.stderr
    assert (till.data / "till.db").read_bytes() == before
    assert sorted(path.name for path in till.data.glob("till.db*")) == ["till.db"]
    assert put_back(till, tmp_path / "none", check=False).returncode == 1


def test_no_room(till: Till, tmp_path: Path) -> None:
    """A file can't grow: the message says so, and there is neither half a backup nor half a database."""
    till.mint()
    file = tmp_path / "backup"
    back_up(till, file)
    till.stop()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        room = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # noqa: E731
        return subprocess.run([str(BINARY), *arguments, "--data", str(till.data)], env=till.environment, preexec_fn=room,
                              restore_signals=False, capture_output=True, text=True, timeout=30)

    before = (till.data / "till.db").read_bytes()
    done = run("backup", str(tmp_path / "other"))
    assert done.returncode == 1 and "other.partial" in done.stderr, done.stderr
    assert not list(tmp_path.glob("other*"))
    done = run("restore", str(file), "--replace")
    assert done.returncode == 1 and "till.db.restoring" in done.stderr, done.stderr
    assert (till.data / "till.db").read_bytes() == before
    till.start()
    assert len(till.admin("GET", "/admin/keys").json()["keys"]) == 1


def test_kill_9_at_any_moment(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Of a backup and of a restore: there is the old state or the new one, never a half."""
    key = till.mint(max_activations=1000)
    till.call(key)
    file = tmp_path / "backup"
    back_up(till, file)
    till.call(key)
    dice = random.Random(7)
    for _ in range(12):
        other = tmp_path / "other"
        victim = subprocess.Popen([str(BINARY), "backup", str(other), "--replace", "--data", str(till.data)],
                                  env={**till.environment, "TILL_ADMIN_KEY": till.admin_key},
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0, 0.15))
        victim.kill()
        victim.wait()
        if other.exists():
            till.cli("backup", "--verify", str(other))
    till.stop()
    states = set()
    rounds = 16
    began = time.monotonic()
    put_back(till, file, "--replace")
    whole = time.monotonic() - began
    till.start()
    till.cli("admin", "accept-rollback")
    till.stop()
    for n in range(rounds):
        victim = subprocess.Popen([str(BINARY), "restore", str(file), "--replace", "--data", str(till.data)], env=till.environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # From the first moment to the end, however slow the machine is; the last one is not killed.
        if n < rounds - 1:
            time.sleep(whole * n / rounds)
            victim.kill()
        victim.wait()
        till.start()
        fenced = till.admin("GET", "/admin/instance").json()["instance"]["fence"] is not None
        used = till.key(key.id)["usedActivations"]
        states.add(fenced)
        if fenced:
            assert used == 1
            assert till.call(key).status_code == 403
            till.cli("admin", "accept-rollback")
        assert till.call(key).status_code == 200
        assert till.key(key.id)["usedActivations"] == used + 1
        till.stop()
    assert states == {False, True}

