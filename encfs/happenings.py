"""What happens to files and keys of a mounted volume, in words that volume, fuse, audit and cli share.

Owns: the events, and the protocols of whoever records them. Must not know: who does, how it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol


class FileRule(IntEnum):
    """Which events of files are recorded: the rule ``file_events`` of a policy (FORMAT.md section 3)."""

    METADATA = 1
    """Who opens a file for writing, makes, renames or deletes one."""
    FULL = 2
    """Also who opens one for reading, once in a while."""


class FileAction(StrEnum):
    """What was done to a file. The values are actions of the audit log (docs/audit.md)."""

    WRITE = "file.write"
    CREATE = "file.create"
    RENAME = "file.rename"
    DELETE = "file.delete"
    READ = "file.read"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvent:
    """One of them.

    Attributes:
        path: plain path within the volume, no slash at its ends; None where it has none any more.
        uid, pid: of the program that asked for it.
        at_ns: when, by the monotonic clock.
        inode: lower inode number; 0 where it is not known.
        fid: id of the file as its header has it, 16 bytes; empty of other things, and where it is not known.
        kind: ``directory``, ``symlink``, ``link`` (one more name) or ``special``; empty for a file.
        to: of a rename, the new path.
        replaced: inode of what a rename took away; 0 for nothing.
        exchange: the two paths of a rename swapped what they name.
    """

    action: FileAction
    path: bytes | None = field(repr=False)
    uid: int
    pid: int
    at_ns: int
    inode: int
    fid: bytes = b""
    kind: str = ""
    to: bytes | None = field(default=None, repr=False)
    replaced: int = 0
    exchange: bool = False


class FileJournal(Protocol):
    """Who records what happens to files. Only :meth:`begin` and :meth:`end` may wait."""

    reads: bool
    """Whether it wants to know of files that are opened for reading."""

    def begin(self) -> None:
        """The mount is about to be served, in this process."""
        ...

    def happened(self, event: FileEvent) -> None:
        """Take it, or count it as lost."""
        ...

    def end(self) -> None:
        """There are no more: what was taken is recorded, or counted as lost, when this returns."""
        ...


class RotationStep(StrEnum):
    """How far a rotation is. The values are in docs/audit.md."""

    BEGUN = "begun"
    PROGRESS = "progress"
    DONE = "done"
    FAILED = "failed"


class RotationJournal(Protocol):
    """Who records how a rotation goes on."""

    def rotation(self, step: RotationStep, detail: Mapping[str, str | int]) -> None:
        """One step of it; it may wait for a disk."""
        ...
