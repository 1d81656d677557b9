"""encfs/backup/restoring.py, as_taken.py and encfs/volume/copying_whole.py: what comes back of a run (FORMAT.md 18)."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.backup.as_taken import CarefulSource, ManifestSource
from encfs.backup.manifest import content_key
from encfs.backup.restoring import InTheWay, Restore, Restored
from encfs.errors import BackupError, NotFoundError, UsageError
from encfs.format.backup import Taken
from encfs.store.local import LocalStore
from encfs.volume import Volume
from encfs.volume.source import VolumeSource, WholeSource
from tests.support import rich_trees
from tests.support.killing import kill_a_renamer
from tests.support.limited_fs import limited
from tests.support.mounting import SECRET, MountedVolume
from tests.support.rich_trees import HOLE, walked
from tests.support.tree_backups import KEY, Silent, TreeBackup


class Told(Silent):
    """Who is told; what was not restored."""

    def __init__(self) -> None:
        self.failures: list[tuple[bytes, str]] = []
        self.phases: list[tuple[str, int]] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def failed(self, path: bytes, reason: str) -> None:
        self.failures.append((path, reason))


@pytest.fixture
def backup(tmp_path: Path) -> TreeBackup:
    """A run as restic has one: a plain tree, digests under a key."""
    made = TreeBackup(tmp_path / "backup")
    rich_trees.make(made.tree)
    made.take()
    return made


@contextmanager
def _source(backup: TreeBackup, run: str | None = None) -> Iterator[WholeSource]:
    name = run or backup.runs()[-1].run
    with backup.open(name) as contents:
        yield CarefulSource(ManifestSource(contents, backup.manifest(name), content_key(KEY)), backup.runs)


@contextmanager
def mounted_in(base: Path) -> Iterator[MountedVolume]:
    """A mounted, empty volume; afterwards neither mount nor process nor finding is left."""
    base.mkdir()
    made = MountedVolume(base)
    made.mount()
    try:
        yield made
    finally:
        made.finish()


def _restore(
    backup: TreeBackup, to: Path, *paths: bytes, replace: bool = False, told: Told | None = None
) -> tuple[Restored, InTheWay]:
    with _source(backup) as source:
        one = Restore(source, paths, os.fsencode(to), told or Told())
        found = one.look()
        return one.run(replace=replace), found


# -- all of it ---------------------------------------------------------------------------------------------------------


def test_everything_comes_back(backup: TreeBackup, tmp_path: Path) -> None:
    """FORMAT.md 18: bytes, modes, owners, times, attributes, ACLs, links, nodes; and it was read back."""
    told, to = Told(), tmp_path / "new"
    done, found = _restore(backup, to, told=told)
    assert walked(to) == walked(backup.tree)
    assert done.whole
    assert not told.failures
    assert sum(done.lost.as_dict().values()) == 0
    # Two names of one file are counted and read as two.
    size = sum(len(one.content) for one in walked(backup.tree).values() if stat.S_ISREG(one.mode))
    assert (found.size, done.read_back) == (size, size)
    assert found.there == done.already == 0
    assert told.phases == [("restoring", size), ("reading back", size)]


def test_holes_stay_holes(backup: TreeBackup, tmp_path: Path) -> None:
    """A sparse file takes no more room than its content."""
    _restore(backup, tmp_path / "new")
    info = (tmp_path / "new/sparse.img").stat()
    assert info.st_size == HOLE + 4
    assert info.st_blocks * 512 <= 1 << 18


def test_metadata_comes_from_the_manifest(backup: TreeBackup, tmp_path: Path) -> None:
    """A target that keeps contents alone is enough: what else lies there is not looked at."""
    wanted = walked(backup.tree)
    for path in sorted(backup.tree.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
        elif path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            os.utime(path, (5, 5))
            path.chmod(0o777)
    _restore(backup, tmp_path / "new")
    assert walked(tmp_path / "new") == wanted


def test_one_file_comes_with_its_folders(backup: TreeBackup, tmp_path: Path) -> None:
    """It goes under the path that it has in the volume; nothing else comes."""
    done, _ = _restore(backup, tmp_path / "new", b"letters/2026/a.txt")
    wanted, found = walked(backup.tree), walked(tmp_path / "new")
    assert sorted(found) == [b"", b"letters", b"letters/2026", b"letters/2026/a.txt"]
    assert {path: one for path, one in found.items() if path} == {path: wanted[path] for path in found if path}
    assert done.report.files == 1


def test_a_folder_comes_whole(backup: TreeBackup, tmp_path: Path) -> None:
    """With all that is below; a directory that is there keeps its own mode and time."""
    to = tmp_path / "there"
    to.mkdir(mode=0o700)
    (to / "mine.txt").write_text("mine")
    _restore(backup, to, b"letters")
    wanted, found = walked(backup.tree), walked(to)
    below = {path for path in wanted if path.startswith(b"letters")}
    assert {path for path in found if path} == below | {b"mine.txt"}
    assert all(replace(found[path], first=b"") == replace(wanted[path], first=b"") for path in below)
    assert stat.S_IMODE(to.stat().st_mode) == 0o700


def test_what_is_not_in_the_backup_is_said(backup: TreeBackup, tmp_path: Path) -> None:
    """A path that is not there ends it before anything is written; so does a way through a symlink."""
    with pytest.raises(NotFoundError, match="letters/none"):
        _restore(backup, tmp_path / "new", b"letters/none")
    with pytest.raises(UsageError, match="symlink"):
        _restore(backup, tmp_path / "new", b"letters/2026/latest/x")
    with pytest.raises(UsageError, match="no directory"):
        _restore(backup, tmp_path / "no/such/directory")
    assert not (tmp_path / "new").exists()


# -- what is there -----------------------------------------------------------------------------------------------------


def test_what_is_there_stays(backup: TreeBackup, tmp_path: Path) -> None:
    """A file of that name is kept and listed; the rest is restored."""
    to = tmp_path / "new"
    (to / "letters/2026").mkdir(parents=True)
    (to / "letters/2026/a.txt").write_bytes(b"newer, and mine")
    (to / "dangling").write_bytes(b"a file")
    told = Told()
    done, found = _restore(backup, to, told=told)
    assert (to / "letters/2026/a.txt").read_bytes() == b"newer, and mine"
    assert (to / "dangling").read_bytes() == b"a file"
    assert sorted(done.kept) == [b"dangling", b"letters/2026/a.txt"]
    assert found.there == 2
    assert not done.whole
    assert not done.report.damaged
    assert (to / "letters/2026/long.bin").read_bytes() == (backup.tree / "letters/2026/long.bin").read_bytes()


def test_what_is_there_is_replaced_if_that_was_allowed(backup: TreeBackup, tmp_path: Path) -> None:
    """Files, symlinks and folders become what they were, also two names of one file; other things stay."""
    to = tmp_path / "new"
    _restore(backup, to)
    shutil.rmtree(to / "letters/2026", ignore_errors=True)
    (to / "letters/2026").mkdir()
    (to / "letters/2026/a.txt").write_bytes(b"other")
    (to / "letters/2026/long.bin").write_bytes(b"other")
    (to / "letters/2026/latest").symlink_to("elsewhere")
    (to / "mine.txt").write_bytes(b"mine")
    done, _ = _restore(backup, to, replace=True)
    assert done.whole
    found = walked(to)
    assert found.pop(b"mine.txt").content == b"mine"
    wanted = walked(backup.tree)
    assert {path: one for path, one in found.items() if path} == {path: one for path, one in wanted.items() if path}


def test_a_restore_goes_on_where_it_was_broken_off(backup: TreeBackup, tmp_path: Path) -> None:
    """What is there with the same content counts, and is not written again."""
    to = tmp_path / "new"
    _restore(backup, to)
    (to / "second name.bin").unlink()
    (to / "letters/2026/empty").unlink()
    before = (to / "sparse.img").stat().st_ctime_ns
    done, found = _restore(backup, to)
    assert done.whole
    # Folders that are there are nobody's to change: two have the time of the files that are new in them.
    found_now, wanted = walked(to), walked(backup.tree)
    for path in (b"", b"letters/2026"):
        wanted[path] = replace(wanted[path], mtime_ns=found_now[path].mtime_ns)
    assert found_now == wanted
    assert (to / "sparse.img").stat().st_ctime_ns == before
    assert found.there > done.already > 0


def test_nothing_is_written_through_a_symlink(backup: TreeBackup, tmp_path: Path) -> None:
    """A link in the place of a folder leads nowhere: what is below is not restored, and is listed."""
    to, outside = tmp_path / "new", tmp_path / "outside"
    to.mkdir()
    outside.mkdir()
    (to / "letters").symlink_to(outside)
    done, _ = _restore(backup, to, replace=True)
    assert list(outside.iterdir()) == []
    assert b"letters" in dict(done.report.failures)


# -- damage ------------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_named_and_the_rest_is_there(backup: TreeBackup, tmp_path: Path) -> None:
    """One bit: the file is not restored, nothing of it lies there, and all others are."""
    with open(backup.tree / "sparse.img", "r+b") as file:
        file.write(b"H")
    told, to = Told(), tmp_path / "new"
    done, _ = _restore(backup, to, told=told)
    assert told.failures == [(b"sparse.img", "what is in the backup is not what was taken")]
    assert done.report.damaged
    wanted = walked(backup.tree)
    del wanted[b"sparse.img"]
    assert {path: one for path, one in walked(to).items() if path} == {
        path: one for path, one in wanted.items() if path
    }


@pytest.mark.parametrize("how", ["shorter", "longer", "gone"])
def test_a_file_of_another_length(backup: TreeBackup, tmp_path: Path, how: str) -> None:
    """What is cut off, goes on or is not there is damaged."""
    path = backup.tree / "letters/2026/a.txt"
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if how == "shorter" else path.read_bytes() + b"x")
    told = Told()
    done, _ = _restore(backup, tmp_path / "new", told=told)
    assert [name for name, _ in told.failures] == [b"letters/2026/a.txt"]
    assert done.report.damaged
    assert not (tmp_path / "new/letters/2026/a.txt").exists()


def test_a_target_that_goes_away_ends_it(backup: TreeBackup, tmp_path: Path) -> None:
    """It is not taken for a backup full of damage."""
    with _source(backup) as source:
        one = Restore(source, (), os.fsencode(tmp_path / "new"), Told())
        backup.base.rename(tmp_path / "pulled")
        with pytest.raises(BackupError, match="the target is gone"):
            one.run(replace=False)
    assert not [path for path in (tmp_path / "new").rglob("*") if path.name.endswith(".part")]


def test_what_is_missing_in_a_run_is_not_restored(backup: TreeBackup, tmp_path: Path) -> None:
    """A line without content stands for nothing."""
    run = backup.runs()[-1].run
    manifest = backup.manifest(run)
    items = tuple(
        replace(one, taken=Taken.MISSING, digest=b"", size=0) if one.path == b"sparse.img" else one
        for one in manifest.items
    )
    with backup.open(run) as contents:
        source = ManifestSource(contents, replace(manifest, items=items), content_key(KEY))
        done = Restore(source, (), os.fsencode(tmp_path / "new"), Told()).run(replace=False)
    assert done.whole
    assert not (tmp_path / "new/sparse.img").exists()


def test_an_older_run(backup: TreeBackup, tmp_path: Path) -> None:
    """What it was is what comes, by the manifest of that run."""
    first = backup.runs()[-1].run
    kept = tmp_path / "kept"
    shutil.copytree(
        backup.tree, kept / "tree", symlinks=True, ignore=shutil.ignore_patterns("pipe", "socket", "device")
    )
    shutil.copytree(backup.base / "runs", kept / "runs")
    (backup.tree / "sparse.img").write_bytes(b"later")
    backup.take()
    older = TreeBackup(kept)
    with _source(older, first) as source:
        Restore(source, [b"sparse.img"], os.fsencode(tmp_path / "new"), Told()).run(replace=False)
    assert (tmp_path / "new/sparse.img").stat().st_size == HOLE + 4


# -- the destination ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small filesystem")
def test_no_room(backup: TreeBackup, tmp_path: Path) -> None:
    """A full disk ends it with what it says; what is there by then is whole, and nothing has half of its content."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            _restore(backup, small / "new")
        _is_part_of(small / "new", backup)
        _room_for(small)
        done, _ = _restore(backup, small / "new")
        assert done.whole
    finally:
        subprocess.run(["umount", str(small)], check=True)


def _room_for(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=32m", str(small)], check=True)


def _is_part_of(to: Path, backup: TreeBackup) -> None:
    """Each file that is there has its content; nothing temporary is left."""
    for path in to.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.read_bytes() == (backup.tree / path.relative_to(to)).read_bytes()
        assert not path.name.endswith(".part")


def test_a_killed_restore_leaves_no_half_file(backup: TreeBackup, tmp_path: Path) -> None:
    """kill -9 in the middle of a file: it has no name of the backup's; the next run takes what is left away."""
    to = tmp_path / "new"
    program = """
        import os, signal, sys
        from pathlib import Path
        from tests.backup import test_backup_restoring as here
        from tests.support.tree_backups import TreeBackup
        from encfs.volume.destination import Part
        write = Part.write
        def dying(self, piece):
            write(self, piece[:1000])
            if len(piece) > 1000:
                os.kill(os.getpid(), signal.SIGKILL)
        Part.write = dying
        here._restore(TreeBackup(Path(sys.argv[1])), Path(sys.argv[2]))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(backup.base), str(to)]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
    left = [path for path in to.rglob("*") if path.name.endswith(".part")]
    assert len(left) == 1
    assert not (to / "letters/2026/long.bin").exists()
    done, _ = _restore(backup, to)
    assert done.whole
    assert not left[0].exists()
    assert (to / "letters/2026/long.bin").read_bytes() == (backup.tree / "letters/2026/long.bin").read_bytes()


def test_what_another_restore_writes_is_left_alone(backup: TreeBackup, tmp_path: Path) -> None:
    """A temporary file that somebody holds is not taken for a leftover."""
    to = tmp_path / "new"
    to.mkdir()
    held = to / ".cloakfs-0123456789abcdef.part"
    with open(held, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _restore(backup, to, b"letters")
        assert held.exists()
    _restore(backup, to, b"sparse.img")
    assert not held.exists()


def test_what_the_destination_does_not_keep_is_found(
    backup: TreeBackup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading back: a file that is another one there is listed as damage, and taken away."""
    to, told = tmp_path / "new", Told()
    with _source(backup) as source:
        one = Restore(source, (), os.fsencode(to), told)

        def rot() -> None:
            path = to / "letters/2026/a.txt"
            before = path.stat().st_mtime_ns
            path.write_bytes(b"dear colleague\n")
            os.utime(path, ns=(before, before))

        done = one.run(replace=False, flush=rot)
    assert done.report.damaged
    assert [name for name, _ in told.failures] == [b"letters/2026/a.txt"]
    assert not (to / "letters/2026/a.txt").exists()


def test_what_a_program_writes_meanwhile_stays(backup: TreeBackup, tmp_path: Path) -> None:
    """Reading back: a file that somebody has just saved is listed, and is never taken away."""
    to, told = tmp_path / "new", Told()
    with _source(backup) as source:

        def work() -> None:
            (to / "letters/2026/a.txt").write_bytes(b"what Anna wrote just now")
            (to / "letters/2026/empty").unlink()

        done = Restore(source, (), os.fsencode(to), told).run(replace=False, flush=work)
    assert not done.whole
    assert (to / "letters/2026/a.txt").read_bytes() == b"what Anna wrote just now"
    assert sorted(name for name, _ in told.failures) == [b"letters/2026/a.txt", b"letters/2026/empty"]


def test_what_the_destination_lacks_is_counted(backup: TreeBackup, tmp_path: Path) -> None:
    """Contents come anywhere; what is lost of the rest is told."""
    (tmp_path / "below").mkdir()
    with limited(tmp_path / "below", tmp_path / "limited", "xattrs", "links", "nodes") as place:
        done, _ = _restore(backup, place / "new")
        assert (place / "new/second name.bin").read_bytes() == (backup.tree / "second name.bin").read_bytes()
    assert done.whole
    assert done.lost.attributes >= 2
    assert done.lost.hard_links == 1
    assert done.lost.others == (3 if os.geteuid() == 0 else 2)


# -- a volume, read without a mount ------------------------------------------------------------------------------------


def test_a_volume_comes_back_from_its_sealed_tree(tmp_path: Path) -> None:
    """As of ``copy``: what a mount had shown is what comes back, attributes and links too."""
    with mounted_in(tmp_path / "base") as made:
        rich_trees.make(made.path)
        wanted = walked(made.path)
        made.lock()
        with Volume.unlock(os.fsencode(made.lower), SECRET, read_only=True) as volume:
            done = Restore(VolumeSource(volume), (), os.fsencode(tmp_path / "new"), Told()).run(replace=False)
        assert done.whole
        assert sum(done.lost.as_dict().values()) == 0
        assert walked(tmp_path / "new") == wanted


def test_into_a_mounted_volume(backup: TreeBackup, tmp_path: Path) -> None:
    """The usual destination: all of it comes, and is there after a lock."""
    with mounted_in(tmp_path / "base") as made:
        done, _ = _restore(backup, made.path)
        assert done.whole
        assert sum(done.lost.as_dict().values()) == 0
        made.remount()
        found, wanted = walked(made.path), walked(backup.tree)
        assert {path: one for path, one in found.items() if path} == {path: one for path, one in wanted.items() if path}


def test_into_a_volume_where_a_program_was_killed(backup: TreeBackup, tmp_path: Path) -> None:
    """docs/control.md: the error that the kernel tells once, of a program that was killed, ends no restore."""
    with mounted_in(tmp_path / "base") as made:
        for number in range(20):
            kill_a_renamer(made.path / f"top-{number}")
            done, _ = _restore(backup, made.path / f"back-{number}", b"letters")
            assert done.whole


@pytest.mark.parametrize("on_a_mount", [False, True])
def test_a_disk_that_fails_to_sync(
    backup: TreeBackup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on_a_mount: bool
) -> None:
    """An error of a disk ends a restore at once; one of a mount only if it is told again."""

    def fails(_store: LocalStore, _fd: int) -> None:
        told.append(1)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    told: list[int] = []
    with mounted_in(tmp_path / "base") as made:
        monkeypatch.setattr(LocalStore, "syncfs", fails)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            _restore(backup, (made.path if on_a_mount else tmp_path) / "back", b"letters")
        monkeypatch.undo()
    assert len(told) == 1 + on_a_mount
