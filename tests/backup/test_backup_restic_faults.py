"""Backups with restic when something fails (FORMAT.md 18): said clearly, what was there stays, the next run goes on."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.backup.restic import Running
from encfs.backup.restic_engine import ResticEngine
from encfs.backup.restic_words import ResticError, Trouble
from encfs.errors import BackupError, DataError
from tests.support.mounting import is_gone, is_mounted, wait_for
from tests.support.restic_backups import KEY, PLAN, VOLUME, Told, Yard, anything, digest, flip, paths
from tests.support.restic_repository import lock_from

pytestmark = [pytest.mark.mount, pytest.mark.programs]

_LOCKED = r"locked while|not open"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@contextmanager
def _tmpfs(at: Path, size: int) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def _write(top: Path, *names: str, size: int = 100_000) -> None:
    for name in names:
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_bytes(os.urandom(size))


def _fails(trouble: Trouble, engine: ResticEngine) -> ResticError:
    with pytest.raises(ResticError) as caught:
        engine.run(anything, Told())
    assert caught.value.trouble is trouble
    assert caught.value.hint
    return caught.value


# -- the target --------------------------------------------------------------------------------------------------------


@needs_root
def test_a_full_target(yard: Yard, tmp_path: Path) -> None:
    """No room: said, what was there can be read, and with room the next run is made."""
    (yard.top / "small").write_bytes(b"small")
    with _tmpfs(tmp_path / "medium", 8 << 20) as medium:
        yard.repository = shutil.copytree(yard.repository, medium / "restic")
        first = yard.run().manifest.head.run
        _write(yard.top, "big", size=12 << 20)
        _fails(Trouble.FULL, yard.engine())
        assert yard.runs() == [first]
        assert yard.engine().verify(first, Told()).damaged == ()
        subprocess.run(["mount", "-o", f"remount,size={64 << 20}", str(medium)], check=True)
        made = yard.run()
        assert yard.engine().verify(made.manifest.head.run, Told()).files == 2


@needs_root
def test_a_read_only_target(yard: Yard, tmp_path: Path) -> None:
    """It cannot be written to, which is said, and can be read all the same."""
    _write(yard.top, "a")
    with _tmpfs(tmp_path / "medium", 16 << 20) as medium:
        yard.repository = shutil.copytree(yard.repository, medium / "restic")
        run = yard.run().manifest.head.run
        subprocess.run(["mount", "-o", "remount,ro", str(medium)], check=True)
        _fails(Trouble.READ_ONLY, yard.engine())
        assert yard.runs() == [run]
        assert yard.engine().verify(run, Told()).damaged == ()


def test_no_repository(yard: Yard) -> None:
    """The medium is not there: no run is made anywhere else, and it is no empty backup either."""
    _write(yard.top, "a")
    yard.repository.rename(yard.repository.with_name("elsewhere"))
    _fails(Trouble.MISSING, yard.engine())
    with pytest.raises(ResticError):
        yard.engine().runs()
    assert not yard.repository.exists()


def test_another_key(yard: Yard) -> None:
    """A key that does not open it is refused as that; a repository is never made over another."""
    _write(yard.top, "a")
    error = _fails(Trouble.KEY, yard.engine(key=bytes(32)))
    assert "sheet" in error.hint
    with pytest.raises(ResticError) as caught:
        yard.engine().init()
    assert caught.value.trouble is Trouble.THERE


def test_restic_is_missing_or_old(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named, and a version that was never tried is refused."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("restic 0.12.1 compiled with go1.18", "0.14"), ("", "not installed")):
        if name:
            (tools / "restic").write_text(f"#!/bin/sh\necho {name}\n")
            (tools / "restic").chmod(0o755)
        else:
            (tools / "restic").unlink()
        monkeypatch.setattr("encfs.stick.programs.os.environ", {"PATH": str(tools)})
        with pytest.raises(BackupError, match=text) as caught:
            yard.engine().init()
        assert "apt-get install restic" in caught.value.hint


# -- locks -------------------------------------------------------------------------------------------------------------


@contextmanager
def _holder(yard: Yard) -> Iterator[Running]:
    """A restic that lives, and has locked the repository; killed behind this."""
    read, write = os.pipe()
    running = yard.engine()._restic.start("backup", "--stdin", stdin=read)
    os.close(read)
    try:
        wait_for(lambda: any((yard.repository / "locks").iterdir()), "the repository is locked")
        yield running
    finally:
        running.process.kill()
        running.wait()
        os.close(write)


def test_a_lock_of_a_killed_run(yard: Yard) -> None:
    """A lock that a killed restic of this computer left is taken away; that of one that lives is not."""
    _write(yard.top, "a")
    first = yard.run().manifest.head.run
    second = yard.run().manifest.head.run
    with _holder(yard) as holder:
        with pytest.raises(ResticError) as caught:
            yard.engine().prune([second], Told())
        assert caught.value.trouble is Trouble.LOCKED
        assert f"process {holder.process.pid} on {socket.gethostname()}, since 20" in str(caught.value)
        assert yard.runs() == [first, second]
    assert any((yard.repository / "locks").iterdir())
    yard.engine().prune([second], Told())
    assert yard.runs() == [second]
    assert not any((yard.repository / "locks").iterdir())


def test_a_lock_of_another_computer(yard: Yard) -> None:
    """It stays, and who holds it since when is said; after it the run is made."""
    _write(yard.top, "a")
    since = dt.datetime.now(dt.UTC)
    lock = lock_from(yard.repository, KEY, host="upstairs", pid=4711, since=since.isoformat(), exclusive=True)
    error = _fails(Trouble.LOCKED, yard.engine())
    assert "process 4711 on upstairs" in str(error)
    assert lock.exists()
    lock.unlink()
    assert yard.run().new_files == 1


def test_two_runs_at_once(yard: Yard) -> None:
    """A second run of the same backup is refused while the first one is made."""
    _write(yard.top, "a")

    def second(_: object) -> None:
        with pytest.raises(BackupError, match="just now"):
            yard.run()

    assert yard.engine().run(second, Told()).new_files == 1


# -- damage ------------------------------------------------------------------------------------------------------------


def test_one_bit_in_a_pack(yard: Yard) -> None:
    """Found by verify, which names the file; the others are right, and reading it raises."""
    _write(yard.top, "a", "b", "c")
    run = yard.run().manifest.head.run
    flip(yard.packs()[0], 150_000)
    engine = yard.engine()
    checked = engine.verify(run, Told())
    (damaged,) = paths(checked.damaged)
    assert (checked.files, checked.bytes) == (3, 200_000)
    with engine.open(run) as source:
        for path in (b"a", b"b", b"c"):
            if path == damaged:
                with pytest.raises(DataError):
                    b"".join(source.read(path))
            else:
                assert b"".join(source.read(path)) == (yard.top / os.fsdecode(path)).read_bytes()


def test_a_pack_is_gone(yard: Yard) -> None:
    """Nothing waits for it: verify lists the files that were in it at once, the others are right; no run is made."""
    _write(yard.top, "old-1", "folder/old-2", "old-3")
    yard.run()
    old = yard.packs()
    _write(yard.top, "new")
    run = yard.run().manifest.head.run
    old[0].unlink()
    engine = yard.engine()
    checked = engine.verify(run, Told())
    assert sorted(paths(checked.damaged)) == [b"folder/old-2", b"old-1", b"old-3"]
    assert checked.bytes == 100_000
    with engine.open(run) as source:
        assert b"".join(source.read(b"new")) == (yard.top / "new").read_bytes()
        with pytest.raises(DataError):
            b"".join(source.read(b"old-1"))
        assert b"".join(source.read(b"new")) == (yard.top / "new").read_bytes()
    error = _fails(Trouble.DAMAGED, yard.engine())
    assert "verify" in error.hint
    assert not list(engine._place.glob("mnt-*"))


def test_a_pack_of_folders_is_gone(yard: Yard) -> None:
    """Then all that lies in those folders is damaged, which is known at once; no run is made as if it were there."""
    _write(yard.top, "folder/a", "folder/b", "c")
    of_data: list[Path] = []
    run = yard.run(flush=lambda: of_data.extend(yard.packs()[-1:])).manifest.head.run
    of_data[-1].unlink()
    checked = yard.engine().verify(run, Told())
    assert (paths(checked.damaged), checked.bytes) == ([b"c", b"folder/a", b"folder/b"], 0)
    _fails(Trouble.DAMAGED, yard.engine())
    assert yard.runs() == [run]


def test_the_index_is_gone(yard: Yard) -> None:
    """There is no run that can be read, and none is made as if nothing were wrong."""
    _write(yard.top, "a")
    run = yard.run().manifest.head.run
    for path in (yard.repository / "index").iterdir():
        path.unlink()
    assert yard.runs() == []
    with pytest.raises((DataError, ResticError)):
        yard.engine().verify(run, Told())
    with pytest.raises(BackupError):
        yard.run()


def test_a_snapshot_is_gone(yard: Yard) -> None:
    """The run says so; the next one is whole."""
    _write(yard.top, "a")
    made = yard.run()
    (yard.repository / "snapshots" / made.manifest.head.snapshot).unlink()
    with pytest.raises(DataError, match="not in the repository"):
        yard.engine().verify(made.manifest.head.run, Told())
    again = yard.run()
    assert yard.engine().verify(again.manifest.head.run, Told()).damaged == ()


def test_a_damaged_manifest(yard: Yard) -> None:
    """It is no run; what belongs to it stays when others are taken away."""
    _write(yard.top, "a")
    yard.run()
    known = set(yard.packs())
    second = yard.run().manifest.head
    for pack in set(yard.packs()) - known:
        flip(pack, 40)
    (first,) = yard.runs()
    assert first != second.run
    engine = yard.engine()
    third = yard.run().manifest.head
    assert third.previous == first
    engine.prune([third.run], Told())
    assert second.snapshot in {one.id for one in engine._restic.snapshots()}
    assert yard.runs() == [third.run]


def test_the_target_does_not_keep_what_is_written(yard: Yard) -> None:
    """A run is complete only if what it wrote was read back: a medium that changes it is told, and there is no run."""
    _write(yard.top, "a")
    flipped: set[Path] = set()

    def spoil() -> None:
        for pack in set(yard.packs()) - flipped:
            flip(pack, 1000 if pack.stat().st_size > 50_000 else 10)
            flipped.add(pack)

    with pytest.raises(BackupError):
        yard.run(flush=_from_second(spoil))
    assert yard.runs() == []


def _from_second(action: object) -> object:
    count = 0

    def flush() -> None:
        nonlocal count
        count += 1
        if count > 1:
            action()  # type: ignore[operator]

    return flush


# -- the volume --------------------------------------------------------------------------------------------------------


def _unmount(yard: Yard) -> None:
    subprocess.run(["fusermount3", "-uz", str(yard.top)], check=True)
    assert not is_mounted(yard.top)


@pytest.mark.parametrize(
    "when", ["before", "in the guard", "after restic", pytest.param("before the first look", marks=pytest.mark.slow)]
)
def test_the_volume_is_locked_meanwhile(yard: Yard, when: str) -> None:
    """An empty mount point is never taken for a volume from which all is gone, whenever it was locked."""
    _write(yard.top, "a")
    run = yard.run().manifest.head.run
    _write(yard.top, "b")
    calls = 0

    def flush() -> None:
        nonlocal calls
        calls += 1
        if (when == "after restic" and calls == 2) or (when == "before the first look" and calls == 1):
            _unmount(yard)

    if when == "before":
        _unmount(yard)
    with pytest.raises(BackupError, match=_LOCKED) as caught:
        yard.engine(flush=flush).run(lambda _: _unmount(yard) if when == "in the guard" else None, Told())
    assert "cloakfs mount" in caught.value.hint
    assert yard.runs() == [run]
    wait_for(yard.volume.is_dead, "the daemon ends")
    yard.volume.mount()
    asked = []
    made = yard.engine().run(asked.append, Told())
    assert (asked[0].removed, asked[0].added) == (0, 1)
    assert made.manifest.by_path[b"b"].digest == digest((yard.top / "b").read_bytes())


def test_a_dead_daemon(yard: Yard) -> None:
    """A mount whose daemon was killed is no empty volume either."""
    _write(yard.top, "a")
    yard.volume.kill_daemon()
    try:
        with pytest.raises(BackupError, match=_LOCKED):
            yard.run()
    finally:
        yard.volume.clear_dead_mount()
        yard.volume.mount()
    assert yard.runs() == []


# -- kill -9 -----------------------------------------------------------------------------------------------------------

_KILLED = """
import os, sys
from encfs.backup.restic_engine import ResticEngine
class Steps:
    def phase(self, name, total): self.name = name
    def done(self, count):
        if self.name == sys.argv[1]: os.kill(os.getpid(), 9)
engine = ResticEngine({plan!r}, {volume!r}, {top!r}, {repository!r}, {key!r})
engine.run(lambda change: None, Steps())
"""


@pytest.mark.parametrize("phase", [pytest.param("looking", marks=pytest.mark.slow), "copying", "reading back"])
def test_kill_9_of_a_run(yard: Yard, phase: str) -> None:
    """What it leaves is no run and nothing that stays in use; the next run is made and is whole."""
    _write(yard.top, "a", "b", size=2_000_000)
    place = yard.engine()._place
    text = _KILLED.format(plan=PLAN, volume=VOLUME, top=os.fsencode(yard.top), repository=str(yard.repository), key=KEY)
    done = subprocess.run([sys.executable, "-c", text, phase], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for(lambda: not _resti_of(yard), "restic ends with whoever began it")
    assert yard.runs() == []
    assert not list(place.glob("mnt-*"))
    made = yard.run()
    assert yard.engine().verify(made.manifest.head.run, Told()).damaged == ()
    engine = yard.engine()
    engine.prune([made.manifest.head.run], Told())
    assert len(engine._restic.snapshots()) == 2


def _resti_of(yard: Yard) -> list[int]:
    """Processes of restic that have the repository of this test."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and not is_gone(int(entry.name)):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if os.fsencode(yard.repository) in words:
                found.append(int(entry.name))
    return found


def test_restic_itself_is_killed(yard: Yard) -> None:
    """That is an error, not a run."""
    _write(yard.top, "a", size=20_000_000)

    def kill(phase: str) -> None:
        if phase == "copying":
            for pid in _resti_of(yard):
                os.kill(pid, 9)

    with pytest.raises(BackupError):
        yard.engine().run(anything, Told(kill))
    assert yard.runs() == []
    assert yard.run().new_files == 1


def test_a_restic_that_says_nothing(yard: Yard) -> None:
    """One that is stopped is ended after a while, and whoever reads goes on with an error."""
    _write(yard.top, "a")
    run = yard.run().manifest.head.run
    engine = yard.engine(silence=1.0)
    with pytest.raises(ResticError) as caught, engine.open(run) as source:
        for pid in _resti_of(yard):
            os.kill(pid, signal.SIGSTOP)
        b"".join(source.read(b"a"))
    assert caught.value.trouble is Trouble.GONE
    wait_for(lambda: not _resti_of(yard), "it was ended")
    assert not list(engine._place.glob("mnt-*"))
