"""The systemd unit: systemd itself has nothing to say against it, and calls it little exposed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "deploy/systemd/till.service"
# Ten times what `systemd-analyze security` shows; a service without any of the settings has 96.
EXPOSURE_MAX = 15

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
