"""Backing stores that fail on purpose."""

from __future__ import annotations

import os
from errno import EIO, ENOSPC, EPERM
from typing import Any

from encfs.store.base import Store
from encfs.store.local import LocalStore

# Every call that changes something below, in the order of encfs/store/base.py.
CHANGES = (
    "pwrite", "truncate", "rename", "exchange", "link", "unlink", "mkdir", "rmdir", "symlink", "mknod",
    "chmod", "fchmod", "chown", "fchown", "utime", "futime", "setxattr", "removexattr",
)  # fmt: skip

STORE_CALLS = frozenset(name for name, call in vars(Store).items() if callable(call) and not name.startswith("_"))


def error(code: int) -> OSError:
    """An ``OSError`` with the usual text."""
    return OSError(code, os.strerror(code))


class FullStore(LocalStore):
    """A store with no room: while ``room`` is a number, so many more bytes are written, then ENOSPC.

    With ``only_growth`` bytes that lie in the file already may always be overwritten, as on most filesystems.
    """

    room: int | None = None
    only_growth = False
    code = ENOSPC

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        if self.room is None:
            super().pwrite(fd, data, offset)
            return
        free = 0
        if self.only_growth:
            free = min(max(0, self.fstat(fd).st_size - offset), len(data))
        fits = min(len(data), free + self.room)
        super().pwrite(fd, memoryview(data)[:fits], offset)
        self.room -= max(0, fits - free)
        if fits < len(data):
            raise error(self.code)


class Failing:
    """Put in front of a store: the calls in ``broken`` (name to errno) fail ``times`` times, after ``after`` good ones.

    Attributes:
        calls: where it is a list, the name of each call is noted in it.
        fails: the number of one call, from 0, that fails, and its errno; ``calls`` counts. A write that fails so has
            written its first half.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.broken: dict[str, int] = {}
        self.after = 0
        self.times = 1 << 30
        self.calls: list[str] | None = None
        self.fails: tuple[int, int] | None = None

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in STORE_CALLS:
            return method
        if self.calls is not None:
            self.calls.append(name)
            if self.fails is not None and self.fails[0] == len(self.calls) - 1:
                return _failure(name, method, self.fails[1], torn=True)
        code = self.broken.get(name)
        if code is None:
            return method
        if self.after > 0 or self.times == 0:
            self.after -= 1
            return method
        self.times -= 1
        return _failure(name, method, code)


def _failure(name: str, method: Any, code: int, *, torn: bool = False) -> Any:
    def fail(*arguments: Any, **more: object) -> None:
        if name == "close":
            method(*arguments, **more)  # close(2) on Linux: the descriptor is gone whatever it says.
        elif name == "pwrite" and torn:
            fd, data, offset = arguments
            method(fd, memoryview(data)[: len(data) // 1024 * 512], offset)
        raise error(code)

    return fail


class FailingStore(Failing, LocalStore):
    """A local store that fails on purpose."""


class NoSymlinkStore(LocalStore):
    """A filesystem without symlinks, as FAT is."""

    def symlink(self, target: bytes, dirfd: int, name: bytes) -> None:
        raise error(EPERM)


class DyingStore(LocalStore):
    """A store under which the process dies: before the change number ``dies_at`` (from 0), or in the middle of it.

    A write that is ``torn`` has written its first half when the process dies, up to the end of a page of the file: the
    kernel copies page by page.
    """

    dies_at: int | None = None
    torn = False
    count = 0

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in CHANGES or self.dies_at is None:
            return method

        def count(*arguments: Any, **more: Any) -> Any:
            here, self.count = self.count, self.count + 1
            if here == self.dies_at:
                if self.torn and name == "pwrite":
                    fd, data, offset = arguments
                    end = (offset + len(data) // 2) // 4096 * 4096
                    os.pwrite(fd, memoryview(data)[: max(0, end - offset)], offset)
                os._exit(77)
            return method(*arguments, **more)

        return count


__all__ = [
    "CHANGES",
    "EIO",
    "ENOSPC",
    "STORE_CALLS",
    "DyingStore",
    "Failing",
    "FailingStore",
    "FullStore",
    "NoSymlinkStore",
    "error",
]
