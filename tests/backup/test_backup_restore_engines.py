"""``cloakfs restore`` from what the engines really write (FORMAT.md 18)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.audit.home import host_signer
from encfs.backup.copying.directory import DirectoryTarget
from encfs.backup.copying.engine import CopyEngine
from encfs.backup.engine import Engine
from encfs.backup.plans import EngineKind
from encfs.backup.restoring import Restore
from encfs.backup.trial import About
from encfs.cli import backup_restore
from encfs.cli.backup_drill import Asked
from encfs.cli.drill_doing import Opened
from encfs.errors import ExitCode
from encfs.volume import Volume
from encfs.volume.source import VolumeSource
from tests.support import rich_trees
from tests.support.backup_office import Office
from tests.support.command import CHEAP, run
from tests.support.restic_backups import KEY, Yard, flip
from tests.support.rich_trees import walked
from tests.support.sealed_backups import PLAN, Sealed, with_recovery_key
from tests.support.tree_backups import Silent
from tests.support.volumes import SECRET, pattern


class NoOne(Silent):
    """Nobody is told."""

    def failed(self, path: bytes, reason: str) -> None:
        """That neither."""


def _restore(engine: Engine, kind: EngineKind, *arguments: str | Path, key: bytes | None = None) -> ExitCode:
    @contextmanager
    def opener(asked: Asked) -> Iterator[Opened]:
        about = About(
            plan=PLAN,
            volume="0c" * 16,
            engine=kind,
            target=asked.bare or "/media/stick",
            own=host_signer().public,
            people=asked.people,
            key="",
        )
        yield Opened(engine=engine, about=about, backup_key=key)

    code = backup_restore.command(opener).main([str(one) for one in arguments], standalone_mode=False)
    assert isinstance(code, ExitCode)
    return code


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    """Three runs of ``copy`` into a directory: a file changes, one goes, one has two names."""
    made = Sealed(tmp_path)
    with made.volume.unlock() as volume:
        volume.make_directory(b"letters", 0o750)
        volume.make_symlink(b"latest", b"letters/a.txt")
    made.write({b"letters/a.txt": b"first" + pattern(9000), b"letters/b.txt": b"b", b"gone.bin": pattern(70_000, 2)})
    made.run()
    made.write({b"letters/a.txt": b"second" + pattern(9000)})
    with made.volume.unlock() as volume:
        volume.remove(b"gone.bin")
    made.run()
    return made


def _bare(sealed: Sealed) -> CopyEngine:
    """What a computer has that knows nothing but the medium."""
    target = DirectoryTarget(os.fsencode(sealed.target))
    return CopyEngine(PLAN, sealed.volume_id, None, target, label="", unlock=with_recovery_key)


def test_the_very_same_volume(sealed: Sealed, tmp_path: Path) -> None:
    """Byte for byte, with modes and times, from the newest run and from an older one, which opens too."""
    engine, made = _bare(sealed), tmp_path / "back.vault"
    assert _restore(engine, EngineKind.COPY, "v", "--new-volume", made) is ExitCode.OK
    wanted = walked(sealed.volume.path)
    assert {path: one for path, one in walked(made).items() if not path.startswith(b"cloakfs.s")} == {
        path: one for path, one in wanted.items() if not path.startswith(b"cloakfs.s")
    }
    older, first = tmp_path / "older.vault", engine.runs()[0].run
    assert _restore(engine, EngineKind.COPY, "v", "--new-volume", older, "--run", first) is ExitCode.OK
    with Volume.unlock(os.fsencode(older), SECRET, read_only=True) as volume:
        assert b"".join(volume.read_file(b"letters/a.txt")) == b"first" + pattern(9000)
        assert b"".join(volume.read_file(b"gone.bin")) == pattern(70_000, 2)


def test_a_file_as_it_was_before(sealed: Sealed, tmp_path: Path) -> None:
    """Out of an older run, opened in the backup."""
    engine, to = _bare(sealed), tmp_path / "to"
    first = engine.runs()[0].run
    arguments = ("v", "letters/a.txt", "gone.bin", "--run", first, "--to", to, "--plain")
    assert _restore(engine, EngineKind.COPY, *arguments) is ExitCode.OK
    assert (to / "letters/a.txt").read_bytes() == b"first" + pattern(9000)
    assert (to / "gone.bin").read_bytes() == pattern(70_000, 2)


def test_one_bit(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flipped in a file of the target: that one is named; all others come, in plain and sealed."""
    with sealed.volume.unlock(read_only=True) as volume:
        lower = os.fsdecode(VolumeSource(volume).sealed_path(b"letters/a.txt"))
    path = sealed.target / "volume" / lower
    content = bytearray(path.read_bytes())
    content[4000] ^= 4
    path.write_bytes(content)
    engine = _bare(sealed)
    arguments = ("v", "--to", tmp_path / "to", "--plain", "--json")
    assert _restore(engine, EngineKind.COPY, *arguments) is ExitCode.FINDINGS
    told = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in told["not_restored"]] == ["letters/a.txt"]
    assert (tmp_path / "to/letters/b.txt").read_bytes() == b"b"
    assert _restore(engine, EngineKind.COPY, "v", "--new-volume", tmp_path / "back.vault") is ExitCode.FINDINGS
    with Volume.unlock(os.fsencode(tmp_path / "back.vault"), SECRET, read_only=True) as volume:
        assert [entry.name for entry in volume.list_directory(b"letters")] == [b"b.txt"]


def test_an_older_file_on_the_target(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Put where the newer one was, it opens; it is refused all the same."""
    engine = _bare(sealed)
    older = tmp_path / "older.vault"
    assert _restore(engine, EngineKind.COPY, "v", "--new-volume", older, "--run", engine.runs()[0].run) is ExitCode.OK
    with sealed.volume.unlock(read_only=True) as volume:
        lower = os.fsdecode(VolumeSource(volume).sealed_path(b"letters/a.txt"))
    shutil.copy(older / lower, sealed.target / "volume" / lower)
    capsys.readouterr()
    arguments = ("v", "--to", tmp_path / "to", "--plain", "--json")
    assert _restore(engine, EngineKind.COPY, *arguments) is ExitCode.FINDINGS
    told = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in told["not_restored"]] == ["letters/a.txt"]
    assert not (tmp_path / "to/letters/a.txt").exists()


# -- restic ------------------------------------------------------------------------------------------------------------


@pytest.mark.mount
@pytest.mark.programs
def test_everything_out_of_a_repository(yard: Yard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that files have comes back through restic: into a new volume, with keys of its own; one file, as it was."""
    rich_trees.make(yard.top)
    (yard.top / "socket").unlink()  # restic takes none.
    wanted = walked(yard.top)
    made = yard.run()
    (yard.top / "letters/2026/a.txt").write_bytes(b"written since")
    engine = yard.engine(mountpoint=None)
    secret, vault = tmp_path / "new-passphrase", tmp_path / "new.vault"
    secret.touch(0o600)
    secret.write_text("four unrelated words here\n")
    arguments = ("--new-volume", vault, "--new-passphrase-file", secret, "--no-recovery", *CHEAP, "--json")
    assert _restore(engine, EngineKind.RESTIC, "--from", "/media/x", *arguments, key=KEY) is ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], sum(told["lost"].values())) == (made.manifest.head.run, 0)
    with Volume.unlock(os.fsencode(vault), b"four unrelated words here", read_only=True) as volume:
        done = Restore(VolumeSource(volume), (), os.fsencode(tmp_path / "out"), NoOne()).run(replace=False)
    assert done.whole
    found = walked(tmp_path / "out")
    assert found == wanted
    assert _restore(engine, EngineKind.RESTIC, yard.volume.lower, "letters/2026/a.txt", "--yes", key=KEY) is ExitCode.OK
    assert (yard.top / "letters/2026/a.txt").read_bytes() == b"Dear colleague\n"


@pytest.mark.mount
@pytest.mark.programs
def test_a_flipped_bit_in_a_repository(yard: Yard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What lies in that pack is named, and the rest comes."""
    (yard.top / "large.bin").write_bytes(os.urandom(3_000_000))
    yard.run()
    (yard.top / "small.txt").write_bytes(b"small")
    yard.run()
    flip(yard.packs()[0], 1000)
    arguments = ("v", "--to", tmp_path / "to", "--plain", "--json")
    assert _restore(yard.engine(mountpoint=None), EngineKind.RESTIC, *arguments, key=KEY) is ExitCode.FINDINGS
    assert [one["path"] for one in json.loads(capsys.readouterr().out)["not_restored"]] == ["large.bin"]
    assert (tmp_path / "to/small.txt").read_bytes() == b"small"


# -- the command itself ------------------------------------------------------------------------------------------------


def test_after_a_fire_by_the_commands(office: Office, tmp_path: Path) -> None:
    """Set up, made, all else lost: on another computer, with nothing but the medium, the volume is back."""
    office.stick("a").plug()
    office.init("--label", "Blue 1")
    office.good("run", office.volume.path)
    wanted = walked(office.volume.path)
    shutil.rmtree(office.volume.path)
    elsewhere = {"CLOAKFS_STATE_DIRECTORY": str(tmp_path / "another-computer")}
    made = tmp_path / "back.vault"
    done = run("restore", "--from", office.place, "--new-volume", made, "--json", env=elsewhere)
    assert done.code == 0, done.err
    told = done.json
    assert (told["whole"], told["known"], told["label"]) == (True, False, "Blue 1")
    assert told["next"] == f"cloakfs mount {made} MOUNTPOINT"
    assert {path: one for path, one in walked(made).items() if one.content} == {
        path: one for path, one in wanted.items() if one.content
    }
    done = run("restore", "--from", office.place, "000", "--to", tmp_path / "to", "--plain", env=elsewhere)
    assert done.code == ExitCode.USAGE  # Nothing opens it without somebody who is asked.
    opens = ("--recovery-file", office.secret)
    done = run("restore", "--from", office.place, "000", "--to", tmp_path / "to", "--plain", *opens, env=elsewhere)
    assert done.code == 0, done.err
    assert (tmp_path / "to/000").read_bytes() == pattern(500, "0 0")
    assert not (tmp_path / "to/001").exists()
    # On the computer that knows of the backup, by the name of the volume, also after it is gone.
    done = run("restore", office.volume.path, "001", "--to", tmp_path / "to", "--plain", *opens)
    assert done.code == 0, done.err
    assert (tmp_path / "to/001").read_bytes() == pattern(500, "0 1")
