"""The life of master keys: rotated under load, retired, given from outside, and cut short anywhere."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.open_stream import open_stream
from harness.raw_http import burst
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import BINARY, Till


def master_keys(till: Till, *flags: str, **options) -> dict[str, dict]:
    return {one["id"]: one for one in till.cli_json("master-key", "list", *flags, **options)["masterKeys"]}


def current(till: Till) -> str:
    [found] = [one["id"] for one in till.admin("GET", "/admin/master-keys").json()["masterKeys"] if one["state"] == "current"]
    return found


def offline(till: Till) -> dict:
    return {"environment": {"TILL_URL": "", "TILL_ADMIN_KEY": "", "TILL_DATA": str(till.data)}}


def test_rotation_under_load_loses_no_call(till: Till, upstream: ScriptedUpstream) -> None:
    first = current(till)
    old = till.mint(max_activations=3000)
    results = []
    threads = [threading.Thread(target=lambda: results.append(burst(till.url, old.token, 1000, 16))) for _ in range(3)]
    for thread in threads:
        thread.start()
    rotations = 0
    while any(thread.is_alive() for thread in threads):
        till.cli("master-key", "rotate")
        rotations += 1
    for thread in threads:
        thread.join()
    assert rotations >= 2
    assert [result.statuses for result in results] == [{"200": 1000}] * 3
    assert upstream.count == 3000
    new = till.mint(max_activations=2)
    assert till.key(new.id)["masterKey"] == current(till) != first == till.key(old.id)["masterKey"]
    assert (till.data / "keys" / f"master-{first}.key").stat().st_mode & 0o077 == 0
    till.restart()
    assert till.call(new).status_code == 200
    assert till.call(old).json()["error"]["code"] == "activations_exhausted", "it opens"
    assert len(master_keys(till)) == rotations + 1


def test_retiring_ends_every_key_of_it_for_good(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    first = current(till)
    assert till.cli("master-key", "retire", first, "--yes", check=False).returncode == 1, "the current one"
    with open_stream(till, upstream, b"data: never\n\n") as stream:
        other = till.mint()
        assert till.call(other, "/v1/models", method="GET").status_code == 200, "its token is remembered as opened"
        rotated = till.cli_json("master-key", "rotate")["masterKey"]
        new = till.mint()
        refused = till.cli("master-key", "retire", first, check=False)
        assert refused.returncode == 2 and "2 live keys" in refused.stderr
        assert till.call(other, "/v1/models", method="GET").status_code == 200, "nothing was done"
        retired = till.cli_json("master-key", "retire", first, "--yes")
        assert (retired["keysEnded"], retired["masterKey"]["state"], retired["masterKey"]["keysLive"]) == (2, "retired", 0)
        try:
            rest = b"".join(stream.parts)
        except httpx.TransportError:
            rest = b""
        assert b"never" not in rest, "the stream is cut"
    stream.gate.set()
    count = upstream.count
    for key in (stream.key, other):
        answer = till.call(key)
        assert answer.status_code == 403 and "was retired" in answer.text
        assert till.key(key.id)["status"] == "revoked"
    assert upstream.count == count
    assert till.call(new, "/v1/models", method="GET").status_code == 200
    assert rotated["id"] == current(till)

    till.restart()
    # The file is still there, and does not bring it back.
    assert (till.data / "keys" / f"master-{first}.key").exists()
    assert till.call(other).status_code == 403
    assert master_keys(till)[first]["state"] == "retired"
    till.stop()
    # Neither does making it the current one.
    shutil.copy(till.data / "keys" / f"master-{first}.key", till.data / "keys" / "master.key")
    assert "was retired" in till.refuses_to_start()


def test_a_restore_brings_no_retired_one_back(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A backup from before, with the retired master key still there: it is retired again before anything is served."""
    first = current(till)
    old = till.mint()
    stored = till.admin("POST", "/admin/credentials", {"name": "prod", "provider": "openai", "upstream_key": "sk-stored-0123456789"})
    assert stored.status_code == 201
    till.cli("backup", str(tmp_path / "backup"), "--data", str(till.data))
    till.cli("master-key", "rotate")
    new = till.mint()
    till.cli("master-key", "retire", first, "--yes")
    noted = till.data / "keys" / "retired"
    assert noted.read_text().split() == [first] and noted.stat().st_mode & 0o777 == 0o600
    second = current(till)
    till.stop()
    assert (till.data / "keys" / f"master-{first}.key").exists()
    till.cli("restore", str(tmp_path / "backup"), "--data", str(till.data), "--replace")
    till.start()
    assert f"{first}" in till.output() and "retired again" in till.output()
    till.cli("admin", "accept-rollback")
    assert {id: one["state"] for id, one in master_keys(till).items()} == {first: "retired", second: "current"}
    assert till.key(old.id)["status"] == "revoked"
    assert till.call(old).status_code == 403 and till.call(new).status_code == 403
    fresh = till.admin("POST", "/admin/keys", {"upstream": "prod", "max_activations": 1}).json()["key"]["scopedKey"]
    assert till.call(fresh).status_code == 200, "what it had sealed is sealed by the current one"
    # A database that knows more than the note brings it up to date.
    till.stop()
    noted.unlink()
    till.start()
    assert noted.read_text().split() == [first]


def test_offline(till: Till, upstream: ScriptedUpstream) -> None:
    """The same without a server, in the directories."""
    old = till.mint()
    first = current(till)
    till.stop()
    said = till.cli("master-key", "rotate", **offline(till)).stdout
    second = re.search(r"\b[0-9a-f]{8}\b", said)[0]
    assert {id: one["state"] for id, one in master_keys(till, **offline(till)).items()} == {first: "old", second: "current"}
    till.start()
    assert till.call(old).status_code == 200
    assert current(till) == second
    till.stop()
    done = till.cli_json("master-key", "retire", first, "--yes", **offline(till))
    assert done["keysEnded"] == 1
    assert till.cli("master-key", "retire", "00000000", "--yes", check=False, **offline(till)).returncode == 1
    till.start()
    assert till.call(old).status_code == 403
    assert upstream.count == 1


def test_only_the_owner_may(till: Till) -> None:
    for key in ("", "till_admin_" + "y" * 43):
        done = till.cli("master-key", "rotate", environment={"TILL_ADMIN_KEY": key}, check=False)
        assert done.returncode != 0
    assert len(till.admin("GET", "/admin/master-keys").json()["masterKeys"]) == 1


@pytest.mark.parametrize("how", ["file", "variable", "command"])
def test_from_outside(how: str, new_till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A rotation is another master key in the first place and the old one behind it."""
    texts = [secrets.token_hex(32) for _ in range(3)]
    file = tmp_path / "a key"

    def give(*keys: str) -> None:
        file.write_text("\n".join(keys) + "\n")
        file.chmod(0o600)
        if how == "variable":
            till.environment["TILL_MASTER_KEY"] = keys[0]
            till.environment["TILL_MASTER_KEY_OLD"] = ",".join(keys[1:])

    flags = {"file": ("--master-key-file", str(file)), "variable": (), "command": ("--master-key-command", f"cat '{file}'")}[how]
    till = new_till({"openai": upstream.url}, flags=flags)
    give(texts[0])
    till.start()
    first = current(till)
    old = till.mint()
    rotated = till.cli("master-key", "rotate", check=False)
    if how == "file":
        assert rotated.returncode == 0
        assert len(file.read_text().split()) == 2 and file.stat().st_mode & 0o777 == 0o600
        assert current(till) != first
        between = till.mint()
        lines = file.read_text().split()
        give(texts[1], *lines)
    else:
        assert rotated.returncode == 1 and "restart" in rotated.stderr and current(till) == first
        between = old
        give(texts[1], texts[0])
    till.restart()
    new = till.mint()
    assert current(till) not in (first, till.key(between.id)["masterKey"])
    for key in (old, between, new):
        assert till.call(key).status_code == 200
    assert not (till.data / "keys" / "master.key").exists()
    # Without the one before, its keys are refused and the rest works.
    give(texts[1])
    till.restart()
    assert "is not here" in till.output()
    assert (till.call(old).status_code, till.call(new).status_code) == (403, 200)
    # With one that nothing was made under the start ends, and spoils nothing.
    till.stop()
    give(texts[2])
    assert "master key" in till.refuses_to_start()
    give(texts[1], texts[0])
    till.start()
    assert till.call(old).status_code == 200


def test_command_that_fails(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url}, flags=("--master-key-command", "sh -c 'echo no such slot >&2; exit 4'"))
    said = till.refuses_to_start()
    assert "no such slot" in said and "exit status: 4" in said
    till.flags = ("--master-key-command", "sh -c 'echo hunter2'")
    assert "hunter2" not in till.refuses_to_start()
    till.flags = ("--master-key-command", "a 'b")
    assert "no command" in till.refuses_to_start()
    till.flags = ("--master-key-command", "true", "--master-key-file", "/dev/null")
    assert "one place" in till.refuses_to_start()


def _states_of_a_rotation(keys: Path, first: str) -> Iterator[str]:
    """What a rotation leaves behind when it ends between two of its writes, one after the other."""
    new = secrets.token_hex(32)
    kept, draft = keys / f"master-{first}.key", keys / "master.key.new"
    yield "nothing is kept yet, and a draft is half written"
    (keys / f"master-{first}.key.new").write_text("till_master_")
    yield "the old one is kept"
    shutil.copy(keys / "master.key", kept)
    yield "the new one is half written"
    draft.write_text(new[:20])
    yield "the new one has its name, and the store does not know it"
    draft.write_text(new)
    draft.chmod(0o600)
    draft.rename(keys / "master.key")
    yield "the end"


def test_every_state_of_a_rotation_starts(till: Till, upstream: ScriptedUpstream) -> None:
    old = till.mint()
    first = current(till)
    for count, state in enumerate(_states_of_a_rotation(till.data / "keys", first), 1):
        till.restart() if state != "the end" else till.stop()
        if state == "the end":
            break
        assert current(till) == first, state
        assert till.call(old).status_code == 200, state
        assert upstream.count == count
    till.start()
    assert current(till) != first, "the next start finishes it"
    assert till.call(old).status_code == 200
    new = till.mint()
    till.restart()
    assert (till.call(old).status_code, till.call(new).status_code) == (200, 200)


def test_an_interrupted_rotation_is_taken_up_by_the_next(till: Till) -> None:
    """The store could not be written: the new master key waits in its file, and no other is made."""
    first = current(till)
    keys = till.data / "keys"
    waiting = secrets.token_hex(32)
    shutil.copy(keys / "master.key", keys / f"master-{first}.key")
    (keys / "master.key").write_text(waiting)
    till.cli("master-key", "rotate")
    assert (keys / "master.key").read_text() == waiting
    assert current(till) != first


def test_kill_9_in_a_rotation(till: Till, upstream: ScriptedUpstream) -> None:
    """At any moment, of the server and of the command without a server: the next start works with either state."""
    keys = [till.mint()]
    rotated = set()
    rounds = 12
    began = time.monotonic()
    till.cli("master-key", "rotate")
    whole = time.monotonic() - began
    for n in range(rounds):
        before = current(till)
        # From the first moment to the end, however slow the machine is.
        pause = whole * n / rounds
        if n % 2:
            thread = threading.Thread(target=lambda: till.cli("master-key", "rotate", check=False))
            thread.start()
            time.sleep(pause)
            till.kill9()
            thread.join()
        else:
            till.stop()
            victim = subprocess.Popen([str(BINARY), "master-key", "rotate", "--data", str(till.data)], env=till.environment,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(pause)
            victim.kill()
            victim.wait()
        till.start()
        rotated.add(current(till) != before)
        keys.append(till.mint())
        for key in keys:
            assert till.call(key).status_code == 200
        assert till.admin("GET", "/admin/instance").json()["instance"]["fence"] is None
    assert False in rotated, "the first moments are before anything is done"


def test_revoke_by_master_key(till: Till) -> None:
    old, first = till.mint(), current(till)
    till.cli("master-key", "rotate")
    new = till.mint()
    assert till.cli_json("keys", "revoke", "--master-key", first, "--yes")["ids"] == [old.id]
    assert till.key(new.id)["status"] == "active"
