"""open(2) and its flags, against a plain directory."""

from __future__ import annotations

import mmap
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.linux import error_of, in_child, open_error, read_direct
from tests.support.mounting import MountedVolume
from tests.support.twin import Twin, look

C, P = 4096, 4096 - 32


def _write(path: Path, flags: int, data: bytes, mode: int = 0o644) -> int:
    fd = os.open(path, flags, mode)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def test_append_writes_at_the_end_wherever_the_position_is(twin: Twin) -> None:
    """O_APPEND: every write goes to the end, also after seeking, also where another descriptor grew the file."""

    def action(directory: Path) -> object:
        path = directory / "log"
        _write(path, os.O_CREAT | os.O_WRONLY, b"start")
        fd, other = os.open(path, os.O_RDWR | os.O_APPEND), os.open(path, os.O_WRONLY)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"one")
        os.pwrite(other, b"x" * 5000, 8)
        os.write(fd, b"two")
        position = os.lseek(fd, 0, os.SEEK_CUR)
        os.close(fd)
        os.close(other)
        return position, path.read_bytes()

    twin.same(action)


def test_append_from_many_processes_loses_no_line(twin: Twin) -> None:
    """O_APPEND by several processes at once: every record is there, whole, and in the order of its writer."""
    path = twin.mounted / "log"
    pids = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for number in range(300):
                os.write(fd, b"%d %05d %s\n" % (writer, number, b"z" * (number % 97)))
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    lines = path.read_bytes().splitlines()
    for writer in range(4):
        mine = [line for line in lines if line.startswith(b"%d " % writer)]
        assert mine == [b"%d %05d %s" % (writer, number, b"z" * (number % 97)) for number in range(300)]
    assert len(lines) == 1200


def test_exclusive_creation(twin: Twin) -> None:
    """O_EXCL: EEXIST for files, directories and even a dangling symlink; of many processes exactly one wins."""

    def action(directory: Path) -> object:
        (directory / "d").mkdir()
        (directory / "dangling").symlink_to("nowhere")
        _write(directory / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, b"mine")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        return [open_error(directory / name, flags) for name in ("f", "d", "dangling")]

    twin.same(action)

    readers = []
    for _ in range(6):
        reader, writer = os.pipe()
        if os.fork() == 0:
            won = b""
            for number in range(40):
                try:
                    os.close(os.open(twin.mounted / f"race{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    won += bytes([number])
                except FileExistsError:
                    continue
            os.write(writer, won)
            os._exit(0)
        os.close(writer)
        readers.append(os.fdopen(reader, "rb"))
    wins = b"".join(pipe.read() for pipe in readers)
    for pipe in readers:
        pipe.close()
        os.wait()
    assert sorted(wins) == list(range(40))


def test_truncation_on_open(twin: Twin) -> None:
    """O_TRUNC empties a file for all its descriptors; its new content has nothing of the old."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"old" * 5000)
        reader = os.open(path, os.O_RDONLY)
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        empty = look(reader), os.pread(reader, 10, 0)
        os.pwrite(fd, b"new", 4090)
        os.close(fd)
        result = os.pread(reader, 9000, 0)
        os.close(reader)
        _write(path, os.O_WRONLY | os.O_TRUNC, b"")
        return empty, result, look(path), open_error(directory, os.O_RDONLY | os.O_TRUNC)

    twin.same(action)


def test_write_only_descriptor(twin: Twin) -> None:
    """O_WRONLY: part of a cell is changed although the program may not read; read() says EBADF."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(bytes(range(256)) * 64)
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, b"hello", 5000)
        error = error_of(lambda: os.read(fd, 1))
        os.close(fd)
        path.chmod(0o200)
        _write(path, os.O_WRONLY, b"top")
        path.chmod(0o600)
        return error, path.read_bytes()

    twin.same(action)
    assert read_direct(twin.mounted / "f") == (twin.plain / "f").read_bytes()


def test_direct_io(twin: Twin) -> None:
    """O_DIRECT: reads and writes go past the page cache, mix with cached ones, and end at the end of the file."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"cached" * 10_000)
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        found: list[object] = []
        with mmap.mmap(-1, 16384) as buffer:
            for offset in (0, 4096, 53248):
                count = os.preadv(fd, [buffer], offset)
                found.append(buffer[:count])
            buffer[:] = bytes(reversed(range(256))) * 64
            found += [os.pwritev(fd, [buffer], offset) for offset in (8192, 65536, 49152)]
        os.close(fd)
        with path.open("r+b") as cached:
            cached.seek(10_000)
            cached.write(b"in between")
        return found, path.read_bytes(), look(path)

    twin.same(action)
    assert read_direct(twin.mounted / "f") == (twin.plain / "f").read_bytes()


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC], ids=["O_SYNC", "O_DSYNC"])
def test_synchronous_writes_survive_a_crash(mounted: MountedVolume, flag: int) -> None:
    """O_SYNC and O_DSYNC: what write() said is written is there after kill -9 of the daemon (FORMAT.md section 11)."""
    path = mounted.path / "f"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | flag, 0o644)
    for number in range(20):
        os.write(fd, b"%03d " % number * 500)
    directory = os.open(mounted.path, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    mounted.kill()
    assert error_of(lambda: os.close(fd)) == "ENOTCONN"
    mounted.mount()
    assert path.read_bytes() == b"".join(b"%03d " % number * 500 for number in range(20))


def test_flags_that_refuse(twin: Twin) -> None:
    """O_DIRECTORY, O_NOFOLLOW, missing files and directories opened for writing fail as they do elsewhere."""

    def action(directory: Path) -> object:
        (directory / "d").mkdir()
        (directory / "f").write_bytes(b"x")
        (directory / "link").symlink_to("f")
        (directory / "loop").symlink_to("loop")
        wanted = {
            "f/": os.O_RDONLY,
            "f": os.O_RDONLY | os.O_DIRECTORY,
            "link": os.O_RDONLY | os.O_NOFOLLOW,
            "d": os.O_WRONLY,
            "missing": os.O_RDWR,
            "d/": os.O_CREAT | os.O_WRONLY,
            "missing/f": os.O_CREAT | os.O_WRONLY,
            "f/f": os.O_CREAT | os.O_WRONLY,
            "loop": os.O_RDONLY,
            "n" * 256: os.O_CREAT | os.O_WRONLY,
        }
        # Not a Path: it would lose the slash at the end.
        return {name: open_error(f"{directory}/{name}", flags) for name, flags in wanted.items()}

    twin.same(action)


def test_opening_through_a_descriptor(twin: Twin) -> None:
    """/proc/self/fd and O_PATH: the file is opened again, with a position of its own."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"0123456789")
        fd = os.open(path, os.O_PATH)
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        os.write(again, b"ab")
        third = os.open(f"/proc/self/fd/{again}", os.O_RDONLY)
        result = os.read(third, 4), look(fd), error_of(lambda: os.read(fd, 1))
        for descriptor in (fd, again, third):
            os.close(descriptor)
        return result

    twin.same(action)


def test_programs_run_from_the_mount(twin: Twin) -> None:
    """A program and a script run from the mount; a running program cannot be written to (ETXTBSY)."""

    def action(directory: Path) -> object:
        program, script = directory / "sleep", directory / "script"
        shutil.copy("/bin/sleep", program)
        script.write_text("#!/bin/sh\necho ran $1\n")
        script.chmod(0o755)
        running = subprocess.Popen([program, "100"])
        try:
            # The name changes when execve has happened.
            error = open_error(program, os.O_WRONLY)
        finally:
            running.kill()
            running.wait()
        return error, subprocess.run([script, "well"], capture_output=True, check=True).stdout

    twin.same(action)


def test_a_new_file_may_be_written_whatever_its_mode(twin: Twin) -> None:
    """open(O_CREAT, 0400): the descriptor that made the file writes, later ones may not."""

    def action(directory: Path) -> object:
        def as_owner() -> object:
            path = directory / "f"
            fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o400)
            os.write(fd, b"locked away")
            os.fsync(fd)
            os.close(fd)
            return path.read_bytes(), open_error(path, os.O_WRONLY), stat.S_IMODE(path.stat().st_mode)

        if os.geteuid() == 0:
            directory.chmod(0o777)
            return in_child(as_owner, uid=12345)
        return as_owner()

    twin.same(action)
