"""The audit log of the real binary: who did what, what was denied, and that nobody can change it unseen."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from audit_verifier import framed
from audit_verifier import verify as independent_verify
from harness.scripted_upstream import ScriptedUpstream
from harness.secret_forms import leaks
from harness.till_process import BINARY, UPSTREAM_KEY, Till
from harness.waiting import until

OFFLINE = {"TILL_URL": "", "TILL_ADMIN_KEY": ""}


def entries(till: Till, query: str = "") -> list[dict]:
    answer = till.admin("GET", f"/admin/audit?limit=1000&{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"]


def export(till: Till, name: str = "audit.jsonl") -> Path:
    till.cli("audit", "export", name)
    return till.directory / name


def public_key(till: Till) -> str:
    return till.cli("audit", "public-key").stdout.strip()


def check(till: Till, file: Path, *arguments: str) -> tuple[int, dict]:
    """What the binary says about a file, without a server and without an admin key."""
    done = till.cli("audit", "verify", str(file), "--output", "json", *arguments, environment=OFFLINE, check=False)
    return done.returncode, json.loads(done.stdout)


def denied(till: Till) -> dict[tuple[str, str], int]:
    """How often each key was denied for each reason, over all minutes."""
    counts: dict[tuple[str, str], int] = {}
    seen = set()
    for entry in entries(till, "action=key.denied"):
        detail = json.loads(entry["detail"])
        assert (entry["target"], detail["code"], detail["minute"]) not in seen, "one entry per key, code and minute"
        seen.add((entry["target"], detail["code"], detail["minute"]))
        place = (entry["target"], detail["code"])
        counts[place] = counts.get(place, 0) + detail["count"]
    return counts


@pytest.mark.parametrize("name", ["audit.jsonl", "audit.csv"])
def test_an_export_is_verified_by_two_implementations(name: str, till: Till) -> None:
    key = till.mint(max_activations=1, name='say "no", or\nnot'.replace("\n", " "))
    till.revoke(key.id)
    file, public = export(till, name), public_key(till)
    assert file.stat().st_mode & 0o777 == 0o600
    seq, head = independent_verify(str(file), public)
    code, said = check(till, file, "--public-key", public, "--expect-head", f"{seq}:{head}")
    assert (code, said["ok"], said["head"]) == (0, True, {"seq": seq, "hash": head})
    assert (said["anchor"], said["publicKeyGiven"], said["publicKeys"]) == (None, True, [public])
    key_file = till.directory / "audit.pub"
    key_file.write_text(public + "\n")
    assert check(till, file, "--public-key", str(key_file))[0] == 0
    piped = till.cli("audit", "verify", "-", stdin=file.read_text(), environment=OFFLINE)
    assert "sound" in piped.stdout and "compare it" in piped.stdout
    assert till.cli("audit", "verify").returncode == 0, "the running instance"
    # The same through the API, and to standard output.
    streamed = till.cli("audit", "export", "--format", name.split(".")[1]).stdout
    assert streamed == file.read_text(), "nothing was entered since, so it is the same"


def change(text: str, number: int, how) -> str:
    """The file with the line of an entry, and the one after it, put through `how`."""
    lines = text.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if line.startswith(f'{{"type":"entry","seq":{number},'))
    return "".join(lines[:at] + how(lines[at], lines[at + 1]) + lines[at + 2 :])


def test_the_binary_names_what_was_changed(till: Till) -> None:
    for _ in range(8):
        till.mint()
    file = export(till)
    text, public = file.read_text(), public_key(till)
    last = check(till, file)[1]["head"]["seq"]
    bad = till.directory / "bad.jsonl"
    cases = [
        ("changed", lambda one, two: [one.replace("key.create", "key.update"), two], 5, "changed"),
        ("removed", lambda one, two: [two], 5, "removed"),
        ("doubled", lambda one, two: [one, one, two], 5, "added"),
        ("swapped", lambda one, two: [two, one], 5, "moved"),
    ]
    for what, how, number, word in cases:
        bad.write_text(change(text, number, how))
        code, said = check(till, bad, "--public-key", public)
        assert (code, said["ok"], said["entry"]) == (1, False, number), (what, said)
        assert word in said["fault"], (what, said)
    lines = text.splitlines(keepends=True)
    bad.write_text("".join(lines[:-1]))
    code, said = check(till, bad)
    assert (code, said["entry"]) == (1, last) and "cut off" in said["fault"]
    # Cut right behind a checkpoint: only who knows the end can tell.
    cut = next(n for n, line in enumerate(lines) if '"type":"checkpoint"' in line) + 1
    assert cut < len(lines)
    bad.write_text("".join(lines[:cut]))
    assert check(till, bad)[0] == 0
    head = check(till, file)[1]["head"]
    code, said = check(till, bad, "--expect-head", f"{head['seq']}:{head['hash']}")
    assert code == 1 and "cut off" in said["fault"]
    signature = lines[-1].index('"signature":"') + len('"signature":"')
    flipped = "0" if lines[-1][signature] != "0" else "1"
    bad.write_text("".join(lines[:-1]) + lines[-1][:signature] + flipped + lines[-1][signature + 1 :])
    code, said = check(till, bad)
    assert (code, said["entry"]) == (1, last) and "bad signature" in said["fault"]
    assert check(till, file, "--public-key", "00" * 32)[0] == 1
    said = till.cli("audit", "verify", str(bad), environment=OFFLINE, check=False)
    assert said.returncode == 1 and f"Entry {last}: " in said.stdout


def test_a_kill_leaves_a_sound_log_with_what_was_denied(till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=1)
    assert till.call(key).status_code == 200
    for _ in range(3):
        assert till.call(key).status_code == 403
    database = till.data / "till.db"

    def on_disk() -> bool:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            journal = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
            rows = connection.execute("SELECT coalesce(sum(count), 0) FROM denials").fetchone()[0]
        return journal == 0 and rows == 3

    until(on_disk, "the denials to be on disk")
    till.kill9()
    till.start()
    assert denied(till) == {(key.id, "activations_exhausted"): 3}
    # At a clean stop too, and a restart in the same minute makes no second entry of it.
    for _ in range(2):
        assert till.call(key).status_code == 403
    till.restart()
    assert denied(till) == {(key.id, "activations_exhausted"): 5}
    file, public = export(till), public_key(till)
    independent_verify(str(file), public)
    assert check(till, file, "--public-key", public)[0] == 0
    actions = [entry["action"] for entry in entries(till)]
    assert actions.count("instance.start") == 3 and actions.count("instance.stop") == 1
    assert actions.count("audit.key") == 1, "the key is the same after every start"


def test_old_entries_go_and_the_rest_is_anchored(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url}, flags=("--audit-retention-days", "3")).start()
    public = public_key(till)
    leaked = [till.mint() for _ in range(5)][0]
    before = export(till)
    old = check(till, before)[1]["head"]["seq"]
    till.stop()
    # The clock of till never goes back, so this is how ten days pass.
    with sqlite3.connect(till.data / "till.db") as connection:
        connection.execute("UPDATE instance SET time_seen = time_seen + 10 * 86400000")
    till.flags += ("--idle-timeout", "7m")
    till.start()
    left = entries(till)
    assert left[0]["seq"] > old
    changes = [json.loads(entry["detail"]) for entry in left if entry["action"] == "config.change"]
    assert changes == [{"set": ["idle-timeout"], "unset": [], "changed": []}], "although the last start was deleted"
    found = till.cli("audit", "find", "--token", "-", stdin=leaked.token)
    assert leaked.id in found.stdout and "deleted by age" in found.stdout
    assert till.cli_json("audit", "find", "--token", "-", stdin=leaked.token) == {"subject": leaked.id, "entries": [], "complete": True}
    trim = next(entry for entry in left if entry["action"] == "audit.trim")
    assert json.loads(trim["detail"])["through"] == left[0]["seq"] - 1
    file = export(till, "after.csv")
    independent_verify(str(file), public)
    code, said = check(till, file, "--public-key", public)
    assert (code, said["anchor"]) == (0, left[0]["seq"] - 1)
    said = till.cli("audit", "verify", str(file), environment=OFFLINE).stdout
    assert f"starts at entry {left[0]['seq']}, anchored by a signed checkpoint" in said
    assert till.admin("GET", "/admin/audit/1").status_code == 404

    def rows() -> int:
        with sqlite3.connect(f"file:{till.data / 'till.db'}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM audit WHERE seq <= ?", [old]).fetchone()[0]

    until(lambda: rows() == 0, "the old rows to be deleted")
    till.kill9()
    till.start()
    independent_verify(str(export(till, "again.jsonl")), public)


def forge(till: Till, kept: int, forged: int) -> None:
    """What somebody does who can write the database and nothing else: entries behind `kept` are others, well hashed."""
    with sqlite3.connect(till.data / "till.db") as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'audit%'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for table in ("audit", "audit_checkpoints"):
            connection.execute(f"DELETE FROM {table} WHERE seq > ?", [kept])
        if kept == 0:
            connection.execute("DELETE FROM audit_keys")
        row = connection.execute("SELECT hash FROM audit WHERE seq = ?", [kept]).fetchone()
        head = row[0] if row else bytes(32)
        for seq in range(kept + 1, kept + forged + 1):
            texts = [b"system", b"system"], [b"key.revoke", b"nothing.to.see", b"{}"]
            hashed = b"till/v1/audit" + head + framed(seq.to_bytes(8, "big")) + framed((1000 + seq).to_bytes(8, "big"))
            hashed += b"".join(map(framed, texts[0])) + b"\0\0" + b"".join(map(framed, texts[1]))
            before, head = head, hashlib.sha256(hashed).digest()
            connection.execute(
                "INSERT INTO audit (seq, at, actor_kind, actor_id, action, target, detail, prev_hash, hash) "
                "VALUES (?, ?, 'system', 'system', 'key.revoke', 'nothing.to.see', '{}', ?, ?)", [seq, 1000 + seq, before, head])
        for _, sql in triggers:
            connection.execute(sql)


@pytest.mark.parametrize("variant", ["all of it", "behind an older checkpoint", "one more"])
def test_what_somebody_wrote_into_the_database_is_not_signed_unseen(variant: str, till: Till) -> None:
    for _ in range(3):
        till.mint()
    export(till)
    for _ in range(3):
        till.mint()
    public = public_key(till)
    till.stop()
    with sqlite3.connect(f"file:{till.data / 'till.db'}?mode=ro", uri=True) as connection:
        seqs = [row[0] for row in connection.execute("SELECT seq FROM audit_checkpoints ORDER BY seq")]
    kept = {"all of it": 0, "behind an older checkpoint": seqs[-2], "one more": seqs[-1]}[variant]
    forge(till, kept, max(seqs[-1] - kept, 1))
    till.start()
    metrics = till.admin("GET", "/metrics").text
    assert "\ntill_store_fenced 1\n" in metrics
    assert "the audit log is not the one that was written" in till.output()
    file = export(till)
    code, said = check(till, file, "--public-key", public)
    assert (code, said["ok"]) == (1, False) and "not the one that it had written" in said["fault"]
    with pytest.raises(AssertionError, match="break"):
        independent_verify(str(file), public)
    entry = next(entry for entry in entries(till) if entry["action"] == "audit.break")
    assert said["entry"] == entry["seq"]
    assert json.loads(entry["detail"])["known"]["seq"] == seqs[-1]
    # Whoever knows why says so, and goes on.
    till.cli("admin", "accept-rollback")
    assert check(till, export(till), "--public-key", public, "--known-break", str(entry["seq"]))[0] == 0
    till.restart()
    assert "\ntill_store_fenced 0\n" in till.admin("GET", "/metrics").text
    assert [entry["action"] for entry in entries(till)].count("audit.break") == 1


def test_no_secret_is_in_the_log_and_a_token_is_found(till: Till, tmp_path: Path) -> None:
    key = till.mint(max_activations=3)
    till.revoke(key.id)
    till.cli("audit", "find", "--token", "-", stdin=key.token + "\n")
    found = till.cli_json("audit", "find", "--token", "-", stdin=key.token)
    assert found["subject"] == key.id
    assert [entry["action"] for entry in found["entries"]] == ["key.create", "key.revoke"]
    assert len(json.loads(found["entries"][0]["detail"])["tokenHash"]) == 64
    owner = till.cli_json("audit", "find", "--token", "-", stdin=till.admin_key)
    assert owner["subject"] == "owner"
    assert {"token.put", "key.create", "key.revoke"} <= {entry["action"] for entry in owner["entries"]}
    unknown = till.cli("audit", "find", "--token", "-", stdin="till_sk_unknown", check=False)
    assert (unknown.returncode, unknown.stdout) == (1, "The audit log knows nothing about this token.\n")
    said = b"".join(export(till, name).read_bytes() for name in ("a.jsonl", "a.csv"))
    for arguments in (("list",), ("list", "--output", "json"), ("show", "2"), ("public-key",), ("verify",)):
        said += till.cli("audit", *arguments).stdout.encode()
    till.restart()
    assert till.cli_json("audit", "find", "--token", "-", stdin=key.token)["subject"] == key.id
    till.stop()
    said += till.all_output()
    files = b"".join(path.read_bytes() for path in till.data.rglob("*") if path.is_file() and path.name != "master.key")
    for place in (said, files):
        assert leaks(UPSTREAM_KEY, place) == []
        for token in (key.token, till.admin_key):
            assert leaks(token, place) == [], "in no form that can be turned back"


def test_the_configuration_of_each_start(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url}, flags=("--idle-timeout", "7m")).start()
    start = json.loads(entries(till, "action=instance.start")[0]["detail"])
    assert {"idle-timeout", "provider-url", "data", "listen"} == set(start["settings"])
    till.restart()
    assert entries(till, "action=config.change") == [], "nothing was changed"
    till.flags = ("--connect-timeout", "8s")
    till.restart()
    changes = [json.loads(entry["detail"]) for entry in entries(till, "action=config.change")]
    assert changes == [{"set": ["connect-timeout"], "unset": ["idle-timeout"], "changed": []}]
    text = json.dumps(entries(till))
    assert "7m" not in text and upstream.url not in text


def test_lists_for_people_and_programs(till: Till) -> None:
    first, second = till.mint(), till.mint()
    till.revoke(first.id)
    listed = till.cli_json("audit", "list", "--action", "key.*")["entries"]
    assert [entry["action"] for entry in listed] == ["key.revoke", "key.create", "key.create"]
    assert till.cli_json("audit", "list", "--target", second.id)["entries"][0]["target"] == second.id
    assert till.cli_json("audit", "list", "--action", "key.*", "--order", "asc", "--limit", "1")["entries"][0]["target"] == first.id
    assert till.cli_json("audit", "list", "--to", "2020-01-01")["entries"] == []
    of_project = till.cli_json("audit", "list", "--project", "default")["entries"]
    assert {entry["action"] for entry in of_project} == {"key.create", "key.revoke"}
    assert till.cli_json("audit", "list", "--project", "none")["entries"] == []
    table = till.cli("audit", "list", "--actor", "owner", "--from", "1h").stdout
    assert table.startswith("SEQ ") and "key.revoke" in table
    shown = till.cli("audit", "show", str(listed[0]["seq"])).stdout
    assert listed[0]["hash"] in shown and first.id in shown
    assert till.cli("audit", "show", "99999", check=False).returncode == 1


def test_follow_goes_on_with_what_comes(till: Till) -> None:
    till.mint()
    variables = {**till.environment, "TILL_URL": till.url, "TILL_ADMIN_KEY": till.admin_key}
    command = [str(BINARY), "audit", "list", "--follow", "--action", "key.*", "--output", "json"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert json.loads(follower.stdout.readline())["action"] == "key.create"
            key = till.mint()
            till.revoke(key.id)
            lines = [json.loads(follower.stdout.readline()) for _ in range(2)]
            assert [(line["action"], line["target"]) for line in lines] == [("key.create", key.id), ("key.revoke", key.id)]
        finally:
            follower.kill()


def test_an_export_leaves_no_half_of_a_file(till: Till) -> None:
    file = export(till)
    before = file.read_text()
    failed = till.cli("audit", "export", file.name, environment={"TILL_URL": "http://127.0.0.1:9"}, check=False)
    assert failed.returncode == 1
    refused = till.cli("audit", "export", file.name, environment={"TILL_ADMIN_KEY": "till_admin_" + "x" * 40}, check=False)
    assert refused.returncode == 1 and "admin key" in refused.stderr
    assert file.read_text() == before
    assert not list(till.directory.glob("*.part"))
