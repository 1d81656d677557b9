"""What can go wrong on the target and on the volume's medium while ``copy`` is at work (FORMAT.md section 18)."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encfs.backup.copying import scanning
from encfs.backup.copying.directory import DirectoryTarget
from encfs.errors import BackupError, DataError
from encfs.format.backup import Taken
from encfs.store.local import LocalStore
from encfs.volume.source import VolumeSource
from tests.support import blockdev
from tests.support.limited_fs import limited
from tests.support.media import insert, lower_filesystem, marks
from tests.support.sealed_backups import Sealed, allow, contents, nothing_torn, tree_is
from tests.support.tree_backups import Silent
from tests.support.volumes import flip, pattern

FILES = {b"one": pattern(100), b"two": pattern(50_000, 2)}
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    """A volume with two files, and an empty target."""
    made = Sealed(tmp_path)
    made.write(FILES)
    return made


# -- damage ------------------------------------------------------------------------------------------------------------


def _three_runs(sealed: Sealed) -> list[str]:
    """With something of each in ``objects/``, and something in the tree alone."""
    runs = [sealed.run().manifest.head.run]
    for number in range(2):
        with sealed.volume.unlock() as volume, volume.open(b"two", writable=True) as file:
            file.write(number, b"changed")
        runs.append(sealed.run().manifest.head.run)
    return runs


def test_one_bit_anywhere_is_found_and_named(sealed: Sealed) -> None:
    """In each file of ``objects/`` and ``volume/`` one bit is turned over: the runs that have it say which file."""
    runs = _three_runs(sealed)
    engine = sealed.engine()
    files = [path for place in ("objects", "volume") for path in (sealed.target / place).rglob("*") if path.is_file()]
    assert len(files) >= 12
    for path in files:
        if not path.stat().st_size:
            continue
        flip(path, path.stat().st_size // 2)
        damaged = {item.path for run in runs for item in engine.verify(run, Silent()).damaged}
        flip(path, path.stat().st_size // 2)
        if "volume" in path.parts:
            assert os.fsencode(path.relative_to(sealed.target / "volume")) in damaged
        else:
            assert len(damaged) in (1, 2)  # The two copies of the config are one object.
    assert all(not engine.verify(run, Silent()).damaged for run in runs)


def test_damage_in_either_half_of_a_file_with_several_paths_is_found(sealed: Sealed) -> None:
    """What lies in the tree and among the objects is read in both places."""
    run = sealed.run().manifest
    config = run.by_path[b"cloakfs.volume"]
    engine = sealed.engine()
    name = config.digest.hex()
    for path in (sealed.target / "objects" / name[:2] / name, sealed.target / "volume" / "cloakfs.volume.bak"):
        flip(path, 40)
        assert engine.verify(run.head.run, Silent()).damaged
        flip(path, 40)


@pytest.mark.parametrize("how", ["missing", "cut off", "emptied", "another file"])
def test_missing_and_cut_files_are_found_and_only_they(sealed: Sealed, how: str) -> None:
    """Of a run with ``only`` these items are read; the others are not damaged."""
    manifest = sealed.run().manifest
    engine = sealed.engine()
    lower = os.path.relpath(sealed.volume.lower(b"two"), sealed.volume.path)
    path = sealed.target / "volume" / lower
    if how == "missing":
        path.unlink()
    elif how == "another file":
        shutil.copy(sealed.target / "volume" / "cloakfs.d", path)
    else:
        os.truncate(path, 0 if how == "emptied" else path.stat().st_size - 1)
    found = engine.verify(manifest.head.run, Silent()).damaged
    assert [os.fsdecode(item.path) for item in found] == [lower]
    item = manifest.by_path[os.fsencode(lower)]
    assert engine.verify(manifest.head.run, Silent(), [item]).damaged == (item,)
    other = manifest.by_path[b"cloakfs.d"]
    assert engine.verify(manifest.head.run, Silent(), [other]).damaged == ()


@pytest.mark.parametrize("where", ["volume", "objects"])
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_what_is_damaged_is_taken_again_by_the_next_run(sealed: Sealed, where: str, how: str) -> None:
    """After ``verify`` has found it (or without, where it is missing), a run makes the backup whole again."""
    run = sealed.run().manifest
    engine = sealed.engine()
    config = run.by_path[b"cloakfs.volume"].digest.hex()
    lower = os.path.relpath(sealed.volume.lower(b"two"), sealed.volume.path)
    path = sealed.target / "volume" / lower if where == "volume" else sealed.target / "objects" / config[:2] / config
    if how == "flipped":
        flip(path, 50)
        assert engine.verify(run.head.run, Silent()).damaged
    else:
        path.unlink()
    made = engine.run(allow, Silent())
    for each in engine.runs():
        assert engine.verify(each.run, Silent()).damaged == ()
    tree_is(sealed.target, made.manifest)
    assert contents(engine, run.head.run) == FILES


def test_bit_in_both_copies_of_a_config_in_the_tree_is_healed(sealed: Sealed) -> None:
    """A damaged copy of what has several paths is made again of the one among the objects."""
    run = sealed.run().manifest
    engine = sealed.engine()
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        flip(sealed.target / "volume" / name, 60)
    assert len(engine.verify(run.head.run, Silent()).damaged) == 2
    made = engine.run(allow, Silent())
    tree_is(sealed.target, made.manifest)
    assert engine.verify(made.manifest.head.run, Silent()).damaged == ()


def test_damaged_manifest_is_named_and_costs_only_its_run(sealed: Sealed) -> None:
    """It is not among the runs, says so when it is asked for, and the next run is made on the one before."""
    runs = _three_runs(sealed)
    path = sealed.target / "runs" / runs[2]
    flip(path, path.stat().st_size - 3)  # In the lines.
    engine = sealed.engine()
    with pytest.raises(DataError):
        engine.verify(runs[2], Silent())
    flip(path, path.stat().st_size - 3)
    flip(path, 40)  # In the signed line.
    assert [head.run for head in engine.runs()] == runs[:2]
    assert engine.damaged_runs() == [runs[2]]
    with pytest.raises(BackupError, match="manifest of a run that is to stay"):
        engine.prune([], Silent())
    assert len(engine.runs()) == 2
    made = engine.run(allow, Silent())
    assert made.manifest.head.previous == runs[1]
    tree_is(sealed.target, made.manifest)
    assert contents(engine, runs[0]) == FILES
    engine.prune([], Silent())
    assert engine.damaged_runs() == []
    assert engine.verify(made.manifest.head.run, Silent()).damaged == ()


def test_signature_of_another_run_is_no_manifest(sealed: Sealed) -> None:
    """A manifest under the name of another run is not taken for it."""
    runs = _three_runs(sealed)
    shutil.copy(sealed.target / "runs" / runs[0], sealed.target / "runs" / runs[2])
    assert sealed.engine().damaged_runs() == [runs[2]]
    with pytest.raises(DataError):
        sealed.engine().manifest(runs[2])


def test_run_of_a_newer_version_is_not_taken_away(sealed: Sealed) -> None:
    """What this version cannot read it does not prune; runs go on beside it."""
    runs = _three_runs(sealed)
    path = sealed.target / "runs" / runs[0]
    line, newline, rest = path.read_bytes().partition(b"\n")
    document = json.loads(line)
    number = next(name for name, value in document.items() if value == 1)
    path.write_bytes(
        json.dumps({**document, number: 2}, sort_keys=True, separators=(",", ":")).encode() + newline + rest
    )
    engine = sealed.engine()
    assert engine.damaged_runs() == [runs[0]]
    with pytest.raises(BackupError, match="newer cloakfs") as caught:
        engine.prune([runs[1]], Silent())
    assert "Update cloakfs" in caught.value.hint
    assert path.exists()
    assert [head.run for head in engine.runs()] == runs[1:]


class _Lying(LocalStore):
    """A medium that keeps something else than what it was given."""

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        if len(data) > 40_000:
            data = bytes(data[:-1]) + bytes([data[-1] ^ 1])
        super().pwrite(fd, data, offset)


def test_run_on_a_medium_that_lies_does_not_count(sealed: Sealed) -> None:
    """What is written is read back: where another byte comes back there is no run, and no object of that name."""
    target = DirectoryTarget(os.fsencode(sealed.target), store_on=_Lying)
    with pytest.raises(BackupError, match="not what came back") as caught:
        sealed.engine(target=target).run(allow, Silent())
    assert "Take another one" in caught.value.hint
    assert sealed.engine().runs() == []
    nothing_torn(sealed.target)


# -- the target fails --------------------------------------------------------------------------------------------------


@contextmanager
def _small(path: Path, size: str) -> Iterator[None]:
    """A filesystem in memory with so much room."""
    blockdev.mount("tmpfs", path, "tmpfs", f"size={size}")
    try:
        yield
    finally:
        blockdev.unmount(path)


@NEEDS_ROOT
def test_full_target(sealed: Sealed) -> None:
    """It says so and what to do; what was complete is complete; with room again the next run is right."""
    with _small(sealed.target, "400k"):
        first = sealed.run().manifest
        sealed.write({b"large": pattern(600_000, 3)})
        with pytest.raises(BackupError, match="target of the backup is full") as caught:
            sealed.run()
        assert "Make room there" in caught.value.hint
        engine = sealed.engine()
        assert [head.run for head in engine.runs()] == [first.head.run]
        assert contents(engine, first.head.run) == FILES
        assert engine.verify(first.head.run, Silent()).damaged == ()
        assert not list(sealed.target.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=4m", str(sealed.target)], check=True)
        made = engine.run(allow, Silent())
        assert contents(engine, made.manifest.head.run) == {**FILES, b"large": pattern(600_000, 3)}
        tree_is(sealed.target, made.manifest)


@NEEDS_ROOT
def test_read_only_target(sealed: Sealed) -> None:
    """It is refused with what to look for; it can be verified and opened all the same."""
    with _small(sealed.target, "4m"):
        first = sealed.run().manifest
        sealed.write({b"new": b"new"})
        subprocess.run(["mount", "-o", "remount,ro", str(sealed.target)], check=True)
        engine = sealed.engine()
        with pytest.raises(BackupError, match="read-only") as caught:
            engine.run(allow, Silent())
        assert "switch" in caught.value.hint
        assert engine.verify(first.head.run, Silent()).damaged == ()
        assert contents(engine, first.head.run) == FILES


def test_target_that_is_gone(sealed: Sealed, tmp_path: Path) -> None:
    """Every call says that it is gone, and nothing is made at its path."""
    run = sealed.run().manifest.head.run
    sealed.target.rename(tmp_path / "away")
    engine = sealed.engine()
    calls: list[Any] = [
        engine.runs,
        lambda: engine.run(allow, Silent()),
        lambda: engine.verify(run, Silent()),
        lambda: engine.prune([], Silent()),
        lambda: engine.open(run).__enter__(),
    ]
    for call in calls:
        with pytest.raises(BackupError, match="gone") as caught:
            call()
        assert "Put" in caught.value.hint
    assert not sealed.target.exists()


@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=marks("ext4"))])
def test_medium_that_is_pulled_out(sealed: Sealed, tmp_path: Path, kind: str) -> None:
    """In the middle of a run and of reading back: an error that says so; back in, the next run is right."""
    with lower_filesystem(kind, tmp_path, flaky=True) as lower:
        assert lower.disk is not None
        target = lower.path / "target"
        target.mkdir()
        engine = sealed.engine(target=target)
        first = engine.run(allow, Silent()).manifest
        sealed.write({b"new": pattern(300_000, 4)})
        disk = lower.disk

        class Pulling(Silent):
            """Pulls it when the copying begins."""

            def phase(self, name: str, total: int) -> None:
                del total
                if name == "copying":
                    disk.fails()

        with pytest.raises(BackupError) as caught:
            engine.run(allow, Pulling())
        assert "Put it back" in caught.value.hint or "read-only" in str(caught.value)
        blockdev.unmount(lower.path)
        disk.works()
        insert(lower)
        assert engine.verify(first.head.run, Silent()).damaged == ()
        made = engine.run(allow, Silent())
        assert contents(engine, made.manifest.head.run) == {**FILES, b"new": pattern(300_000, 4)}
        tree_is(target, made.manifest)


def test_two_runs_at_once(sealed: Sealed) -> None:
    """The second one is told to wait, and changes nothing."""
    with DirectoryTarget(os.fsencode(sealed.target)).held(writing=True):
        with pytest.raises(BackupError, match="another run is at work"):
            sealed.run()
        assert sealed.engine().runs() == []


# -- what a medium does not keep ---------------------------------------------------------------------------------------


@pytest.fixture
def poor(tmp_path: Path) -> Iterator[Path]:
    """A medium that keeps as little as FAT does."""
    lacks = ("symlinks", "links", "xattrs", "owners", "nodes", "renameflags", "times2s", "anycase")
    (tmp_path / "below").mkdir()
    with limited(tmp_path / "below", tmp_path / "poor", *lacks) as path:
        yield path


@pytest.mark.mount
def test_medium_that_keeps_little(sealed: Sealed, poor: Path) -> None:
    """Without owners, times, symlinks, attributes and hard links there, each run still opens with all of them."""
    with sealed.volume.unlock() as volume:
        volume.make_symlink(b"link", b"one")
        volume.changes.link(volume.resolve(b"one"), volume.tree.root, b"twin")
        volume.write_file(b"secret", b"mode", mode=0o600)
        volume.attributes.set(volume.resolve(b"two"), b"user.note", b"kept")
    engine = sealed.engine(target=poor)
    made = engine.run(allow, Silent())
    assert not made.manifest.not_whole()
    again = engine.run(allow, Silent())
    assert again.new_files == 0
    for run in (made, again):
        assert engine.verify(run.manifest.head.run, Silent()).damaged == ()
        with engine.open(run.manifest.head.run) as source:
            assert source.read_link(b"link") == b"one"
            assert source.stat(b"secret").mode & 0o777 == 0o600
            assert source.stat(b"twin").links == 2
            assert b"".join(source.read(b"two")) == FILES[b"two"]
            assert isinstance(source, VolumeSource)
            assert source.attributes(b"two") == {"user.note": b"kept"}
    with sealed.volume.unlock() as volume:
        volume.rename(b"two", b"three")
    last = engine.run(allow, Silent()).manifest
    engine.prune([], Silent())
    assert engine.verify(last.head.run, Silent()).damaged == ()
    assert set(contents(engine, last.head.run)) == {b"one", b"twin", b"three", b"secret"}


def test_file_that_is_larger_than_the_medium_takes_is_missing_and_says_why(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed and never copied in vain; the rest is in the backup."""
    monkeypatch.setattr("encfs.backup.copying.directory.largest_file", lambda _: 40_000)
    engine = sealed.engine()
    made = engine.run(allow, Silent())
    missing = made.manifest.not_whole()
    assert [item.taken for item in missing] == [Taken.MISSING]
    assert "40,000 bytes" in engine.reasons[missing[0].path]
    assert contents(engine, made.manifest.head.run) == {b"one": FILES[b"one"]}
    tree_is(sealed.target, made.manifest)


def test_medium_that_says_so_only_when_it_is_written_to(sealed: Sealed) -> None:
    """EFBIG is a matter of one file, not the end of the run."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    engine = sealed.engine()
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        made = engine.run(allow, Silent())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    missing = made.manifest.not_whole()
    assert [item.taken for item in missing] == [Taken.MISSING]
    assert "larger than the medium takes" in engine.reasons[missing[0].path]
    assert contents(engine, made.manifest.head.run) == {b"one": FILES[b"one"]}
    assert not list(sealed.target.rglob("*.part"))


# -- the volume's own medium fails -------------------------------------------------------------------------------------


class _Unreadable(LocalStore):
    """One file cannot be read behind its header; a directory cannot be listed."""

    inode = 0
    directory = 0

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        if self.fstat(fd).st_ino == _Unreadable.inode and size > 512:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().pread(fd, size, offset)

    def list(self, dirfd: int) -> list[bytes]:
        if self.fstat(dirfd).st_ino == _Unreadable.directory:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().list(dirfd)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> type[_Unreadable]:
    """The volume's directory is read through a store that fails."""
    opened = scanning.opened
    monkeypatch.setattr("encfs.backup.copying.engine.opened", lambda path: opened(path, _Unreadable))
    monkeypatch.setattr(_Unreadable, "inode", 0)
    monkeypatch.setattr(_Unreadable, "directory", 0)
    return _Unreadable


def test_file_that_cannot_be_read(sealed: Sealed, unreadable: type[_Unreadable]) -> None:
    """It is missing where no run has it, and what the run before has stays in the backup; all else is taken."""
    lower = sealed.volume.lower(b"two")
    unreadable.inode = lower.stat().st_ino
    engine = sealed.engine()
    made = engine.run(allow, Silent())
    path = os.fsencode(lower.relative_to(sealed.volume.path))
    assert [(item.path, item.taken) for item in made.manifest.not_whole()] == [(path, Taken.MISSING)]
    assert engine.reasons == {path: "Input/output error"}
    assert contents(engine, made.manifest.head.run) == {b"one": FILES[b"one"]}
    unreadable.inode = 0
    engine.run(allow, Silent())
    with sealed.volume.unlock() as volume, volume.open(b"two", writable=True) as file:
        file.write(0, b"changed")
    unreadable.inode = lower.stat().st_ino
    made = engine.run(allow, Silent())
    assert [(item.path, item.taken) for item in made.manifest.not_whole()] == [(path, Taken.OLDER)]
    assert contents(engine, made.manifest.head.run) == FILES
    assert engine.verify(made.manifest.head.run, Silent()).damaged == ()
    tree_is(sealed.target, made.manifest)


def test_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    sealed: Sealed, unreadable: type[_Unreadable]
) -> None:
    """What the run before has in it stays in the backup, as older."""
    with sealed.volume.unlock() as volume:
        volume.make_directory(b"folder")
        volume.write_file(b"folder/inside", b"inside")
    sealed.run()
    lower = sealed.volume.lower(b"folder")
    unreadable.directory = lower.stat().st_ino
    engine = sealed.engine()
    made = engine.run(allow, Silent())
    taken = {item.path: item.taken for item in made.manifest.not_whole()}
    top = os.fsencode(lower.relative_to(sealed.volume.path))
    assert taken.pop(top) is Taken.MISSING
    assert set(taken.values()) == {Taken.OLDER}
    assert len(taken) == 2
    assert contents(engine, made.manifest.head.run) == {**FILES, b"folder/inside": b"inside"}
