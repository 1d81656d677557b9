"""``cloakfs cat`` and ``cloakfs export`` on a volume that is not mounted."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from encfs.cli import cmd_export
from encfs.volume import Volume
from encfs.volume.attributes import Setattr
from tests.support.command import PASSPHRASE, run


def change(volume):
    """The volume, unlocked for changes."""
    return Volume.unlock(os.fsencode(volume.path), PASSPHRASE.encode())


def damage(path, offset=600):
    """One byte of a lower file, flipped."""
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


# -- cat -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["letters/a.txt", "/letters/a.txt", "letters/../letters/./a.txt", "letters/link"])
def test_cat(volume, path):
    """The content and nothing else; symlinks are followed inside the volume."""
    result = run("cat", volume.path, path, *volume.secret)
    assert (result.code, result.out, result.err) == (0, "Dear colleague\n", "")


def test_cat_of_a_missing_file(volume):
    """Exit 26 with the path as it was given."""
    result = run("cat", volume.path, "letters/b.txt", *volume.secret)
    assert (result.code, result.out) == (26, "")
    assert result.err.startswith("cloakfs: letters/b.txt: ")


def test_cat_of_a_directory(volume):
    """A directory is no file: the hint names export."""
    result = run("cat", volume.path, "letters", *volume.secret)
    assert result.code == 2
    assert "cloakfs export" in result.err


def test_cat_of_a_damaged_file(volume):
    """Exit 25; what came before the damage has been written, nothing of it or behind."""
    damage(volume.lower(b"letters/long.bin"), 4096 + 600)
    result = run("cat", volume.path, "letters/long.bin", *volume.secret)
    assert result.code == 25
    assert "letters/long.bin" in result.err
    assert len(result.out) < 10240


def test_cat_into_a_closed_pipe_is_quiet(volume):
    """A reader that goes away ends it without a word, as SIGPIPE ends any other program."""
    with change(volume) as opened:
        opened.write_file(b"big", bytes(1 << 21))
    command = [sys.executable, "-m", "encfs", "cat", str(volume.path), "big", *volume.secret]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == -signal.SIGPIPE


def test_reading_writes_nothing(volume):
    """Neither cat, export nor verify changes a byte or a time of the volume."""

    def look():
        return {
            path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in volume.path.rglob("*")
        }

    before = look()
    run("cat", volume.path, "letters/a.txt", *volume.secret)
    run("verify", volume.path, *volume.secret)
    run("status", volume.path, *volume.secret)
    assert look() == before


# -- export --------------------------------------------------------------------------------------------------


def test_export_of_everything(volume, tmp_path):
    """Contents, modes, times and symlinks are those of the volume."""
    with change(volume) as opened:
        opened.set_metadata(b"letters/a.txt", Setattr(mtime_ns=1_000_000_001))
        opened.set_metadata(b"letters", Setattr(mtime_ns=2_000_000_002))
    out = tmp_path / "out"
    result = run("export", volume.path, "/", out, *volume.secret)
    assert (result.code, result.err) == (0, "")
    assert "Exported 3 files, 2 directories, 1 symlink (10 KiB)" in result.out
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == [
        "empty",
        "letters",
        "letters/a.txt",
        "letters/link",
        "letters/long.bin",
    ]
    assert (out / "letters/a.txt").read_text() == "Dear colleague\n"
    assert (out / "letters/long.bin").read_bytes() == bytes(range(256)) * 40
    assert os.readlink(out / "letters/link") == "a.txt"
    assert stat.S_IMODE((out / "letters").stat().st_mode) == 0o750
    assert stat.S_IMODE((out / "letters/a.txt").stat().st_mode) == 0o640
    assert (out / "letters/a.txt").stat().st_mtime_ns == 1_000_000_001
    assert (out / "letters").stat().st_mtime_ns == 2_000_000_002


def test_export_json(volume, tmp_path):
    """The documented object."""
    result = run("export", volume.path, "letters", tmp_path / "out", *volume.secret, "--json")
    assert result.json == {
        "volume": str(volume.path),
        "path": "letters",
        "destination": str(tmp_path / "out"),
        "files": 2,
        "directories": 1,
        "symlinks": 1,
        "bytes": 10255,
        "failures": [],
        "skipped": [],
    }


def test_export_of_one_file(volume, tmp_path):
    """A file gets the name that is given; into a directory it goes under its own."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "other").touch()
    assert run("export", volume.path, "letters/a.txt", tmp_path / "b.txt", *volume.secret).code == 0
    assert run("export", volume.path, "letters/a.txt", tmp_path / "dir", *volume.secret).code == 0
    assert (tmp_path / "b.txt").read_text() == (tmp_path / "dir" / "a.txt").read_text() == "Dear colleague\n"


def test_export_into_an_empty_directory(volume, tmp_path):
    """An empty directory, such as a stick, takes the contents."""
    (tmp_path / "out").mkdir()
    assert run("export", volume.path, "letters", tmp_path / "out", *volume.secret).code == 0
    assert (tmp_path / "out" / "a.txt").exists()


@pytest.mark.parametrize("path", ["letters", "letters/a.txt"])
def test_export_overwrites_nothing(volume, tmp_path, path):
    """What is there stays: exit 17."""
    out = tmp_path / "out"
    if path == "letters":
        out.mkdir()
        (out / "mine").write_text("mine")
    else:
        out.write_text("mine")
    result = run("export", volume.path, path, out, *volume.secret)
    assert result.code == 17
    assert (out / "mine" if out.is_dir() else out).read_text() == "mine"


def test_export_into_the_volume_is_refused(volume):
    """Plain text does not belong among sealed files."""
    result = run("export", volume.path, "letters", volume.path / "plain", *volume.secret)
    assert result.code == 2
    assert not (volume.path / "plain").exists()


def test_damaged_files_are_reported_and_the_rest_is_copied(volume, tmp_path):
    """Exit 25 names the file; the others are there, of the damaged one nothing."""
    damage(volume.lower(b"letters/long.bin"))
    out = tmp_path / "out"
    result = run("export", volume.path, "/", out, *volume.secret, "--json")
    assert result.code == 25
    assert [failure["path"] for failure in result.json["failures"]] == ["letters/long.bin"]
    assert "not exported: letters/long.bin: " in result.err
    assert (out / "letters/a.txt").exists()
    assert not (out / "letters/long.bin").exists()


def test_a_damaged_directory_is_reported(volume, tmp_path):
    """A directory whose record is gone is named; what is beside it is copied."""
    (volume.lower(b"letters") / "cloakfs.d").unlink()
    result = run("export", volume.path, "/", tmp_path / "out", *volume.secret)
    assert result.code == 25
    assert "not exported: letters: " in result.err
    assert (tmp_path / "out" / "empty").exists()


def test_hard_links_stay_links_and_holes_stay_holes(volume, tmp_path):
    """Two names of one file are one file in the copy; a sparse file takes no room there."""
    with change(volume) as opened:
        with opened.open(b"sparse", create=True, writable=True) as file:
            file.truncate(64 << 20)
            file.write(32 << 20, b"middle")
        source, _ = opened._parent_of(b"empty")
        opened.changes.link(opened.resolve(b"letters/a.txt"), source, b"second")
    out = tmp_path / "out"
    assert run("export", volume.path, "/", out, *volume.secret).code == 0
    assert (out / "second").samefile(out / "letters/a.txt")
    sparse = out / "sparse"
    assert sparse.stat().st_size == 64 << 20
    assert sparse.stat().st_blocks * 512 < 4 << 20
    with sparse.open("rb") as file:
        file.seek(32 << 20)
        assert file.read(6) == b"middle"


def test_names_cannot_command_the_terminal(volume, tmp_path):
    """Control characters and bytes that are no text are written as escapes, and exported as they are."""
    name = b"evil\x1b[2J\xff.txt"
    with change(volume) as opened:
        opened.write_file(name, b"x" * 600)
    damage(volume.lower(name), 520)
    result = run("export", volume.path, "/", tmp_path / "out", *volume.secret)
    assert "\x1b" not in result.err
    assert r"evil\x1b[2J\xff.txt" in result.err
    failure = run("export", volume.path, "/", tmp_path / "out2", *volume.secret, "--json").json["failures"][0]
    assert os.fsencode(failure["path"]) == name


def test_an_interrupted_export_takes_everything_back(tmp_path):
    """Whatever ends an export early, nothing of it stays; a directory that was there is empty again."""

    def stopped(to, failure):
        with cmd_export._taken_back(os.fsencode(to)):
            to.mkdir(exist_ok=True)
            (to / "sub").mkdir()
            (to / "sub" / "half").write_text("half")
            (to / "whole").write_text("whole")
            raise failure

    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "out", KeyboardInterrupt())
    with pytest.raises(OSError, match="full"):
        stopped(tmp_path / "new", OSError(errno.ENOSPC, "full"))
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_destination_that_cannot_be_written(volume):
    """A destination in a directory that is none is told with its path."""
    result = run("export", volume.path, "letters", "/dev/full/x", *volume.secret)
    assert result.code == 1
    assert "/dev/full/x: not a directory" in result.err
