"""Small libraries that till loads in front of libc: a disk that fails, and a clock that is set, when a test wants that."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from harness.till_process import Till

HERE = Path(__file__).resolve().parent


def compiled(name: str, directory: Path) -> Path:
    """`NAME.c` as a library; skips the test where nothing compiles it."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc) to build the shim with")
    library = directory / f"{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / f"{name}.c"), "-ldl"], check=True)
    return library


def preload(till: Till, library: Path) -> None:
    """From its next start on."""
    loaded = till.environment.get("LD_PRELOAD")
    till.environment["LD_PRELOAD"] = f"{loaded}:{library}" if loaded else str(library)


class BadDisk:
    """A server whose writes fail while a test wants that."""

    def __init__(self, till: Till, library: Path) -> None:
        self.till = till
        self.switch = till.directory / "fault"
        preload(till, library)
        till.environment.update(FAULT_DIR=str(till.data), FAULT_SWITCH=str(self.switch))

    def begin(self, what: str) -> None:
        draft = self.switch.with_suffix(".new")
        draft.write_text(what)
        draft.rename(self.switch)

    def end(self) -> None:
        self.switch.unlink(missing_ok=True)


class SetClock:
    """The wall clock of a server, which a test sets forward. The same through restarts."""

    def __init__(self, till: Till, library: Path) -> None:
        self.file = till.directory / "ahead"
        self.ahead = 0
        self._write()
        preload(till, library)
        till.environment["CLOCK_AHEAD"] = str(self.file)

    def now(self) -> float:
        """Seconds since 1970, as the server has it."""
        return time.time() + self.ahead

    def forward(self, seconds: int) -> None:
        self.ahead += seconds
        self._write()

    def _write(self) -> None:
        # In its place: the server has the file in its memory.
        with self.file.open("r+b" if self.file.exists() else "w+b") as file:
            file.write(struct.pack("=q", self.ahead))
