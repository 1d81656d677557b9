"""What a volume asks and tells of the memory that its host has of it (FORMAT.md section 13).

Owns: the questions. Must not know: where the memory is kept (``encfs/host``); a volume used as a library has none.
"""

from __future__ import annotations

from typing import Protocol

from encfs.units import FileId


class Freshness(Protocol):
    """The memory of one host for one unlocked volume. Calls may come from several threads."""

    def check(self, epoch: int, fid: FileId, generation: int) -> None:
        """A header was read.

        Raises:
            RollbackError: this host has seen a newer generation of the file, or its deletion.
        """
        ...

    def wrote(self, epoch: int, fid: FileId, generation: int) -> None:
        """A header was written; it is not known to be durable yet."""
        ...

    def synced(self, epoch: int, fid: FileId, generation: int) -> None:
        """A header of this generation, or a later one, is durable."""
        ...

    def removed(self, epoch: int, fid: FileId) -> None:
        """The last name of a file is gone, or its content was replaced under a fresh id; not known to be durable yet."""
        ...

    def was_removed(self, epoch: int, fid: FileId) -> bool:
        """Whether this host knows that the file was deleted on purpose, durably."""
        ...
