"""Where a sealed tree is copied to: what a directory, a stick and a remote of rclone have to do alike.

Owns: the interface. Must not know: how a target is reached, what is in a volume, what a run is made of. The layout is
"Target of `copy`" in FORMAT.md section 18.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from encfs.backup.manifest import Manifest

PART_SUFFIX = b".part"
"""Of names below ``objects/`` and ``runs/`` that a run which was broken off has left."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that lie on a target.

    Attributes:
        digest: SHA-256 of them, 32 bytes: what they should be.
        size: of them.
        path: where they lie below ``volume/``; None: in ``objects/``.
    """

    digest: bytes
    size: int
    path: bytes | None = field(default=None, repr=False)


class Part(Protocol):
    """A file on its way to the target, without its name yet. Every method raises ``OSError`` and ``BackupError``."""

    def write(self, piece: bytes) -> None:
        """More of it, at its end."""
        ...

    def close(self) -> None:
        """All of it is written. It need not be on the medium yet."""
        ...

    def drop(self) -> None:
        """It is not wanted; nothing of it stays. Also before :meth:`close`, and after a failure."""
        ...


class Reader(Protocol):
    """A file of the target that is open. It may be a copy that goes away with it."""

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes; fewer only where the file ends. Raises: OSError."""
        ...

    def close(self) -> None: ...


class CopyTarget(Protocol):
    """A target that is there, of this backup. Every method raises ``OSError``, and ``BackupError`` with a hint.

    Attributes:
        tree: whether ``volume/`` follows the newest run: on directories.
        batch: bytes that may be on their way at once, before :meth:`publish`.
        most: bytes of the largest file that it takes, None where there is no limit.
    """

    tree: bool
    batch: int
    most: int | None

    def held(self, *, writing: bool) -> AbstractContextManager[None]:
        """Nobody else works on it meanwhile, as far as it can tell.

        Args:
            writing: it will be written to; else it may be read-only.

        Raises:
            BackupError: it is gone, read-only, or somebody else is at work there.
        """
        ...

    # -- manifests -----------------------------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        """Ids in ``runs/``, the oldest first. Raises: BackupError: the target is gone."""
        ...

    def read_run(self, run: str) -> bytes:
        """A manifest, from the medium and from no cache."""
        ...

    def write_run(self, run: str, manifest: bytes) -> None:
        """A manifest: all of it and durable when this returns, or not there at all."""
        ...

    def remove_run(self, run: str) -> None:
        """Durable when this returns."""
        ...

    # -- files ---------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Take away what a run which was broken off has left: whatever ends in ``.part``."""
        ...

    def objects(self) -> dict[bytes, int]:
        """What is in ``objects/``: sizes by digest."""
        ...

    def part(self, size: int) -> Part:
        """Begin a file of about so many bytes."""
        ...

    def publish(self, parts: Mapping[bytes, Part]) -> None:
        """Files that are complete, each by its digest, become objects; durable when this returns.

        One that is there already is replaced: somebody has found it to be damaged or cut off.
        """
        ...

    def read_back(
        self, wanted: Collection[Stored], done: Callable[[int], None]
    ) -> Iterator[tuple[Stored, bytes | None]]:
        """Read from the medium, past any cache: SHA-256 of what is really there; None: it is missing or unreadable.

        Args:
            wanted: each of them is answered once, in any order.
            done: is told how many bytes were read, all in all.

        Raises:
            BackupError: the target itself is gone.
        """
        ...

    def open(self, wanted: Stored) -> Reader:
        """For reading. Raises: FileNotFoundError: it is not there."""
        ...

    def remove(self, digests: Iterable[bytes]) -> int:
        """Take objects away. Returns: bytes that are free again."""
        ...

    # -- the newest run as a tree --------------------------------------------------------------------------------------

    def tree_run(self) -> str:
        """The run that ``volume/`` is, exactly; empty while it is being changed, or where there is none."""
        ...

    def tree_files(self) -> dict[bytes, int]:
        """Sizes of the regular files below ``volume/``, by their paths there."""
        ...

    def follow(
        self, now: Manifest, before: Manifest | None, doubted: Collection[bytes], done: Callable[[int], None]
    ) -> None:
        """Make ``volume/`` what ``now`` is, whatever of that was done already. Only where there is a ``tree``.

        Args:
            now: the newest run, complete.
            before: the run that ``volume/`` was, or was on its way from; None: it is not known, all of it is read.
            doubted: paths of files that were found to be damaged.
            done: is told of so many entries that are right, all in all.
        """
        ...
