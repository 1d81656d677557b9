"""Files and directories that are gone by name but still open. Others answer ENOENT here (DESIGN section 7)."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from tests.mount.conftest import lower_files_open
from tests.support.linux import error_of, in_child, needs_root
from tests.support.mounting import MountedVolume, wait_for
from tests.support.twin import Twin, look, tree


def exercise(fd: int) -> list[object]:
    """Everything a program may do with a descriptor, and what came of it."""
    seen: list[object] = [look(fd)]
    os.pwrite(fd, b"written after it was unlinked" * 300, 1000)
    os.fsync(fd)
    os.fdatasync(fd)
    seen.append(os.pread(fd, 20_000, 0))
    os.ftruncate(fd, 20_000)
    with mmap.mmap(fd, 20_000) as mapping:
        mapping[12_000:12_006] = b"mapped"
        mapping.flush()
    seen.append(os.pread(fd, 10, 11_998))
    os.fchmod(fd, 0o640)
    os.utime(fd, ns=(1_000_000_001, 2_000_000_002))
    seen.append((look(fd), os.fstat(fd).st_mtime_ns))
    os.ftruncate(fd, 100)
    os.ftruncate(fd, 5000)
    seen.append(os.pread(fd, 6000, 0))
    os.setxattr(fd, "user.color", b"blue")
    os.setxattr(fd, "user.shape", b"round")
    os.removexattr(fd, "user.shape")
    seen += [os.getxattr(fd, "user.color"), os.listxattr(fd), error_of(lambda: os.getxattr(fd, "user.shape"))]
    if os.geteuid() == 0:
        os.fchown(fd, 4321, 1234)
        seen.append(look(fd))
        os.fchown(fd, 0, 0)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    os.pwrite(again, b"opened again", 3)
    seen += [os.pread(fd, 20, 0), error_of(lambda: os.link(f"/proc/self/fd/{fd}", "/tmp/no")), look(again)]
    os.close(again)
    seen.append(in_child(lambda: (os.pread(fd, 20, 0), error_of(lambda: os.fsync(fd)), look(fd))))
    return seen


def test_unlinked_open_file(twin: Twin, shared: MountedVolume) -> None:
    """After unlink: read, write, truncate, fsync, msync, fchmod, fchown, futimens, xattrs, fstat, reopening."""

    def action(directory: Path) -> object:
        path = directory / "f"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"before")
        path.unlink()
        seen: list[object] = [exercise(fd), path.exists(), os.listdir(directory)]
        path.write_bytes(b"another file of the same name")
        seen += [os.pread(fd, 10, 0), path.read_bytes()]
        os.close(fd)
        return seen

    twin.same(action)
    wait_for(lambda: not lower_files_open(shared), "the last close reaches the lower file")


def test_unlinked_before_anything_was_written(twin: Twin) -> None:
    """The lower file has no header yet when its name goes: the same calls work."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT, 0o644)
        (directory / "f").unlink()
        seen = exercise(fd)
        os.close(fd)
        return seen

    twin.same(action)


def test_replaced_open_file(twin: Twin) -> None:
    """A file that another was renamed over behaves like an unlinked one."""

    def action(directory: Path) -> object:
        (directory / "f").write_bytes(b"first")
        fd = os.open(directory / "f", os.O_RDWR)
        (directory / "g").write_bytes(b"second")
        (directory / "g").rename(directory / "f")
        seen = exercise(fd), (directory / "f").read_bytes()
        os.close(fd)
        return seen

    twin.same(action)


def test_unlinked_file_that_has_another_name(twin: Twin) -> None:
    """One of two names goes, and then the other, while the file is open: nlink 1, then 0."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "a", os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"content")
        os.link(directory / "a", directory / "b")
        links = [os.fstat(fd).st_nlink]
        (directory / "a").unlink()
        links += [os.fstat(fd).st_nlink, (directory / "b").stat().st_nlink]
        os.write(fd, b" and more")
        read = (directory / "b").read_bytes()
        os.rename(directory / "b", directory / "c")
        (directory / "c").unlink()
        seen = exercise(fd)
        os.close(fd)
        return links, read, seen

    twin.same(action)


def test_only_read_when_unlinked(twin: Twin) -> None:
    """A file opened for reading is unlinked, then its permissions are taken: reading goes on, reopening is refused."""

    def action(directory: Path) -> object:
        (directory / "f").write_bytes(b"x" * 10_000)
        fd = os.open(directory / "f", os.O_RDONLY)
        (directory / "f").unlink()
        os.fchmod(fd, 0)
        seen = look(fd), os.pread(fd, 20_000, 0), error_of(lambda: os.pwrite(fd, b"x", 0))
        os.close(fd)
        return seen

    twin.same(action)


def test_unlinked_and_only_mapped(twin: Twin, shared: MountedVolume) -> None:
    """Neither name nor descriptor, only a mapping: stores and msync work; munmap closes the lower file."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(fd, 10_000)
        mapping = mmap.mmap(fd, 10_000)
        os.close(fd)
        (directory / "f").unlink()
        mapping[9000:9005] = b"there"
        mapping.flush()
        seen = mapping[8999:9006]
        mapping.close()
        return seen

    twin.same(action)
    wait_for(lambda: not lower_files_open(shared), "munmap reaches the lower file")


def test_path_descriptor_of_an_unlinked_file(twin: Twin) -> None:
    """O_PATH keeps the inode: fstat and opening it again reach this file, and no later one with its lower inode."""

    def action(directory: Path) -> object:
        (directory / "f").write_bytes(b"12345")
        (directory / "g").write_bytes(b"another")
        (directory / "d").mkdir()
        fds = [os.open(directory / name, os.O_PATH) for name in ("f", "g", "d")]
        (directory / "f").unlink()
        (directory / "later").write_bytes(b"later")
        (directory / "later").rename(directory / "g")
        (directory / "d").rmdir()
        for number in range(20):
            (directory / f"new{number}").write_bytes(b"content of a new file")
            (directory / f"newd{number}").mkdir()
        seen: list[object] = [look(fd) for fd in fds]
        for fd in fds[:2]:
            again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
            os.pwrite(again, b"!", 2)
            seen += [os.pread(again, 100, 0), look(again)]
            os.close(again)
            seen.append(look(fd))
        for fd in fds:
            os.close(fd)
        return seen, tree(directory)

    twin.same(action)


def test_removed_open_directory(twin: Twin) -> None:
    """After rmdir: fstat (nlink 0), listing, fsync work; nothing can be made inside; its name is free again."""

    def action(directory: Path) -> object:
        (directory / "d").mkdir()
        fd = os.open(directory / "d", os.O_RDONLY)
        (directory / "d").rmdir()
        seen = [
            look(fd),
            os.listdir(fd),
            error_of(lambda: os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd)),
            error_of(lambda: os.mkdir("e", dir_fd=fd)),
            error_of(lambda: os.stat("f", dir_fd=fd)),
            error_of(lambda: os.rename(directory / "x", "f", dst_dir_fd=fd)),
            error_of(lambda: os.symlink("x", "y", dir_fd=fd)),
            error_of(lambda: os.fsync(fd)),
        ]
        (directory / "d").mkdir()
        (directory / "d/new").write_bytes(b"")
        seen += [os.listdir(fd), look(fd)]
        os.close(fd)
        return seen, os.listdir(directory / "d")

    (twin.plain / "x").write_bytes(b"")
    (twin.mounted / "x").write_bytes(b"")
    twin.same(action)


def test_working_directory_removed(twin: Twin) -> None:
    """A process whose working directory is gone gets ENOENT and can leave it."""

    def action(directory: Path) -> object:
        (directory / "d").mkdir()

        def inside() -> object:
            os.chdir(directory / "d")
            (directory / "d").rmdir()
            errors = error_of(os.getcwd), error_of(lambda: os.open("f", os.O_CREAT | os.O_WRONLY)), os.listdir(".")
            # The parent of a removed directory: ext4 still knows it.
            os.chdir(directory)
            return errors, os.listdir(".")

        return in_child(inside)

    twin.same(action)


@needs_root
def test_metadata_of_a_removed_directory(twin: Twin) -> None:
    """fchmod, fchown and futimens on a directory after rmdir are seen by fstat."""

    def action(directory: Path) -> object:
        (directory / "d").mkdir()
        fd = os.open(directory / "d", os.O_RDONLY)
        (directory / "d").rmdir()
        os.fchmod(fd, 0o711)
        os.fchown(fd, 12, 34)
        os.utime(fd, ns=(5, 6))
        seen = look(fd), os.fstat(fd).st_mtime_ns
        os.close(fd)
        return seen

    twin.same(action)


def test_many_unlinked_files_at_once(twin: Twin, shared: MountedVolume) -> None:
    """Two hundred open files without names keep their contents apart; their lower inodes go when they are closed."""
    fds = []
    for number in range(200):
        fd = os.open(twin.mounted / "f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b"%d" % number * 100)
        (twin.mounted / "f").unlink()
        fds.append(fd)
    for number, fd in enumerate(fds):
        assert os.pread(fd, 1000, 0) == b"%d" % number * 100
        assert os.fstat(fd).st_nlink == 0
    assert len(lower_files_open(shared)) >= 200
    for fd in fds:
        os.close(fd)
    wait_for(lambda: not lower_files_open(shared), "all are closed below")
