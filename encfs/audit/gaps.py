"""How many records could not be written since the last one that could (FORMAT.md section 16, "Gaps").

Owns: the file ``lost`` beside the log. Must not know: why they could not be written, who is told.

The file is there from the beginning and is written in its place, so that it takes no room on a disk that is full.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from struct import Struct
from typing import Final

from encfs.format.limits import U64_MAX
from encfs.store.base import Store

LOST: Final = b"lost"
_FORM: Final = Struct(">QQ")


@dataclass(frozen=True, slots=True)
class Lost:
    """So many records, the first of them at this wall time."""

    count: int
    since_ms: int


NOTHING: Final = Lost(0, 0)


class Gaps:
    """The file in the directory of a log. Whoever calls holds the lock of the log."""

    def __init__(self, store: Store, dirfd: int) -> None:
        self._store = store
        self._dirfd = dirfd

    def read(self) -> Lost:
        """What is not told yet; nothing where the file is missing or cut short. Raises: OSError."""
        try:
            fd = self._store.open(self._dirfd, LOST, os.O_RDONLY)
        except FileNotFoundError:
            return NOTHING
        try:
            data = self._store.pread(fd, _FORM.size, 0)
        finally:
            self._store.close(fd)
        return Lost(*_FORM.unpack(data)) if len(data) == _FORM.size else NOTHING

    def add(self, count: int, now_ms: int) -> None:
        """So many more. Raises: OSError: nothing could be noted."""
        before = self.read()
        self._write(Lost(min(before.count + count, U64_MAX), before.since_ms or now_ms))

    def clear(self) -> None:
        """It was told; or there was nothing yet, and the file has its place from now on. Raises: OSError."""
        self._write(NOTHING)

    def _write(self, lost: Lost) -> None:
        fd = self._store.open(self._dirfd, LOST, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            self._store.pwrite(fd, _FORM.pack(lost.count, lost.since_ms), 0)
            self._store.fdatasync(fd)
        finally:
            self._store.close(fd)
