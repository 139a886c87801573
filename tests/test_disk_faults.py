"""Disks that are full, read-only, broken or lie: what is not durable is refused, and what was counted stays counted."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.raw_http import burst
from harness.scripted_upstream import ScriptedUpstream
from harness.shims import BadDisk, compiled
from harness.till_process import Key, Till
from harness.waiting import until

DATABASE = "till.db"


@pytest.fixture
def bad_disk(new_till, upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[BadDisk]:
    disk = BadDisk(new_till({"openai": upstream.url}), compiled("disk_faults", tmp_path))
    disk.till.start()
    yield disk
    disk.end()


def refuses_everything(till: Till, keys: list[Key], revoked: Key) -> None:
    """Calls of these keys, and the revocation of one."""
    for key in keys:
        for _ in range(5):
            answer = till.call(key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable"), answer.text
    assert till.admin("DELETE", f"/admin/keys/{revoked.id}").status_code == 503


def works_again(till: Till, key) -> None:
    until(lambda: till.call(key).status_code == 200, "the store to work again")


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("error", ["eio", "enospc"])
def test_what_can_not_be_written_is_not_sent(error: str, call: str, bad_disk: BadDisk, upstream: ScriptedUpstream) -> None:
    till = bad_disk.till
    key = till.mint(max_activations=40)
    other = till.mint(max_activations=40)
    assert burst(till.url, key.token, 10, 4).statuses == {"200": 10}
    for nth in (1, 2, 3):
        sent = upstream.count
        bad_disk.begin(f"{error} {call} {nth}")
        # The first writes may pass; from then on nothing is sent.
        until(lambda: till.call(key).status_code == 503, "the fault to be noticed")
        sent = upstream.count
        refuses_everything(till, [key], other)
        assert upstream.count == sent, "something was sent that is not on disk"
        # An answer of `/readyz` counts for a second.
        until(lambda: till.admin("GET", "/readyz").status_code == 503, "/readyz to say so")
        bad_disk.end()
        works_again(till, key)
    sent = upstream.count
    assert till.key(key.id)["usedActivations"] == sent
    till.restart()
    assert till.key(key.id)["usedActivations"] == sent
    assert till.key(other.id)["status"] == "active", "a revocation that was refused did not happen"
    assert burst(till.url, key.token, 60, 4).statuses["200"] == 40 - sent
    assert upstream.count == 40
    assert "panicked" not in till.output()


def test_short_writes_are_finished(bad_disk: BadDisk, upstream: ScriptedUpstream) -> None:
    till = bad_disk.till
    key = till.mint(max_activations=30)
    bad_disk.begin("short write 1")
    assert burst(till.url, key.token, 20, 4).statuses == {"200": 20}
    till.kill9()
    upstream.quiet()
    till.start()
    assert till.key(key.id)["usedActivations"] == 20
    bad_disk.end()
    assert burst(till.url, key.token, 20, 4).statuses["200"] == 10


@pytest.mark.parametrize("call", ["write", "sync"])
def test_killed_between_write_and_sync(call: str, bad_disk: BadDisk, upstream: ScriptedUpstream) -> None:
    """At the Nth write, or at the Nth sync: what was written before it is there, or not; nobody was answered."""
    till = bad_disk.till
    seed = int(os.environ.get("TILL_SEED") or random.SystemRandom().randrange(2**32))
    chance = random.Random(seed)
    for number in range(8):
        story = f"{call}, round {number}, TILL_SEED={seed}"
        upstream.reset()
        key = till.mint(max_activations=60)
        bad_disk.begin(f"kill {call} {chance.randint(1, 12)}")
        burst(till.url, key.token, 100, 8)
        until(till.is_dead, f"the kill; {story}")
        till.kill9()
        bad_disk.end()
        upstream.quiet()
        sent = upstream.count
        till.start()
        used = till.key(key.id)["usedActivations"]
        holds = till.admin("GET", "/admin/holds?limit=1000").json()["holds"]
        listed = sum(hold["activations"] for hold in holds if hold["keyId"] == key.id)
        assert sent <= used <= sent + listed, f"{sent} sent, {used} counted, {listed} listed; {story}"
        assert burst(till.url, key.token, 80, 8).statuses["200"] == 60 - used, story
        assert upstream.count <= 60, story


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with little room."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def on(disk: Path, upstream: ScriptedUpstream) -> Till:
    till = Till(disk.parent, {"openai": upstream.url})
    till.data = disk / "data"
    return till


def test_a_full_file_system(small_disk: Path, upstream: ScriptedUpstream) -> None:
    till = on(small_disk, upstream).start()
    try:
        key = till.mint(max_activations=3_000)
        assert burst(till.url, key.token, 100, 8).statuses == {"200": 100}
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096) == 4096:
                    pass
            except OSError:
                pass
        until(lambda: burst(till.url, key.token, 50, 8).statuses.get("503 ledger_unavailable"), "the disk to be full")
        sent = upstream.count
        refused = till.call(key)
        assert (refused.status_code, upstream.count) == (503, sent), refused.text
        assert "full" in till.output() or "space" in till.output()
        # A start on a full disk either works or says what is missing; it resets nothing.
        filler.unlink()
        works_again(till, key)
        assert till.key(key.id)["usedActivations"] == upstream.count
        till.kill9()
        till.start()
        assert upstream.count <= till.key(key.id)["usedActivations"] <= upstream.count + 30 + 8
        assert "panicked" not in till.all_output().decode()
    finally:
        till.stop()


def test_a_file_system_that_became_read_only(small_disk: Path, upstream: ScriptedUpstream) -> None:
    till = on(small_disk, upstream).start()
    key = till.mint(max_activations=50)
    assert burst(till.url, key.token, 20, 4).statuses == {"200": 20}
    till.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = till.refuses_to_start()
    assert "ead-only" in said or "not writable" in said or "can't be written" in said, said
    assert str(till.data) in said, said
    found = json.loads(till.cli("doctor", "--data", str(till.data), "--output", "json", check=False).stdout)["findings"]
    assert [finding["about"] for finding in found if finding["grade"] == "wrong"] == ["disk"], found
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    till.start()
    try:
        assert till.key(key.id)["usedActivations"] == 20
    finally:
        till.stop()


class Damaged:
    """A stopped server with figures, and a backup of it."""

    def __init__(self, till: Till, directory: Path) -> None:
        self.till = till.start()
        self.keys = [till.mint(max_activations=40) for _ in range(12)]
        for number, key in enumerate(self.keys):
            burst(till.url, key.token, 5 + number, 4)
        till.revoke(self.keys[0].id)
        self.backup = directory / "backup"
        till.cli("backup", str(self.backup), "--data", str(till.data))
        self.used = {key.id: till.key(key.id)["usedActivations"] for key in self.keys}
        till.stop()
        self.file = till.data / DATABASE
        self.whole = self.file.read_bytes()

    def start(self) -> str | None:
        """Starts; what it says if it refuses. What it then serves is never less than before."""
        till = self.till
        self.put(self.file.read_bytes())
        try:
            till.start()
        except AssertionError as error:
            said = till.output()
            assert till._process is not None and till._process.poll() is not None, error
            code, till._process = till._process.returncode, None
            assert code > 0 and "panicked" not in said, f"{code}: {said}"
            return said
        return None

    def doctor(self, story: str) -> dict[str, Any]:
        """What `till doctor` says of the files as they are; it changes none of them, and says what to do."""
        before = self.files()
        done = self.till.cli("doctor", "--data", str(self.till.data), "--output", "json", check=False)
        assert done.returncode in (0, 1) and "panicked" not in done.stderr, f"{done.stderr}; {story}"
        said = json.loads(done.stdout)
        assert self.files() == before, f"something was changed; {story}"
        assert said["ok"] == (done.returncode == 0) and not said["running"], f"{said}; {story}"
        assert all(finding["fix"] for finding in said["findings"] if finding["grade"] != "fine"), f"{said}; {story}"
        return said

    def files(self) -> dict[str, tuple[bytes, int]]:
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in self.till.data.rglob("*") if path.is_file()}

    def put(self, image: bytes) -> None:
        """This is the database, and there is no log beside it."""
        self.file.write_bytes(image)
        for extra in (f"{DATABASE}-wal", f"{DATABASE}-shm"):
            (self.till.data / extra).unlink(missing_ok=True)

    def check_figures(self, story: str) -> None:
        """Whatever can be read is no less than it was; the rest is an error that says so."""
        for key in self.keys:
            answer = self.till.admin("GET", f"/admin/keys/{key.id}")
            if answer.status_code == 200:
                state = answer.json()["key"]
                assert state["usedActivations"] >= self.used[key.id], f"RESET: {state}; {story}"
                assert key.id != self.keys[0].id or state["status"] == "revoked", f"RESET: {state}; {story}"
            else:
                assert answer.status_code in (404, 500, 503), f"{answer.status_code} {answer.text}; {story}"


@pytest.fixture
def damaged(new_till, upstream: ScriptedUpstream, tmp_path: Path) -> Damaged:
    return Damaged(new_till({"openai": upstream.url}), tmp_path)


def test_a_truncated_database(damaged: Damaged, upstream: ScriptedUpstream) -> None:
    till, sent = damaged.till, upstream.count
    size = len(damaged.whole)
    for length in sorted({0, 1, 50, 100, 4095, 4096, size // 4, size // 2, size - 4096, size - 1}):
        story = f"truncated to {length} of {size}"
        damaged.put(damaged.whole[:length])
        wrong = [finding for finding in damaged.doctor(story)["findings"] if finding["grade"] == "wrong"]
        assert any(str(damaged.file) in finding["text"] and "till restore" in finding["fix"] for finding in wrong), f"{wrong}; {story}"
        said = damaged.start()
        if said is None:
            # Only where no page is missing, or everything is: then it is fenced, because the witness knows better.
            fenced = till.admin("GET", "/readyz")
            if length < size - 4096:
                assert fenced.status_code == 503, f"{story}: {fenced.text}"
            for key in damaged.keys:
                if length < size - 4096:
                    assert till.call(key).status_code in (403, 503), story
            damaged.check_figures(story) if length >= size - 4096 else None
            till.stop()
        else:
            assert all(word in said for word in (str(damaged.file), "till restore", "till doctor")), f"{story}: {said}"
    assert upstream.count == sent, "nothing may be sent from a damaged database"
    damaged.file.write_bytes(damaged.whole)
    assert damaged.start() is None
    damaged.check_figures("put back")


@pytest.mark.timeout(600)
def test_flipped_bits(damaged: Damaged, upstream: ScriptedUpstream) -> None:
    till = damaged.till
    seed = int(os.environ.get("TILL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TILL_SEED={seed}")
    chance = random.Random(seed)
    refused = served = seen = 0
    for number in range(int(os.environ.get("FLIPS", "30"))):
        page = chance.randrange(len(damaged.whole) // 4096)
        # Where the structure of a page is, and anywhere.
        at = page * 4096 + (chance.randrange(16) if number % 2 else chance.randrange(4096))
        if at < 16:
            at = number % 16
        image = bytearray(damaged.whole)
        image[at] ^= 1 << chance.randrange(8)
        damaged.put(bytes(image))
        story = f"flip {number} at {at}, TILL_SEED={seed}"
        # The witness has seen later starts than this database: that is always told, and is not what is looked for.
        is_seen = any(finding["grade"] == "wrong" and "witness" not in finding["text"] for finding in damaged.doctor(story)["findings"])
        seen += is_seen
        said = damaged.start()
        if said is None:
            served += 1
            if till.admin("GET", "/readyz").status_code == 200:
                damaged.check_figures(story)
            till.kill9()
            assert "panicked" not in till.output(), story
        else:
            refused += 1
            assert DATABASE in said, f"{story}: {said}"
            assert is_seen, f"{story}: the doctor saw nothing, and the start said {said}"
    print(f"{refused} refused, {served} served; the doctor saw {seen}")


def test_restore_recovers(damaged: Damaged, upstream: ScriptedUpstream) -> None:
    till = damaged.till
    assert damaged.doctor("whole")["ok"]
    damaged.put(damaged.whole[: len(damaged.whole) // 2])
    said = damaged.start()
    assert said is not None and "till doctor" in said and "till restore" in said, said
    found = damaged.doctor("cut")
    assert any("was cut off" in finding["text"] and "till restore" in finding["fix"] for finding in found["findings"]), found
    till.cli("restore", str(damaged.backup), "--data", str(till.data), "--replace")
    till.start()
    assert till.call(damaged.keys[1]).json()["error"]["code"] == "key_fenced"
    till.cli("admin", "accept-rollback")
    assert {key.id: till.key(key.id)["usedActivations"] for key in damaged.keys} == damaged.used
    running = till.cli_json("doctor", "--data", str(till.data))
    assert running["ok"] and running["running"] and running["process"] == till.pid, running
    left = 40 - damaged.used[damaged.keys[3].id]
    assert burst(till.url, damaged.keys[3].token, 60, 4).statuses["200"] == left


@pytest.fixture
def breaking_disk(tmp_path: Path) -> Iterator[BreakingDisk]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root may mount a file system, and it takes mkfs.ext4 to make one")
    disk = BreakingDisk(tmp_path)
    try:
        disk.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted here: {error.stderr}")
    yield disk
    disk.unmount()


class BreakingDisk:
    """An ext4 of its own. `mount -o remount,ro` is refused while a file in it is open for writing; what makes a file system read-only
    under a running program is an error of the disk, and `abort` is that."""

    def __init__(self, directory: Path) -> None:
        self._image, self.place = directory / "image", directory / "disk"
        self.place.mkdir()
        with self._image.open("wb") as file:
            file.truncate(64 << 20)
        self._run("mkfs.ext4", "-q", "-F", str(self._image))

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, text=True)

    def mount(self) -> None:
        self._run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.place))

    def abort(self) -> None:
        self._run("mount", "-o", "remount,abort", str(self.place))

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.place)], capture_output=True)

    def repair(self) -> None:
        self.unmount()
        # 1: errors were found and mended.
        assert subprocess.run(["fsck.ext4", "-p", "-f", str(self._image)], capture_output=True).returncode in (0, 1)
        self.mount()


def test_a_file_system_that_becomes_read_only(breaking_disk: BreakingDisk, upstream: ScriptedUpstream) -> None:
    till = on(breaking_disk.place, upstream).start()
    try:
        key, other = till.mint(max_activations=60), till.mint(max_activations=5)
        assert burst(till.url, key.token, 20, 4).statuses == {"200": 20}
        breaking_disk.abort()
        # What was counted out ahead is on disk already; what comes behind it is refused.
        until(lambda: till.call(key).status_code == 503, "the fault to be noticed")
        sent = upstream.count
        refuses_everything(till, [key, other], other)
        assert upstream.count == sent, "something was sent that is not on disk"
        until(lambda: till.admin("GET", "/readyz").status_code == 503, "/readyz to say so")
        till.kill9()
        breaking_disk.repair()
        till.start()
        used = till.key(key.id)["usedActivations"]
        holds = till.admin("GET", "/admin/holds?limit=1000").json()["holds"]
        listed = sum(hold["activations"] for hold in holds if hold["keyId"] == key.id)
        assert sent <= used <= sent + listed, f"{sent} sent, {used} counted, {listed} listed"
        assert till.key(other.id)["status"] == "active", "a revocation that was refused did not happen"
        assert burst(till.url, key.token, 80, 8).statuses["200"] == 60 - used
        assert upstream.count <= 60 and "panicked" not in till.all_output().decode()
    finally:
        till.kill9()
