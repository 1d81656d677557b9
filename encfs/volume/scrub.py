"""Verifying a large volume in several goes: the files that were checked longest ago come first.

Owns: the order, stopping in time, and what was not reached. Must not know: where times are remembered
(``encfs/host/scrub.py``), how long a go may take.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from encfs.errors import DataError
from encfs.volume.node import Node
from encfs.volume.verify import Finding, Progress, Step, Verifier
from encfs.volume.volume import Volume


class CheckTimes(Protocol):
    """When files were last checked. ``place`` stands for a file: the id of its directory and its lower name."""

    def last(self, place: bytes) -> float:
        """Seconds since 1970, 0 for never."""
        ...

    def checked(self, place: bytes) -> None:
        """The file has been read to its end just now."""
        ...


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far one go came.

    Attributes:
        checked: files read in it.
        files: files there are.
        never: files of which no check is remembered, now.
        oldest: of the others, when the one that was checked longest ago was, seconds since 1970; None if there is none.
        listed: whether there was time to find all files.
    """

    checked: int
    files: int
    never: int
    oldest: float | None
    listed: bool

    @property
    def complete(self) -> bool:
        """Whether this go has read every file."""
        return self.listed and self.checked == self.files


class Scrubber(Verifier):
    """One go. Directories, names and symlinks are all looked at; contents as long as ``time_is_up`` allows.

    At least one file is read in each go, so that a volume is covered in the end whatever the time for one is.
    """

    def __init__(
        self, volume: Volume, paths: Sequence[bytes], times: CheckTimes, time_is_up: Callable[[], bool]
    ) -> None:
        super().__init__(volume, paths)
        self._times = times
        self._time_is_up = time_is_up
        self._listing: list[tuple[float, bytes, bytes]] = []
        self._walking = True
        self._listed = True
        self._checked = 0
        self._inodes: set[int] = set()

    @property
    def coverage(self) -> Coverage:
        """Valid after :meth:`run` has ended or was broken off."""
        left = sorted(last for last, _, _ in self._listing[self._checked :])
        known = [last for last in left if last > 0]
        oldest = min(known, default=None)
        return Coverage(self._checked, len(self._listing), len(left) - len(known), oldest, self._listed)

    def _object(self, node: Node, path: bytes) -> Iterator[Step]:
        if self._walking and node.ghost is None and node.parent is not None:
            try:
                stat = self._tree.stat(node)
            except OSError:
                yield from super()._object(node, path)
                return
            if stat_module.S_ISREG(stat.st_mode):
                self._note(node, path, stat)
                return
        yield from super()._object(node, path)

    def _note(self, node: Node, path: bytes, stat: os.stat_result) -> None:
        if stat.st_nlink > 1:
            if stat.st_ino in self._inodes:
                return
            self._inodes.add(stat.st_ino)
        assert node.parent is not None
        place = bytes(self._tree.dir_id(node.parent)) + node.lower_name
        self._listing.append((self._times.last(place), path, place))

    def _stopped(self) -> bool:
        if self._walking and self._time_is_up():
            self._listed = False
            return True
        return False

    def _afterwards(self) -> Iterator[Step]:
        self._walking = False
        self._listing.sort()
        for _, path, place in self._listing:
            if self._checked and self._time_is_up():
                return
            yield from self._check(path)
            self._times.checked(place)
            self._checked += 1

    def _check(self, path: bytes) -> Iterator[Step]:
        try:
            node = self._volume.resolve(path, follow=False)
        except (DataError, OSError):
            return  # Its directory is damaged, and has a finding of its own.
        node.lookups += 1
        try:
            yield from super()._object(node, path)
        finally:
            self._tree.nodes.forget(node.inode, 1)


__all__ = ["CheckTimes", "Coverage", "Finding", "Progress", "Scrubber"]
