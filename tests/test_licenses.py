"""What the program says that it is made of: `till licenses`, and `till sbom` against the schema of CycloneDX."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parent.parent


def printed(*arguments: str) -> str:
    return subprocess.run([os.environ["TILL_BIN"], *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def test_the_bill_of_materials_is_valid_and_complete() -> None:
    text = printed("sbom")
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"libary"', 1)) is not None, "a mistake is seen"
    assert text == printed("sbom"), "the same program writes the same text"
    document = json.loads(text)
    locked = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    purls = [component["purl"] for component in document["components"]]
    assert len(purls) == len(set(purls)) > 150
    for component in document["components"]:
        if component["purl"].startswith("pkg:cargo/"):
            assert component["hashes"][0]["content"] == locked[component["name"], component["version"]]
    references = {component["bom-ref"] for component in document["components"]}
    reached, open_references = set(), [document["metadata"]["component"]["bom-ref"]]
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    while open_references:
        for other in needs[open_references.pop()]:
            if other not in reached:
                reached.add(other)
                open_references.append(other)
    assert reached <= references
    # What crates bring along in another language nobody depends on by name.
    assert {ref for ref in references - reached if not ref.startswith("generic:")} == set()


def test_every_package_has_its_texts() -> None:
    text = printed("licenses")
    listed = json.loads(printed("licenses", "--output", "json"))
    assert text.startswith(f"till {listed['version']} (MIT OR Apache-2.0)\n")
    for package in listed["packages"]:
        assert f"{package['name']} {package['version']} ({package['license']})\n" in text
        assert package["texts"]
    for licence in listed["texts"]:
        assert licence in text
    for part in ["Permission is hereby granted", "Apache License", "May you do good and not evil", "uplot", "Copyright (c) 2022 OpenAI"]:
        assert part in text, part
