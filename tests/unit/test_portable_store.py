"""The two stores give the same answers to whoever reads; the portable one changes nothing and is led nowhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encfs.store.base import CachedRead, Store
from encfs.store.local import LocalStore
from encfs.store.portable import PortableStore
from tests.support.stores import CHANGES, STORE_CALLS

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with one of each kind, and a file outside that links lead to."""
    (tmp_path / "outside").write_bytes(b"a file of the machine")
    path = tmp_path / "volume"
    (path / "inner" / "deep").mkdir(parents=True)
    (path / "file").write_bytes(CONTENT)
    (path / "inner" / "deep" / "file").write_bytes(b"deep")
    (path / "empty").write_bytes(b"")
    os.link(path / "file", path / "inner" / "second")
    (path / "link").symlink_to("../outside")
    (path / "way").symlink_to("inner")
    os.mkfifo(path / "pipe")
    return path


@pytest.fixture(params=["local", "portable"])
def opened(request: pytest.FixtureRequest, top: Path) -> Iterator[tuple[Store, int]]:
    """Each store, with a descriptor of the directory."""
    if request.param == "portable":
        portable = PortableStore(os.fsencode(top))
        yield portable, portable.root
        portable.close(portable.root)
        assert portable._handles == {}
        return
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield LocalStore(fd), fd
    os.close(fd)


def code_of(action: Callable[[], object]) -> int | None:
    """The errno of what fails."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is what is asked for
        action()
    return caught.value.errno


def test_reading(opened: tuple[Store, int]) -> None:
    """Contents at any offset, up to the end and behind it."""
    store, top = opened
    fd = store.open(top, b"file", os.O_RDONLY)
    assert store.pread(fd, 100, 50) == CONTENT[50:150]
    assert store.pread(fd, 100, len(CONTENT) - 10) == CONTENT[-10:]
    assert store.pread(fd, 100, len(CONTENT) + 10) == b""
    buffer = bytearray(300)
    assert store.preadv(fd, memoryview(buffer)[:256], 256, wait=True) == 256
    assert buffer == CONTENT[256:512] + bytes(44)
    assert store.preadv(fd, memoryview(buffer), len(CONTENT) - 5, wait=True) == 5
    assert store.next_data(fd, 0) == 0
    assert store.next_data(fd, 1 << 20) in (1 << 20, len(CONTENT))
    assert store.read_uncached(top, b"file", 16) == CONTENT[:16]
    again = store.reopen(fd, os.O_RDONLY)
    store.close(fd)
    assert store.pread(again, 3, 0) == CONTENT[:3]
    store.close(again)


def test_what_is_there(opened: tuple[Store, int], top: Path) -> None:
    """Names, kinds, sizes and times are those of the system; one object has one number, and another has another."""
    store, fd = opened
    assert sorted(store.list(fd)) == sorted(os.fsencode(path.name) for path in top.iterdir())
    for name in store.list(fd):
        found, true = store.stat(fd, name), (top / os.fsdecode(name)).lstat()
        assert (found.st_mode, found.st_size, found.st_mtime_ns, found.st_nlink, found.st_dev) == (
            (true.st_mode, true.st_size, true.st_mtime_ns, true.st_nlink, true.st_dev)
        )
    numbers = [store.stat(fd, name).st_ino for name in store.list(fd)]
    assert len(set(numbers)) == len(numbers)
    assert numbers == [store.stat(fd, name).st_ino for name in store.list(fd)]
    inner = store.open_directory(fd, b"inner")
    assert store.stat(inner, b"second").st_ino == store.stat(fd, b"file").st_ino
    file = store.open(fd, b"file", os.O_RDONLY)
    assert store.fstat(file).st_ino == store.stat(fd, b"file").st_ino
    assert stat.S_ISDIR(store.fstat(inner).st_mode)
    deep = store.open_directory(inner, b"deep")
    here = store.open_directory(inner, b".")
    assert store.list(deep) == [b"file"]
    assert sorted(store.list(here)) == [b"deep", b"second"]
    assert store.readlink(fd, b"link") == b"../outside"
    for one in (inner, file, deep, here):
        store.close(one)


def test_nothing_is_followed(opened: tuple[Store, int]) -> None:
    """Links, and what is no file, are refused as such; what is missing is missing."""
    store, top = opened
    assert code_of(lambda: store.open(top, b"link", os.O_RDONLY)) == errno.ELOOP
    assert code_of(lambda: store.open_directory(top, b"way")) == errno.ENOTDIR
    assert code_of(lambda: store.open_directory(top, b"file")) == errno.ENOTDIR
    assert code_of(lambda: store.open(top, b"pipe", os.O_RDONLY)) == errno.EIO
    assert code_of(lambda: store.open(top, b"gone", os.O_RDONLY)) == errno.ENOENT
    assert code_of(lambda: store.stat(top, b"gone")) == errno.ENOENT
    assert code_of(lambda: store.open_directory(top, b"gone")) == errno.ENOENT


def test_the_portable_store_leads_nowhere_else(top: Path) -> None:
    """It works with paths: a name that is more than one is no entry, and a wrong descriptor is none."""
    store = PortableStore(os.fsencode(top))
    for name in (b"..", b"", b"inner/second", b"../outside", b"/etc/passwd", b"file\0"):
        assert code_of(lambda name=name: store.open(store.root, name, os.O_RDONLY)) == errno.ENOENT
    assert code_of(lambda: store.fstat(99)) == errno.EBADF
    assert code_of(lambda: store.pread(store.root, 1, 0)) == errno.EISDIR
    assert code_of(lambda: store.getxattr((store.root, b"."), "user.x")) == errno.EOPNOTSUPP
    assert code_of(lambda: PortableStore(os.fsencode(top / "file"))) == errno.ENOTDIR
    assert code_of(lambda: PortableStore(os.fsencode(top / "gone"))) == errno.ENOENT
    assert store.cached_read is CachedRead.NEVER
    fd = store.open(store.root, b"file", os.O_RDONLY)
    assert code_of(lambda: store.preadv(fd, memoryview(bytearray(1)), 0, wait=False)) == errno.EAGAIN
    store.close(fd)


def test_the_portable_store_changes_nothing(top: Path) -> None:
    """Every call of a store is there, and each one that changes something is refused with EROFS."""
    store = PortableStore(os.fsencode(top))
    assert {name for name in STORE_CALLS if not hasattr(store, name)} == set()
    for name in (*CHANGES, "fsync", "fdatasync", "syncfs", "write_out", "open_writable"):
        assert code_of(lambda name=name: getattr(store, name)(store.root, b"file")) == errno.EROFS, name
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC):
        assert code_of(lambda flags=flags: store.open(store.root, b"new", flags)) == errno.EROFS
    assert (top / "file").read_bytes() == CONTENT
    assert not (top / "new").exists()
