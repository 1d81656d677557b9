"""Sessions, the lock, unlocking read-only, and the two copies of the config (FORMAT.md sections 3 and 11)."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from encfs.errors import (
    ConfigDamagedError,
    FormatError,
    NotAVolumeError,
    NotEmptyError,
    ReadOnlyError,
    UsageError,
    VolumeInUseError,
    WrongSecretError,
)
from encfs.format.limits import SESSIONS_KEPT
from encfs.format.session import SessionRecord, SessionState
from encfs.format.slots import SlotKind
from encfs.volume import Volume, read_config
from encfs.volume.attributes import Setattr
from encfs.volume.changes import Caller
from tests.support.stores import EIO, FailingStore
from tests.support.volumes import CELLS, LONG, RECOVERY_KEY, SECRET, LowerVolume, flip, open_file, pattern, read


def records(lower: LowerVolume) -> list[SessionRecord]:
    """The session records of a volume."""
    with lower.unlock(read_only=True) as volume:
        return volume.sessions.records()


# -- the record -----------------------------------------------------------------------------------------------


def test_record_of_a_session(lower: LowerVolume) -> None:
    """OPEN while the volume is unlocked, CLEAN afterwards, with who and where (FORMAT.md section 11)."""
    with lower.unlock(mountpoint=b"/mnt/\xff") as volume:
        (record,) = volume.sessions.records()
        assert record.state is SessionState.OPEN
        assert (record.pid, record.uid) == (os.getpid(), os.getuid())
        assert record.host == socket.gethostname().encode()[:64]
        assert record.mountpoint == b"/mnt/\xff"
        assert record.ended_ms == 0
        assert record.session == volume.ctx.session
        assert int.from_bytes(record.session[:8], "big") == record.started_ms
        assert (lower.path / "cloakfs.s" / record.session.hex()).stat().st_size == 512
    (after,) = records(lower)
    assert after.state is SessionState.CLEAN
    assert after.session == record.session
    assert after.ended_ms >= after.started_ms > 0


def test_old_records_are_pruned(lower: LowerVolume) -> None:
    """Of ended sessions the newest sixteen stay (FORMAT.md section 11)."""
    seen = []
    for _ in range(SESSIONS_KEPT + 4):
        with lower.unlock() as volume:
            seen.append(volume.ctx.session)
    assert [record.session for record in records(lower)] == seen[-SESSIONS_KEPT:]


def test_crashed_records_outlive_pruning_until_recovered(lower: LowerVolume) -> None:
    """An OPEN record is deleted only after it was RECOVERED and sixteen newer ones exist (FORMAT.md section 11)."""
    lower.crash()
    (crashed,) = records(lower)
    with lower.unlock():
        pass
    assert [record.state for record in records(lower)] == [SessionState.RECOVERED, SessionState.CLEAN]
    for _ in range(SESSIONS_KEPT - 2):
        with lower.unlock():
            pass
    assert records(lower)[0].session == crashed.session
    with lower.unlock():
        pass
    assert crashed.session not in [record.session for record in records(lower)]


def test_damaged_record_is_no_session(lower: LowerVolume) -> None:
    """A record that does not authenticate, or stands under another name, says nothing (FORMAT.md section 11)."""
    lower.crash()
    directory = lower.path / "cloakfs.s"
    (name,) = (path for path in directory.iterdir() if path.name != "lock")
    shutil.copyfile(name, directory / ("0" * 32))
    flip(name, 200)
    with lower.unlock() as volume:
        assert volume.recovery is None


def test_a_close_that_fails_leaves_the_session_open(lower: LowerVolume) -> None:
    """Without a good syncfs there is no CLEAN, so the next unlock looks at everything (FORMAT.md section 11)."""
    volume = lower.unlock(store=FailingStore)
    volume.write_file(b"a", b"content")
    volume.ctx.store.broken["syncfs"] = EIO
    with pytest.raises(OSError, match="Input/output error"):
        volume.close()
    assert [record.state for record in records(lower)] == [SessionState.OPEN]
    with lower.unlock() as volume:
        assert volume.recovery is not None
        assert volume.recovery.failed == 0
        assert read(volume, b"a") == b"content"


def test_closing_twice_is_harmless(lower: LowerVolume) -> None:
    """Closing a closed volume does nothing (DESIGN section 5, library use)."""
    volume = lower.unlock()
    volume.close()
    volume.close()
    with lower.unlock():
        pass


def test_open_files_are_closed_with_the_volume(lower: LowerVolume) -> None:
    """Files that a caller forgot are settled when the volume is closed (FORMAT.md section 11, end of a session)."""
    with lower.unlock() as volume:
        file = volume.open(b"a", create=True, writable=True)
        file.write(0, pattern(5000))
    assert lower.findings() == []
    with lower.unlock() as volume:
        assert read(volume, b"a") == pattern(5000)


# -- the lock -------------------------------------------------------------------------------------------------


def test_second_unlock_is_refused(lower: LowerVolume) -> None:
    """A volume has one writer; the refusal names its host, process and mount point (FORMAT.md section 11)."""
    with lower.unlock(mountpoint=b"/mnt/practice"), pytest.raises(VolumeInUseError) as refused:
        lower.unlock()
    text = str(refused.value)
    assert f"host {socket.gethostname()}" in text
    assert f"process {os.getpid()}" in text
    assert "/mnt/practice" in text
    with lower.unlock() as volume:
        assert volume.recovery is None, "the refused unlock left a session behind"
    assert len(records(lower)) == 2


def test_second_unlock_from_another_process(lower: LowerVolume) -> None:
    """The lock holds between processes, and ends with the process (FORMAT.md section 11)."""
    with lower.unlock():
        child = os.fork()
        if child == 0:
            try:
                lower.unlock()
            except VolumeInUseError:
                os._exit(55)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 55
    lower.crash()
    with lower.unlock() as volume:
        assert volume.recovery is not None


def test_lock_survives_a_fork(lower: LowerVolume) -> None:
    """A daemon that forked keeps the lock while its parent lets go, and is named in the record (section 11)."""
    volume = lower.unlock()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(writer)
            volume.sessions.adopt(os.getpid())
            os.read(reader, 1)
            volume.close()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(reader)
    volume.disown()
    try:
        with pytest.raises(VolumeInUseError) as refused:
            while True:  # until the child has adopted the session
                try:
                    lower.unlock()
                except VolumeInUseError as exc:
                    if f"process {child}" in str(exc):
                        raise
        assert f"process {child}" in str(refused.value)
    finally:
        os.close(writer)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [record.state for record in records(lower)] == [SessionState.CLEAN]


def test_readers_share_and_keep_writers_away(lower: LowerVolume) -> None:
    """Read-only unlocks share the volume; nobody can write meanwhile, nor read beside a writer (section 11)."""
    with lower.unlock(read_only=True), lower.unlock(read_only=True), pytest.raises(VolumeInUseError):
        lower.unlock()
    with lower.unlock(), pytest.raises(VolumeInUseError):
        lower.unlock(read_only=True)


# -- read-only ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell_size", CELLS)
def test_read_only_writes_nothing(tmp_path: Path, cell_size: int) -> None:
    """Not one byte, time or attribute below changes, whatever is asked for (FORMAT.md section 11)."""
    lower = LowerVolume(tmp_path / "volume", cell_size)
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        for name in (b"a", b"d/b", LONG):
            volume.write_file(name, pattern(3 * cell_size, name))
        volume.make_symlink(b"l", b"d/b")
        volume.make_symlink(b"in-file", b"t" * 4000)
        volume.attributes.set(volume.resolve(b"a"), b"user.x", b"y")
    before = lower.snapshot()
    with lower.unlock(read_only=True) as volume:
        assert read(volume, b"a") == pattern(3 * cell_size, b"a")
        assert read(volume, b"l") == pattern(3 * cell_size, b"d/b")
        assert volume.read_link(b"in-file") == b"t" * 4000
        assert len(volume.list_directory()) == 5
        assert volume.attributes.get_all(volume.resolve(b"a")) == {b"user.x": b"y"}
        root, node = volume.tree.root, volume.resolve(b"a")
        caller = Caller(0, 0)
        refused = [
            lambda: volume.write_file(b"new", b"x"),
            lambda: volume.write_file(b"a", b"x"),
            lambda: volume.open(b"a", writable=True),
            lambda: volume.make_directory(b"new"),
            lambda: volume.make_symlink(b"new", b"x"),
            lambda: volume.remove(b"a"),
            lambda: volume.remove(b"d"),
            lambda: volume.rename(b"a", b"c"),
            lambda: volume.set_metadata(b"a", Setattr(mode=0o600)),
            lambda: volume.set_metadata(b"a", Setattr(mtime_ns=1)),
            lambda: volume.changes.link(node, root, b"new"),
            lambda: volume.changes.mknod(root, b"new", 0o10600, 0, caller),
            lambda: volume.changes.exchange(root, b"a", root, b"l"),
            lambda: volume.attributes.set(node, b"user.x", b"z"),
            lambda: volume.attributes.remove(node, b"user.x"),
        ]
        for change in refused:
            with pytest.raises(ReadOnlyError):
                change()
        volume.settle()
    assert lower.snapshot() == before


def test_read_only_of_a_tree_without_write_permission(lower: LowerVolume) -> None:
    """A volume on a read-only medium can be read by whoever may read it (FORMAT.md section 11)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
    for directory, names, files in os.walk(lower.path):
        for name in [".", *names]:
            os.chmod(os.path.join(directory, name), 0o555)
        for name in files:
            os.chmod(os.path.join(directory, name), 0o444)
    lower.path.parent.chmod(0o755)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(lower.path)
            os.setuid(65534)
            with Volume.unlock(b".", RECOVERY_KEY, SlotKind.RECOVERY, read_only=True) as volume:
                assert read(volume, b"a") == b"content"
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- config and creation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "bit", "garbage"])
@pytest.mark.parametrize("victim", ["cloakfs.volume", "cloakfs.volume.bak"])
def test_one_copy_of_the_config_is_enough(lower: LowerVolume, victim: str, damage: str) -> None:
    """With one copy damaged the other opens the volume (FORMAT.md section 3)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
    path = lower.path / victim
    raw = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "bit":
        flip(path, len(raw) // 2)
    else:
        path.write_bytes({"empty": b"", "cut": raw[:-10], "garbage": os.urandom(3000)}[damage])
    with lower.unlock() as volume:
        assert read(volume, b"a") == b"content"
    assert read_config(os.fsencode(lower.path)).cell_size == 4096


def test_no_copy_of_the_config(lower: LowerVolume) -> None:
    """Both damaged, and none at all, are two different errors (FORMAT.md section 3; DESIGN section 2)."""
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        flip(lower.path / name, 500)
    with pytest.raises(ConfigDamagedError):
        lower.unlock()
    with pytest.raises(ConfigDamagedError):
        read_config(os.fsencode(lower.path))
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        (lower.path / name).unlink()
    with pytest.raises(NotAVolumeError):
        lower.unlock()


def test_wrong_secrets(lower: LowerVolume) -> None:
    """A wrong passphrase and a wrong recovery key are told as such, and nothing is written (section 4)."""
    before = lower.snapshot()
    path = os.fsencode(lower.path)
    with pytest.raises(WrongSecretError, match="passphrase is wrong"):
        Volume.unlock(path, b"not it")
    with pytest.raises(WrongSecretError, match="recovery key is wrong"):
        Volume.unlock(path, bytes(32), SlotKind.RECOVERY)
    assert lower.snapshot() == before
    with Volume.unlock(path, SECRET) as volume:
        assert volume.list_directory() == []


def test_create_refuses_a_directory_that_is_not_empty(tmp_path: Path) -> None:
    """A volume is made in an empty or missing directory only, and nothing else is touched (FORMAT.md section 2)."""
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(NotEmptyError):
        Volume.create(os.fsencode(tmp_path), secret=SECRET)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FormatError):
        Volume.create(os.fsencode(tmp_path / "new"), secret=SECRET, cell_size=8192)
    assert not (tmp_path / "new").exists()


def test_a_directory_that_is_no_volume(tmp_path: Path) -> None:
    """Neither an empty directory nor a missing one is taken for a volume (FORMAT.md section 3)."""
    with pytest.raises(NotAVolumeError):
        Volume.unlock(os.fsencode(tmp_path), SECRET)
    with pytest.raises(FileNotFoundError):
        Volume.unlock(os.fsencode(tmp_path / "missing"), SECRET)


# -- the calls by path ----------------------------------------------------------------------------------------


def test_paths(lower: LowerVolume) -> None:
    """Library calls take plain paths; symlinks are followed inside the volume only (DESIGN section 5)."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.make_directory(b"d/e")
        volume.write_file(b"d/e/f", b"content", mode=0o640)
        volume.make_symlink(b"relative", b"d/e")
        volume.make_symlink(b"d/absolute", b"/d/e/f")
        volume.make_symlink(b"d/up", b"../d/./e//f")
        volume.make_symlink(b"loop", b"loop")
        volume.make_symlink(b"out", b"/etc/passwd")
        assert read(volume, b"relative/f") == b"content"
        assert read(volume, b"d/absolute") == b"content"
        assert read(volume, b"/d/up") == b"content"
        assert volume.stat(b"d/e/../e/f").size == 7
        assert volume.stat(b"d/absolute", follow=False).size == 6
        assert volume.stat(b"d/e/f").mode & 0o777 == 0o640
        for path, kind in (
            (b"loop", OSError),
            (b"out", FileNotFoundError),
            (b"d/e/f/g", NotADirectoryError),
            (b"x/y", FileNotFoundError),
        ):
            with pytest.raises(kind):
                read(volume, path)
        for path in (b"", b"/", b"d/.", b"d/.."):
            with pytest.raises(UsageError):
                volume.make_directory(path)


def test_handles_after_close(lower: LowerVolume) -> None:
    """A closed handle is a programming error, not a crash (DESIGN section 5)."""
    with lower.unlock() as volume:
        file = volume.open(b"a", create=True, writable=True)
        file.close()
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.read(0, 1)
        with open_file(volume, b"a") as one, open_file(volume, b"a") as two:
            assert one is two, "two handles share one open file"
