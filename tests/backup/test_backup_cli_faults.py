"""``cloakfs backup`` where something is wrong: the target, the clock, the backup itself, whoever interrupts.

FORMAT.md 18: what was complete stays complete, and the next run repairs what was broken off.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from encfs.backup import busy, plans
from encfs.backup.copying.directory import DirectoryTarget
from encfs.backup.plans import Result
from encfs.cli import looked_at
from encfs.errors import ExitCode
from tests.cli.test_audit_command import recorded
from tests.support import media
from tests.support.backup_office import Office, tree
from tests.support.command import run
from tests.support.flaky_disk import FlakyDisk
from tests.support.mounting import wait_for
from tests.support.volumes import flip

DAY = 86_400


def _ready(office: Office, size: str = "64m") -> Path:
    """A stick with one good run on it; its directory."""
    stick = office.stick("a", size)
    stick.plug()
    office.init("--label", "A")
    office.good("run")
    return stick.held


def _largest(place: Path) -> Path:
    """A file of a patient, sealed."""
    return max((one for one in place.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)


# -- the target --------------------------------------------------------------------------------------------------------


def test_a_target_that_is_full(office: Office) -> None:
    """31, and what was complete can still be read; with room again the next run is good."""
    held = _ready(office, "4m")
    first = office.last.id
    filler = held / "filler"
    free = os.statvfs(held)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - 64 * 1024))
    office.write(3, "large", size=300_000, start=40)
    said = office.call("run")
    assert (said.code, "is full" in said.err) == (ExitCode.BACKUP, True)
    assert (office.last.result, office.last.id) == (Result.FAILED, "")
    office.good("verify", office.volume.path)
    assert office.plan.checks[-1].run == first
    filler.unlink()
    office.good("run")
    office.good("verify")


def test_a_target_that_is_read_only(office: Office) -> None:
    """31; it can be listed, verified and tried all the same."""
    _ready(office)
    stick = office._made[0]
    stick.read_only(on=True)
    office.write(1, "new")
    said = office.call("run")
    assert (said.code, "read-only" in said.err) == (ExitCode.BACKUP, True)
    office.good("list")
    office.good("verify")
    office.good("drill", office.volume.path, "--recovery-file", office.secret, "--json")
    stick.read_only(on=False)
    office.good("run")


def test_a_stick_that_was_pulled(office: Office) -> None:
    """Every command says so; a run and a check of it are not written down as if something were damaged."""
    held = _ready(office)
    office._made[0].pull()
    for words in (("run",), ("list",), ("verify",), ("drill", str(office.volume.path), "--recovery-file", "x")):
        said = office.call(*words)
        assert said.code == ExitCode.WRONG_MEDIUM, words
        assert 'Expected is "A"' in said.err
    assert office.plan.checks == ()
    assert tree(office.place) == {}
    office._made[0].plug()
    office.good("run")
    assert (held / "runs" / office.last.id).is_file()


@pytest.mark.mount
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse")
@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_target_that_is_slow(office: Office, tmp_path: Path, kind: str) -> None:
    """However often its disk lets everybody wait, the run takes that time and is a good one."""
    base = tmp_path / "slow"
    base.mkdir()
    with media.lower_filesystem(kind, base, flaky=True) as lower:
        assert lower.disk is not None
        office.good("init", office.volume.path, lower.path)
        with _slow(lower.disk) as waits:
            office.good("run")
            office.write(3, "new")
            office.good("run")
            office.good("verify")
        assert len(waits) > 5
        said = office.good("drill", "--from", lower.path, "--full", "--recovery-file", office.secret, "--json")
        assert (said.json["passed"], said.json["drill"]["found"]["files"]) == (True, 30)


@contextmanager
def _slow(disk: FlakyDisk) -> Iterator[list[int]]:
    """A hundred times nothing is answered until somebody waits; an entry for each time that somebody did."""
    waits: list[int] = []
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set() and len(waits) < 100:
            disk.hangs()
            wait_for(lambda: disk.waiting > 0 or ends.is_set(), "somebody waits for the disk", seconds=600)
            if disk.waiting:
                waits.append(disk.waiting)
            disk.works()
            wait_for(lambda: disk.waiting == 0, "all of them are answered")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits
    finally:
        ends.set()
        thread.join()
        disk.works()


# -- the backup itself -------------------------------------------------------------------------------------------------


def test_one_bit_is_found(office: Office) -> None:
    """verify ends with 3, names what is damaged to whoever asks, and is red until it is right; so does a drill."""
    held = _ready(office)
    victim = _largest(held)
    flip(victim, 700)
    said = office.call("verify", office.volume.path)
    assert said.code == ExitCode.FINDINGS
    assert "DAMAGED: 1 thing is damaged or missing" in said.out
    assert victim.name in said.out
    checked = office.plan.last_checked()
    assert checked is not None
    assert checked.why == "1 thing is damaged or missing"
    assert ("backup.verify", "failed") in [(one["action"], one["outcome"]) for one in recorded()]
    said = office.call("verify", "--json")
    assert (said.code, said.json["backups"][0]["damaged"]) == (ExitCode.FINDINGS, 1)
    assert victim.name not in said.out
    assert "backup-damaged" in [one.code for one in looked_at.machine()]
    said = office.call("drill", office.volume.path, "--full", "--recovery-file", office.secret)
    assert said.code == ExitCode.FINDINGS
    flip(victim, 700)
    office.good("verify")
    assert "backup-damaged" not in [one.code for one in looked_at.machine()]


def test_a_manifest_that_is_damaged(office: Office) -> None:
    """Is a finding of that run; the target itself is no failure."""
    held = _ready(office)
    manifest = held / "runs" / office.last.id
    flip(manifest, manifest.stat().st_size // 2)
    said = office.call("verify", office.volume.path, "--run", office.last.id)
    assert said.code != 0
    office.write(1, "new")
    office.good("run")
    office.good("verify")


# -- this computer -----------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id of a run is greater than those before; while runs are dated ahead none is taken away."""
    held = _ready(office)
    first = office.last.id
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() - 40 * DAY)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - 40 * DAY * 10**9)
    for seed in range(3):
        office.write(1, seed)
        said = office.good("run")
        assert "no old run was taken away: a run on the target is dated" in said.err
    ids = [one.id for one in office.plan.runs]
    assert ids == sorted(set(ids))
    assert sorted(os.listdir(held / "runs")) == ids
    assert ids[0] == first


def test_one_run_at_a_time(office: Office) -> None:
    """Another one is refused, and that is no failure of the backup; nor is it checked or ended meanwhile."""
    _ready(office)
    before = office.plan
    with busy.alone(before.id):
        for words in (("run",), ("verify",), ("end", str(office.volume.path), "--why", "x", "--yes")):
            said = office.call(*words)
            assert (said.code, "worked on already" in said.err) == (ExitCode.BACKUP, True)
    assert plans.plans() == [before]


def test_an_interruption_is_written_down(office: Office) -> None:
    """Ctrl-C ends all of it; what was there stays complete, and the next run is good."""
    _ready(office)
    office.write(5, "new")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(click.exceptions.Abort):
        patched.setattr(DirectoryTarget, "write_run", interrupted)
        office.call("run")
    assert (office.last.result, office.last.why) == (Result.FAILED, "it was interrupted")
    assert ("backup.run", "failed") in [(one["action"], one["outcome"]) for one in recorded()]
    office.good("verify")
    office.good("run")
    office.good("verify")


# -- who sees it -------------------------------------------------------------------------------------------------------


def test_status_and_doctor_see_it(office: Office) -> None:
    """A failed run is red in both, with the reason; a good one takes that away."""
    _ready(office)
    office._made[0].pull()
    office.call("run")
    (check,) = [one for one in run("status", "--json").json["registers"] if one["code"].startswith("backup-")]
    assert (check["code"], check["light"]) == ("backup-failed", "red")
    assert "an empty directory, at which nothing is mounted" in check["found"]
    codes = [one.code for one in looked_at.machine()]
    assert ("backup-failed" in codes, "backup-rule" in codes) == (True, True)
    office._made[0].plug()
    office.good("run")
    assert "backup-failed" not in [one.code for one in looked_at.machine()]


def test_nothing_plain_is_written_down(office: Office) -> None:
    """No name of a file of the volume and nothing of its content: in the register, the log, or on the target."""
    with office.volume.unlock() as volume:
        volume.write_file(b"Anna Schmidt 1970", b"diagnosis of the patient")
    _ready(office)
    office.call("verify")
    found = b"".join(one.read_bytes() for one in office.base.rglob("*") if one.is_file())
    assert office.plan.id.encode() in found
    for secret in (b"Anna Schmidt", b"diagnosis"):
        assert secret not in found
