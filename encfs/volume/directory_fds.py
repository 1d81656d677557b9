"""Descriptors of lower directories, kept open as long as there is room, and of what has no name any more.

Owns: how a node becomes a ``dirfd``, from the nearest open ancestor down. Must not know: names in plain, records.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from errno import ESTALE

from encfs.store.base import Store
from encfs.volume.node import Node

# Each saves one openat per operation below the directory (about 1.5 us a level).
_KEPT = 256
# Of a longer way down than this only the last directory stays open, or the way would push out everything else.
_KEPT_CHAIN = 64

# The kernel gives nodes without a name back at once, unless programs still use them; a bound all the same.
_HELD = 8192


class DirectoryFds:
    """``O_PATH`` descriptors by node, least recently used ones closed first."""

    def __init__(self, store: Store, root: Node, root_fd: int) -> None:
        self._store = store
        self._root = root
        self._root_fd = root_fd
        self._fds: OrderedDict[Node, int] = OrderedDict()
        self._held: dict[Node, int] = {}

    def fd(self, node: Node) -> int:
        """Descriptor of a directory, for ``*at`` calls made before the next call of this method.

        Raises:
            OSError: ESTALE if the directory is gone, or the lower error.
        """
        if node is self._root:
            return self._root_fd
        fd = self._fds.get(node)
        if fd is not None:
            self._fds.move_to_end(node)
            return fd
        return self._open_chain(node)

    def _open_chain(self, node: Node) -> int:
        """Open the directories from the nearest open one down to ``node``; of a long way only the last stays open."""
        chain: list[Node] = []
        here = node
        while here is not self._root and here not in self._fds:
            if here.parent is None:
                raise OSError(ESTALE, os.strerror(ESTALE))
            chain.append(here)
            here = here.parent
        fd = self._root_fd if here is self._root else self._fds[here]
        borrowed = True
        for step in reversed(chain):
            try:
                below = self._store.open_directory(fd, step.lower_name)
            finally:
                if not borrowed:
                    self._store.close(fd)
            fd, borrowed = below, step is node or len(chain) <= _KEPT_CHAIN
            if borrowed:
                self._keep(step, fd)
        return fd

    def _keep(self, node: Node, fd: int) -> None:
        self._fds[node] = fd
        if len(self._fds) > _KEPT:
            self._store.close(self._fds.popitem(last=False)[1])

    def pair(self, first: Node, second: Node) -> tuple[int, int]:
        """Two descriptors that are both valid at once."""
        self.fd(second)
        fd = self.fd(first)
        return fd, self.fd(second)

    def hold(self, node: Node, fd: int) -> None:
        """``node`` has lost its last known name: ``fd`` keeps its lower inode until the node is forgotten.

        The kernel refers to it by number. If the lower inode went, the next new file could get that number, and
        requests that are under way would reach the wrong one.
        """
        self.forget(node)
        if len(self._held) < _HELD:
            self._held[node] = fd
        else:
            self._store.close(fd)

    def held(self, node: Node) -> int | None:
        """The ``O_PATH`` descriptor of an object without a name, as long as the kernel knows it."""
        return self._held.get(node)

    def forget(self, node: Node) -> None:
        """Drop the descriptor of a node, if there is one."""
        for fds in (self._fds, self._held):
            fd = fds.pop(node, None)
            if fd is not None:
                self._store.close(fd)

    def close(self) -> None:
        """Close every descriptor; the root's belongs to the caller."""
        for node in (*self._fds, *self._held):
            self.forget(node)
