"""Which actions the audit log has, beyond keys and mounts (docs/audit.md, "What is recorded")."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from encfs import control
from encfs.cli import stick_enforce, targets
from encfs.core.sources import KnownSecret
from encfs.errors import ExitCode
from encfs.format.epochs import RotationReason
from encfs.format.slots import SlotKind
from encfs.stick import enforce
from encfs.volume import read_config
from encfs.volume.keys import Keys
from tests.support import audit_actions
from tests.support.command import CHEAP, Made, run
from tests.support.mounting import SECRET, MountedVolume, wait_for
from tests.support.volumes import flip
from tests.support.working import furnish

Short = list[tuple[str, str, dict[str, Any]]]


def of(*actions: str) -> Short:
    """Action, outcome and details of the records with one of these actions."""
    records = run("audit", "show", "--json").json["records"]
    audit_actions.check(records)
    return [(each["action"], each["outcome"], each["detail"]) for each in records if each["action"] in actions]


def outcomes(*actions: str) -> list[tuple[str, str]]:
    """The same without details."""
    return [(action, outcome) for action, outcome, _ in of(*actions)]


# -- rotation --------------------------------------------------------------------------------------------------


def test_a_rotation_of_a_locked_volume(volume: Made) -> None:
    """Begun, on the way, ended with what was sealed anew; after the record of the keys that are new."""
    run("key", "rotate", volume.path, "--data", *volume.secret)
    told = of("key.rotate", "rotation.run", "rotation.progress")
    assert [(action, outcome) for action, outcome, _ in told if action != "rotation.progress"] == [
        ("key.rotate", "begun"),
        ("key.rotate", "done"),
        ("rotation.run", "begun"),
        ("rotation.run", "done"),
    ]
    assert told[2][2] == {"epoch": 1, "data": 1, "again": 0}
    assert told[-1][2] == {
        "epoch": 1, "files": 3, "directories": 2, "cells": 4, "damaged": 0, "left": 0, "failed": 0
    }  # fmt: skip
    percents = [detail["percent"] for action, _, detail in told if action == "rotation.progress"]
    assert percents == sorted(set(percents)) != []
    assert set(percents) <= set(range(10, 100, 10))


def test_a_rotation_that_cannot_end(volume: Made) -> None:
    """It says why; the run after a repair says that it goes on with it."""
    flip(volume.lower(b"letters") / "cloakfs.d", 100)
    assert run("key", "rotate", volume.path, *volume.secret).code == ExitCode.FINDINGS
    assert run("verify", volume.path, "--repair", "--yes", *volume.secret).code in (0, 3)
    assert run("key", "rotate", volume.path, *volume.secret).code == 0
    told = of("rotation.run", "volume.repair")
    assert [(action, outcome) for action, outcome, _ in told] == [
        ("rotation.run", "begun"),
        ("rotation.run", "failed"),
        ("volume.repair", "done"),
        ("rotation.run", "begun"),
        ("rotation.run", "done"),
    ]
    assert (told[1][2]["why"], told[1][2]["left"]) == ("incomplete", 2)
    assert (told[3][2]["again"], told[0][2]["again"]) == (1, 0)
    assert told[2][2]["done"] >= 1


def begin(mounted: MountedVolume) -> Any:
    """A rotation with many files, by the daemon; what it says."""
    with Keys(os.fsencode(mounted.lower), KnownSecret.of(SlotKind.PASSPHRASE, SECRET)) as keys:
        new = keys.rotate(RotationReason.STAFF, data=True)
    found = targets.find(str(mounted.path)).mounted
    assert found is not None
    request = {"verb": "rotate", "epoch": new.epoch, "key": new.key.hex(), "config_key": new.config_key.hex()}
    return control.talk(found.socket, request)


def test_a_rotation_of_a_mount(mounted: MountedVolume) -> None:
    """Its daemon tells it: begun here, in steps of a tenth, ended."""
    furnish(mounted.path)
    for _ in begin(mounted):
        pass
    mounted.lock()
    told = of("rotation.run", "rotation.progress")
    assert (told[0][1], told[0][2]["again"], told[-1][1]) == ("begun", 0, "done")
    percents = [detail["percent"] for _, _, detail in told[1:-1]]
    assert len(percents) > 2
    assert percents == sorted(set(percents))
    assert told[-1][2]["cells"] > 0


def test_a_rotation_that_a_lock_interrupts(mounted: MountedVolume) -> None:
    """It says so, and the next mount that it goes on with it."""
    furnish(mounted.path)
    for number in range(1500):  # More than are sealed anew while the lock command starts.
        (mounted.path / f"more {number}").write_bytes(b"more")
    steps = begin(mounted)
    next(steps)
    run("lock", mounted.path, "--force")
    steps.close()
    wait_for(mounted.is_dead, "the daemon ends")
    if read_config(os.fsencode(mounted.lower)).rotating:
        assert of("rotation.run")[-1][1:] == ("failed", {"epoch": 1, "why": "interrupted"})
        mounted.mount()
        wait_for(lambda: not read_config(os.fsencode(mounted.lower)).rotating, "the mount ends the rotation")
        mounted.lock()
        assert [outcome for _, outcome in outcomes("rotation.run")] == ["begun", "failed", "begun", "done"]
        assert of("rotation.run")[2][2]["again"] == 1
    else:
        pytest.fail("the rotation was over before the lock: it needs more files")


def test_a_rotation_that_a_kill_interrupts(mounted: MountedVolume) -> None:
    """A beginning without an end; the next unlock tells of the crash, and of the beginning again."""
    furnish(mounted.path)
    steps = begin(mounted)
    next(steps)
    mounted.kill()
    steps.close()
    assert read_config(os.fsencode(mounted.lower)).rotating
    mounted.mount()
    wait_for(lambda: not read_config(os.fsencode(mounted.lower)).rotating, "the mount ends the rotation")
    mounted.lock()
    assert outcomes("rotation.run", "volume.crash-found") == [
        ("rotation.run", "begun"),
        ("volume.crash-found", "failed"),
        ("rotation.run", "begun"),
        ("rotation.run", "done"),
    ]


# -- daemons and crashes ---------------------------------------------------------------------------------------


def test_a_daemon_begins_and_ends(mounted: MountedVolume) -> None:
    """Around all else that it records."""
    pid = mounted.pid
    mounted.lock()
    told = of("daemon.start", "volume.mounted", "volume.locked", "daemon.stop", "volume.crash-found")
    assert [(action, outcome) for action, outcome, _ in told] == [
        ("daemon.start", "done"),
        ("volume.mounted", "done"),
        ("volume.locked", "done"),
        ("daemon.stop", "done"),
    ]
    assert {detail["pid"] for _, _, detail in told} == {pid}


@pytest.mark.parametrize("how", ["--read-only", ""])
def test_a_crash_is_found_by_whoever_opens_it_next(mounted: MountedVolume, how: str) -> None:
    """Of a mount for reading too, which leaves no session in the volume; once; who was asked is not told of."""
    mounted.lock()
    mounted.mount(*filter(None, [how]))
    mounted.kill()
    secret = ("--passphrase-file", mounted.secret_file)
    for _ in range(2):
        assert run("cat", mounted.lower, "a.txt", *secret).code == 0
    mounted.mount()
    mounted.lock()
    (found,) = of("volume.crash-found")[:1]
    assert found[1] == "failed"
    assert found[2]["mounted_at"] > 0
    # Only a writer recovers what a writer has left, and says so when it does.
    assert [detail.keys() - {"mounted_at"} for _, _, detail in of("volume.crash-found")] == (
        [set()] if how else [set(), {"repaired", "failed", "sessions"}]
    )


def test_a_mount_that_lives_is_no_crash(mounted: MountedVolume) -> None:
    """Its volume is read beside it; the mount is locked, and nothing is told."""
    mounted.lock()
    mounted.mount("--read-only")
    assert run("cat", mounted.lower, "a.txt", "--passphrase-file", mounted.secret_file).code == 0
    mounted.lock()
    mounted.mount()
    assert of("volume.crash-found") == []


# -- repair, shares, sticks, keys in reserve -------------------------------------------------------------------


def test_a_repair(volume: Made) -> None:
    """One record with counts, beside that of the verification; what was declined is refused."""
    flip(volume.lower(b"letters/long.bin"), 5000)
    assert run("verify", volume.path, "--repair", "--yes", *volume.secret).code in (0, 3)
    assert run("verify", volume.path, "--repair", "--yes", *volume.secret).code == 0
    first, second = of("volume.repair")
    assert first[2].keys() == {"done", "skipped", "failed", "not-reached", "declined", "left"}
    assert (first[2]["done"], first[2]["failed"], second[1], second[2]["done"]) == (1, 0, "done", 0)
    assert len(of("volume.verify")) == 2


def test_sticks_that_are_made_and_enforced(volume: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, with the id of its volume; refused; rules that are written and taken away."""
    (tmp_path / "stick").mkdir()
    make = ("stick", "create", tmp_path / "stick", *volume.secret, "--no-recovery", "--yes", "--allow-weak", *CHEAP)
    made = run(*make, "--json")
    assert made.code == 0
    assert run(*make).code == ExitCode.NOT_EMPTY
    records = [each for each in run("audit", "show", "--json").json["records"] if each["action"] == "stick.create"]
    assert [(each["outcome"], each["volume_id"]) for each in records] == [
        ("done", made.json["volume_id"]),
        ("failed", None),
    ]
    monkeypatch.setattr(stick_enforce, "PLACES", enforce.Places(tmp_path / "rules.d", tmp_path / "system"))
    for options in (["--yes"], ["--remove", "--yes"]):
        assert CliRunner().invoke(stick_enforce.command, options, standalone_mode=False).exception is None
    assert [(outcome, detail["remove"], detail["changed"]) for _, outcome, detail in of("stick.enforce")] == [
        ("done", 0, 2),
        ("done", 1, 2),
    ]
    assert run("stick", "eject", tmp_path / "stick").code != 0
    assert [outcome for _, outcome in outcomes("stick.eject")] == ["refused"]


def test_keys_in_reserve(volume: Made) -> None:
    """Opening, and changing keys, with a recovery key is told; with a passphrase it is not."""
    fast = ("--recovery-file", volume.recovery_file)
    assert run("cat", volume.path, "empty", *volume.secret).code == 0
    assert of("key.break-glass") == []
    assert run("cat", volume.path, "empty", *fast).code == 0
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast).code == 0
    assert of("key.break-glass") == [("key.break-glass", "done", {"kind": "recovery", "label": "recovery key"})] * 2


# -- a full and a read-only disk -------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 4 MiB with the state directory of this host."""
    if os.geteuid() != 0:
        pytest.skip("mounts a tmpfs")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)], check=True)
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(place / "state"))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(volume: Made, small_disk: Path) -> None:
    """Files are read on, with a warning; keys are not changed; the next command says how much is missing."""
    fast = ("--recovery-file", volume.recovery_file)
    assert run("cat", volume.path, "empty", *fast).code == 0
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    # The last page of the log has some room still.
    while "cannot be recorded" not in (read := run("cat", volume.path, "letters/a.txt", *fast)).err:
        assert read.code == 0
    assert (read.code, read.out) == (0, "Dear colleague\n")
    before = (volume.path / "cloakfs.volume").read_bytes()
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast).code == ExitCode.AUDIT
    assert (volume.path / "cloakfs.volume").read_bytes() == before
    lost = int.from_bytes((small_disk / "state" / "audit" / "lost").read_bytes()[:8], "big")
    # At least the end of the command that read, the key in reserve, and the beginning that was refused.
    assert lost >= 3
    filler.unlink()
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast).code == 0
    ((_, outcome, detail),) = of("log.gap")
    assert (outcome, detail["lost"]) == ("done", lost)
    assert run("audit", "verify").code == 0


def test_a_read_only_disk(mounted: MountedVolume, small_disk: Path) -> None:
    """What is done with files waits in the daemon, keys are not changed; with the disk back all of it is recorded."""
    secret = ("--passphrase-file", mounted.secret_file)
    assert run("policy", mounted.path, "--file-events", "metadata", *secret).code == 0
    mounted.remount()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    (mounted.path / "b.txt").write_text("x")
    assert run("policy", mounted.path, "--slot-days", "99", *secret).code == ExitCode.AUDIT
    wait_for(lambda: "not recorded" in mounted.log.read_text(), "the daemon tries to record it")
    (mounted.path / "c.txt").write_text("y")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert (mounted.path / "b.txt").read_text() == "x"
    mounted.lock()
    assert outcomes("file.create", "volume.locked", "log.gap", "daemon.stop") == [
        ("file.create", "done"),
        ("file.create", "done"),
        ("volume.locked", "done"),
        ("daemon.stop", "done"),
    ]
