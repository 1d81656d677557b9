"""Older state through the command: what is said, which exit status, and ``cloakfs accept`` (FORMAT.md section 13)."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encfs.core import config as core_config
from encfs.core.sources import KnownSecret
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import ExitCode
from encfs.format.slots import SlotKind
from encfs.host.freshness import HostFreshness
from encfs.volume import Volume
from encfs.volume.skeleton import open_root, write_config
from tests.support.command import PASSPHRASE, Made, Result, run
from tests.support.evidence import record
from tests.support.host import Host
from tests.support.mounting import is_mounted
from tests.support.pty_session import PtySession
from tests.support.volumes import flip

SCRIPT = ("--yes", "--reason", "taken from Monday's backup")


class Practice:
    """The volume of a test, mounted by the command now and then, and older copies of it."""

    def __init__(self, made: Made, base: Path) -> None:
        self.made = made
        self.mountpoint = base / "mnt"
        self.mountpoint.mkdir()
        self.copies = base / "copies"

    def run(self, command: str, *arguments: str, **more: Any) -> Result:
        return run(command, self.made.path, *arguments, *self.made.secret, **more)

    def mount(self, *options: str, **more: Any) -> Result:
        return self.run("mount", str(self.mountpoint), *options, **more)

    def work(self, text: str, name: str = "a.txt", *, mounted: bool = False) -> None:
        """A session: one letter is rewritten, through a mount or in this process as a command does it."""
        if mounted:
            result = self.mount()
            assert result.code == 0, result.err
            (self.mountpoint / "letters" / name).write_text(text)
            assert run("lock", self.mountpoint).code == 0
            return
        path, secret = os.fsencode(self.made.path), PASSPHRASE.encode()
        with Volume.unlock(path, secret, mountpoint=b"/practice", freshness=HostFreshness()) as volume:
            volume.write_file(b"letters/" + name.encode(), text.encode())

    def keep(self, name: str) -> None:
        shutil.copytree(self.made.path, self.copies / name, symlinks=True)

    def restore(self, name: str) -> None:
        shutil.rmtree(self.made.path)
        shutil.copytree(self.copies / name, self.made.path, symlinks=True)


@pytest.fixture
def practice(volume: Made, tmp_path: Path) -> Any:
    """A volume that this host has used twice, with a copy from between: ``old``."""
    if not Path("/dev/fuse").exists():
        pytest.skip("no /dev/fuse")
    made = Practice(volume, tmp_path)
    made.work("one")
    made.keep("old")
    made.work("two")
    yield made
    if is_mounted(made.mountpoint):
        run("lock", made.mountpoint, "--force")
    assert not is_mounted(made.mountpoint)


def test_an_older_volume_is_refused_read_with_a_warning_and_accepted(practice: Practice, host_memory: Path) -> None:
    """FORMAT.md section 13: mount 28; verify 3; cat and a read-only mount warn; accept takes it, and work goes on."""
    practice.restore("old")
    before = {path: path.read_bytes() for path in practice.made.path.rglob("*") if path.is_file()}
    refused = practice.mount("--json")
    assert refused.code == ExitCode.ROLLBACK == 28
    assert refused.json["error"]["name"] == "ROLLBACK"
    assert "is missing" in refused.err
    assert "cloakfs accept" in refused.err
    assert not is_mounted(practice.mountpoint)
    read = practice.run("cat", "letters/a.txt")
    assert (read.code, read.out) == (0, "one")
    assert "warning: the volume is older" in read.err
    verified = practice.run("verify", "--json")
    assert verified.code == ExitCode.FINDINGS
    assert [one["code"] for one in verified.json["findings"]] == ["volume-rollback"]
    assert {path: path.read_bytes() for path in practice.made.path.rglob("*") if path.is_file()} == before
    accepted = practice.run("accept", *SCRIPT)
    assert accepted.code == 0, accepted.err
    assert "letters/a.txt: the file" in accepted.out
    practice.work("three", mounted=True)
    assert practice.run("verify").code == 0
    again = practice.run("accept", "--json")
    assert (again.code, again.json["accepted"]) == (0, False)
    ((uid, login, reason, what),) = Host(host_memory).rows("SELECT uid, login, reason, what FROM accepted")
    assert (uid, reason) == (os.getuid(), SCRIPT[2])
    assert login
    assert "the volume (" in what
    practice.restore("old")
    assert practice.mount().code == ExitCode.ROLLBACK
    record("freshness", "command: older volume, accept, on with the work", note="28, warning, 3, then 0")


def test_a_read_only_mount_of_an_older_volume_says_so(practice: Practice, host_memory: Path) -> None:
    """FORMAT.md section 13, docs/control.md: the mount goes on, and warning, log, status and verify say it."""
    practice.restore("old")
    log = practice.mountpoint.parent / "log"
    mounted = practice.mount("--read-only", "--json", "--log", str(log))
    assert mounted.code == 0
    assert "warning: the volume is older" in mounted.err
    assert "is missing" in mounted.json["mount"]["rollback"]
    assert (practice.mountpoint / "letters/a.txt").read_text() == "one"
    status = run("status", practice.mountpoint, "--json").json["volumes"][0]["mount"]
    assert status["rollback"] == mounted.json["mount"]["rollback"]
    assert status["host_memory"] == "known"
    assert "older than this host has seen" in run("status", practice.mountpoint).out
    verified = run("verify", practice.mountpoint, "--json")
    assert verified.code == ExitCode.FINDINGS
    assert [one["code"] for one in verified.json["findings"]] == ["volume-rollback"]
    refused = run("accept", practice.made.path, *SCRIPT, *practice.made.secret)
    assert refused.code == ExitCode.VOLUME_IN_USE
    assert run("lock", practice.mountpoint).code == 0
    assert "rollback: the volume is older" in log.read_text()
    locked = practice.run("status", "--quick", "--json")
    assert locked.json["volumes"][0]["rollback"] == status["rollback"]


def test_one_path_is_accepted(practice: Practice) -> None:
    """FORMAT.md section 13: of two older files the one that is named is taken, the other is still refused."""
    practice.work("new", "long.bin", mounted=True)
    for plain in (b"letters/a.txt", b"letters/long.bin"):
        present = practice.made.lower(plain)
        shutil.copy2(practice.copies / "old" / present.relative_to(practice.made.path), present)
    found = practice.run("verify", "--json")
    assert found.code == ExitCode.FINDINGS
    assert {(one["code"], one["path"]) for one in found.json["findings"]} == {
        ("file-rollback", "letters/a.txt"),
        ("file-rollback", "letters/long.bin"),
    }
    assert practice.run("cat", "letters/a.txt").code == ExitCode.DAMAGED_DATA
    accepted = practice.run("accept", "letters/a.txt", "--json", *SCRIPT)
    assert accepted.code == 0, accepted.err
    assert [one["path"] for one in accepted.json["files"]] == ["letters/a.txt"]
    assert practice.run("cat", "letters/a.txt").out == "one"
    assert practice.run("cat", "letters/long.bin").code == ExitCode.DAMAGED_DATA
    assert practice.run("accept", "letters/missing", *SCRIPT).code == ExitCode.NOT_FOUND
    assert practice.run("accept", "empty", *SCRIPT).out.startswith("There is nothing to accept")
    practice.restore("old")
    whole = practice.run("accept", "letters/a.txt", *SCRIPT)
    assert whole.code == ExitCode.USAGE
    assert "older as a whole" in whole.err
    record("freshness", "command: accept of one path", note="that file is taken, the other refused")


def test_accept_asks_why_and_whether(practice: Practice, host_memory: Path) -> None:
    """FORMAT.md section 13: on a terminal the reason and a typed yes are asked for; without one they must be given."""
    practice.restore("old")
    for given in (("--yes",), ("--reason", "x"), ("--yes", "--reason", " ")):
        assert practice.run("accept", *given).code == ExitCode.USAGE
    command = ["accept", str(practice.made.path), *practice.made.secret]
    for answer, code in (("no", ExitCode.INTERRUPTED), ("yes", ExitCode.OK)):
        with PtySession(*command) as session:
            session.answer("Why is it to be accepted?", "the stick was lost")
            session.answer('Type "yes"', answer)
            assert session.end() == code
        if code is ExitCode.INTERRUPTED:
            assert practice.mount().code == ExitCode.ROLLBACK
    practice.work("three")
    assert Host(host_memory).rows("SELECT reason FROM accepted") == [("the stick was lost",)]
    log = host_memory / "cloakfs.log"
    if log.exists():
        assert log.read_text().count("accepted older state:") == 1


def renumber(practice: Practice, seq: int) -> None:
    """The config with another number, as its owner would write it."""
    content = (practice.made.path / "cloakfs.volume").read_bytes()
    unlocked = core_config.unlock([content], KnownSecret.of(SlotKind.PASSPHRASE, PASSPHRASE.encode()))
    changed = replace(unlocked.config, seq=seq)
    store, fd = open_root(os.fsencode(practice.made.path))
    try:
        write_config(store, fd, core_config.seal_config(CLOAKFS_1, changed, unlocked.root_key))
    finally:
        os.close(fd)


def test_an_older_config_is_refused(practice: Practice) -> None:
    """FORMAT.md section 13: the config of before a change, both copies of it, is a rollback; one copy is not."""
    names = ("cloakfs.volume", "cloakfs.volume.bak")
    old = {name: (practice.made.path / name).read_bytes() for name in names}
    renumber(practice, 2)
    practice.work("three")
    (practice.made.path / names[0]).write_bytes(old[names[0]])
    practice.work("four")
    (practice.made.path / names[1]).write_bytes(old[names[1]])
    refused = practice.mount()
    assert refused.code == ExitCode.ROLLBACK
    assert "its config is older" in refused.err
    assert practice.run("accept", *SCRIPT).code == 0
    practice.work("five")
    record("freshness", "command: older config", note="28 with its reason")


def test_a_lost_memory_is_said_once(practice: Practice, host_memory: Path) -> None:
    """FORMAT.md section 13: with the database deleted everything works, and one line says what that means."""
    shutil.rmtree(host_memory / "volumes")
    practice.restore("old")
    first, second = practice.run("cat", "letters/a.txt"), practice.run("cat", "letters/a.txt")
    assert (first.code, first.out, second.code, second.err) == (0, "one", 0, "")
    assert first.err.count("\n") == 1
    assert "memory of the volume is lost" in first.err
    practice.work("three")
    record("freshness", "command: database deleted", note="said once, no error")


def test_a_damaged_memory_is_said_and_replaced(practice: Practice, host_memory: Path) -> None:
    """FORMAT.md section 13: garbage where the database was is moved aside; the next command has nothing to say."""
    (path,) = (host_memory / "volumes").glob("*.sqlite")
    path.write_bytes(os.urandom(9000))
    first = practice.run("verify")
    assert first.code == 0
    assert "moved aside" in first.err
    assert list(path.parent.glob("*.damaged-*"))
    assert practice.run("verify").err == ""


def test_a_memory_that_cannot_be_written_stops_nobody(practice: Practice, host_memory: Path, tmp_path: Path) -> None:
    """FORMAT.md section 13: without a usable state directory: a warning, and everything works."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "volumes").write_text("a file stands in the way")
    environment = {"CLOAKFS_STATE_DIRECTORY": str(blocked)}
    mounted = practice.mount("--json", env=environment)
    assert mounted.code == 0
    assert "cannot be used" in mounted.err
    assert mounted.json["mount"]["host_memory"] == "off"
    (practice.mountpoint / "letters/a.txt").write_text("three")
    assert run("lock", practice.mountpoint, env=environment).code == 0
    assert practice.run("cat", "letters/a.txt").out == "three"
    assert practice.run("accept", *SCRIPT, env=environment).code == ExitCode.FAILURE


def test_a_volume_that_was_never_seen_is_silent(volume: Made, host_memory: Path) -> None:
    """FORMAT.md section 13: a medium from elsewhere needs no question and no warning."""
    first = run("cat", volume.path, "letters/a.txt", *volume.secret)
    assert (first.code, first.err) == (0, "")
    assert run("verify", volume.path, *volume.secret).code == 0
    (path,) = (host_memory / "volumes").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM durable").fetchone() == (0,)
    connection.close()
    for plain in (b"letters", b"a.txt", PASSPHRASE.encode()):
        assert plain not in path.read_bytes()


def test_damage_is_still_told_from_rollback(practice: Practice) -> None:
    """FORMAT.md section 13: a header that does not authenticate is damaged, whatever is remembered of it."""
    flip(practice.made.lower(b"letters/a.txt"), 200)
    found = practice.run("verify", "--json")
    assert [one["code"] for one in json.loads(found.out)["findings"]] == ["file-damaged"]
