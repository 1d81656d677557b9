"""``cloakfs backup`` with restic, through a real mount: key, sheet, run, check, trial (FORMAT.md 18)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from encfs.backup import keys, plans
from encfs.backup.plans import KeyKind, Result
from encfs.errors import ExitCode
from encfs.format.recovery_key import encode_recovery_key
from tests.cli.conftest import mounted
from tests.support.backup_office import Office, tree
from tests.support.mounting import MountedVolume, cloakfs
from tests.support.pty_session import PtySession
from tests.support.volumes import pattern

__all__ = ["mounted"]

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(shutil.which("restic") is None, reason="no restic"),
]


@pytest.fixture
def stick(office: Office) -> Path:
    """Plugged in."""
    one = office.stick("a")
    one.plug()
    return one.held


def test_through_the_mount(office: Office, mounted: MountedVolume, stick: Path, tmp_path: Path) -> None:
    """A key of its own with a sheet; a run; none while it is locked; its check, and a trial with the sheet alone."""
    for number in range(5):
        (mounted.path / f"letter {number}").write_bytes(pattern(3000 + number, number))
    sheet = tmp_path / "sheet.pdf"
    said = office.good("init", mounted.lower, office.place, "--engine", "restic", "--label", "A", "--sheet", str(sheet))
    assert "PRINT IT" in said.out
    assert "LOST together with this computer" in said.out
    assert sheet.read_bytes().startswith(b"%PDF")
    assert sheet.stat().st_mode & 0o777 == 0o600
    plan = office.plan
    key = keys.read(plan.id)
    assert (plan.key, len(key)) == (KeyKind.OWN, 32)
    assert (stick / "restic/config").is_file()

    office.good("run", mounted.path)
    assert (office.last.result, office.last.files, office.last.label) == (Result.DONE, 6, "A")
    assert office.last.verified > 0
    mounted.lock()
    said = office.call("run")
    assert (said.code, "is not mounted" in said.err, "cloakfs mount" in said.err) == (ExitCode.BACKUP, True, True)
    assert office.last.result is Result.FAILED
    office.good("verify")
    said = office.good("drill", mounted.lower, "--full", "--json")
    assert (said.json["passed"], said.json["drill"]["found"]["files"]) == (True, 6)

    typed = tmp_path / "typed"
    typed.write_text(encode_recovery_key(key))
    typed.chmod(0o600)
    keys.remove(plan.id)
    assert office.call("verify").code == ExitCode.BACKUP
    said = office.good("drill", "--from", office.place, "--full", "--recovery-file", typed, "--json")
    assert said.json["passed"] is True
    typed.write_text(encode_recovery_key(bytes(32)))
    said = office.call("drill", "--from", office.place, "--full", "--recovery-file", typed)
    assert said.code == ExitCode.WRONG_SECRET


def test_an_init_that_fails_leaves_no_key_and_no_sheet(office: Office, tmp_path: Path) -> None:
    """The stick is pulled out when the repository is to be made."""
    sheet = tmp_path / "s.pdf"
    stick = office.stick("a")
    stick.plug()
    stick.read_only(on=True)
    said = office.call("init", office.volume.path, office.place, "--engine", "restic", "--sheet", str(sheet))
    assert said.code != 0
    assert not sheet.exists()
    assert plans.plans() == []
    assert not list((tmp_path / "host-state/backup-keys").glob("*"))
    stick.read_only(on=False)
    assert tree(office.place) == {}


def test_a_key_for_a_sealed_copy(office: Office, stick: Path, tmp_path: Path) -> None:
    """--backup-slot: nothing but its key opens the copy, and that key is not kept on this computer."""
    sheet = tmp_path / "s.pdf"
    said = office.call("init", office.volume.path, office.place, "--backup-slot", "--sheet", str(sheet))
    assert said.code == ExitCode.USAGE  # Nobody can be asked for what opens the volume.
    assert not sheet.exists()
    office.good(
        *("init", office.volume.path, office.place, "--backup-slot", "--sheet", str(sheet)),
        *("--recovery-file", office.secret),
    )
    plan = office.plan
    assert (plan.key, keys.is_kept(plan.id)) == (KeyKind.OWN, False)
    office.good("run")
    office.good("verify")
    said = office.call("drill", office.volume.path, "--recovery-file", office.secret, "--json")
    assert said.code == ExitCode.WRONG_SECRET
    assert (stick / "volume/cloakfs.volume").is_file()


def test_restic_does_not_go_where_nothing_is(office: Office, tmp_path: Path) -> None:
    """Neither a repository nor a key is made where the target is not there."""
    done = cloakfs(
        *("backup", "init", str(office.volume.path), str(office.place / "no/where"), "--engine", "restic"),
        *("--sheet", str(tmp_path / "s.pdf")),
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    assert not (tmp_path / "s.pdf").exists()


def test_a_sheet_is_asked_for(office: Office, stick: Path, tmp_path: Path) -> None:
    """On a terminal, and it is said what it is for; without a name for it nothing is set up."""
    for answer, code in (("", ExitCode.USAGE), (str(tmp_path / "sheet.pdf"), ExitCode.OK)):
        words = ("backup", "init", str(office.volume.path), str(office.place), "--engine", "restic")
        with PtySession(*words) as session:
            assert "LOST together with this" in session.expect("new PDF file?")
            session.answer(" ", answer)
            assert session.end() == code
        assert bool(plans.plans()) is (code is ExitCode.OK)
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")
    assert (stick / "restic/config").is_file()
