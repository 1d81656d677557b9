"""Files that were renamed, and whose header does not name the new place yet (FORMAT.md section 11).

Owns: which files these are, and how their headers are brought in line. Must not know: when; the mount does it after a
second, and whoever promises that names are durable does it first.

A rename is one system call that way. After a crash the directory entry is right, as it always was. A file waits only as
long as somebody knows it (the kernel, on a mount): so do its parents, and the way to it stays true.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from encfs.errors import DataError
from encfs.units import DirId
from encfs.volume.context import logger
from encfs.volume.node import Node

if TYPE_CHECKING:
    from encfs.volume.tree import Tree

# About 0.4 KiB each. One more rename brings the oldest header in line first.
WAITING_MAX = 4096


class Moves:
    """The renamed files of one tree, in the order of their renames.

    Attributes:
        on_first: called when a file waits and none did before.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._since: dict[Node, float] = {}
        self.on_first: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._since)

    def add(self, node: Node, was: tuple[DirId, bytes]) -> None:
        """``node`` has moved; ``was``: the directory and plain name it had before."""
        if node.file is not None:
            self._tree.take_place(node)
        elif node.owed is None:
            node.owed = was
        first = not self._since
        self._since.setdefault(node, time.monotonic())
        if first:
            self.on_first()
        if len(self._since) > WAITING_MAX:
            self._make_room()

    def _make_room(self) -> None:
        """Bring the oldest header in line whose file is not open: a thread may be working on an open one.

        A failure is not that of the rename that asks for room, and that rename is done.
        """
        oldest = next((node for node in self._since if node.file is None), None)
        if oldest is not None:
            self.finish(oldest)

    def oldest(self) -> tuple[Node, float] | None:
        """The file that waits longest, and since when (``time.monotonic``)."""
        return next(iter(self._since.items()), None)

    def write(self, node: Node) -> None:
        """Bring the header of one file in line. A file that does not open is damaged, and an event tells it.

        Raises:
            OSError: the header could not be written; the file waits again.
        """
        self._since.pop(node, None)
        if node.ghost is not None or (node.owed is None and node.file is None):
            return
        tree = self._tree
        try:
            file = tree.open_file(node, writable=True)
            file.handles += 1
            try:
                file.settle()
            finally:
                tree.release_file(node)
        except DataError:
            # What lies there is not the file that was renamed. Its header names another place, and so it shall.
            node.owed = None
            tree.nodes.drop_if_unused(node)
        except OSError:
            self._since[node] = time.monotonic()
            raise

    def finish(self, node: Node) -> bool:
        """:meth:`write` for a node that nobody knows any more; false if it has to be kept, and tried again."""
        if self._tree.ctx.gone:
            return True
        try:
            self.write(node)
        except OSError as exc:
            logger.error("the header of a renamed file could not be written: inode=%d errno %s", node.inode, exc.errno)
            return False
        return True

    def write_all(self) -> None:
        """Bring every header in line.

        Raises:
            OSError: the first failure; the others were tried all the same.
        """
        failure: OSError | None = None
        for node in list(self._since):
            try:
                self.write(node)
            except OSError as exc:
                failure = failure or exc
        if failure is not None:
            raise failure
