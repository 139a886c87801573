#!/usr/bin/env python3
"""Writes crates/cli/data/licenses.json.gz: name, version, licence and licence texts of everything that is in the binary.

    scripts/licenses.py            write it anew, after a change of Cargo.lock or web/package-lock.json
    scripts/licenses.py --check    fail if it is not what would be written

`till licenses` and `till sbom` show it. What is in it: the crates that the program is made of on Linux and macOS (not those
that only run while it is built), the npm packages of the dashboard, and what some of these bring along in another language.
Needs the sources of the crates (`cargo fetch`) and web/node_modules (`npm ci`).
"""

import gzip
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "crates/cli/data/licenses.json.gz"
PLATFORMS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin"]
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|unlicense|notice|copyright)", re.IGNORECASE)
# A crate without its text, and one of the same repository that has it; texts of what a crate brings along.
SAME_AS = {"alloc-stdlib": "alloc-no-stdlib"}
BROUGHT = {"aws-lc-sys": ["aws-lc/LICENSE"], "zstd-sys": ["zstd/LICENSE"]}


def crates() -> dict[str, dict]:
    """The packages that the program is made of, by id, each with `needs`."""
    found: dict[str, dict] = {}
    for platform in PLATFORMS:
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", platform]
        metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        packages = {package["id"]: package for package in metadata["packages"]}
        nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
        open_ids = [package["id"] for package in packages.values() if package["name"] == "till-cli"]
        seen = set(open_ids)
        while open_ids:
            id_ = open_ids.pop()
            package = found.setdefault(id_, packages[id_] | {"needs": set()})
            for dependency in nodes[id_]["deps"]:
                other = packages[dependency["pkg"]]
                runs = any(kind["kind"] is None for kind in dependency["dep_kinds"])
                if not runs or any("proc-macro" in target["kind"] for target in other["targets"]):
                    continue
                package["needs"].add(dependency["pkg"])
                if dependency["pkg"] not in seen:
                    seen.add(dependency["pkg"])
                    open_ids.append(dependency["pkg"])
    return found


def npm_packages() -> list[tuple[str, dict]]:
    """Name and entry of the lock file of what the dashboard is made of."""
    lock = json.loads((ROOT / "web/package-lock.json").read_text())["packages"]
    found, open_names = {}, list(lock[""]["dependencies"])
    while open_names:
        name = open_names.pop()
        if name not in found:
            found[name] = lock[f"node_modules/{name}"]
            open_names += found[name].get("dependencies", {})
    return sorted(found.items())


def texts_in(directory: pathlib.Path, more: list[str] = []) -> list[str]:
    files = [file for file in directory.iterdir() if file.is_file() and LICENCE_FILE.search(file.name)]
    files = [file for file in files if file.suffix not in {".rs", ".toml", ".js"}]
    texts = [file.read_text(errors="replace") for file in sorted(files) + [directory / name for name in more]]
    return ["\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n" for text in texts]


def made() -> dict:
    texts: list[str] = []

    def numbers(found: list[str]) -> list[int]:
        for text in found:
            if text not in texts:
                texts.append(text)
        return sorted({texts.index(text) for text in found})

    own = texts_in(ROOT)
    apache = (ROOT / "LICENSE-APACHE").read_text().strip() + "\n"
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(package["name"], package["version"]): package.get("checksum") for package in lock}
    packages, ids = [], crates()
    for package in sorted(ids.values(), key=lambda package: (package["name"], package["version"])):
        name, directory = package["name"], pathlib.Path(package["manifest_path"]).parent
        if package["source"] is None:
            continue
        licence = package["license"].replace(" / ", "/").replace("/", " OR ")
        found = texts_in(directory, BROUGHT.get(name, []))
        if name in SAME_AS:
            same = next(other for other in ids.values() if other["name"] == SAME_AS[name])
            found = texts_in(pathlib.Path(same["manifest_path"]).parent)
        # Some packages come without. Each of them may be had under Apache-2.0, or names its licence and authors alone.
        if not found:
            authors = ", ".join(package["authors"]) or f"the authors of {name}"
            found = [apache] if "Apache-2.0" in licence else [f"{licence}. Copyright (c) {authors}.\n\n{mit_terms(licence)}"]
        packages.append({
            "type": "cargo", "name": name, "version": package["version"], "license": licence,
            "url": package["repository"] or package["homepage"] or f"https://crates.io/crates/{name}",
            "sha256": sums[name, package["version"]], "texts": numbers(found),
            "needs": sorted(f"cargo:{ids[id_]['name']}@{ids[id_]['version']}" for id_ in package["needs"]),
        })
        if name == "tiktoken-rs":
            packages.append({
                "type": "generic", "name": "tiktoken-vocabularies", "version": package["version"], "license": "MIT",
                "url": "https://github.com/openai/tiktoken", "sha256": None, "needs": [],
                "texts": numbers(["Copyright (c) 2022 OpenAI, Shantanu Jain\n\n" + mit_terms("MIT") + "\n"]),
            })
        if name == "libsqlite3-sys":
            header = (directory / "sqlite3/sqlite3.h").read_text(errors="replace")
            packages.append({
                "type": "generic", "name": "sqlite", "license": "blessing", "sha256": None, "needs": [],
                "version": re.search(r'#define SQLITE_VERSION\s+"([^"]+)"', header)[1],
                "url": "https://sqlite.org/copyright.html",
                "texts": numbers([blessing(header)]),
            })
    for name, entry in npm_packages():
        directory = ROOT / "web/node_modules" / name
        # What is installed must be what the lock file says.
        installed = json.loads((directory / "package.json").read_text())
        assert installed["version"] == entry["version"], f"{name}: run `npm ci` in web/"
        found = texts_in(directory)
        assert found, f"{name} has no licence text"
        packages.append({
            "type": "npm", "name": name, "version": entry["version"], "license": installed["license"],
            "url": f"https://www.npmjs.com/package/{name}", "sha256": None, "texts": numbers(found),
            "needs": sorted(f"npm:{other}@{dict(npm_packages())[other]['version']}" for other in entry.get("dependencies", {})),
        })
    direct = {id_ for package in ids.values() if package["source"] is None for id_ in package["needs"]}
    direct = sorted(f"cargo:{ids[id_]['name']}@{ids[id_]['version']}" for id_ in direct if ids[id_]["source"])
    lock = json.loads((ROOT / "web/package-lock.json").read_text())["packages"]
    direct += [f"npm:{name}@{lock[f'node_modules/{name}']['version']}" for name in lock[""]["dependencies"]]
    return {"own": numbers(own), "needs": direct, "packages": packages, "texts": texts}


def mit_terms(licence: str) -> str:
    assert licence == "MIT", f"a package under {licence} comes without its text"
    text = (ROOT / "LICENSE-MIT").read_text()
    return text[text.index("Permission is hereby"):].strip()


def blessing(header: str) -> str:
    text = header[header.index("The author disclaims"):]
    lines = text[:text.index("*****")].splitlines()
    return "\n".join(line.lstrip("* ").rstrip() for line in lines).strip() + "\n"


def main() -> int:
    text = json.dumps(made(), ensure_ascii=False, separators=(",", ":"))
    if sys.argv[1:] == ["--check"]:
        if FILE.exists() and gzip.decompress(FILE.read_bytes()).decode() == text:
            return 0
        print(f"{FILE.relative_to(ROOT)} is not of these lock files: run scripts/licenses.py and commit it", file=sys.stderr)
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
