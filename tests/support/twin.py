"""The differential check: the same calls in a mounted directory and in a plain one must tell a program the same."""

from __future__ import annotations

import difflib
import errno
import os
import pprint
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Twin:
    """A directory on the mount, and its like on the machine's own filesystem."""

    mounted: Path
    plain: Path

    def same(self, action: Callable[[Path], _T]) -> _T:
        """Run ``action`` in both; fail unless it returns or raises the same. Returns the result."""
        plain, mounted = _outcome(action, self.plain), _outcome(action, self.mounted)
        assert mounted == plain, _difference(mounted, plain)
        if isinstance(mounted, _Failed):
            raise AssertionError(f"fails on both sides: {mounted}")  # noqa: TRY004
        return mounted

    def same_error(self, action: Callable[[Path], object]) -> str:
        """Run ``action`` in both; fail unless both raise the same errno. Returns its symbol."""
        plain, mounted = _outcome(action, self.plain), _outcome(action, self.mounted)
        assert mounted == plain, _difference(mounted, plain)
        assert isinstance(mounted, _Failed), f"fails on neither side: {mounted!r}"
        return mounted.symbol


@dataclass(frozen=True)
class _Failed:
    symbol: str


def _difference(mounted: object, plain: object) -> str:
    sides = (pprint.pformat(plain, width=160).splitlines(), pprint.pformat(mounted, width=160).splitlines())
    lines = [line[:500] for line in difflib.unified_diff(*sides, "plain", "mounted", lineterm="", n=1)]
    return "\n".join(["the mount differs:", *lines[:60]])


def _outcome(action: Callable[[Path], _T], directory: Path) -> _T | _Failed:
    try:
        return action(directory)
    except OSError as exc:
        if exc.errno is None:
            raise
        return _Failed(errno.errorcode[exc.errno])


@dataclass(frozen=True)
class Look:
    """What stat(2) says, but for numbers that differ between any two filesystems."""

    mode: str
    links: int
    uid: int
    gid: int
    size: int
    rdev: int


def look(path: Path | int) -> Look:
    """lstat of a path, fstat of a descriptor. The size of a directory is nobody's business."""
    info = os.fstat(path) if isinstance(path, int) else os.lstat(path)
    is_directory = info.st_mode & 0o170000 == 0o040000
    return Look(
        oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid, 0 if is_directory else info.st_size, info.st_rdev
    )


def tree(directory: Path) -> dict[str, Look]:
    """:func:`look` at everything below a directory."""
    found = {}
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = Path(folder, name)
            found[str(path.relative_to(directory))] = look(path)
    return found
