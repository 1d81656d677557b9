"""System calls that Python's ``os`` lacks, reads past the kernel's cache, and work done as another user."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import mmap
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import pytest

_T = TypeVar("_T")
Name = str | bytes | Path

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.argtypes = [ctypes.c_char_p]
_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.argtypes = [ctypes.c_void_p]
_libc.readdir.restype = ctypes.c_void_p
_libc.telldir.argtypes = [ctypes.c_void_p]
_libc.telldir.restype = ctypes.c_long
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_libc.seekdir.restype = None
_libc.closedir.argtypes = [ctypes.c_void_p]


class _Dirent(ctypes.Structure):
    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_uint16),
        ("d_type", ctypes.c_uint8),
        ("d_name", ctypes.c_char * 256),
    )


def _fail() -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def renameat2(old: Name, new: Name, flags: int) -> None:
    """rename(2) with flags."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags)) != 0:
        _fail()


def syncfs(fd: int) -> None:
    """Write all of a filesystem to its medium."""
    if _libc.syncfs(fd) != 0:
        _fail()


class DirStream:
    """A directory stream of the C library."""

    def __init__(self, path: Name) -> None:
        self._stream = _libc.opendir(os.fsencode(path))
        if not self._stream:
            _fail()

    def read(self) -> bytes | None:
        """The next name, None at the end."""
        ctypes.set_errno(0)
        entry = _libc.readdir(self._stream)
        if entry:
            return bytes(ctypes.cast(entry, ctypes.POINTER(_Dirent)).contents.d_name)
        if ctypes.get_errno():
            _fail()
        return None

    def rest(self) -> list[bytes]:
        """All names from here to the end."""
        names = []
        while (name := self.read()) is not None:
            names.append(name)
        return names

    def tell(self) -> int:
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        _libc.seekdir(self._stream, position)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _libc.closedir(self._stream)


def read_direct(path: Name, piece: int = 1 << 20) -> bytes:
    """The whole of a file with O_DIRECT: what the filesystem has, not what the page cache has."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    pieces = []
    try:
        with mmap.mmap(-1, piece) as buffer:
            offset = 0
            while count := os.preadv(fd, [buffer], offset):
                pieces.append(buffer[:count])
                offset += count
                if count % 4096:
                    break  # the end of the file: O_DIRECT takes no other offsets on every filesystem
    finally:
        os.close(fd)
    return b"".join(pieces)


def error_of(action: Callable[[], object]) -> str | None:
    """The symbol of the errno that a call fails with, None if it works."""
    try:
        action()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return None


def open_error(path: Name, flags: int) -> str | None:
    """:func:`error_of` open(2); a descriptor that it gives is closed."""
    return error_of(lambda: os.close(os.open(path, flags)))


def in_child(
    action: Callable[[], _T], *, uid: int | None = None, gid: int | None = None, groups: tuple[int, ...] = ()
) -> _T:
    """Run ``action`` in a forked process, as another user if told so; return what it returns, raise what it raises."""
    result: _T = Child(action, uid=uid, gid=gid, groups=groups).result()
    return result


class Child:
    """A forked process that runs ``action``; it ends when that ends."""

    def __init__(
        self, action: Callable[[], Any], *, uid: int | None = None, gid: int | None = None, groups: tuple[int, ...] = ()
    ) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            self._run(action, writer, uid, uid if gid is None else gid, groups)
        os.close(writer)
        self._reader = reader

    @staticmethod
    def _run(
        action: Callable[[], Any], writer: int, uid: int | None, gid: int | None, groups: tuple[int, ...]
    ) -> NoReturn:
        outcome: tuple[bool, object] = (False, RuntimeError("the child says nothing"))
        try:
            if uid is not None and gid is not None:
                os.setgroups(groups)
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            outcome = (True, action())
        except BaseException as exc:  # Raised in the parent.
            outcome = (False, exc)
        finally:
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(pickle.dumps(outcome))
            os._exit(0)

    def result(self) -> Any:
        """Wait for the end; what the action returned, or its exception raised here."""
        with os.fdopen(self._reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(self.pid, 0)
        assert answer, "the child died"
        worked, value = pickle.loads(answer)
        if not worked:
            raise value
        return value
