"""From the first start to the last: what is printed, how it stops, what a put-back copy does."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import httpx
import pytest

from harness.open_stream import open_stream
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import Till
from harness.waiting import until

CHAT = "/v1/chat/completions"
ADMIN_KEY_FORM = re.compile(r"till_admin_[A-Za-z0-9_-]{32,}")


def test_first_start_and_restart(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url}, preset_admin_key=False).start()
    said = till.output()
    found = set(ADMIN_KEY_FORM.findall(said))
    assert len(found) == 1, said
    assert till.url in said
    assert "keys create" in said, "the next step"
    dashboard = next(line.split()[-1] for line in said.splitlines() if line.startswith("The dashboard is at "))
    assert dashboard == f"{till.url}/dashboard/" and '<div id="app">' in httpx.get(dashboard, trust_env=False).text
    till.admin_key = found.pop()
    key = till.mint(max_activations=2)
    assert till.call(key).status_code == 200

    till.restart()
    assert "till_admin_" not in till.output()
    assert till.key(key.id)["usedActivations"] == 1
    assert till.call(key).status_code == 200
    assert till.call(key).status_code == 403
    assert upstream.count == 2


def test_files_are_private(till: Till) -> None:
    for path in [till.data, *till.data.rglob("*")]:
        if path.name == "address":
            continue
        assert path.stat().st_mode & 0o077 == 0, f"{path}: {path.stat().st_mode:o}"


def test_preset_admin_key_is_not_printed(till: Till) -> None:
    assert till.admin_key not in till.output()
    assert till.admin("GET", "/admin/account").status_code == 200


def test_sigterm_drains(till: Till, upstream: ScriptedUpstream) -> None:
    """A stream in flight is finished; who comes after the signal is not served."""
    with open_stream(till, upstream, b"data: last\n\n") as stream:
        till.terminate()
        until(lambda: _refuses(till, stream.key.token), "new requests to be refused")
        stream.gate.set()
        assert b"".join(stream.parts) == b"data: last\n\n"
    till.wait_stopped()
    assert upstream.count == 1
    till.start()
    assert till.key(stream.key.id)["usedActivations"] == 1


def _refuses(till: Till, token: str) -> bool:
    """What comes before till has seen the signal would be served, so that is asked first."""
    try:
        return httpx.get(f"{till.url}/readyz").status_code == 503 and till.call(token).status_code == 503
    except httpx.TransportError:
        return True


def test_draining_is_bounded(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url}, flags=("--shutdown-grace", "1s")).start()
    with open_stream(till, upstream, b"data: never\n\n") as stream:
        begun = time.monotonic()
        till.terminate()
        till.wait_stopped(10)
        assert time.monotonic() - begun < 8
        with pytest.raises(httpx.TransportError):
            rest = b"".join(stream.parts)
            if b"error" in rest:
                raise httpx.ReadError("the stream ended with an error event")
    stream.gate.set()
    till.start()
    assert till.key(stream.key.id)["usedActivations"] == 1


def test_revoking_cuts_a_stream(till: Till, upstream: ScriptedUpstream) -> None:
    with open_stream(till, upstream, b"data: never\n\n") as stream:
        till.revoke(stream.key.id)
        try:
            rest = b"".join(stream.parts)
        except httpx.TransportError:
            rest = b""
        assert b"never" not in rest
    stream.gate.set()
    assert till.call(stream.key).status_code == 403
    assert upstream.count == 1


@pytest.mark.parametrize("keys_elsewhere", [True, False])
def test_put_back_copy_is_fenced(keys_elsewhere: bool, new_till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """The witness notices both: a database behind it, and that it is itself a copy."""
    flags = ("--key-dir", str(tmp_path / "keys")) if keys_elsewhere else ()
    till = new_till({"openai": upstream.url}, flags=flags).start()
    key = till.mint(max_activations=3)
    assert till.call(key).status_code == 200
    till.stop()
    shutil.copytree(till.data, tmp_path / "copy")
    till.start()
    assert [till.call(key).status_code for _ in range(3)] == [200, 200, 403]
    till.stop()
    shutil.rmtree(till.data)
    shutil.copytree(tmp_path / "copy", till.data)

    till.start()
    answer = till.call(key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_fenced")
    fresh = till.admin("POST", "/admin/keys", {"provider": "openai", "upstream_key": "sk-another-key", "max_activations": 1})
    if fresh.status_code < 300:
        assert till.call(fresh.json()["key"]["scopedKey"]).status_code == 403
    assert upstream.count == 3
    till.restart()
    assert till.call(key).json()["error"]["code"] == "key_fenced", "a restart alone accepts nothing"

    till.cli("admin", "accept-rollback")
    assert till.call(key).status_code == 200
    assert upstream.count == 4
    till.restart()
    assert till.call(key).status_code == 200


def test_the_wrong_key_directory_fences_nothing(new_till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """The documented layout: keys elsewhere. A command that is not told so does nothing; neither does a start whose keys are not mounted."""
    flags = ("--key-dir", str(tmp_path / "keys"))
    till = new_till({"openai": upstream.url}, flags=flags).start()
    key = till.mint(max_activations=9)
    first = till.admin("GET", "/admin/master-keys").json()["masterKeys"][0]["id"]
    till.stop()
    alone = {"TILL_URL": "", "TILL_ADMIN_KEY": ""}
    for command in (("admin", "reset-owner"), ("backup", str(tmp_path / "backup")), ("master-key", "list"), ("master-key", "rotate")):
        data = ("--data", str(till.data))
        done = till.cli(*command, *data, environment=alone, check=False)
        assert done.returncode == 1 and "--key-dir" in done.stderr, done.stderr
        assert not (tmp_path / "backup").exists()
    till.flags = ("--key-dir", str(tmp_path / "not-mounted"))
    assert "master key is missing" in till.refuses_to_start()
    till.flags = flags
    till.start()
    assert till.admin("GET", "/admin/instance").json()["instance"]["fence"] is None
    assert till.call(key).status_code == 200
    till.stop()
    done = till.cli_json("master-key", "list", "--data", str(till.data), *flags, environment=alone)
    assert [one["id"] for one in done["masterKeys"]] == [first]
    till.cli("admin", "reset-owner", "--data", str(till.data), *flags, environment=alone)
    # With its master key from elsewhere a start can't tell, and fences.
    till.environment["TILL_MASTER_KEY"] = (tmp_path / "keys" / "master.key").read_text().strip()
    till.flags = ("--key-dir", str(tmp_path / "not-mounted"))
    till.start()
    assert till.call(key).json()["error"]["code"] == "key_fenced"


def test_no_core_dumps(till: Till) -> None:
    """Of the memory that has the keys in it. 1 is too little for a file, and forbids a pipe."""
    limits = Path(f"/proc/{till.pid}/limits").read_text()
    assert re.search(r"Max core file size +1 +1 ", limits), limits


def test_reset_owner(till: Till) -> None:
    refused = till.cli("admin", "reset-owner", "--data", str(till.data), check=False)
    assert refused.returncode != 0, "the server runs"
    till.mint()
    till.stop()
    done = till.cli("admin", "reset-owner", "--data", str(till.data), environment={"TILL_ADMIN_KEY": "", "TILL_URL": ""})
    new_key = ADMIN_KEY_FORM.findall(done.stdout + done.stderr)
    assert len(new_key) == 1
    del till.environment["TILL_ADMIN_KEY"]
    old_key, till.admin_key = till.admin_key, new_key[0]
    till.start()
    assert len(till.admin("GET", "/admin/keys").json()["keys"]) == 1
    assert till.admin("GET", "/admin/keys", key=old_key).status_code == 401


def test_a_preset_key_that_was_rotated_away_stays_away(till: Till) -> None:
    leaked = till.admin_key
    new = till.admin("POST", "/admin/tokens/owner/rotate", {}).json()["adminToken"]
    till.restart()
    assert till.admin("GET", "/admin/self", key=leaked).status_code == 401
    assert till.admin("GET", "/admin/self", key=new).status_code == 200
    assert "the preset owner key does nothing" in till.output() and leaked not in till.output()


def test_commands(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Every command of a key's life, in JSON and for people."""
    secret = tmp_path / "secret"
    secret.write_text("sk-from-a-file-123\n")
    made = till.cli_json("keys", "create", "--provider", "openai", "--upstream-key-file", str(secret), "--max-activations", "2",
                         "--name", "x")
    made = made.get("key", made)
    assert (made["maxActivations"], made["metadata"]["name"]) == (2, "x")
    assert till.call(made["scopedKey"]).status_code == 200
    assert upstream.last().header("authorization") == "Bearer sk-from-a-file-123"

    other = till.cli("keys", "create", "--provider", "openai", "--upstream-key-env", "REAL", "--max-activations", "1",
                     environment={"REAL": "sk-from-a-variable"})
    token = re.search(r"till_sk_\w+", other.stdout)
    assert token and till.call(token[0]).status_code == 200
    assert upstream.last().header("authorization") == "Bearer sk-from-a-variable"

    listed = till.cli_json("keys", "list")
    assert len(listed.get("keys", listed)) == 2
    assert made["id"] in till.cli("keys", "list").stdout
    shown = till.cli_json("keys", "show", made["id"])
    assert shown.get("key", shown)["usedActivations"] == 1
    till.cli("keys", "revoke", made["id"])
    assert till.cli_json("keys", "show", made["id"]).get("key", {"status": "revoked"})["status"] == "revoked"
    assert till.call(made["scopedKey"]).status_code == 403

    assert isinstance(till.cli_json("status"), dict)
    assert re.search(r"\d+\.\d+\.\d+", json.dumps(till.cli_json("version")))
    for shell in ("bash", "zsh", "fish"):
        assert "till" in till.cli("completions", shell).stdout
    assert "Usage" in till.cli("--help").stdout


def test_commands_find_the_server_by_themselves(new_till, upstream: ScriptedUpstream) -> None:
    """Without `--url` the address comes from the data directory."""
    till = new_till({"openai": upstream.url}).start()
    done = till.cli("status", environment={"TILL_URL": "", "TILL_DATA": str(till.data)})
    assert till.url in done.stdout


def test_commands_that_fail_say_why(till: Till) -> None:
    for arguments, word in [
        (("keys", "show", "key_0000000000000000000000"), "no key with this id"),
        (("keys", "create", "--provider", "nobody", "--upstream-key-env", "REAL", "--max-activations", "1"), "provider"),
        (("keys", "create", "--provider", "openai", "--upstream-key-env", "NOT_SET", "--max-activations", "1"), "NOT_SET"),
        (("keys", "create", "--provider", "openai", "--upstream-key-env", "REAL", "--max-activations", "0"), "max"),
    ]:
        done = till.cli(*arguments, environment={"REAL": "sk-real-upstream-key"}, check=False)
        assert done.returncode != 0
        assert word in done.stderr, done.stderr
        assert "sk-real-upstream-key" not in done.stdout + done.stderr


def test_self_check_and_remaining(till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(max_activations=2)
    answer = till.call(key)
    assert answer.headers["x-till-activations-remaining"] == "1"
    assert answer.headers["x-till-request-id"]
    own = till.call(key, "/key", method="GET")
    assert own.status_code == 200
    assert key.token not in own.text
    assert till.key(key.id)["usedActivations"] == 1
    assert upstream.count == 1


def test_probes_are_free(till: Till, upstream: ScriptedUpstream) -> None:
    """`HEAD /` and CORS pre-flight are answered by till itself."""
    key = till.mint(max_activations=1)
    assert httpx.head(till.url + "/", headers={"x-api-key": key.token}, trust_env=False).status_code < 300
    preflight = httpx.options(till.url + CHAT, trust_env=False, headers={
        "origin": "http://localhost", "access-control-request-method": "POST", "access-control-request-headers": "authorization"})
    assert preflight.status_code < 300
    assert upstream.count == 0
    assert till.key(key.id)["usedActivations"] == 0
    assert httpx.get(till.url + "/healthz", trust_env=False).status_code == 200
