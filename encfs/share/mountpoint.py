"""The directory below a mount: what a program would write to if the mount were not there.

Owns: making it immutable, and looking at it while something is mounted on it. Must not know: what is mounted.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_GET_FLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of linux/fs.h, for 64 bits
_SET_FLAGS: Final = 0x40086602
_IMMUTABLE: Final = 0x10
_FLAGS: Final = struct.Struct("l")
_OPEN_TREE: Final = 428  # The same number on every architecture.
_CLONE: Final = 1
_AT_FDCWD: Final = -100
# What a filesystem answers that has no such flag.
_NOT_THERE: Final = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Bare:
    """The directory itself, whatever is mounted on it.

    Attributes:
        entries: how many names are in it.
        immutable: whether the kernel lets nobody make one; None where the filesystem cannot tell.
    """

    entries: int
    immutable: bool | None


def look(path: str, *, covered: bool) -> Bare:
    """The directory at ``path``, below what is mounted on it if it is ``covered``.

    Raises:
        OSError: EPERM: only root may look below a mount. FileNotFoundError: it does not exist.
    """
    with _below(path, covered=covered) as fd:
        return Bare(len(os.listdir(fd)), _is_immutable(fd))


def set_immutable(path: str, *, on: bool, covered: bool) -> bool:
    """Let nobody, not even root, make anything in a directory; or let them again.

    Returns:
        False if the filesystem cannot, or this user may not.

    Raises:
        OSError: the directory cannot be opened.
    """
    with _below(path, covered=covered) as fd:
        try:
            (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _GET_FLAGS, bytes(_FLAGS.size)))
            fcntl.ioctl(fd, _SET_FLAGS, _FLAGS.pack(flags | _IMMUTABLE if on else flags & ~_IMMUTABLE))
        except OSError as exc:
            if exc.errno in _NOT_THERE | {errno.EPERM, errno.EACCES}:
                return False
            raise
        return True


def _is_immutable(fd: int) -> bool | None:
    try:
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _GET_FLAGS, bytes(_FLAGS.size)))
    except OSError as exc:
        if exc.errno in _NOT_THERE:
            return None
        raise
    return bool(flags & _IMMUTABLE)


@contextmanager
def _below(path: str, *, covered: bool) -> Iterator[int]:
    """The directory at ``path``, open for reading.

    Where something is mounted on it, the kernel gives a copy of the mount that its parent is in, without what is
    mounted there. Nobody else sees the copy, and the mount itself is not asked.
    """
    parent, name = os.path.split(path)
    outer = _open_tree(parent) if covered else os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=outer)
    finally:
        os.close(outer)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_tree(path: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _CLONE | os.O_CLOEXEC)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd
