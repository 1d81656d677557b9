"""flock, fcntl and OFD locks, which the kernel keeps for us, between processes; against a plain directory."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.linux import Child, error_of, in_child
from tests.support.twin import Twin

_FLOCK = struct.Struct("hhqqi4x")
OFD_SETLK = 37  # fcntl.h; the fcntl module has it since Python 3.9 under another name on some systems


def posix(fd: int, kind: int, start: int = 0, length: int = 0) -> None:
    """A lock that belongs to the process."""
    fcntl.fcntl(fd, fcntl.F_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def ofd(fd: int, kind: int, start: int = 0, length: int = 0) -> None:
    """A lock that belongs to the open file."""
    fcntl.fcntl(fd, OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def owner_of(fd: int, start: int, length: int) -> tuple[int, int, int, bool]:
    """F_GETLK: kind and range of the lock in the way, and whether its owner is the parent of this process."""
    kind, _, at, size, pid = _FLOCK.unpack(
        fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    )
    return kind, at, size, pid == os.getppid()


def test_flock(twin: Twin) -> None:
    """Exclusive and shared flock between descriptors and processes; closing gives it back; directories have it too."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"")

        def try_flock(how: int, name: Path = path) -> str | None:
            def attempt() -> None:
                fd = os.open(name, os.O_RDONLY)
                try:
                    fcntl.flock(fd, how | fcntl.LOCK_NB)
                finally:
                    os.close(fd)

            return in_child(lambda: error_of(attempt))

        fd = os.open(path, os.O_RDWR)
        seen = []
        for how in (fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN):
            fcntl.flock(fd, how)
            seen.append((try_flock(fcntl.LOCK_EX), try_flock(fcntl.LOCK_SH)))
        fcntl.flock(fd, fcntl.LOCK_EX)
        twin_fd = os.dup(fd)
        os.close(fd)
        seen.append((try_flock(fcntl.LOCK_EX), None))
        os.close(twin_fd)
        seen.append((try_flock(fcntl.LOCK_EX), None))
        folder = os.open(directory, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        seen.append((try_flock(fcntl.LOCK_SH, directory), None))
        os.close(folder)
        return seen

    twin.same(action)


@pytest.mark.parametrize("lock", [posix, ofd], ids=["fcntl", "OFD"])
def test_record_locks(twin: Twin, lock: Callable[..., None]) -> None:
    """Ranges of bytes, read and write locks, split and joined, seen by another process; F_GETLK names the owner."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT, 0o644)
        other = os.open(directory / "f", os.O_RDWR)

        def others() -> object:
            mine = os.open(directory / "f", os.O_RDWR)
            ranges = [(0, 10), (10, 10), (50, 1), (99, 1), (100, 10), (1 << 40, 0)]
            return [
                (
                    error_of(lambda: lock(mine, fcntl.F_RDLCK, *where)),  # noqa: B023 - called at once
                    error_of(lambda: lock(mine, fcntl.F_WRLCK, *where)),  # noqa: B023
                    owner_of(mine, *where),
                )
                for where in ranges
            ]

        seen = []
        lock(fd, fcntl.F_WRLCK, 0, 100)
        seen.append(in_child(others))
        lock(fd, fcntl.F_UNLCK, 10, 20)
        lock(fd, fcntl.F_RDLCK, 50, 10)
        lock(fd, fcntl.F_WRLCK, 1 << 40, 0)
        seen.append(in_child(others))
        # A second descriptor of the same process is somebody else for OFD locks only.
        seen.append(error_of(lambda: lock(other, fcntl.F_WRLCK, 0, 5)))
        seen.append(error_of(lambda: lock(fd, fcntl.F_WRLCK, 0, -5)))
        # POSIX locks go with the first close of the file by the process, OFD locks with the last of the open file.
        os.close(other)
        seen.append(in_child(others))
        os.close(fd)
        reader = os.open(directory / "f", os.O_RDONLY)
        seen.append(error_of(lambda: lock(reader, fcntl.F_WRLCK, 0, 5)))
        os.close(reader)
        return seen

    twin.same(action)


def test_a_waiting_process_gets_the_lock(twin: Twin) -> None:
    """F_SETLKW and a blocking flock wait until the holder lets go; no update is lost between them."""

    def action(directory: Path) -> object:
        path = directory / "counter"
        path.write_bytes(b"0000")

        def count(use_flock: bool) -> None:
            for _ in range(50):
                fd = os.open(path, os.O_RDWR)
                (fcntl.flock if use_flock else fcntl.lockf)(fd, fcntl.LOCK_EX)
                value = int(os.pread(fd, 4, 0))
                os.pwrite(fd, b"%04d" % (value + 1), 0)
                os.close(fd)

        results = []
        for use_flock in (False, True):
            children = [Child(lambda use_flock=use_flock: count(use_flock)) for _ in range(3)]  # type: ignore[misc]
            for child in children:
                child.result()
            results.append(path.read_bytes())
        return results

    assert twin.same(action) == [b"0150", b"0300"]


def test_locks_die_with_their_process(twin: Twin) -> None:
    """A process that ends without letting go leaves no lock."""

    def action(directory: Path) -> object:
        path = directory / "f"

        def hold() -> None:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX)
            posix(fd, fcntl.F_WRLCK)
            os.kill(os.getpid(), 9)

        pid = os.fork()
        if pid == 0:
            hold()
        os.waitpid(pid, 0)
        fd = os.open(path, os.O_RDWR)
        errors = (
            error_of(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
            error_of(lambda: posix(fd, fcntl.F_WRLCK)),
        )
        os.close(fd)
        return errors

    assert twin.same(action) == (None, None)


def test_deadlock_is_seen(twin: Twin) -> None:
    """Two processes that wait for each other's record lock: one of them gets EDEADLK."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"")
        pipes = [os.pipe(), os.pipe()]

        def work(me: int) -> str | None:
            fd = os.open(path, os.O_RDWR)
            fcntl.lockf(fd, fcntl.LOCK_EX, 1, me)
            os.write(pipes[me][1], b"x")
            os.read(pipes[1 - me][0], 1)
            error = error_of(lambda: fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1 - me))
            os.close(fd)
            return error

        children = [Child(lambda me=me: work(me)) for me in (0, 1)]  # type: ignore[misc]
        errors = sorted(str(child.result()) for child in children)
        for pipe in pipes:
            os.close(pipe[0])
            os.close(pipe[1])
        return errors

    assert twin.same(action) in (["EDEADLK", "None"], ["EDEADLOCK", "None"])  # two names of one number
