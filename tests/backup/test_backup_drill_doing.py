"""A drill as the command makes it: register, audit log, document, exit status (FORMAT.md 17, "Drill")."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encfs.audit.home import host_signer
from encfs.backup import drills
from encfs.backup.drill_record import DrillOutcome, People
from encfs.backup.drilling import Wish
from encfs.backup.plans import EngineKind
from encfs.backup.trial import About
from encfs.cli.drill_doing import Opened, make
from encfs.core.documents import open_document
from encfs.errors import BackupError, ExitCode, WrongSecretError
from encfs.evidence import checking
from tests.cli.test_audit_command import recorded
from tests.support.tree_backups import KEY, PLAN, VOLUME, TreeBackup
from tests.support.volumes import RECOVERY_KEY, LowerVolume, pattern

FULL = Wish(sample=None, seed=5)
CANARY = "Mueller"


@pytest.fixture(params=["plain", "sealed"])
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> TreeBackup:
    """Three files and a link, all with the name of a patient, of either kind."""
    sealed = request.param == "sealed"
    made = TreeBackup(tmp_path / "backup", sealed=sealed, secret=RECOVERY_KEY)
    made.base.mkdir()
    names = [f"{CANARY}-{number}.txt" for number in range(3)]
    if sealed:
        with LowerVolume(made.tree).unlock() as volume:
            volume.make_directory(CANARY.encode())
            for name in names:
                volume.write_file(f"{CANARY}/{name}".encode(), f"{CANARY} {name}".encode() + pattern(9000, name))
    else:
        (made.tree / CANARY).mkdir(parents=True)
        for name in names:
            (made.tree / CANARY / name).write_bytes(f"{CANARY} {name}".encode() + pattern(9000, name))
    made.take()
    return made


def _opened(backup: TreeBackup) -> Opened:
    about = About(
        plan=PLAN,
        volume=VOLUME,
        engine=EngineKind.COPY if backup.sealed else EngineKind.RESTIC,
        target="/media/stick",
        own=host_signer().public,
        people=People(login="anna", uid=1000, name="Anna Weber"),
        key="kept key",
    )
    return Opened(engine=backup, about=about, backup_key=None if backup.sealed else KEY)


def _flip(backup: TreeBackup) -> None:
    largest = max((one for one in backup.tree.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    info = largest.stat()
    largest.write_bytes(data)
    os.utime(largest, ns=(info.st_mtime_ns, info.st_mtime_ns))


def _told() -> list[tuple[str, str]]:
    return [(one["action"], one["outcome"]) for one in recorded() if one["action"].startswith(("backup", "register"))]


def test_one_that_passes(backup: TreeBackup, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0; begun, registered and done in the audit log; a document that says the same."""
    out = tmp_path / "drill.json"
    assert make(_opened(backup), FULL, out=str(out), as_json=True) is ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    (one,) = drills.drills()
    assert (told["passed"], told["drill"]["id"], told["out"]) == (True, one.record.id, str(out))
    assert _told() == [("backup.drill", "begun"), ("register.drills", "done"), ("backup.drill", "done")]
    body = open_document(out.read_bytes(), drills.KIND).body
    assert body["record"]["found"]["files"] == 3
    assert body["certified"] is None
    detail = next(one["detail"] for one in recorded() if one["outcome"] == "done" and one["action"] == "backup.drill")
    assert (detail["drill"], detail["result"], detail["files"], detail["wrong"]) == (one.record.id, "passed", 3, 0)


def test_one_flipped_bit(backup: TreeBackup, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 3, and a record that says so; people are told which file, and what to do."""
    _flip(backup)
    assert make(_opened(backup), FULL, out=None, as_json=False) is ExitCode.FINDINGS
    (one,) = drills.drills()
    assert one.record.outcome is DrillOutcome.FAILED
    assert one.record.found.wrong == 1
    assert _told()[-1] == ("backup.drill", "failed")
    shown = capsys.readouterr().out
    assert "NOT as it was taken" in shown
    assert shown.count("not right: ") == 1
    assert f"cloakfs backup certify {one.record.id} --action" in shown


def test_a_sample_by_its_seed(backup: TreeBackup) -> None:
    """The record has what picks the same files again."""
    assert make(_opened(backup), Wish(sample=2, seed=(1 << 64) - 1), out=None, as_json=True) is ExitCode.OK
    (one,) = drills.drills()
    assert (one.record.method.seed, one.record.method.picked, one.record.method.population) == ((1 << 64) - 1, 2, 3)


def test_broken_off(backup: TreeBackup) -> None:
    """The target goes away: the error of that, and a record that says that it shows nothing."""
    opened = backup.open

    @contextmanager
    def gone(run: str) -> Any:
        with opened(run) as source:
            shutil.rmtree(backup.base)
            yield source

    backup.open = gone  # type: ignore[method-assign]
    with pytest.raises(BackupError) as found:
        make(_opened(backup), FULL, out=None, as_json=True)
    assert found.value.exit_code is ExitCode.BACKUP
    (one,) = drills.drills()
    assert (one.record.outcome, one.record.why) == (DrillOutcome.BROKEN_OFF, "the target is gone")
    assert _told()[-1] == ("backup.drill", "failed")


def test_a_wrong_key(backup: TreeBackup) -> None:
    """Nothing stands in the register; the audit log knows that it was refused."""
    opened = _opened(backup)

    def refuse(run: str) -> Any:
        raise WrongSecretError("the backup key is wrong")

    backup.open = refuse  # type: ignore[method-assign]
    with pytest.raises(WrongSecretError):
        make(opened, FULL, out=None, as_json=True)
    assert drills.drills() == []
    assert _told() == [("backup.drill", "begun"), ("backup.drill", "refused")]


def test_killed_in_the_middle(backup: TreeBackup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 while a file is restored: no record is there, nothing plain on the disk, and the next one passes."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr("encfs.cli.drill_doing.room_in_memory", lambda: 0)
    opened = backup.open
    child = os.fork()
    if not child:

        class Dying:
            def __init__(self, source: Any) -> None:
                self._source = source

            def __getattr__(self, name: str) -> Any:
                return getattr(self._source, name)

            def plain_path(self, sealed: bytes) -> bytes:
                return self._source.plain_path(sealed)

            def read(self, path: bytes) -> Any:
                yield from self._source.read(path)
                os.kill(os.getpid(), signal.SIGKILL)

        @contextmanager
        def dying(run: str) -> Any:
            with opened(run) as source:
                yield Dying(source)

        backup.open = dying  # type: ignore[method-assign]
        try:
            make(_opened(backup), FULL, out=None, as_json=True)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = [path for path in scratch.rglob("*") if path.is_file()]
    assert left
    assert not any(CANARY.encode() in path.read_bytes() + os.fsencode(path.name) for path in left)
    assert drills.drills() == []
    assert make(_opened(backup), FULL, out=None, as_json=True) is ExitCode.OK
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("flipped", [False, True])
def test_no_name_and_no_content_anywhere(
    backup: TreeBackup, flipped: bool, host_memory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Register, audit log (opened), document, pages, JSON: no name of a file or folder, no content."""
    if flipped:
        _flip(backup)
    document, pages = tmp_path / "out.json", tmp_path / "out.pdf"
    for out in (document, pages):
        make(_opened(backup), FULL, out=str(out), as_json=True)
    written = [path.read_bytes() for path in host_memory.rglob("*") if path.is_file()]
    written += [document.read_bytes(), pages.read_bytes(), checking.document_in(pages.read_bytes())]
    written += [capsys.readouterr().out.encode(), json.dumps(recorded()).encode()]
    sealed = [os.fsencode(path.name) for path in backup.tree.rglob("*") if backup.sealed and len(path.name) > 40]
    assert bool(sealed) == backup.sealed
    for word in (CANARY.encode(), *sealed):
        assert not any(word in data for data in written)
