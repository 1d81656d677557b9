"""What both engines do: the seam between the commands and how a backup is made.

Owns: the interface, and what is told meanwhile. Must not know: files, restic, keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from encfs.backup.manifest import Manifest, RunHead
from encfs.format.backup import Item
from encfs.volume.source import Source


class Steps(Protocol):
    """Who is told how far it is."""

    def phase(self, name: str, total: int) -> None:
        """A part begins: ``looking``, ``copying``, ``reading back``, ``clearing``; of so many bytes, 0 if not known."""
        ...

    def done(self, count: int) -> None:
        """So many bytes of this part, all in all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How the volume stands against the run before, for the guard.

    Attributes:
        before: files that there were.
        changed: of those, files that are different now.
        replaced: of those, files that lost their chain of generations: another file stands there.
        removed: of those, files that are gone.
        added: files that are new.
    """

    before: int
    changed: int
    replaced: int
    removed: int
    added: int

    @property
    def share(self) -> float:
        """Which part of what there was is no longer as it was, 0 to 1."""
        return (self.changed + self.replaced + self.removed) / self.before if self.before else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A run that is complete on its target.

    Attributes:
        manifest: as it is on the target.
        change: against the run before.
        new_files, new_bytes: what was written.
        verified: bytes that were read back from the target, past any cache, and are right.
    """

    manifest: Manifest
    change: Change
    new_files: int
    new_bytes: int
    verified: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What reading a run back came to.

    Attributes:
        bytes, files: that were read.
        damaged: items that are not what the manifest says, or cannot be read. Their names are for whoever may see them.
    """

    files: int
    bytes: int
    damaged: tuple[Item, ...] = field(default=(), repr=False)


Guard = Callable[[Change], None]
"""Is asked before anything is written to a target; raises :class:`encfs.errors.GuardError` where too much changed."""


class Engine(Protocol):
    """A backup on one target, which is there. Every method raises ``OSError`` and ``BackupError``."""

    def runs(self) -> list[RunHead]:
        """Complete runs on this target, the oldest first. What an interrupted run left is not among them."""
        ...

    def manifest(self, run: str) -> Manifest:
        """That of a run. Raises: DataError: it is damaged, or not signed by a known key."""
        ...

    def run(self, guard: Guard, steps: Steps) -> Made:
        """Take everything. What an earlier run left unfinished is used or cleared first.

        Raises:
            GuardError: from ``guard``; nothing was written.
        """
        ...

    def verify(self, run: str, steps: Steps, only: Iterable[Item] | None = None) -> Verified:
        """Read a run back from the target and hold it against its manifest; ``only``: these of its items."""
        ...

    def prune(self, keep: Sequence[str], steps: Steps) -> int:
        """Take away all runs but these. Returns: bytes that are free again, 0 if that is not known."""
        ...

    def open(self, run: str) -> AbstractContextManager[Source]:
        """The plain tree of a run, for reading."""
        ...
