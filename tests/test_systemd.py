"""The systemd unit: systemd itself has nothing to say against it, and calls it little exposed; till runs with what it leaves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import Till

UNIT = Path(__file__).parent.parent / "deploy/systemd/till.service"
# Ten times what `systemd-analyze security` shows; a service without any of the settings has 96.
EXPOSURE_MAX = 15
NOBODY = 65534

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")


def analyze(tmp_path: Path, unit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "till.service"
    path.write_text(unit)
    command = ["systemd-analyze", "--no-pager", *arguments, str(path)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def unit_here() -> str:
    """The unit with what there is on this machine in the place of an installed till and its manual."""
    text = UNIT.read_text().replace("/usr/local/bin/till", os.environ["TILL_BIN"])
    return text.replace("Documentation=man:till(1)\n", "")


def test_the_unit_is_right(tmp_path: Path) -> None:
    verified = analyze(tmp_path, unit_here(), "verify")
    assert (verified.returncode, verified.stdout) == (0, "")
    wrong = analyze(tmp_path, unit_here().replace("ProtectSystem=strict", "ProtectSystem=very"), "verify")
    assert "protect system" in wrong.stdout


def test_it_is_little_exposed(tmp_path: Path) -> None:
    check = ["security", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    tight = analyze(tmp_path, unit_here(), *check)
    assert tight.returncode == 0, tight.stdout
    loose = analyze(tmp_path, unit_here().replace("NoNewPrivileges=yes\nCapabilityBoundingSet=\n", ""), *check)
    assert loose.returncode != 0, "the check notices what is taken out"


FILTERS = [line.removeprefix("SystemCallFilter=") for line in UNIT.read_text().splitlines() if line.startswith("SystemCallFilter=")]


def _allowed(filters: list[str]) -> set[str]:
    """The system calls that these filters leave, with the groups as systemd has them."""
    listed = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    groups: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            group.append(line.strip())

    def calls(name: str) -> set[str]:
        return set().union(*(calls(part) for part in groups[name])) if name.startswith("@") else {name}

    allowed: set[str] = set()
    for line in filters:
        words = line.split()
        takes = words[0].startswith("~")
        named = set().union(*(calls(word.lstrip("~")) for word in words))
        allowed = allowed - named if takes else allowed | named
    return allowed


def _for_nobody(till: Till) -> None:
    """Somebody else may use its data directory, and get there."""
    till.data.mkdir()
    os.chown(till.data, NOBODY, NOBODY)
    for above in (till.directory, *till.directory.parents):
        if above.stat().st_uid == os.geteuid() and above != Path(tempfile.gettempdir()) and above.is_relative_to(tempfile.gettempdir()):
            above.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("strace"), reason="needs root and strace")
def test_it_asks_for_no_system_call_that_is_filtered(new_till, upstream: ScriptedUpstream) -> None:
    """systemd does not run here, so its filter can't be put on; what till asks for is compared with it. As root SQLite would ask for
    more than it does in the service: it gives its files to the owner of the database."""
    till = new_till({"openai": upstream.url})
    _for_nobody(till)
    trace = till.directory / "trace"
    plain = till.command
    till.command = lambda: ["strace", "-u", "nobody", "-f", "-qq", "-e", "signal=none", "-o", str(trace), *plain()]
    till.start()
    keys = [till.mint(max_activations=5), till.mint(max_activations=None, max_spend_usd="1")]
    assert all(till.call(key).status_code == 200 for key in keys)
    till.revoke(keys[0].id)
    till.cli("backup", str(till.directory / "backup"), "--data", str(till.data))
    # strace passes no signal on: till is its child.
    child = int(subprocess.run(["pgrep", "-P", str(till.pid)], capture_output=True, text=True, check=True).stdout.split()[0])
    os.kill(child, signal.SIGHUP)
    os.kill(child, signal.SIGTERM)
    till.wait_stopped(60)
    asked = {match[1] for line in trace.read_text().splitlines() if (match := re.match(r"\d+ +(?:<\.\.\. )?(\w+)[( ]", line))}
    assert {"execve", "fdatasync", "accept4", "prlimit64", "prctl"} <= asked, sorted(asked)
    asked -= {"resumed", "exited"}
    assert asked - _allowed(FILTERS) == set()
    for line in FILTERS:
        without = _allowed([other for other in FILTERS if other != line])
        is_needed = without - _allowed(FILTERS) if line.startswith("~") else asked - without
        assert is_needed, f"{line}: takes nothing away, or gives nothing that till asks for"


MDWE = """
import ctypes, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if libc.prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    print("no MDWE", file=sys.stderr)
os.umask(0o077)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"), reason="needs root, setpriv and unshare")
def test_it_runs_with_what_can_be_taken_away_without_systemd(new_till, upstream: ScriptedUpstream) -> None:
    """Another user, no capability, no new privilege, no memory that is written and executed, nothing that can be written but its directory."""
    till = new_till({"openai": upstream.url})
    _for_nobody(till)
    plain = till.command
    mounts = 'mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'
    till.command = lambda: ["unshare", "--mount", "--ipc", "--uts", "sh", "-c", mounts, str(till.data), "setpriv", "--no-new-privs",
                            f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all",
                            sys.executable, "-c", MDWE, *plain()]
    if subprocess.run(["unshare", "--mount", "--ipc", "--uts", "true"], capture_output=True).returncode != 0:
        pytest.skip("a view of the file system of its own can't be had here (unshare --mount)")
    till.start()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{till.pid}/status").read_text().splitlines())
    assert (status["NoNewPrivs"], int(status["CapEff"], 16), int(status["CapBnd"], 16)) == ("1", 0, 0), status
    assert status["Uid"].split() == [str(NOBODY)] * 4
    key = till.mint(max_activations=3)
    assert [till.call(key).status_code for _ in range(4)] == [200, 200, 200, 403]
    till.restart()
    assert till.used(key) == 3
