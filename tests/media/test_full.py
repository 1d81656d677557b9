"""A lower filesystem without room (THREAT_MODEL.md section 4, FORMAT.md section 11).

The promise: nothing earlier is damaged, the error reaches write, fsync or close, and when room is made work goes on.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.errors import ExitCode
from tests.media.conftest import Maker
from tests.media.pulling import save
from tests.support import media
from tests.support.evidence import record
from tests.support.linux import error_of
from tests.support.mounting import MountedVolume, cloakfs
from tests.support.programs import need

_ROOM = 2 << 20
_PIECE = 64 << 10
# More than any of these filesystems keeps in hand.
_PIECES = 800
_TRIES = 60
ALL = ("ext4", "xfs", "btrfs", "exfat")


def earlier_files(top: Path) -> dict[str, bytes]:
    """Files of many sizes, on the disk, with room for what is overwritten in place later."""
    (top / "folder").mkdir()
    made = {f"kept {number}": os.urandom(number * 997) for number in range(25)}
    made["folder/inside"] = os.urandom(70_000)
    made["in place"] = os.urandom(1 << 20)
    for name, data in made.items():
        save(top / name, data)
    return made


def same(top: Path, made: dict[str, bytes]) -> None:
    """Everything that was there before is as it was."""
    different = [name for name, data in made.items() if (top / name).read_bytes() != data]
    assert not different


def fill_by_writing(path: Path) -> bytes:
    """Write and fsync until there is no room. What fsync has confirmed; the error came from write, fsync or close."""
    content, confirmed, failed = b"", 0, None
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        for _ in range(_PIECES):
            piece = os.urandom(_PIECE)
            os.pwrite(fd, piece, len(content))
            content += piece
            os.fsync(fd)
            confirmed = len(content)
    except OSError as exc:
        failed = exc.errno
    try:
        os.close(fd)
    except OSError as exc:
        assert exc.errno == errno.ENOSPC
    assert failed == errno.ENOSPC
    assert confirmed
    return content[:confirmed]


def until_full(action: Callable[[int], object]) -> tuple[list[int], Counter[str | None]]:
    """Do something with 0, 1, 2 ... until it has failed many times; which worked, and the errors of the others."""
    worked, errors = [], Counter[str | None]()
    for number in range(_PIECES * 4):
        failure = error_of(lambda number=number: action(number))
        if failure is None:
            worked.append(number)
        else:
            errors[failure] += 1
            if errors.total() == _TRIES:
                break
    return worked, errors


def only_full(errors: Counter[str | None]) -> None:
    """They failed for want of room and nothing else."""
    assert set(errors) <= {"ENOSPC"}


def overwrite(path: Path, data: bytes) -> str | None:
    """Overwrite a file in place, told by write, fsync or close whether it worked."""

    def work() -> None:
        with path.open("r+b", buffering=0) as file:
            for at in range(0, len(data), _PIECE):
                file.write(data[at : at + _PIECE])
            os.fsync(file.fileno())

    return error_of(work)


def make_room(lower: media.Lower) -> None:
    """Somebody deletes something beside the volume."""
    (lower.path / "ballast").unlink()
    os.sync()


@pytest.mark.parametrize("kind", media.kinds(*ALL, slow=("xfs", "exfat")))
def test_filled_by_every_kind_of_change(make: Maker, kind: str) -> None:
    """THREAT_MODEL.md section 4, disk full: earlier files stay, errors are told, after deleting work goes on."""
    lower, volume = make(kind)
    top = volume.path
    made = earlier_files(top)
    old = made.pop("in place")
    lower.leave(_ROOM)
    # Writes.
    written = fill_by_writing(top / "filling")
    assert (top / "filling").read_bytes()[: len(written)] == written
    # Creates: each that worked is there with its content, each that failed has said so.
    created, errors = until_full(lambda number: (top / f"new {number}").write_bytes(b"%d" % number))
    only_full(errors)
    assert errors
    for number in created:
        assert (top / f"new {number}").read_bytes() == b"%d" % number
    # Empty files, directories, attributes.
    touched, errors = until_full(lambda number: (top / f"empty {number}").touch())
    only_full(errors)
    folders, errors = until_full(lambda number: (top / f"directory {number}").mkdir())
    only_full(errors)
    if kind != "exfat":
        only_full(until_full(lambda number: os.setxattr(top / "kept 3", f"user.{number}", bytes(3000)))[1])
    # Renames into another directory: before or after, never neither.
    names = [name for name in made if "/" not in name]
    for name in names:
        failure = error_of(lambda name=name: (top / name).rename(top / "folder" / f"{name} {'moved' * 20}"))
        assert failure in (None, "ENOSPC")
        if failure is None:
            made[f"folder/{name} {'moved' * 20}"] = made.pop(name)
    same(top, made)
    # In place: either it is told to have worked and is there, or every byte is old or new.
    new = os.urandom(len(old))
    failure = overwrite(top / "in place", new)
    assert failure in (None, "ENOSPC")
    same(top, made)
    # Somebody makes room, and work goes on.
    make_room(lower)
    (top / "filling").unlink()
    for number in range(20):
        save(top / f"later {number}", b"later %d" % number)
    assert overwrite(top / "in place", new) is None
    made["in place"] = new
    volume.remount()
    assert "medium gone" not in volume.log.read_text()
    same(top, made)
    for number in created:
        assert (top / f"new {number}").read_bytes() == b"%d" % number
    assert all((top / f"empty {number}").read_bytes() == b"" for number in touched)
    assert all(os.listdir(top / f"directory {number}") == [] for number in folders)
    for number in range(20):
        assert (top / f"later {number}").read_bytes() == b"later %d" % number
    volume.finish()
    record("media", f"disk full: {kind}", cases=7, note="ENOSPC told; nothing earlier damaged; lock and verify clean")


@pytest.mark.parametrize("kind", media.kinds("ext4", "btrfs", "exfat", slow=("btrfs", "exfat")))
def test_locked_while_full(make: Maker, kind: str) -> None:
    """FORMAT.md section 11: what fsync confirmed on a full disk is there after a lock that could write nothing more."""
    lower, volume = make(kind)
    made = earlier_files(volume.path)
    old = made.pop("in place")
    lower.leave(_ROOM)
    written = fill_by_writing(volume.path / "filling")
    new = os.urandom(len(old))
    failure = overwrite(volume.path / "in place", new)
    # Files of one full cell until the last block is taken; then one block is left for a file that takes two on exFAT.
    small, errors = until_full(lambda number: (volume.path / f"small {number}").write_bytes(bytes(3552)))
    only_full(errors)
    assert small
    (volume.path / f"small {small[-1]}").unlink()
    assert error_of(lambda: (volume.path / "half").write_bytes(b"x")) in (None, "ENOSPC")
    ended = cloakfs("lock", str(volume.path), check=False)
    # btrfs needs room even to overwrite a header; then the next mount checks the volume.
    assert ended.returncode == ExitCode.OK or (kind == "btrfs" and ended.returncode == ExitCode.LOWER_IO), ended.stderr
    refused_without_room(volume)
    volume.mount("--read-only")
    same(volume.path, made)
    volume.lock()
    make_room(lower)
    volume.mount()
    same(volume.path, made)
    assert (volume.path / "filling").read_bytes()[: len(written)] == written
    found = (volume.path / "in place").read_bytes()
    assert len(found) == len(old)
    if failure is None:
        assert found == new
    else:
        assert all(new_byte in (one, other) for new_byte, one, other in zip(found, old, new, strict=True))
    volume.finish()
    record("media", f"locked while full: {kind}", note="fsynced bytes are there, overwritten ones old or new")


def refused_without_room(volume: MountedVolume) -> None:
    """A mount for writing that does not even find room for its session record says so, and leaves nothing."""
    records = sorted(os.listdir(volume.lower / "cloakfs.s"))
    secret = ("--passphrase-file", str(volume.secret_file))
    result = cloakfs("mount", str(volume.lower), str(volume.path), *secret, check=False)
    if result.returncode == ExitCode.OK:  # Some filesystems keep a little in hand.
        cloakfs("lock", str(volume.path), check=False)
        return
    assert result.returncode == ExitCode.LOWER_IO
    assert "the disk is too full" in result.stderr
    assert sorted(os.listdir(volume.lower / "cloakfs.s")) == records


def _sqlite(top: Path) -> None:
    """Commit rows until there is no room; all that were committed are there, and the file is sound."""
    base = sqlite3.connect(top / "patients.db", isolation_level=None)
    base.execute("CREATE TABLE t(number INTEGER PRIMARY KEY, data BLOB)")
    count, failure = 0, ""
    try:
        for number in range(_PIECES):
            base.execute("INSERT INTO t VALUES(?, ?)", (number, os.urandom(_PIECE)))
            count += 1
    except sqlite3.OperationalError as exc:
        failure = str(exc)
    base.close()
    assert any(word in failure for word in ("full", "I/O", "unable to open")), failure
    base = sqlite3.connect(top / "patients.db")
    assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert base.execute("SELECT count(*) FROM t").fetchall() == [(count,)]
    base.close()


def _program(top: Path, source: Path, *command: str) -> None:
    """A program that copies too much ends with an error and says why."""
    result = subprocess.run([*command, str(source), str(top)], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "No space left on device" in result.stderr


@pytest.mark.parametrize("kind", media.kinds("ext4", "xfs", "exfat", slow=("ext4", "xfs")))
def test_programs_on_a_full_disk(make: Maker, base: Path, kind: str) -> None:
    """THREAT_MODEL.md section 4, disk full: SQLite, cp, dd and tar are told, and leave earlier files alone."""
    need("sqlite3", "tar", "dd")
    source = base / "source"
    source.mkdir()
    for number in range(80):
        (source / f"file {number}").write_bytes(os.urandom(_PIECE))
    subprocess.run(["tar", "-C", str(base), "-cf", str(base / "source.tar"), "source"], check=True)
    lower, volume = make(kind)
    top = volume.path
    made = earlier_files(top)
    lower.leave(_ROOM)
    _sqlite(top)
    (top / "patients.db").unlink()
    _program(top, source, "cp", "-r")
    subprocess.run(["rm", "-r", str(top / "source")], check=True)
    tar = subprocess.run(
        ["tar", "-C", str(top), "-xf", str(base / "source.tar")], capture_output=True, text=True, check=False
    )
    assert tar.returncode != 0
    assert "No space left on device" in tar.stderr
    subprocess.run(["rm", "-r", str(top / "source")], check=True)
    dd = subprocess.run(
        ["dd", "if=/dev/zero", f"of={top / 'zeros'}", "bs=64K", "count=200", "conv=fsync"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert dd.returncode != 0
    assert "No space left on device" in dd.stderr
    (top / "zeros").unlink()
    same(top, made)
    make_room(lower)
    save(top / "after", bytes(3 << 20))
    volume.finish()
    record("media", f"programs on a full disk: {kind}", cases=4, note="told; nothing earlier damaged; verify clean")
