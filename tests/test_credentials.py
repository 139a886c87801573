"""Upstream keys that are stored by name: minted from, replaced, taken away, with the real binary."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.raw_http import one, post
from harness.scripted_upstream import Answer, ScriptedUpstream
from harness.secret_forms import leaks
from harness.till_process import BINARY, UPSTREAM_KEY, Till

PATH = "/v1/chat/completions"
NEXT_KEY = "sk-next-canary/0123+456789abcdefghijk="


def admin(till: Till, method: str, path: str, body: dict | None = None, status: int = 200) -> dict:
    answer = till.admin(method, path, body) if body is not None else till.admin(method, path)
    assert answer.status_code == status, answer.text
    return answer.json()


def mint(till: Till) -> str:
    made = admin(till, "POST", "/admin/keys", {"upstream": "openai-prod", "max_activations": 50}, 201)
    return made["key"]["scopedKey"]


def sent(till: Till, upstream: ScriptedUpstream, token: str) -> str | None:
    answer = till.call(token)
    assert answer.status_code == 200, answer.text
    return upstream.last().header("authorization")


def test_a_life(till: Till, upstream: ScriptedUpstream) -> None:
    """Restarts, crashes and rotations of both the upstream key and the master key; then it is removed."""
    stored = {"name": "openai-prod", "provider": "openai", "upstream_key": UPSTREAM_KEY}
    admin(till, "POST", "/admin/credentials", stored, 201)
    token = mint(till)
    assert sent(till, upstream, token) == f"Bearer {UPSTREAM_KEY}"
    till.restart()
    assert sent(till, upstream, token) == f"Bearer {UPSTREAM_KEY}"

    admin(till, "PATCH", "/admin/credentials/openai-prod", {"upstream_key": NEXT_KEY})
    assert sent(till, upstream, token) == f"Bearer {NEXT_KEY}"
    till.kill9()
    till.start()
    assert sent(till, upstream, token) == f"Bearer {NEXT_KEY}"

    first = admin(till, "GET", "/admin/master-keys")["masterKeys"][0]["id"]
    admin(till, "POST", "/admin/master-keys/rotate")
    young = mint(till)
    for key in (token, young):
        assert sent(till, upstream, key) == f"Bearer {NEXT_KEY}"
    admin(till, "POST", f"/admin/master-keys/{first}/retire")
    for _ in range(2):
        assert till.call(token).status_code == 403, "its own master key is retired"
        assert sent(till, upstream, young) == f"Bearer {NEXT_KEY}"
        # The old master key is not needed any more.
        till.stop()
        for old in (till.data / "keys").glob("master-*.key"):
            old.unlink()
        till.start()

    admin(till, "DELETE", "/admin/credentials/openai-prod")
    calls = upstream.count
    for _ in range(2):
        refused = till.call(young)
        assert refused.status_code == 403 and "key_revoked" in refused.text, refused.text
        till.restart()
    assert upstream.count == calls


def test_a_master_key_from_outside(new_till, upstream: ScriptedUpstream) -> None:
    """A rotation by putting another master key in place seals what is stored anew, so that the old one may go."""
    one_, two = "1" * 64, "2" * 64
    till = new_till({"openai": upstream.url}, environment={"TILL_MASTER_KEY": one_}).start()
    admin(till, "POST", "/admin/credentials", {"name": "openai-prod", "provider": "openai", "upstream_key": UPSTREAM_KEY}, 201)
    till.stop()
    till.environment["TILL_MASTER_KEY"] = two
    till.environment["TILL_MASTER_KEY_OLD"] = one_
    till.start()
    till.stop()
    del till.environment["TILL_MASTER_KEY_OLD"]
    till.start()
    assert sent(till, upstream, mint(till)) == f"Bearer {UPSTREAM_KEY}"


def test_no_file_no_log_no_answer(till: Till, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Neither the stored key nor the one before it is anywhere in a form that somebody could use."""
    said: list[bytes] = []
    secrets = {"first": UPSTREAM_KEY, "next": NEXT_KEY}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret + "\n")
    commands = (
        ("credentials", "create", "openai-prod", "--provider", "openai", "--upstream-key-file", str(tmp_path / "first")),
        ("credentials", "list"), ("credentials", "list", "--output", "json"),
        ("credentials", "show", "openai-prod"), ("credentials", "show", "openai-prod", "--output", "json"),
        ("keys", "create", "--upstream", "openai-prod", "--max-activations", "50"),
        ("credentials", "rotate", "openai-prod", "--upstream-key-env", "NEXT"),
        ("credentials", "update", "openai-prod", "--policy-json", '{"max_live_keys": 50}'),
        ("keys", "list"),
    )
    for arguments in commands:
        done = till.cli(*arguments, environment={"NEXT": NEXT_KEY})
        said.append((done.stdout + done.stderr).encode())
    token = mint(till)
    for body in ({"name": "x"}, {"name": UPSTREAM_KEY}, {"name": "x", "surprise": 1}, {"name": "x", "policy": {"models": [UPSTREAM_KEY]}}):
        said.append(till.admin("POST", "/admin/credentials", {"provider": "openai", "upstream_key": UPSTREAM_KEY, **body}).content)
    upstream.on(PATH, Answer(status=401, headers=[("x-echo", NEXT_KEY)], pieces=[f'{{"error":"{NEXT_KEY}"}}'.encode()]))
    answer = one(till.url, post(token))
    assert answer.status == 401
    assert upstream.last().header("authorization") == f"Bearer {NEXT_KEY}"
    said.append(answer.wire)
    for path in ("/admin/credentials", "/admin/credentials/openai-prod", "/admin/audit?limit=1000", "/admin/keys", "/metrics"):
        said.append(till.admin("GET", path).content)
    till.kill9()
    files = [path.read_bytes() for path in till.data.rglob("*") if path.is_file()]
    assert len(files) >= 2
    till.start()
    said.append(till.admin("DELETE", "/admin/credentials/openai-prod").content)
    till.stop()
    files += [path.read_bytes() for path in till.data.rglob("*") if path.is_file()]
    for secret in secrets.values():
        for text in [*said, *files, till.all_output()]:
            assert leaks(secret, text) == []


def test_commands(till: Till, upstream: ScriptedUpstream) -> None:
    """What people see, and what is refused."""
    done = till.cli("credentials", "create", "openai-prod", "--provider", "openai", "--upstream-key-env", "REAL",
                    environment={"REAL": UPSTREAM_KEY})
    assert "till keys create --upstream openai-prod" in done.stdout
    shown = till.cli_json("credentials", "show", "openai-prod")["credential"]
    assert (shown["name"], shown["keyHint"]) == ("openai-prod", UPSTREAM_KEY[-4:])
    assert "openai-prod" in till.cli("credentials", "list").stdout
    made = till.cli_json("keys", "create", "--upstream", "openai-prod", "--max-activations", "5")["key"]
    assert (made["upstream"], made["provider"]) == ("openai-prod", "openai")
    assert sent(till, upstream, made["scopedKey"]) == f"Bearer {UPSTREAM_KEY}"
    till.cli("credentials", "rotate", "openai-prod", "--upstream-key-env", "REAL", environment={"REAL": NEXT_KEY})
    assert sent(till, upstream, made["scopedKey"]) == f"Bearer {NEXT_KEY}"
    removed = till.cli("credentials", "remove", "openai-prod")
    assert "revoked" in removed.stdout
    assert till.call(made["scopedKey"]).status_code == 403
    assert till.cli_json("keys", "show", made["id"])["key"]["status"] == "revoked"


@pytest.mark.parametrize("command", [("create", "x", "--provider", "openai"), ("rotate", "x")])
def test_a_real_key_on_the_command_line_is_refused(command: tuple[str, ...], till: Till) -> None:
    done = subprocess.run([str(BINARY), "credentials", *command, "--upstream-key", UPSTREAM_KEY], capture_output=True, text=True,
                          env=till.environment, timeout=20)
    assert done.returncode == 2
    assert "--upstream-key is refused" in done.stderr
    assert leaks(UPSTREAM_KEY, (done.stdout + done.stderr).encode()) == []
