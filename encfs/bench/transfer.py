"""Whole transfers: every byte of a call is moved, however few the kernel moves at once, and is what was written.

Owns: the loops around calls that may move less than they were asked to, and the check of what came back. Must not
know: what is measured, and on which side.
"""

from __future__ import annotations

import os
from errno import ENOSPC
from pathlib import Path

from encfs.errors import DataError


class WrongBytesError(DataError):
    """A side gave back something other than what was written: no figure of the run counts."""

    def __init__(self) -> None:
        super().__init__(
            "a file gave back other bytes than were written to it; no figure of this run counts",
            hint="The medium may be failing. Check it before you trust it with anything.",
        )


def write_file(file: Path, data: bytes, call: int) -> None:
    """Make ``file``, which is not there yet, from ``data``, ``call`` bytes at a time; it is synced at the end.

    Raises:
        OSError: the filesystem failed.
    """
    view = memoryview(data)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for start in range(0, len(view), call):
            write_at(fd, view[start : start + call], start)
        os.fsync(fd)
    finally:
        os.close(fd)


def read_file(file: Path, into: bytearray, call: int) -> None:
    """Fill ``into`` from the start of ``file`` on, ``call`` bytes at a time.

    Raises:
        WrongBytesError: the file ends early.
        OSError: the filesystem failed.
    """
    view = memoryview(into)
    fd = os.open(file, os.O_RDONLY)
    try:
        for start in range(0, len(view), call):
            read_at(fd, view[start : start + call], start)
    finally:
        os.close(fd)


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data``.

    Raises:
        OSError: the filesystem failed; ENOSPC where it takes nothing more and gives no error.
    """
    count = os.pwrite(fd, data, offset)
    while count < len(data):
        more = os.pwrite(fd, data[count:], offset + count)
        if more == 0:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        count += more


def read_at(fd: int, into: memoryview, offset: int) -> None:
    """Fill all of ``into``.

    Raises:
        WrongBytesError: the file ends early.
        OSError: the filesystem failed.
    """
    count = os.preadv(fd, [into], offset)
    while count < len(into):
        more = os.preadv(fd, [into[count:]], offset + count)
        if more == 0:
            raise WrongBytesError
        count += more


def check(found: bytes | bytearray, expected: bytes) -> None:
    """What was read is what was written.

    Raises:
        WrongBytesError: it is not.
    """
    if found != expected:
        raise WrongBytesError
