"""Starts that can't work: till ends with a message that names the cause, and spoils nothing."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import BINARY, Till

NOBODY = 65534


def test_two_processes_on_one_directory(till: Till, new_till, upstream: ScriptedUpstream) -> None:
    second = new_till({"openai": upstream.url})
    second.data = till.data
    address = (till.data / "address").read_text()
    assert str(till.data) in second.refuses_to_start()
    assert (till.data / "address").read_text() == address
    key = till.mint(max_activations=1)
    assert [till.call(key).status_code for _ in range(2)] == [200, 403]
    assert upstream.count == 1


def test_file_in_place_of_the_directory(new_till) -> None:
    till = new_till()
    till.data.write_text("not a directory")
    assert str(till.data) in till.refuses_to_start()
    assert till.data.read_text() == "not a directory"


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user can reach, with a copy of the binary that every user can run."""
    directory = Path(tempfile.mkdtemp(prefix="till-"))
    directory.chmod(0o755)
    shutil.copy(BINARY, directory / "till")
    (directory / "till").chmod(0o755)
    yield directory
    for path in directory.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(directory)


def test_read_only_directory(public_directory: Path, upstream: ScriptedUpstream) -> None:
    """Root may write anywhere, so there the start is made by somebody who may not."""
    till = Till(public_directory, {"openai": upstream.url}).start()
    key = till.mint(max_activations=5)
    till.call(key)
    till.stop()
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    everything = [till.data, *till.data.rglob("*")]
    for path in everything:
        path.chmod(0o500 if path.is_dir() else 0o400)
        if user:
            os.chown(path, NOBODY, NOBODY)
    said = till.refuses_to_start(executable=str(public_directory / "till"), cwd="/", **user)
    assert str(till.data) in said
    for path in everything:
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.chown(path, os.geteuid(), os.getegid())
    till.start()
    assert till.key(key.id)["usedActivations"] == 1
    till.stop()


def test_port_in_use(new_till) -> None:
    till = new_till()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        till.listen = f"127.0.0.1:{port}"
        assert str(port) in till.refuses_to_start()
    assert not (till.data / "address").exists()


def test_every_mistake_at_once(new_till, tmp_path: Path) -> None:
    """Flags, variables and the file are all checked before anything is said."""
    config = tmp_path / "till.toml"
    config.write_text('surprise = 1\nidle_timeout = "soon"\n\n[providers.mine]\nbase_url = "not a url"\n')
    till = new_till(environment={"TILL_IN_FLIGHT_MAX": "many", "TILL_NONSENSE": "1"})
    said = till.refuses_to_start("--config", str(config), "--header-count-max", "-3")
    for word in ("surprise", "idle_timeout", "providers.mine", "TILL_IN_FLIGHT_MAX", "TILL_NONSENSE", "header-count-max"):
        assert word in said or word.replace("_", "-") in said, f"{word} is not in: {said}"
    assert not till.data.exists()


def test_config_check(new_till, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[providers.mine]\nbase_url = "https://api.example.com"\nauth = { header = "x-key", template = "{key}" }\n')
    bad.write_text('listen = "nowhere"\nlog_level = "loud"\n')
    till = new_till(preset_admin_key=False)
    till.admin_key = ""
    assert till.cli("config", "check", "--config", str(good)).returncode == 0
    done = till.cli("config", "check", "--config", str(bad), check=False)
    assert done.returncode != 0
    assert "listen" in done.stdout + done.stderr and "log_level" in (done.stdout + done.stderr).replace("-", "_")


@pytest.mark.parametrize("key", ["short", "till_admin_short", "till_admin_" + "x" * 31 + "!"])
def test_weak_preset_admin_key(key: str, new_till) -> None:
    till = new_till(environment={"TILL_ADMIN_KEY": key})
    said = till.refuses_to_start()
    assert "TILL_ADMIN_KEY" in said
    assert key not in said.replace("TILL_ADMIN_KEY", "") or key == "short"
