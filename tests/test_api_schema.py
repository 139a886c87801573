"""What the API answers is what its OpenAPI document says, whoever asks and whatever is sent.

schemathesis reads the document from the running server and sends what it allows and what it forbids, with a fixed seed, as
each role. Every instance has things of each kind, so that ids lead somewhere now and then. A failure prints the request as
a `curl` command; with the seed and the role, the whole run can be done again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.till_process import UPSTREAM_KEY, Till

SEED = 20_260_131
# Requests per operation of the random phase. Those of the others follow from the document.
EXAMPLES = 8
SECONDS_MAX = 120

# These would end the run, or what it runs as.
EXCLUDED = ["kill_switch_set", "rollback_accept", "logout", "password_change"]

# Rules that no schema says: fields that exclude each other, ids that have to exist, what a role may hand out. What fits the
# schema may meet one of them; it then has to be one of these.
REFUSALS = [400, 401, 403, 404, 409, 412, 429]

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
    ids["master-keys"] = [key["id"] for key in till.admin("GET", "/admin/master-keys").json()["masterKeys"]]
    return {kind: values for kind, values in ids.items() if values}


def configuration(ids: dict[str, list[str]]) -> str:
    """A `schemathesis.toml`. JSON strings, arrays and inline tables of them are TOML, too."""
    lines = ['hooks = "harness.schema_hooks"', "[checks]",
             f"positive_data_acceptance.expected-statuses = {json.dumps(['2xx', *REFUSALS])}"]
    for kind, values in ids.items():
        lines += [f"[dictionaries.{kind}]", f"values = {json.dumps(values)}"]
    for kind in ids:
        place = "/claim/{id}" if kind == "claims" else f"/admin/{kind}/{{id}}"
        lines += ["[[operations]]", f"include-path-regex = {json.dumps('^' + place.replace('{', '[{]').replace('}', '[}]'))}",
                  f'parameters = {{ "path.id" = {{ dictionary = "{kind}", probability = 0.7 }} }}']
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(SECONDS_MAX + 60)
@pytest.mark.parametrize(("role", "project"), OPERATORS, ids=[f"{role}-{project or 'everywhere'}" for role, project in OPERATORS])
def test_answers_are_as_documented(role: str, project: str | None, till: Till, tmp_path: Path) -> None:
    ids = populate(till)
    bound = {"project": project} if project else {}
    own = created(till, "/admin/tokens", {"name": "schemathesis", "role": role, **bound})
    config = tmp_path / "schemathesis.toml"
    config.write_text(configuration(ids))
    environment = {"PATH": till.environment["PATH"], "HOME": str(tmp_path), "NO_PROXY": "*", "PYTHONPATH": str(Path(__file__).parent),
                   "TILL_SCHEMA_OWN_ID": own["token"]["id"], "TILL_SCHEMA_OTHER_ID": ids["tokens"][0]}
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{till.url}/admin/openapi.json",
               "--url", till.url, "--header", f"Authorization: Bearer {own['adminToken']}",
               "--checks", "all", "--seed", str(SEED), "--max-examples", str(EXAMPLES), "--continue-on-failure",
               "--generation-database", "none", "--suppress-health-check", "all", "--no-color", "--warnings", "off",
               *(part for name in EXCLUDED for part in ("--exclude-operation-id", name))]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == 0, f"as {role} of {project or 'everything'}, seed {SEED}:\n{done.stdout}\n{done.stderr}"
    assert till.admin("GET", "/admin/self", key=own["adminToken"]).status_code == 200, "the run lost its own token"
    assert "panicked" not in till.output()
