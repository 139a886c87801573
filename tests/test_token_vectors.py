"""The published token vectors hold for an implementation that shares no code with till."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_second_implementation_agrees() -> None:
    script = Path(__file__).with_name("token_vectors.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
