"""Changes of files that Samba and systemd read: first what would change, then all of it or nothing.

Owns: the difference between what is there and what shall be, writing it so that a break leaves each file old or new.
Must not know: what the files say (``plan.py``), who is asked.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NEW_MODE: Final = 0o644
_TEMPORARY: Final = ".cloakfs-new"


@dataclass(frozen=True, slots=True)
class Change:
    """One file.

    Attributes:
        old: its text now, None if it does not exist.
        new: its text then, None if it is to go.
    """

    path: Path
    old: str | None
    new: str | None

    @property
    def is_needed(self) -> bool:
        """Whether anything differs."""
        return self.old != self.new

    def lines(self) -> list[str]:
        """The difference as ``diff -u`` shows it: all of a new file, and that an old one goes."""
        name = str(self.path)
        return list(
            difflib.unified_diff(
                [] if self.old is None else self.old.splitlines(),
                [] if self.new is None else self.new.splitlines(),
                "/dev/null" if self.old is None else name,
                "/dev/null" if self.new is None else name,
                lineterm="",
            )
        )


def change(path: Path, new: str | None) -> Change:
    """What it takes to make a file say ``new``.

    Raises:
        OSError: it cannot be read.
    """
    return Change(path, text_of(path), new)


def text_of(path: Path) -> str | None:
    """What a file says, None if it does not exist. Bytes that are no UTF-8 survive.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def apply(changes: Sequence[Change]) -> None:
    """Write all of it, in order.

    Raises:
        OSError: one could not be written; those before it are as they were.
    """
    done: list[Change] = []
    try:
        for one in changes:
            _write(one.path, one.new)
            done.append(one)
    except OSError:
        undo(done)
        raise


def undo(changes: Sequence[Change]) -> None:
    """Put back what was there before.

    Raises:
        OSError: a file could not be written.
    """
    for one in reversed(changes):
        _write(one.path, one.old)


def _write(path: Path, text: str | None) -> None:
    """Replace a file, which keeps its owner and mode, or remove it. A directory that is missing is made."""
    if text is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + _TEMPORARY)
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            _like(file.fileno(), path)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _like(fd: int, path: Path) -> None:
    """Give a new file the owner and mode of the one that it replaces."""
    try:
        info = path.stat()
    except FileNotFoundError:
        os.fchmod(fd, _NEW_MODE)
        return
    if (info.st_uid, info.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, info.st_uid, info.st_gid)
    os.fchmod(fd, stat.S_IMODE(info.st_mode))
