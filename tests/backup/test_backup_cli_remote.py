"""Backups to other computers, by the commands alone: set up, run, cut off, tried and restored (FORMAT.md 18)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from encfs.backup.plans import Result
from encfs.errors import ExitCode
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.cli.conftest import mounted
from tests.support.backup_office import Office
from tests.support.command import run
from tests.support.mounting import MountedVolume
from tests.support.paper import codes_on
from tests.support.rclone_remotes import Remotes, needs_rclone
from tests.support.sshd import sshd
from tests.support.volumes import RECOVERY_KEY, pattern, read

__all__ = ["mounted"]

pytestmark = pytest.mark.mount


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("restic") is None, reason="no restic")
def test_over_sftp(office: Office, mounted: MountedVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository on another computer; one run while it does not answer; a file back with what is on the sheet."""
    letter = pattern(9000)
    (mounted.path / "letter").write_bytes(letter)
    sheet, typed, to = tmp_path / "sheet.pdf", tmp_path / "typed", mounted.path / "back"
    with sshd(tmp_path) as server:
        monkeypatch.setenv("CLOAKFS_SSH", " ".join(server.words))
        place = server.location("practice")
        office.good("init", mounted.lower, place, "--engine", "restic", "--place", "offsite", "--sheet", sheet)
        server.kill()
        assert office.call("run").code == ExitCode.BACKUP
        assert office.last.result is Result.FAILED
        server.start()
        office.good("run")
        assert (office.last.result, office.last.files, office.last.verified) == (Result.DONE, 2, 9000 + 15)
        typed.write_text(codes_on(sheet.read_bytes())[0])
        typed.chmod(0o600)
        assert office.good("drill", "--from", place, "--full", "--recovery-file", typed, "--json").json["passed"]
        done = run("restore", "--from", place, "letter", "--to", to, "--recovery-file", typed)
        assert (done.code, (to / "letter").read_bytes()) == (0, letter)
        assert not any(letter[:64] in one.read_bytes() for one in server.home.rglob("*") if one.is_file())


@needs_rclone
def test_to_a_remote_of_rclone(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow line to a server; it is gone in one run, the next one is whole; the volume comes back from it alone."""
    remotes, new = Remotes(tmp_path / "remotes", monkeypatch), tmp_path / "new.vault"
    monkeypatch.setenv("RCLONE_BWLIMIT", "100k")
    with remotes.server("sftp") as server:
        office.good("init", office.volume.path, "rclone:nas:practice", "--place", "offsite")
        office.good("run")
        assert (office.last.result, office.last.new_files > 30) == (Result.DONE, True)
        office.write(3, "changed")
        server.kill()
        assert office.call("run").code == ExitCode.BACKUP
        assert office.last.result is Result.FAILED
        server.start()
        office.good("run")
        assert (office.last.result, office.last.changed + office.last.removed) == (Result.DONE, 3)
        office.good("verify")
        done = run("restore", "--from", "rclone:nas:practice", "--new-volume", new)
        assert done.code == 0, done
    with Volume.unlock(bytes(new), RECOVERY_KEY, SlotKind.RECOVERY) as volume:
        assert [read(volume, b"%03d" % number) for number in (1, 9)] == [pattern(500, "changed 1"), pattern(500, "0 9")]
