"""What the API answers is what its OpenAPI document says, whoever asks and whatever is sent.

schemathesis reads the document from the running server and sends what it allows and what it forbids, with a fixed seed, as
each role. Every instance has things of each kind, so that ids lead somewhere now and then. A failure prints the request as
a `curl` command; with the seed and the role, the whole run can be done again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from harness.till_process import UPSTREAM_KEY, Till

SEED = 20_260_131
SECONDS_MAX = 150

# Requests per operation of the random phases. Those of the other phases follow from the document.
EXAMPLES = 4

# These would end the run, or what it runs as, or have no end themselves.
EXCLUDED = ["kill_switch_set", "rollback_accept", "logout", "password_change", "events"]

# What fits its schema can be refused for what no schema says: ids have to exist, and nobody hands out more than they have.
REFUSALS = ["2xx", 401, 403, 404, 409, 412, 429]

# Here fields exclude each other, one of several is needed, not all texts of a form are ids or times, or a whole number must not be
# written as 1.0; schemathesis also takes the quotes off an `If-Match`. So 400 is right as well.
WITH_RULES_OF_THEIR_OWN = [
    "key_create", "key_list", "key_show", "key_update", "key_revoke", "key_explain", "keys_revoke",
    "project_create", "project_update", "project_end", "token_create", "token_update", "token_rotate", "token_revoke",
    "member_create", "member_update", "member_remove", "login", "audit_find", "audit_list", "denial_summary", "usage_list", "usage_summary", "backup_note",
    "hold_list", "hold_forgive", "credential_create", "credential_update", "credential_remove",
]

# The phase that tries every boundary of every field is most of the time, so it runs once, and the rules that projects, members,
# tokens and credentials share are tried with projects.
SEEN_ELSEWHERE = ["token_create", "token_update", "member_create", "member_update", "credential_create", "credential_update"]

OPERATORS = [
    ("owner", None), ("admin", None), ("minter", None), ("auditor", None), ("viewer", None),
    ("admin", "team"), ("minter", "team"), ("viewer", "team"),
]


def created(till: Till, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = till.admin("POST", path, body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def populate(till: Till) -> dict[str, list[str]]:
    """Some of everything, everywhere and in the project `team`; the ids by the kind of path that they stand in."""
    ids: dict[str, list[str]] = {"projects": ["team", "other"], "keys": [], "tokens": [], "members": [], "holds": []}
    policy = {"ceilings": {"day": {"max_activations": 1000}}}
    for project in ids["projects"]:
        created(till, "/admin/projects", {"id": project, "policy": policy})
    for number, project in enumerate(["default", "team", "team", "other"]):
        key = till.mint(max_activations=50 + number, project=project, metadata={"name": f"key {number}"})
        ids["keys"].append(key.id)
        bound = {} if project == "default" else {"project": project}
        token = created(till, "/admin/tokens", {"name": f"token {number}", "role": "viewer", **bound})
        ids["tokens"].append(token["token"]["id"])
        member = {"login": f"member-{number}@example.com", "role": "viewer", **bound}
        ids["members"].append(created(till, "/admin/members", member)["member"]["id"])
    claim = created(till, "/admin/keys", {"provider": "openai", "upstream_key": UPSTREAM_KEY, "max_activations": 1,
                                          "claim_ttl_seconds": 3600})
    ids["claims"] = [claim["key"]["claimUrl"].split("/claim/")[1].split("#")[0]]
    ids["credentials"] = ["spare", "of-team"]
    for name, bound in zip(ids["credentials"], [{}, {"project": "team"}], strict=True):
        created(till, "/admin/credentials", {"name": name, "provider": "openai", "upstream_key": UPSTREAM_KEY, **bound})
    ids["master-keys"] = [key["id"] for key in till.admin("GET", "/admin/master-keys").json()["masterKeys"]]
    return {kind: values for kind, values in ids.items() if values}


def configuration(ids: dict[str, list[str]]) -> str:
    """A `schemathesis.toml`. Strings and arrays are written in JSON, which is TOML, too."""
    lines = ['hooks = "harness.schema_hooks"', "[checks]",
             f"positive_data_acceptance.expected-statuses = {json.dumps(REFUSALS)}",
             "[[operations]]", f"include-operation-id = {json.dumps(WITH_RULES_OF_THEIR_OWN)}",
             f"checks.positive_data_acceptance.expected-statuses = {json.dumps([*REFUSALS, 400])}",
             "[[operations]]", f"include-operation-id = {json.dumps(SEEN_ELSEWHERE)}", "phases.coverage.enabled = false"]
    for kind, values in ids.items():
        name = "name" if kind == "credentials" else "id"
        path = "^/claim/[{]id" if kind == "claims" else f"^/admin/{kind}/[{{]{name}"
        lines += [f"[dictionaries.{kind}]", f"values = {json.dumps(values)}",
                  "[[operations]]", f"include-path-regex = {json.dumps(path)}",
                  f'parameters = {{ "path.{name}" = {{ dictionary = "{kind}", probability = 0.7 }} }}']
    return "\n".join(lines) + "\n"


def run(till: Till, directory: Path, role: str, project: str | None, *, phases: str) -> dict[tuple[str, int], int]:
    """Runs schemathesis as somebody of this role, and returns how often which method was answered with which status."""
    ids = populate(till)
    bound = {"project": project} if project else {}
    own = created(till, "/admin/tokens", {"name": "schemathesis", "role": role, **bound})
    (directory / "schemathesis.toml").write_text(configuration(ids))
    environment = {"PATH": till.environment["PATH"], "HOME": str(directory), "NO_PROXY": "*",
                   "PYTHONPATH": str(Path(__file__).parent),
                   "TILL_SCHEMA_OWN_ID": own["token"]["id"], "TILL_SCHEMA_OTHER_ID": ids["tokens"][0]}
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml",
               "run", f"{till.url}/admin/openapi.json", "--url", till.url, "--header", f"Authorization: Bearer {own['adminToken']}",
               "--checks", "all", "--phases", phases, "--max-examples", str(EXAMPLES), "--seed", str(SEED),
               "--continue-on-failure", "--generation-database", "none", "--suppress-health-check", "all",
               "--no-color", "--warnings", "off", "--report", "har", "--report-har-path", "calls.har",
               *(part for name in EXCLUDED for part in ("--exclude-operation-id", name))]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == 0, f"as {role} of {project or 'everything'}, seed {SEED}:\n{done.stdout}\n{done.stderr}"
    assert till.admin("GET", "/admin/self", key=own["adminToken"]).status_code == 200, "the run lost its own token"
    assert "panicked" not in till.output()
    calls = json.loads((directory / "calls.har").read_text())["log"]["entries"]
    return Counter((call["request"]["method"], call["response"]["status"]) for call in calls)


@pytest.mark.timeout(SECONDS_MAX + 60)
@pytest.mark.parametrize(("role", "project"), OPERATORS, ids=[f"{role}-{project or 'everywhere'}" for role, project in OPERATORS])
def test_answers_are_as_documented(role: str, project: str | None, till: Till, tmp_path: Path) -> None:
    is_owner = role == "owner"
    phases = "examples,coverage,fuzzing,stateful" if is_owner else "examples,fuzzing,stateful"
    answers = run(till, tmp_path, role, project, phases=phases)
    # A run in which nothing worked, or everything, would show little.
    assert answers["GET", 200] >= 20, answers
    assert any(count for (_, status), count in answers.items() if status == 400), answers
    assert is_owner or any(count for (_, status), count in answers.items() if status == 403), answers
    if is_owner:
        assert answers["POST", 201] and answers["PATCH", 200] and answers["DELETE", 200], answers


def examples(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Place, schema and example of every body and every successful answer in JSON."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            bodies = {"body": operation.get("requestBody", {})}
            bodies |= {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
            for name, body in bodies.items():
                content = body.get("content", {}).get("application/json")
                # The document itself is described by no schema of its own.
                if content and "$ref" in content["schema"]:
                    yield f"{method} {path}: {name}", content["schema"], content["example"]


def test_examples_fit_their_schemas(till: Till) -> None:
    document = till.admin("GET", "/admin/openapi.json").json()
    wrong, seen = [], 0
    for place, schema, example in examples(document):
        seen += 1
        whole = {"components": document["components"], **schema}
        wrong += [f"{place}: {error.message} at {error.instance_path}"
                  for error in jsonschema_rs.Draft202012Validator(whole, validate_formats=True).iter_errors(example)]
    assert not wrong, "\n".join(wrong)
    assert seen > 50


# Examples that nobody can send as they stand: they show where a secret goes.
WITH_SECRETS = {"claim_open": 404, "password_change": 400}


def test_example_bodies_are_accepted(till: Till) -> None:
    """People paste them."""
    document = till.admin("GET", "/admin/openapi.json").json()
    ids = {kind: values[0] for kind, values in populate(till).items()}
    seen = 0
    # Signing in comes last: the member who does has to be made first.
    for path, operations in sorted(document["paths"].items(), key=lambda item: item[0] == "/admin/login"):
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            # Thrown at the end of everything, the kill switch would stop what comes behind it.
            if body is None or operation["operationId"] == "kill_switch_set":
                continue
            kind = "claims" if path.startswith("/claim") else path.split("/")[2]
            answer = till.admin(method.upper(), re.sub("{.*}", ids.get(kind, ""), path), body["example"])
            expected = WITH_SECRETS.get(operation["operationId"], 200)
            assert answer.status_code in (expected, 201), f"{method} {path}: {answer.status_code} {answer.text}"
            seen += 1
    assert seen > 14
